"""The rules of one project, compiled once: filters, scrubbing, grouping."""

import msgspec

from collector.filter import Filters, FilterSettings
from collector.group.fingerprint import FingerprintRules
from collector.group.grouping import GroupingSettings, group
from collector.group.rules import StackRules
from collector.group.view import View
from collector.model.event import GroupingResult
from collector.scrub import Scrubber, ScrubSettings


class ProjectRules(msgspec.Struct, frozen=True):
    """What a project configures for its events."""

    filters: FilterSettings = FilterSettings()
    scrubbing: ScrubSettings = ScrubSettings()
    grouping: GroupingSettings = GroupingSettings()


class Stages:
    """The compiled stages of one project. Raises ValueError for rules that were not checked before."""

    def __init__(self, rules: ProjectRules) -> None:
        self.filters = Filters(rules.filters)
        self.infer_ip = not rules.scrubbing.scrub_ip_addresses
        self._scrubber = Scrubber(rules.scrubbing)
        self._grouping = rules.grouping
        self._stack_rules = StackRules(rules.grouping.stack_trace_rules) if rules.grouping.stack_trace_rules else None
        texts = rules.grouping.fingerprint_rules
        self._fingerprint_rules = FingerprintRules(texts) if texts else None

    def scrub_event(self, payload: bytes) -> bytes:
        """The event without what must not be stored."""
        return self._scrubber.event(payload)

    def scrub_item(self, payload: bytes, kind: str) -> bytes:
        """Another item without what must not be stored."""
        return self._scrubber.event(payload) if kind == "transaction" else payload

    def group(self, view: View) -> GroupingResult:
        """Which issue the event belongs to."""
        settings = self._grouping
        return group(view, settings.config, self._stack_rules, self._fingerprint_rules, transition=settings.transition)
