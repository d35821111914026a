"""Free-form values ("bags": variables, extra, contexts, request data) under a limit of bytes and depth.

The limit is counted as Sentry counts it, so that both cut at the same place: each text costs its UTF-8 bytes plus
three, each number its digits plus one, each container three; keys are free. A container at the depth limit becomes
its JSON text. Observed figures: reference protocol, E4.
"""

import re
import sys
from typing import Any

import msgspec
import re2
from msgspec import Raw

from collector.digest.about import NeedsRepair
from collector.digest.clean import NOTHING
from collector.digest.remarks import Path, Remarks

Bag = tuple[int, int]  # bytes, depth
OBJECT, NULL = 0x7B, 0x6E
_RAWS = msgspec.json.Decoder(list[Raw])


def _shallow(levels: int) -> msgspec.json.Decoder[Any]:
    """A decoder that takes containers nested at most `levels` deep and refuses deeper ones."""
    shape: Any = str | int | float | bool | None
    for _ in range(levels):
        shape = dict[str, shape] | list[shape] | str | int | float | bool | None
    return msgspec.json.Decoder(shape)


DEEPEST = {depth: re.compile(rb"[{\[](?:\n {%d}[^\n]*)+\n {%d}[}\]]" % (depth, depth - 1)) for depth in range(2, 9)}
SHALLOW = {depth: _shallow(depth - 1).decode for depth in range(2, 9)}


def shallow_objects(depth: int) -> Any:
    """A set (of re2) that matches JSON objects joined by commas, none deeper than a bag of `depth` allows.

    For parts of valid JSON. Without looking into texts a linear scan tells what a decoder would need objects for.
    """
    text = r'"(?:[^"\\]|\\.)*"'
    inside = rf'(?:[^{{}}\[\]"]|{text}|\{{\}}|\[\])*'
    for _ in range(depth - 2):
        inside = rf'(?:[^{{}}\[\]"]|{text}|[{{\[]{inside}[}}\]])*'
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.dot_nl = True
    shapes = re2.Set.FullMatchSet(options)
    shapes.Add(rf"\{{{inside}\}}(?:,\{{{inside}\}})*".encode())
    shapes.Compile()
    return shapes


def fits(raw: bytes, bag: Bag) -> bool:
    """Whether `raw` (JSON) is certainly within `bag`. False only means: look closely.

    Every leaf costs at most its JSON text, and each container one byte more; a value is no deeper than it has opening
    brackets. When there are too many (often inside texts) a typed decode tells: 2 us for an average frame's variables,
    a sixth of a walk.
    """
    brackets = raw.count(b"{") + raw.count(b"[")
    if len(raw) + 2 * brackets + 2 > bag[0]:
        return False
    if brackets < bag[1]:
        return True
    try:
        SHALLOW[bag[1]](raw)
    except msgspec.MsgspecError:
        return False
    return True


def is_small(raw: bytes, limit: int) -> bool:
    """Whether `raw` (JSON) certainly costs no more than `limit` bytes."""
    return len(raw) + 2 * (raw.count(b"{") + raw.count(b"[")) + 2 <= limit


class Trimmer:
    """Trims one bag. `room` is what remains of the nearest limit, `spent` the cost of everything so far."""

    def __init__(self, remarks: Remarks) -> None:
        self.remarks = remarks
        self.room = sys.maxsize
        self.spent = 0
        self.changed = False

    def bag(self, value: Any, bag: Bag, path: list[str | int], item: Bag | None = None) -> Any:
        """`value` within `bag`; its direct members within `item` too. Sets `changed` when something was cut."""
        outer, before = self.room, self.spent
        self.room = min(outer, bag[0])
        trimmed = self._value(value, bag[1], path, item)
        self.room = max(0, outer - (self.spent - before))
        return trimmed

    def _spend(self, cost: int) -> None:
        self.spent += cost
        left = self.room - cost
        self.room = left if left > 0 else 0

    def _value(self, value: Any, depth: int, path: list[str | int], item: Bag | None = None) -> Any:
        """One value `depth` levels above the floor."""
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, dict | list):
            if depth <= 1 and value:
                self.changed = True
                return self._text(msgspec.json.encode(value).decode(), path)
            kept = self._members(value, depth, path, item)
            self._spend(3)
            return kept
        self._spend(5 if value is None or value is True else 6 if value is False else len(repr(value)) + 1)
        return value

    def _text(self, text: str, path: Path) -> str:
        room = self.room
        if len(text) > room:
            self.changed = True
            self.remarks.cut(path, len(text), max(room, 3))
            text = text[: max(room - 3, 0)] + "..."[:room]
        self._spend((len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) + 3)
        return text

    def _members(self, value: Any, depth: int, path: list[str | int], item: Bag | None) -> Any:
        members = value.items() if isinstance(value, dict) else enumerate(value)
        kept: dict[Any, Any] = {}
        for key, inner in members:
            if self.room == 0:
                self.changed = True
                self.remarks.shortened(path, len(value))
                break
            path.append(key)
            if item:
                kept[key] = self.bag(inner, (item[0], min(item[1], depth - 1)), path)
            else:
                kept[key] = self._value(inner, depth - 1, path)
            path.pop()
        return kept if isinstance(value, dict) else list(kept.values())


def _as_text(hit: re.Match[bytes]) -> bytes:
    return msgspec.json.encode(msgspec.json.encode(msgspec.json.decode(hit[0])).decode())


def flattened(values: list[bytes], depth: int) -> list[bytes]:
    """JSON values with the containers at the depth limit as JSON text: what the trimmer does where there is room.

    Printed over lines, depth is a number of blanks; that is four times cheaper than a walk over decoded values. Raises
    msgspec.DecodeError when one of them is not one JSON value.
    """
    lines = msgspec.json.format(b"[" + b",".join(values) + b"]", indent=1)
    flat, count = DEEPEST[depth + 1].subn(_as_text, lines)
    return [bytes(value) for value in _RAWS.decode(msgspec.json.format(flat, indent=-1))] if count else values


def trim_raw(raw: Raw, bag: Bag, remarks: Remarks, path: list[str | int], item: Bag | None = None) -> Raw:
    """The bag in `raw` within its limits; the very same object when nothing had to be cut."""
    data = bytes(raw)
    if item is None:
        flat = flattened([data], bag[1])[0]
        if is_small(flat, bag[0]):
            return raw if flat is data else Raw(flat)
    trimmer = Trimmer(remarks)
    trimmed = trimmer.bag(msgspec.json.decode(data), bag, path, item)
    return Raw(msgspec.json.encode(trimmed)) if trimmer.changed else raw


def checked_bag(raw: Raw, bag: Bag, remarks: Remarks, path: Path) -> Raw:
    """An object within its limits. Raises NeedsRepair when it is no object."""
    if raw is NOTHING:
        return raw
    data = bytes(raw)
    if data[0] == NULL:
        return NOTHING
    if data[0] != OBJECT:
        raise NeedsRepair
    return raw if fits(data, bag) else trim_raw(raw, bag, remarks, list(path))
