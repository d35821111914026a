"""The rules of one project, compiled once: filters, scrubbing, grouping."""

import msgspec

from collector.filter import Filters, FilterSettings
from collector.group.view import View
from collector.model.event import GroupingResult


class ProjectRules(msgspec.Struct, frozen=True):
    """What a project configures for its events."""

    filters: FilterSettings = FilterSettings()


class Stages:
    """The compiled stages of one project."""

    def __init__(self, rules: ProjectRules) -> None:
        self.filters = Filters(rules.filters)
        self.infer_ip = True

    def scrub_event(self, payload: bytes) -> bytes:
        """The event without what must not be stored."""
        return payload

    def scrub_item(self, payload: bytes, kind: str) -> bytes:
        """Another item without what must not be stored."""
        return payload

    def group(self, view: View) -> GroupingResult:
        """Which issue the event belongs to."""
        return stand_in(view)


def stand_in(view: View) -> GroupingResult:
    """Until grouping lands: type and value of the last exception."""
    import hashlib

    exception = next((e for e in reversed(view.exception.values or [])), None) if view.exception else None
    title = f"{exception.type}: {exception.value}" if exception else (view.logentry and view.logentry.formatted) or ""
    digest = hashlib.md5(title.encode(), usedforsecurity=False).hexdigest()
    return GroupingResult("stand-in", {"default": (digest, True)}, [digest], title, "")
