"""Selectors: which fields a rule applies to, in Sentry's grammar.

    or := and ("||" and)*     and := not ("&&" not)*     not := ["!"] ( "(" or ")" | path )
    path := part ("." part)*  part := $type | ** | * | index | key | 'quoted key'

One `&` or `|` and `~` for `!` are accepted too. A path matches the end of a field's path: `user.email` finds it at any
depth; `**` stands for one or more levels and may appear once; keys ignore case. Fields that Sentry marks "maybe" are
only found by paths that name them, not by `**` or value types. Source: reference page on the protocol, F1 and F4.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

NO, MAYBE, YES = 0, 1, 2  # may a field be scrubbed: never, when named, always

VALUE_TYPES = (
    "string", "binary", "number", "boolean", "datetime", "array", "object", "event", "attachments", "replay", "error",
    "stack", "frame", "http", "user", "logentry", "message", "thread", "breadcrumb", "log", "trace_metric", "span",
    "sdk", "minidump", "heap_memory", "stack_memory",
)  # fmt: skip
TYPE_ALIASES = {"bool": "boolean", "list": "array", "exception": "error", "stacktrace": "stack", "request": "http"}
BASIC_TYPES = frozenset(VALUE_TYPES[:7])
LEGACY = {
    "freeform": "$string", "email": "$string", "sensitive": "$string", "text": "$string", "databag": "$object",
    "container": "$object",
}  # fmt: skip
MAX_NESTING = 50

_TOKEN = re.compile(
    r" *(?:(?P<type>\$[a-z_]+)|(?P<deep>\*\*)|(?P<wild>\*)|(?P<index>[0-9]+)|(?P<key>[A-Za-z_][A-Za-z0-9_-]*)"
    r"|'(?P<quoted>(?:[^']|'')+)'|(?P<and>&&?)|(?P<or>\|\|?)|(?P<not>[!~])|(?P<mark>[().]))"
)
# Sort ranks keep the order in which Sentry runs applications: by kind, then by content.
_RANK = {"type": 0, "index": 1, "key": 2, "wild": 3, "deep": 4}


class Step(NamedTuple):
    """One level of a field's path: its key or index, and the types of its value."""

    key: str | None
    number: int | None
    types: frozenset[str]


class Part(NamedTuple):
    """One part of a path selector."""

    kind: str
    text: str

    def matches(self, pii: int, position: int, step: Step) -> bool:
        """Whether this part fits a level of the path of a field that is marked `pii`."""
        if self.kind == "wild":
            return True
        if self.kind == "deep":
            return pii == YES
        if self.kind == "type":
            return self.text in step.types and (pii == YES or (self.text not in BASIC_TYPES and position == 0))
        if self.kind == "index":
            return step.number is not None and step.number == int(self.text)
        return step.key is not None and step.key.lower() == self.text.lower()

    def sort_key(self) -> tuple[int, int, str]:
        """Place in the order of path parts."""
        number = VALUE_TYPES.index(self.text) if self.kind == "type" else 0
        number = int(self.text) if self.kind == "index" else number
        return _RANK[self.kind], number, self.text if self.kind == "key" else ""


class Selector(NamedTuple):
    """A parsed selector: op "and", "or", "not" with parts, or "path"."""

    op: str
    parts: tuple["Selector", ...] = ()
    path: tuple[Part, ...] = ()

    def matches(self, steps: Sequence[Step], pii: int) -> bool:
        """Whether the field at the end of `steps` (the root first) is selected."""
        if pii == NO:
            return False
        if self.op == "and":
            return all(part.matches(steps, pii) for part in self.parts)
        if self.op == "or":
            return any(part.matches(steps, pii) for part in self.parts)
        if self.op == "not":
            return not self.parts[0].matches(steps, pii)
        return _path_matches(self.path, steps, pii)

    @property
    def uses_index(self) -> bool:
        """Whether the place in a list decides."""
        return any(part.kind == "index" for part in self.path) or any(part.uses_index for part in self.parts)

    @property
    def keys(self) -> frozenset[str]:
        """The keys that are named, in lower case."""
        inner = [part.keys for part in self.parts]
        return frozenset(part.text.lower() for part in self.path if part.kind == "key").union(*inner)

    def sort_key(self) -> tuple[int, tuple[object, ...]]:
        """Place in the order of applications."""
        rank = ("and", "or", "not", "path").index(self.op)
        inner = tuple(part.sort_key() for part in (self.path if self.op == "path" else self.parts))
        return rank, inner


def _path_matches(path: tuple[Part, ...], steps: Sequence[Step], pii: int) -> bool:
    if len(path) > len(steps) - (path[0].kind != "type"):
        return False  # only a type can speak of the whole item
    at = len(steps)
    for position in range(len(path) - 1, -1, -1):
        at -= 1
        if not path[position].matches(pii, position, steps[at]):
            return False
        if path[position].kind == "deep":
            return _deep_matches(path[:position], steps[:at], pii)
    return True


def _deep_matches(path: tuple[Part, ...], steps: Sequence[Step], pii: int) -> bool:
    """The part before `**` against what lies above: its first element anywhere, the others right behind it."""
    if not path:
        return bool(steps)
    for start, step in enumerate(steps):
        if path[0].matches(pii, 0, step):
            rest = steps[start + 1 :]
            if len(rest) < len(path) - 1:
                return False
            return all(part.matches(pii, 1 + at, rest[at]) for at, part in enumerate(path[1:]))
    return False


def parse_selector(text: str, *, legacy: bool = True) -> Selector:
    """Parse a selector. Raises ValueError with the column and the reason."""
    return _Reader(LEGACY.get(text, text) if legacy else text).whole()


def key_selector(key: str) -> Selector:
    """The selector of exactly one key, whatever characters it holds."""
    return Selector("path", path=(Part("key", key),))


class _Reader:
    """A recursive-descent reader with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = self.start = 0
        self.kind = self.token = ""
        self.advance()

    def fail(self, reason: str) -> NoReturn:
        raise ValueError(f"selector {self.text!r}, column {self.start + 1}: {reason}")

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.at)
        self.kind, self.token = "", ""
        if match is not None:
            self.kind = match.lastgroup or ""
            self.token = match[self.kind]
            self.start, self.at = match.start(self.kind), match.end()
            return
        rest = self.text[self.at :]
        self.start = len(self.text) - len(rest.lstrip(" "))
        if rest.strip(" "):
            self.fail(f"cannot read {rest.strip(' ')!r}")

    def take(self, kind: str, token: str = "") -> bool:
        if self.kind != kind or (token and self.token != token):
            return False
        self.advance()
        return True

    def whole(self) -> Selector:
        selector = self.either(0)
        if self.kind:
            self.fail(f"expected && or || or the end, found {self.token!r}")
        return selector

    def either(self, depth: int) -> Selector:
        if depth > MAX_NESTING:
            self.fail(f"nested deeper than {MAX_NESTING}")
        parts = [self.both(depth)]
        while self.take("or"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else Selector("or", tuple(parts))

    def both(self, depth: int) -> Selector:
        parts = [self.negated(depth)]
        while self.take("and"):
            parts.append(self.negated(depth))
        return parts[0] if len(parts) == 1 else Selector("and", tuple(parts))

    def negated(self, depth: int) -> Selector:
        if self.take("not"):
            return Selector("not", (self.single(depth),))
        return self.single(depth)

    def single(self, depth: int) -> Selector:
        if self.take("mark", "("):
            inner = self.either(depth + 1)
            if not self.take("mark", ")"):
                self.fail("expected )")
            return inner
        return self.path()

    def path(self) -> Selector:
        parts = [self.part()]
        while self.take("mark", "."):
            parts.append(self.part())
        if sum(part.kind == "deep" for part in parts) > 1:
            self.fail("** may appear once in a path")
        if len(parts) == 1 and parts[0].kind == "wild":
            self.fail("* must be part of a longer path")
        return Selector("path", path=tuple(parts))

    def part(self) -> Part:
        kind, token = self.kind, self.token
        if kind == "type":
            name = TYPE_ALIASES.get(token[1:], token[1:])
            if name not in VALUE_TYPES:
                self.fail(f"unknown type {token}")
            self.advance()
            return Part("type", name)
        if kind == "quoted":
            self.advance()
            return Part("key", token.replace("''", "'"))
        if kind not in ("deep", "wild", "index", "key"):
            self.fail("expected $type, *, **, an index or a key")
        self.advance()
        return Part(kind, token)
