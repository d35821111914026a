"""The walk over marked keys and texts only, patching the bytes: walk.py for what the scan has found.

A value is opened level by level, and only where a mark is inside; what holds none is never decoded.
"""

from typing import Any

import msgspec

from collector.scrub.meta import Path, entry_at
from collector.scrub.places import ARRAY, BOOLEAN, NULL, NUMBER, OBJECT, STRING, Place
from collector.scrub.rules import FILTERED
from collector.scrub.schema import FREE_NO
from collector.scrub.spans import MARK_BASE, MARK_LEAD, MAX_MARKS, Fallback, Spans
from collector.scrub.text import removed

MAX_DEPTH = 24  # each level is decoded anew
_KIND_OF = {0x22: STRING, 0x7B: OBJECT, 0x5B: ARRAY, 0x74: BOOLEAN, 0x66: BOOLEAN, 0x6E: NULL}  # by the first byte
_LEAD = MARK_LEAD[0]
_QUOTE, _BRACKET, _NULL = 0x22, 0x5B, b"null"

_open_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_open_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode


class Notes:
    """What the leaves of one event share: its `_meta`, the new entries, and what became of texts seen before.

    `raw`: the bytes of `_meta`, empty when there is none.
    """

    __slots__ = ("_meta", "found", "raw", "seen")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._meta: dict[str, Any] | None = None
        self.found: dict[Path, dict[str, Any]] = {}
        self.seen: dict[tuple[int, str], tuple[str | None, dict[str, Any]]] = {}

    @property
    def meta(self) -> dict[str, Any]:
        """`_meta`, decoded when first asked for. Raises Fallback when it is no object."""
        if self._meta is None:
            tree = _decode(self.raw) if self.raw else {}
            if not isinstance(tree, dict):
                raise Fallback
            self._meta = tree
        return self._meta


class MarkedWalk:
    """One walk over one leaf with hits. `patches`: {start: (end, new bytes)}, `found`: new `_meta` entries."""

    __slots__ = ("found", "notes", "patches", "spans")

    def __init__(self, spans: Spans, notes: Notes) -> None:
        self.spans = spans
        self.patches: dict[int, tuple[int, bytes]] = {}
        self.found: dict[Path, dict[str, Any]] = {}
        self.notes = notes

    def leaf(self, place: Place, name: str, path: Path) -> None:
        """Scrub the leaf, which stands under the key `name` of what is at `place`. Raises Fallback."""
        self.keyed(self.spans.marked(), -1, place, name, path)

    def entry(self, path: Path) -> dict[str, Any]:
        """A copy of what `_meta` says about a field so far."""
        return dict(self.found.get(path) or entry_at(self.notes.meta, path) or {})

    def keyed(self, data: bytes, mark: int, place: Place, key: str, path: Path) -> None:
        """A value under a key (with the mark of the key, -1 without)."""
        kind = _KIND_OF.get(data[0], NUMBER)
        typed = kind is OBJECT and place.node.field(key).by_type is not None
        self.value(data, kind, mark, place.key(key, kind, _type_of(data) if typed else None), path)

    def value(self, data: bytes, kind: str, mark: int, place: Place, path: Path) -> None:
        """Scrub a value at its place."""
        if kind is NULL or kind is BOOLEAN or place.node is FREE_NO:
            return
        if kind is STRING:
            text, own = unmark(_decode(data))
            if (own >= 0 or mark >= 0) and place.steps and not place.node.path_text:
                start = self.spans.tokens[own] if own >= 0 else self.spans.value_start(mark)
                self.text(text, start, place, path)
        elif mark >= 0 and place.drops:
            self.drop(self.spans.value_start(mark), place, path)
        elif kind is OBJECT:
            self.object(data, place, path)
        elif kind is ARRAY:
            self.array(data, place, path)

    def object(self, data: bytes, place: Place, path: Path) -> None:
        """Scrub the marked values of an object, and those under marked keys.

        Raises Fallback when a mark is lost on the way: it stood in the earlier of two values of one key. The deep walk
        writes such an object anew, so that no byte of the earlier value is left.
        """
        if len(path) > MAX_DEPTH or place.node.attributes:
            raise Fallback
        left = data.count(MARK_LEAD)
        for key, raw in _open_object(data).items():
            inner = bytes(raw)
            if _LEAD in inner:
                left -= inner.count(MARK_LEAD)
            elif key.isascii():
                continue
            mark = -1
            if not key.isascii():
                key, mark = unmark(key)
                left -= mark >= 0
            self.keyed(inner, mark, place, key, (*path, key))
        if left:
            raise Fallback

    def array(self, data: bytes, place: Place, path: Path) -> None:
        """Scrub the elements of a list; what looks like a [key, value] pair is tried as one first. Raises Fallback."""
        if len(path) > MAX_DEPTH:
            raise Fallback
        parts = _open_array(data)
        if place.node.pairs:
            self.pairs(parts, place, path)
            return
        if len(parts) == 2 and bytes(parts[0])[0] == _QUOTE and bytes(parts[1]) != _NULL:
            here = (*path, "1")
            before, patched = self.entry(here), len(self.patches)
            self.pair(parts, place, here, 1)
            if not before and here in self.found:
                return
            if len(self.patches) != patched:
                raise Fallback  # what follows must see the value as it is now
        for index, raw in enumerate(parts):
            inner = bytes(raw)
            if _LEAD in inner:
                self.element(inner, index, place, (*path, str(index)))

    def pairs(self, parts: list[msgspec.Raw], place: Place, path: Path) -> None:
        """Scrub a list that selectors see as an object."""
        for index, raw in enumerate(parts):
            inner = bytes(raw)
            if _LEAD not in inner:
                continue
            here = (*path, str(index))
            pair = _open_array(inner) if inner[0] == _BRACKET else ()
            if len(pair) == 2:
                self.pair(pair, place, (*here, "1"), index)
            else:
                self.element(inner, index, place, here)

    def element(self, data: bytes, index: int, place: Place, path: Path) -> None:
        """One element of a list."""
        kind = _KIND_OF.get(data[0], NUMBER)
        self.value(data, kind, -1, place.item(index, kind), path)

    def pair(self, pair: Any, place: Place, path: Path, index: int) -> None:
        """The value of a [key, value] pair."""
        first, inner = bytes(pair[0]), bytes(pair[1])
        kind = _KIND_OF.get(inner[0], NUMBER)
        if first[0] != _QUOTE:
            self.value(inner, kind, -1, place.item(index, kind), path)
            return
        name, mark = unmark(_decode(first))
        self.value(inner, kind, mark, place.pair(name, kind), path)

    def text(self, text: str, start: int, place: Place, path: Path) -> None:
        """Run the rules on a text whose token is at `start`; patch it when it changed."""
        if text == FILTERED and place.keeps_filtered:
            return
        entry = self.entry(path)
        known = (id(place.steps), text)  # the same values return in frame after frame
        result = self.notes.seen.get(known) if not entry else None
        if result is None:
            remarked = bool(entry)
            result = place.scrub(text, entry), entry
            if not remarked:
                self.notes.seen[known] = result
        fresh, noted = result
        if fresh != text:
            self.found[path] = noted
            body = _NULL if fresh is None else _encode(fresh)
            self.patches[start] = (self.spans.value_end(start), body)

    def drop(self, start: int, place: Place, path: Path) -> None:
        """A number, list or object that a rule takes away."""
        entry = self.entry(path)
        removed(place.drops[0], entry)
        self.found[path] = entry
        self.patches[start] = (self.spans.value_end(start), _NULL)


def unmark(text: str) -> tuple[str, int]:
    """The text without its mark, and the mark's number (-1 without one)."""
    mark = ord(text[0]) - MARK_BASE if text else -1
    return (text[1:], mark) if 0 <= mark < MAX_MARKS else (text, -1)


def _type_of(data: bytes) -> dict[str, Any]:
    """What tells the kind of a context: its `type`, without a mark."""
    named = _open_object(data).get("type")
    text = _decode(named) if named is not None else None
    return {"type": unmark(text)[0]} if isinstance(text, str) else {}
