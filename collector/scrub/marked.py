"""The walk over marked keys and texts only, patching the bytes: walk.py for what the scan has found.

Large lists and objects are opened level by level, and only where a mark is inside: most of an event is never decoded.
"""

from typing import Any

import msgspec

from collector.scrub.meta import Path, entry_at, set_entry
from collector.scrub.places import ARRAY, BOOLEAN, KIND_OF, NULL, OBJECT, STRING, Place
from collector.scrub.schema import FREE_NO
from collector.scrub.skeleton import EVENT_DECODER, FIELDS, NOTHING, Frame
from collector.scrub.spans import MARK_BASE, MARK_LEAD, MAX_MARKS, Fallback, Spans
from collector.scrub.text import removed

MAX_DEPTH = 150
SMALL_BYTES = 1024  # decoded at once; larger values level by level

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class MarkedWalk:
    """One walk over one payload with hits."""

    def __init__(self, spans: Spans, meta: dict[str, Any] | None) -> None:
        self.spans = spans
        self.patches: dict[int, tuple[int, bytes]] = {}
        self.found: dict[Path, dict[str, Any]] = {}
        self.meta: dict[str, Any] = meta or {}
        self.seen: dict[tuple[int, str], tuple[str | None, dict[str, Any]]] = {}

    def scrubbed(self, root: Place) -> bytes:
        """The payload, patched. Raises Fallback, msgspec.DecodeError."""
        marked = self.spans.marked()
        try:
            self.part(EVENT_DECODER.decode(marked), root, ())
        except msgspec.ValidationError:
            item = _open(marked, 0)
            if not isinstance(item, dict):
                raise Fallback from None
            self.object(item, root, ())
        if not self.patches:
            return self.spans.payload
        for path, entry in self.found.items():
            set_entry(self.meta, path, entry)
        return self.spans.patched(self.patches, b',"_meta":' + msgspec.json.encode(self.meta))

    def entry(self, path: Path) -> dict[str, Any]:
        """A copy of what `_meta` says about a field so far."""
        return dict(self.found.get(path) or entry_at(self.meta, path) or {})

    def part(self, part: msgspec.Struct, place: Place, path: Path) -> None:
        """Scrub the fields of a known part of an event."""
        for name in FIELDS[type(part)]:
            inner = getattr(part, name)
            if inner is NOTHING or inner is None:
                continue
            if isinstance(inner, msgspec.Raw):
                if MARK_LEAD in bytes(inner):
                    self.keyed(inner, -1, place, name, (*path, name))
            elif isinstance(inner, list):
                self.parts(inner, place.key(name, ARRAY), (*path, name))
            else:
                self.part(inner, place.key(name, OBJECT), (*path, name))

    def parts(self, parts: list[Any], place: Place, path: Path) -> None:
        """Scrub the elements of a known list."""
        for index, one in enumerate(parts):
            if isinstance(one, Frame):
                if MARK_LEAD in bytes(one.vars):
                    self.part(one, place.item(index, OBJECT), (*path, str(index)))
            elif one is not None:
                self.part(one, place.item(index, OBJECT), (*path, str(index)))

    def object(self, value: dict[str, Any], place: Place, path: Path) -> None:
        """Scrub the marked values of an object, and those under marked keys."""
        if len(path) > MAX_DEPTH or place.node.attributes:
            raise Fallback
        for key, inner in value.items():
            mark = -1
            name = key
            if not key.isascii():
                name, mark = unmark(key)
            elif isinstance(inner, str):
                if inner.isascii():
                    continue
            elif isinstance(inner, msgspec.Raw) and MARK_LEAD not in bytes(inner):
                continue
            value[key] = self.keyed(inner, mark, place, name, (*path, name))

    def keyed(self, inner: Any, mark: int, place: Place, key: str, path: Path) -> Any:
        """A value under a key (with the mark of the key, -1 without): the value as it is now."""
        if isinstance(inner, msgspec.Raw):
            inner = _open(bytes(inner), SMALL_BYTES)
        kind = KIND_OF[type(inner)]
        below = place.key(key, kind, _with_type(inner) if kind == OBJECT and place.node.field(key).by_type else None)
        return self.value(inner, kind, mark, below, path)

    def value(self, inner: Any, kind: str, mark: int, place: Place, path: Path) -> Any:
        """Scrub a value at its place; None when it was taken away."""
        if kind in (NULL, BOOLEAN) or place.node is FREE_NO:
            return inner
        if kind == STRING:
            text, own = unmark(inner)
            if (own < 0 and mark < 0) or not place.steps or place.node.path_text:
                return inner
            return self.text(text, self.spans.tokens[own] if own >= 0 else self.spans.value_start(mark), place, path)
        if mark >= 0 and place.drops:
            self.drop(self.spans.value_start(mark), place, path)
            return None
        if kind == OBJECT:
            self.object(inner, place, path)
        elif kind == ARRAY:
            self.array(inner, place, path)
        return inner

    def array(self, value: list[Any], place: Place, path: Path) -> None:
        """Scrub the elements of a list; what looks like a [key, value] pair is tried as one first."""
        if len(path) > MAX_DEPTH:
            raise Fallback
        if place.node.pairs:
            for index, pair in enumerate(value):
                if isinstance(pair, msgspec.Raw):
                    if MARK_LEAD not in bytes(pair):
                        continue
                    pair = _whole(pair)
                here = (*path, str(index))
                if isinstance(pair, list) and len(pair) == 2:
                    self.pair(pair, place, (*here, "1"), index)
                else:
                    self.element(pair, index, place, here)
            return
        if len(value) == 2:
            value[:] = [_whole(one) if isinstance(one, msgspec.Raw) else one for one in value]
            here = (*path, "1")
            if isinstance(value[0], str) and value[1] is not None:
                before = self.entry(here)
                self.pair(value, place, here, 1)
                if not before and here in self.found:
                    return
        for index, inner in enumerate(value):
            if isinstance(inner, str):
                if inner.isascii():
                    continue
            elif isinstance(inner, msgspec.Raw):
                if MARK_LEAD not in bytes(inner):
                    continue
                inner = _open(bytes(inner), SMALL_BYTES)
            value[index] = self.element(inner, index, place, (*path, str(index)))

    def element(self, inner: Any, index: int, place: Place, path: Path) -> Any:
        """One element of a list as it is now."""
        kind = KIND_OF[type(inner)]
        return self.value(inner, kind, -1, place.item(index, kind), path)

    def pair(self, pair: list[Any], place: Place, path: Path, index: int) -> None:
        """The value of a [key, value] pair."""
        first, inner = pair
        kind = KIND_OF[type(inner)]
        name, mark = unmark(first) if isinstance(first, str) else ("", -1)
        below = place.pair(name, kind) if isinstance(first, str) else place.item(index, kind)
        pair[1] = self.value(inner, kind, mark, below, path)

    def text(self, text: str, start: int, place: Place, path: Path) -> str | None:
        """Run the rules on a text whose token is at `start`; patch it when it changed."""
        entry = self.entry(path)
        known = (id(place.steps), text)  # the same values return in frame after frame
        result = self.seen.get(known) if not entry else None
        if result is None:
            remarked = bool(entry)
            result = place.scrub(text, entry), entry
            if not remarked:
                self.seen[known] = result
        fresh, noted = result
        if fresh != text:
            self.found[path] = noted
            body = b"null" if fresh is None else msgspec.json.encode(fresh)
            self.patches[start] = (self.spans.value_end(start), body)
        return fresh

    def drop(self, start: int, place: Place, path: Path) -> None:
        """A number, list or object that a rule takes away."""
        entry = self.entry(path)
        removed(place.drops[0], entry)
        self.found[path] = entry
        self.patches[start] = (self.spans.value_end(start), b"null")


def unmark(text: str) -> tuple[str, int]:
    """The text without its mark, and the mark's number (-1 without one)."""
    if text and MARK_BASE <= ord(text[0]) < MARK_BASE + MAX_MARKS:
        return text[1:], ord(text[0]) - MARK_BASE
    return text, -1


def _open(data: bytes, small_bytes: int) -> Any:
    """Decode a value: as a whole when it is small, else its first level only.

    Raises Fallback when a mark is lost on the way: it stood in the earlier of two values of one key. The deep walk
    writes such an object anew, so that no byte of the earlier value is left.
    """
    first = data[:1]
    if len(data) > small_bytes:
        if first == b"{":
            opened = _OBJECT.decode(data)
            found = sum([bytes(value).count(MARK_LEAD) for value in opened.values()])
            found += sum([unmark(key)[1] >= 0 for key in opened if not key.isascii()])
            if found != data.count(MARK_LEAD):
                raise Fallback
            return opened
        if first == b"[":
            return _ARRAY.decode(data)
    value = msgspec.json.decode(data)
    if b"{" in data and msgspec.json.encode(value).count(MARK_LEAD) != data.count(MARK_LEAD):
        raise Fallback
    return value


def _whole(raw: msgspec.Raw) -> Any:
    data = bytes(raw)
    return _open(data, len(data))


def _with_type(inner: dict[str, Any]) -> dict[str, Any]:
    """What tells the kind of a context: its `type`, without a mark."""
    named = inner.get("type")
    if isinstance(named, msgspec.Raw):
        named = msgspec.json.decode(named)
    return {"type": unmark(named)[0]} if isinstance(named, str) else {}
