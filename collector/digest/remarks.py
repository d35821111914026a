"""Remarks: what normalisation changed, in the form SDKs and Sentry read: the `_meta` tree and the `errors` list.

The tree mirrors the event; at a node the key "" holds `err` (a name, or [name, data]), `rem` ([rule, kind, start,
end]), `len` (length before a cut) and `val` (the value before it was removed, when it is small). Source: protocol F4.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

Path = Sequence[str | int]

MAX_KEPT_VALUE_BYTES = 500  # a removed value larger than this is not repeated in _meta
MAX_ERRORS = 250  # more errors than this say nothing new and only grow the event


class Remarks:
    """Collects remarks of one event. Empty (falsy) for a clean one."""

    __slots__ = ("errors", "tree")

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.errors: list[tuple[str, str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self.tree)

    def node(self, path: Path) -> dict[str, Any]:
        """The remark object at `path`, made when missing."""
        tree = self.tree
        for key in path:
            child = tree.get(str(key))
            if not isinstance(child, dict):
                child = tree[str(key)] = {}
            tree = child
        leaf = tree.setdefault("", {})
        if not isinstance(leaf, dict):
            leaf = tree[""] = {}
        return leaf

    def error(self, path: Path, kind: str, value: Any = None, **data: Any) -> None:
        """Something at `path` was invalid. `kind` is a protocol word; `value` what stood there."""
        if len(self.errors) >= MAX_ERRORS:
            return
        leaf = self.node(path)
        known = leaf.get("err")
        leaf["err"] = [*(known if isinstance(known, list) else []), [kind, data] if data else kind]
        shown = kept(value)
        if shown is not None:
            leaf["val"] = shown
        # the published schema of events knows type, name and value; the reason stands in _meta
        self.errors.append((kind, ".".join(map(str, path)), shown))

    def original(self, path: Path, value: Any) -> None:
        """The value at `path` was replaced by another; this was sent."""
        self.node(path)["val"] = kept(value)

    def cut(self, path: Path, length: int, limit: int) -> None:
        """A text of `length` characters was cut to `limit`, dots included."""
        leaf = self.node(path)
        known = leaf.get("rem")
        leaf["rem"] = [*(known if isinstance(known, list) else []), ["!limit", "s", limit - 3, limit]]
        leaf["len"] = length

    def shortened(self, path: Path, length: int) -> None:
        """A list or object of `length` entries lost its end or its middle."""
        self.node(path)["len"] = length

    def substituted(self, path: Path, rule: str, span: tuple[int, int], length: int) -> None:
        """A part of the text at `path` was replaced."""
        leaf = self.node(path)
        known = leaf.get("rem")
        leaf["rem"] = [*(known if isinstance(known, list) else []), [rule, "s", span[0], span[1]]]
        leaf["len"] = length

    def moved(self, source: Path, target: Path) -> None:
        """What was remarked at `source` now belongs to `target`."""
        tree = self.tree
        for key in source[:-1]:
            tree = tree.get(str(key), {})
            if not isinstance(tree, dict):
                return
        gone = tree.pop(str(source[-1]), None)
        if gone is None:
            return
        tree = self.tree
        for key in target[:-1]:
            child = tree.get(str(key))
            if not isinstance(child, dict):
                child = tree[str(key)] = {}
            tree = child
        tree[str(target[-1])] = gone


def kept(value: Any) -> Any:
    """`value` when it is small enough to be repeated in _meta, else None."""
    if value is None or (isinstance(value, str | bytes) and len(value) > MAX_KEPT_VALUE_BYTES):
        return None
    if isinstance(value, dict | list) and len(msgspec.json.encode(value)) > MAX_KEPT_VALUE_BYTES:
        return None
    return value


def cut_text(text: str, limit: int, remarks: Remarks, path: Path) -> str:
    """`text` cut to `limit` characters, the last three of them dots, with its remark."""
    remarks.cut(path, len(text), limit)
    return text[: limit - 3] + "..."
