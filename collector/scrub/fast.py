"""The fast form of default scrubbing: scan only what may change, look only at what was hit, patch only that.

One typed decode finds the leaves of the event (skeleton.py), one linear scan of all of them by one pattern (scan.py)
the string tokens that a rule might change; an event without any is returned as it is. A leaf that was hit gets a mark
in front of each such token, is decoded as far as marks lead, and only marked keys and texts are looked at (marked.py),
with the same rules as in walk.py; a mark tells where in the bytes its token stands, so values are replaced in place and
everything else keeps its bytes. A leaf that has no such form, or too many hits, is walked deeply by itself.
"""

from itertools import islice

import msgspec

from collector.scrub.marked import MarkedWalk, Notes
from collector.scrub.meta import Path, add_entries
from collector.scrub.offsets import address_of, offset_in
from collector.scrub.originals import Scrub, forget_name, scrub_errors, scrub_values
from collector.scrub.places import KIND_OF, Place
from collector.scrub.scan import scanner
from collector.scrub.settings import ScrubSettings
from collector.scrub.skeleton import Leaves, Selection
from collector.scrub.spans import MARK_LEAD, Fallback, Spans
from collector.scrub.walk import Walk, scrub_graphql

MAX_HITS = 1_000  # of one leaf; with more it is walked deeply
MAX_SCANNED = 5_000  # hits of one event; the leaves from there on are walked deeply
_BACKSLASH = 0x5C

Patch = tuple[int, int, bytes]  # from, to, new bytes
Patches = dict[int, tuple[int, bytes]]  # of one leaf: from, to, new bytes


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
            leaves = Leaves(payload, self.selection)
        except msgspec.ValidationError:
            raise Fallback from None
        joined = leaves.joined()
        hits = [match.start() for match in islice(self.pattern.finditer(joined), MAX_SCANNED)]
        noted, graphql = leaves.noted, leaves.graphql
        named = leaves.named if self.selection.always else ()
        if not hits and not noted and graphql is None and not named:
            return payload
        work = _Work(self, payload, leaves)
        if noted:
            work.originals()
        changed = work.graphql(*graphql) if graphql is not None else {}
        found = leaves.by_number(joined, hits)
        unknown = range(max(found), len(leaves.raws)) if len(hits) == MAX_SCANNED else ()
        work.leaves_hit(found, {**dict.fromkeys((*named, *unknown)), **changed})
        return work.done()


class _Work:
    """What is done to one event that needs more than a look."""

    def __init__(self, rules: FastScrub, payload: bytes, leaves: Leaves) -> None:
        self.rules = rules
        self.payload = payload
        self.leaves = leaves
        self.notes = Notes(bytes(leaves.event._meta))
        self.meta_changed = False
        self.base = 0
        self.patches: list[Patch] = []

    def originals(self) -> None:
        """What was found invalid stands in `errors` and in `_meta`."""
        notes, event = self.notes, self.leaves.event
        before = msgspec.json.encode(notes.meta)
        Walk(notes.meta).originals(notes.meta, self.rules.root, msgspec.json.decode(self.payload))
        scrub_values(notes.meta, self.rules.free)
        self.meta_changed = msgspec.json.encode(notes.meta) != before
        errors = msgspec.json.decode(event.errors) if bytes(event.errors) else None
        before = msgspec.json.encode(errors)
        scrub_errors(errors, self.rules.free)
        after = msgspec.json.encode(errors)
        if after != before:
            self.replace(event.errors, {0: (len(bytes(event.errors)), after)})

    def graphql(self, body: int, contexts: int) -> dict[int, bytes]:
        """Blank the variables of a GraphQL request, and what the answer repeats: the changed leaves by number."""
        raws = self.leaves.raws
        request = {"api_target": msgspec.json.decode(self.leaves.event.request.api_target)}
        event = {"request": {**request, "data": msgspec.json.decode(raws[body])}}
        if bytes(raws[contexts]):
            event["contexts"] = msgspec.json.decode(raws[contexts])
        if not scrub_graphql(event):
            return {}
        changed = {body: msgspec.json.encode(event["request"]["data"])}
        if "contexts" in event:
            changed[contexts] = msgspec.json.encode(event["contexts"])
        return changed

    def leaves_hit(self, hits: dict[int, list[int]], deep: dict[int, bytes | None]) -> None:
        """Scrub the leaves that were hit, and walk some deeply: None as they are, or with other content."""
        for number in sorted(hits.keys() | deep.keys()):
            raw = self.leaves.raws[number]
            data = bytes(raw)
            if not data:
                continue
            where = self.leaves.where(number, self.rules.root)
            if number in deep:
                patches = {0: (len(data), self.walked(deep[number] or data, where))}
            else:
                patches = self.leaf(data, hits[number], where)
            if patches and where[1] == "user":
                patches = _without_stale_name(data, patches)
            if patches:
                self.replace(raw, patches)

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

    def replace(self, raw: msgspec.Raw, patches: Patches) -> None:
        """Take over the patches of a raw part of the payload."""
        self.base = self.base or address_of(self.payload)
        at = offset_in(self.payload, raw, self.base)
        self.patches += [(at + start, at + end, fresh) for start, (end, fresh) in patches.items()]

    def done(self) -> bytes:
        """The event as it is now."""
        notes = self.notes
        if not self.patches and not self.meta_changed:
            return self.payload
        add_entries(notes.meta, notes.found)
        meta = msgspec.json.encode(notes.meta)
        if notes.raw:
            self.replace(self.leaves.event._meta, {0: (len(notes.raw), meta)})
        elif notes.found:
            end = self.payload.rindex(b"}")
            self.patches.append((end, end, b',"_meta":' + meta))
        return _spliced(self.payload, {start: (end, fresh) for start, end, fresh in self.patches})


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


def _without_stale_name(data: bytes, patches: Patches) -> Patches:
    """The patches of a user, also of its `sentry_user` when that repeats what was scrubbed."""
    if b"sentry_user" not in data:
        return patches
    user = msgspec.json.decode(_spliced(data, patches))
    if not isinstance(user, dict) or not forget_name(msgspec.json.decode(data), user):
        return patches
    return {0: (len(data), msgspec.json.encode(user))}
