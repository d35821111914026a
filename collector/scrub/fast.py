"""The fast form of default scrubbing: scan only what may change, look only at what was hit, patch only that.

One typed decode finds the leaves of the event (skeleton.py), one linear scan of all of them by one pattern (scan.py)
the string tokens that a rule might change; an event without any is returned as it is. A leaf that was hit gets a mark
in front of each such token, is decoded as far as marks lead, and only marked keys and texts are looked at (marked.py),
with the same rules as in walk.py; a mark tells where in the bytes its token stands, so values are replaced in place and
everything else keeps its bytes. A leaf that has no such form, or too many hits, is walked deeply by itself.
"""

from itertools import islice
from typing import Any, NamedTuple

import msgspec

from collector.scrub.marked import MarkedWalk, Notes
from collector.scrub.meta import Path, add_entries
from collector.scrub.offsets import address_of, offset_in
from collector.scrub.originals import Scrub, forget_name, scrub_errors, scrub_values
from collector.scrub.places import KIND_OF, Place
from collector.scrub.scan import scanner
from collector.scrub.settings import ScrubSettings
from collector.scrub.skeleton import Leaf, Leaves, Selection, Skeleton
from collector.scrub.spans import MARK_LEAD, Fallback, Spans
from collector.scrub.walk import Walk, scrub_graphql

MAX_HITS = 1_000  # of one leaf; with more it is walked deeply
MAX_SCANNED = 5_000  # hits of one event; the leaves from there on are walked deeply
_BACKSLASH = 0x5C

Patches = dict[int, tuple[int, bytes]]  # from: to, new bytes


class Changes(NamedTuple):
    """What scrubbing changes in the leaves of an event: the new bytes by number, and `_meta`, None where it stays."""

    leaves: dict[int, bytes]
    meta: bytes | None


NO_CHANGES = Changes({}, None)


class FastScrub:
    """Default scrubbing of one project's events. `root`: the place of an event; `free`: scrubs free content."""

    def __init__(self, settings: ScrubSettings, root: Place, free: Scrub) -> None:
        self.pattern = scanner(settings)
        self.selection = Selection(settings)
        self.root = root
        self.free = free

    def event(self, payload: bytes) -> bytes:
        """The scrubbed payload. Raises Fallback when the deep walk must do it, msgspec.DecodeError for no JSON."""
        try:
            leaves = Skeleton(payload, self.selection)
        except msgspec.ValidationError:
            raise Fallback from None
        work = _Work(self, leaves, bytes(leaves.event._meta))
        errors = work.originals(payload, leaves.event) if leaves.noted else None
        replaced = work.graphql(leaves) if leaves.graphql is not None else {}
        if not work.look(replaced) and errors is None and not work.meta_changed:
            return payload
        return _patched(payload, leaves, work.changes(), errors)

    def leaves(self, leaves: Leaves, meta: bytes) -> Changes:
        """The same for an event that is still in parts: no invalid values in `errors` or `_meta`, no GraphQL request.

        meta: `_meta` as JSON, empty when there is none. Raises as `event`.
        """
        work = _Work(self, leaves, meta)
        return work.changes() if work.look({}) else NO_CHANGES


class _Work:
    """What is done to one event that may need more than a look."""

    def __init__(self, rules: FastScrub, leaves: Leaves, meta: bytes) -> None:
        self.rules = rules
        self.all = leaves
        self.notes = Notes(meta)
        self.meta_changed = False
        self.changed: dict[int, bytes] = {}

    def originals(self, payload: bytes, event: Any) -> bytes | None:
        """What was found invalid stands in `errors` and in `_meta`: the errors anew, when they changed."""
        notes = self.notes
        before = msgspec.json.encode(notes.meta)
        Walk(notes.meta).originals(notes.meta, self.rules.root, msgspec.json.decode(payload))
        scrub_values(notes.meta, self.rules.free)
        self.meta_changed = msgspec.json.encode(notes.meta) != before
        errors = msgspec.json.decode(event.errors) if bytes(event.errors) else None
        before = msgspec.json.encode(errors)
        scrub_errors(errors, self.rules.free)
        after = msgspec.json.encode(errors)
        return after if after != before else None

    def graphql(self, leaves: Skeleton) -> dict[int, bytes]:
        """Blank the variables of a GraphQL request, and what the answer repeats: the changed leaves by number."""
        assert leaves.graphql is not None
        body, contexts = leaves.graphql
        raws = leaves.raws
        request = {"api_target": msgspec.json.decode(leaves.event.request.api_target)}
        event = {"request": {**request, "data": msgspec.json.decode(raws[body])}}
        if bytes(raws[contexts]):
            event["contexts"] = msgspec.json.decode(raws[contexts])
        if not scrub_graphql(event):
            return {}
        changed = {body: msgspec.json.encode(event["request"]["data"])}
        if "contexts" in event:
            changed[contexts] = msgspec.json.encode(event["contexts"])
        return changed

    def look(self, replaced: dict[int, bytes]) -> bool:
        """Scan all leaves and scrub those that are hit, or have other content already. False: none needs it."""
        leaves, rules = self.all, self.rules
        joined = leaves.joined()
        hits = [match.start() for match in islice(rules.pattern.finditer(joined), MAX_SCANNED)]
        named = leaves.named if rules.selection.always else ()
        if not hits and not named and not replaced:
            return False
        found = leaves.by_number(joined, hits)
        unknown = range(max(found), len(leaves.raws)) if len(hits) == MAX_SCANNED else ()
        self._leaves_hit(found, {**dict.fromkeys((*named, *unknown)), **replaced})
        return True

    def _leaves_hit(self, hits: dict[int, list[int]], deep: dict[int, bytes | None]) -> None:
        """Scrub the leaves that were hit, and walk some deeply: None as they are, or with other content."""
        for number in sorted(hits.keys() | deep.keys()):
            data = bytes(self.all.raws[number])
            if not data:
                continue
            where = self.all.where(number, self.rules.root)
            if number in deep:
                fresh = self.walked(deep[number] or data, where)
            else:
                patches = self.leaf(data, hits[number], where)
                fresh = _spliced(data, patches) if patches else data
            if fresh is not data:
                self.changed[number] = _without_stale_name(data, fresh) if where[1] == "user" else fresh

    def leaf(self, data: bytes, hits: list[int], where: tuple[Place, str, Path]) -> Patches:
        """Scrub one leaf that was hit."""
        try:
            if len(hits) > MAX_HITS:
                raise Fallback
            if _BACKSLASH in [data[hit] for hit in hits]:  # escapes may hide what the pattern looks for
                return self.escaped(data, hits, where)
            return self.marked(data, hits, where)
        except Fallback:
            return {0: (len(data), self.walked(data, where))}

    def escaped(self, data: bytes, hits: list[int], where: tuple[Place, str, Path]) -> Patches:
        """A leaf with escapes, by way of its plain form."""
        if any(data.startswith(b"\\u0000", hit) for hit in hits):
            raise Fallback  # patterns never see NUL characters
        plain = msgspec.json.encode(msgspec.json.decode(data))
        hits = [match.start() for match in self.rules.pattern.finditer(plain + b",")]
        patches = self.marked(plain, hits, where) if hits else {}
        return {0: (len(data), _spliced(plain, patches))} if patches else {}

    def marked(self, data: bytes, hits: list[int], where: tuple[Place, str, Path]) -> Patches:
        """Scrub one leaf by marks. Raises Fallback."""
        if not data.isascii() and MARK_LEAD in data:
            raise Fallback
        spans = Spans(data, hits)
        if not spans.tokens:
            return {}
        walk = MarkedWalk(spans, self.notes)
        walk.leaf(*where)
        self.notes.found.update(walk.found)
        return walk.patches

    def walked(self, data: bytes, where: tuple[Place, str, Path]) -> bytes:
        """One leaf after the deep walk: written anew, so nothing of it stays that the decoder passes over."""
        place, name, path = where
        value = msgspec.json.decode(data)
        walk = Walk(self.notes.meta, self.notes.found)
        return msgspec.json.encode(walk.value(value, place.key(name, KIND_OF[type(value)], value), path))

    def changes(self) -> Changes:
        """Everything that is different now."""
        notes = self.notes
        if not self.changed and not self.meta_changed:
            return NO_CHANGES
        add_entries(notes.meta, notes.found)
        is_noted = bool(notes.raw or notes.found)
        return Changes(self.changed, msgspec.json.encode(notes.meta) if is_noted else None)


def _patched(payload: bytes, leaves: Skeleton, changes: Changes, errors: bytes | None) -> bytes:
    """The event with what changed in it."""
    base = address_of(payload)
    patches: Patches = {}

    def replace(raw: Leaf, fresh: bytes) -> None:
        start = offset_in(payload, raw, base)
        patches[start] = start + len(bytes(raw)), fresh

    for number, fresh in changes.leaves.items():
        replace(leaves.raws[number], fresh)
    event = leaves.event
    if errors is not None:
        replace(event.errors, errors)
    if changes.meta is not None and bytes(event._meta):
        replace(event._meta, changes.meta)
    elif changes.meta is not None:
        end = payload.rindex(b"}")
        patches[end] = end, b',"_meta":' + changes.meta
    return _spliced(payload, patches)


def _spliced(data: bytes, patches: Patches) -> bytes:
    """The bytes with the patches in them; what lies in a replaced value is gone."""
    pieces: list[bytes] = []
    at = 0
    for start in sorted(patches):
        if start >= at:
            end, fresh = patches[start]
            pieces += (data[at:start], fresh)
            at = end
    pieces.append(data[at:])
    return b"".join(pieces)


def _without_stale_name(before: bytes, user: bytes) -> bytes:
    """A scrubbed user, also its `sentry_user` blank when that repeats what was scrubbed."""
    if b"sentry_user" not in before:
        return user
    now = msgspec.json.decode(user)
    if not isinstance(now, dict) or not forget_name(msgspec.json.decode(before), now):
        return user
    return msgspec.json.encode(now)
