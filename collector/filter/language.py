"""The one-line form of a condition, for people: `exception.type == "ConfigError" and release < "2.0"`.

    condition := clause ("or" clause)*          clause := factor ("and" factor)*
    factor    := "not" factor | "(" condition ")" | field operator value
    operator  := == != < <= > >= matches in
    value     := "text" | 'text' | number | true | false | null | [value, value]

`matches` takes a glob or a list of globs (case does not matter), `in` a list; `client_ip in ["10.0.0.0/8"]` takes
networks; `release <` and its like compare versions; `exception.type` means any exception of the chain. A field is a
dotted name below the event (`tags.customer`, `request.headers.User-Agent`, `user.geo.city`), or starts with `log.`,
`span.` or `session.` for those items; odd names are quoted: `tags."my key"`.
"""

import re
from typing import Any, NoReturn

from collector.filter.fields import EVENT_FIELDS, ROOTS

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?(?![\w.]))
    |(?P<op>==|!=|<=|>=|<|>)|(?P<mark>[()\[\],])
    |(?P<word>[A-Za-z_$][\w$-]*(?:\.(?:[\w$-]+|"(?:[^"\\]|\\.)*"))*))""",
    re.VERBOSE,
)
_SIGNS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
MAX_NESTING = 40


def parse_condition(text: str) -> dict[str, Any]:
    """The condition table of a one-line condition. Raises ValueError with the column and the reason."""
    reader = _Reader(text)
    condition = reader.alternatives(0)
    if reader.kind:
        reader.fail("expected `and`, `or` or the end")
    return condition


class _Reader:
    """A recursive-descent reader with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.kind = self.token = ""
        self.start = 0
        self.advance()

    def fail(self, reason: str) -> NoReturn:
        shown = f", found {self.token!r}" if self.kind else ""
        raise ValueError(f"column {self.start + 1}: {reason}{shown} in {self.text!r}")

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            self.start = len(self.text) - len(self.text[self.at :].lstrip())
            self.kind, self.token = "", ""
            if self.text[self.at :].strip():
                raise ValueError(f"column {self.start + 1}: cannot read {self.text[self.start :]!r}")
            return
        self.kind = match.lastgroup or ""
        self.token = match[self.kind]
        self.start = match.start(self.kind)
        self.at = match.end()

    def take(self, token: str) -> bool:
        if self.kind in ("op", "mark", "word") and self.token == token:
            self.advance()
            return True
        return False

    def alternatives(self, depth: int) -> dict[str, Any]:
        if depth > MAX_NESTING:
            self.fail(f"nested deeper than {MAX_NESTING}")
        inner = [self.clause(depth)]
        while self.take("or"):
            inner.append(self.clause(depth))
        return inner[0] if len(inner) == 1 else {"op": "or", "inner": inner}

    def clause(self, depth: int) -> dict[str, Any]:
        inner = [self.factor(depth)]
        while self.take("and"):
            inner.append(self.factor(depth))
        return inner[0] if len(inner) == 1 else {"op": "and", "inner": inner}

    def factor(self, depth: int) -> dict[str, Any]:
        if self.take("not"):
            if depth > MAX_NESTING:
                self.fail(f"nested deeper than {MAX_NESTING}")
            return {"op": "not", "inner": self.factor(depth + 1)}
        if self.take("("):
            inner = self.alternatives(depth + 1)
            if not self.take(")"):
                self.fail("expected )")
            return inner
        return self.comparison()

    def comparison(self) -> dict[str, Any]:
        if self.kind != "word":
            self.fail("expected a field name, `not` or (")
        name, start = self.token, self.start
        self.advance()
        sign = self.token
        if not (self.kind == "op" or (self.kind == "word" and sign in ("matches", "in"))):
            self.fail("expected an operator: == != < <= > >= matches in")
        self.advance()
        value = self.value()
        return _within_lists(*_field(name, start, self.text), sign, value)

    def value(self) -> Any:
        if not self.take("["):
            return self.scalar()
        values: list[Any] = []
        while not self.take("]"):
            values.append(self.scalar())
            if not self.take(",") and self.token != "]":  # noqa: S105 - a bracket, no secret
                self.fail("expected , or ]")
        return values

    def scalar(self) -> Any:
        kind, token = self.kind, self.token
        if kind not in ("text", "number") and not (kind == "word" and token in _WORDS):
            self.fail("expected a text in quotes, a number, true, false, null or a list of them")
        self.advance()
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        if kind == "number":
            return float(token) if "." in token else int(token)
        return _WORDS[token]


def _field(name: str, start: int, text: str) -> tuple[str, str]:
    """(list that is quantified over or "", field name)."""
    parts = re.findall(r'"(?:[^"\\]|\\.)*"|[^.]+', name)
    plain = [part[1:-1].replace(".", "\\.") if part.startswith('"') else part for part in parts]
    if plain in (["client_ip"], ["envelope", "client_ip"]):
        return "", "envelope.client_ip"
    if plain[0] not in ROOTS:
        if plain[0] not in EVENT_FIELDS:
            raise ValueError(f"column {start + 1}: unknown field {plain[0]!r} in {text!r}")
        plain.insert(0, "event")
    if plain[:2] == ["event", "exception"] and len(plain) > 2:
        rest = plain[3:] if plain[2] == "values" and len(plain) > 3 else plain[2:]
        return "event.exception.values", ".".join(rest)
    return "", ".".join(plain)


def _within_lists(over: str, name: str, sign: str, value: Any) -> dict[str, Any]:
    negated = sign == "!="
    condition = _leaf(name, "==" if negated else sign, value)
    if over:
        condition = {"op": "any", "name": over, "inner": condition}
    return {"op": "not", "inner": condition} if negated else condition


def _leaf(name: str, sign: str, value: Any) -> dict[str, Any]:
    if sign == "matches":
        return {"op": "glob", "name": name, "value": value}
    if name == "envelope.client_ip":
        return {"op": "cidr", "name": name, "value": value}
    if sign in ("==", "in"):
        return {"op": "eq", "name": name, "value": [value] if sign == "in" and not isinstance(value, list) else value}
    if name.endswith(".release") and isinstance(value, str):
        return {"op": "release", "name": name, "comparator": _SIGNS[sign], "value": value}
    return {"op": _SIGNS[sign], "name": name, "value": value}
