"""The rules of one project, compiled once: filters, scrubbing, grouping."""

import msgspec

from collector.digest.about import Invalid
from collector.digest.normalised import Normalised
from collector.errors import ProtocolError
from collector.filter.filters import Filters
from collector.filter.settings import FilterSettings
from collector.group.grouping import Grouper, IsKnown, MayHold, all_may_be_held, nothing_is_known
from collector.group.settings import GroupingSettings
from collector.group.view import View
from collector.model.envelope import Item
from collector.model.event import GroupingResult
from collector.protocol.kinds import ITEM_KINDS
from collector.scrub.scrubber import Scrubber
from collector.scrub.settings import ScrubSettings

# Their own binary or packed forms; nothing in them can be scrubbed without taking them apart.
OPAQUE_ITEMS = frozenset(("replay_recording", "replay_video", "profile", "profile_chunk", "profile_chunk_ui", "statsd",
                          "metric_buckets", "unreal_report"))  # fmt: skip


class ProjectRules(msgspec.Struct, frozen=True):
    """What a project configures for its events."""

    filters: FilterSettings = FilterSettings()
    scrubbing: ScrubSettings = ScrubSettings()
    grouping: GroupingSettings = GroupingSettings()


class Stages:
    """The compiled stages of one project. Raises ValueError for rules that were not checked before.

    is_known: whether an issue of this project has one of these hashes; where none has, `group` also tells the hashes of
    the other grouping configuration, if may_hold says that it was in use here.
    """

    def __init__(
        self, rules: ProjectRules, is_known: IsKnown = nothing_is_known, may_hold: MayHold = all_may_be_held
    ) -> None:
        self.filters = Filters(rules.filters)
        self.infer_ip = not rules.scrubbing.scrub_ip_addresses
        self._scrubber = Scrubber(rules.scrubbing)
        self._grouper = Grouper(rules.grouping)
        self._is_known = is_known
        self._may_hold = may_hold

    def scrub_event(self, payload: bytes) -> bytes:
        """The event without what must not be stored."""
        return self._scrubber.event(payload)

    def scrub_in_parts(self, normalised: Normalised) -> bool | None:
        """The same before the event is written: whether something changed. None: only scrub_event can do it."""
        if self._scrubber.idle:
            return False
        return normalised.scrub(self._scrubber.fast) if self._scrubber.fast is not None else None

    def scrub_item(self, payload: bytes, item: Item) -> bytes:
        """Another item without what must not be stored. Raises Invalid when it should be JSON and is not."""
        if item.type == "attachment":
            name = item.headers.get("filename")
            return self._scrubber.attachment(payload, name if isinstance(name, str) else "")
        if item.type in OPAQUE_ITEMS:
            return payload
        try:
            return self._scrubber.text(payload, item.type)
        except ProtocolError as error:
            if item.type in ITEM_KINDS:
                raise Invalid(error.reason, "the item is not JSON") from None
        return payload if b"\x00" in payload else self._scrubber.text(payload, "text")

    def group(self, view: View) -> GroupingResult:
        """Which issue the event belongs to."""
        return self._grouper.group(view, self._is_known, self._may_hold)
