"""Generated events: from the published schema, with wrong types at any depth, and the odd bytes that clients send."""

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SCHEMA = Path(__file__).parents[2].parent / "shared" / "conformance" / "event.schema.json"
MAX_DEPTH = 7
JUNK: list[Any] = [
    None, True, False, 0, -1, 7, 2**63, 10**40, 1.5, -0.0, 1e300, "", " ", "x", "é…\U0001f600", "a\u0000b", "{{auto}}",
    "127.0.0.1", "2026-11-21T00:00:00Z", "not a time", "n" * 300, "m" * 9000, "a: b", "%s %(x)s {} {y}", [], [None],
    [[]], [1, "a", None, {}], {}, {"": None}, {"values": 1}, {"values": [None, 5]},
    {"a": {"b": {"c": {"d": {"e": {}}}}}},
       [[[[[[[["deep"]]]]]]]], {"k": "v" * 3000}, "0x1F", "https://a.example/b?c=d#e", ["k", "v"], [["k", "v"], ["k"]],
]  # fmt: skip
TEXTS = ["", "a", "error", "python", "javascript", "1.0", "production", "?", "ValueError: x", "https://h.example/p?q=1#f",
         "/srv/app/main.py", "{{auto}}", "10.0.0.1", "0x1f", "GET", "a=1&b=2", '{"a": [1]}', "latest", "none",
         "x" * 250, "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960", "5f3c9a1e0b7d4c2e", "é\U0001f600", "Hi %s",
         "line\nline"]  # fmt: skip


class Generator:
    """Draws values of the published schema."""

    def __init__(self, draw: st.DrawFn, schema: dict[str, Any]) -> None:
        self.draw = draw
        self.definitions = schema["definitions"]
        self.schema = schema

    def event(self) -> Any:
        """One event."""
        return self.value(self.schema, MAX_DEPTH)

    def value(self, shape: Any, depth: int) -> Any:
        """A value of `shape`; null where it gets too deep."""
        if shape is True or not isinstance(shape, dict):
            return copy.deepcopy(self.draw(st.sampled_from(JUNK)))
        if "$ref" in shape:
            return self.value(self.definitions[shape["$ref"].rpartition("/")[2]], depth)
        if "enum" in shape:
            return self.draw(st.sampled_from(shape["enum"]))
        for word in ("anyOf", "allOf"):
            if word in shape:
                return self.value(self.draw(st.sampled_from(shape[word])), depth)
        kinds = shape.get("type", "object")
        kind = kinds if isinstance(kinds, str) else self.draw(st.sampled_from(kinds))
        return getattr(self, kind)(shape, depth)

    def object(self, shape: dict[str, Any], depth: int) -> Any:
        """Some of the properties, and now and then one of its own."""
        if depth <= 0:
            return {}
        names = sorted(shape.get("properties", {}))
        chosen = self.draw(st.lists(st.sampled_from(names), max_size=8, unique=True)) if names else []
        made = {name: self.value(shape["properties"][name], depth - 1) for name in chosen}
        more = shape.get("additionalProperties")
        if more not in (None, False):
            keys = self.draw(st.lists(st.sampled_from(["a", "trace", "os", "b.c", "k v", ""]), max_size=3, unique=True))
            made.update({key: self.value(more, depth - 1) for key in keys})
        return made

    def array(self, shape: dict[str, Any], depth: int) -> Any:
        """A short list."""
        items = shape.get("items", True)
        if isinstance(items, list):
            return [self.value(item, depth - 1) for item in items]
        return [self.value(items, depth - 1) for _ in range(self.draw(st.integers(0, 3)))]

    def string(self, shape: dict[str, Any], depth: int) -> Any:
        """A text."""
        return self.draw(st.sampled_from(TEXTS))

    def number(self, shape: dict[str, Any], depth: int) -> Any:
        """A time or any number."""
        return self.draw(st.sampled_from([0, 1, 1795219100.25, -5.5, 1e12, 0.1]))

    def integer(self, shape: dict[str, Any], depth: int) -> Any:
        """A whole number."""
        return self.draw(st.sampled_from([0, 1, 42, 2**31]))

    def boolean(self, shape: dict[str, Any], depth: int) -> Any:
        """True or false."""
        return self.draw(st.booleans())

    def null(self, shape: dict[str, Any], depth: int) -> Any:
        """Null."""
        return None


def places(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        found.append((tree, key))
        places(tree[key], found)
    return found


def load_schema() -> dict[str, Any] | None:
    """The published schema, None when the shared folder is absent."""
    return json.loads(SCHEMA.read_text()) if SCHEMA.exists() else None


@st.composite
def events(draw: st.DrawFn, mutations: int = 0) -> Any:
    """An event of the schema with up to `mutations` values replaced by others."""
    schema = load_schema()
    assert schema is not None
    event = Generator(draw, schema).event()
    for _ in range(draw(st.integers(0, mutations))):
        found = places(event, [])
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        holder[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
    return event


ODD_TOKENS = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"\\ud800"', b'"\\udc00\\ud800x"', b'"\xff\xfe"',
              b"9" * 5000, b'"\\u0000"', b"[" * 300 + b"]" * 300, b"[" * 3000 + b"]" * 3000, b'"', b"{",
              b"tru"]  # fmt: skip


@st.composite
def odd_bytes(draw: st.DrawFn) -> bytes:
    """An event as bytes with one value replaced by something that JSON parsers disagree about."""
    event = draw(events(mutations=1))
    found = places(event, [])
    token = draw(st.sampled_from(ODD_TOKENS))
    if found:
        holder, key = draw(st.sampled_from(found))
        holder[key] = "@@odd@@"
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
    text = json.dumps(event, separators=separators, ensure_ascii=draw(st.booleans()))
    return text.encode().replace(b'"@@odd@@"', token)
