"""Fingerprint rules and fingerprint variables (reference/grouping.md, section 13).

line    := [caller] matcher+ [callee] "->" value ("," value | value)*        "#" starts a comment line
caller  := "[" matcher+ "]" "|"        callee := "|" "[" matcher+ "]"       (frames around the one that matches)
matcher := ["!"] key ":" (quoted | run of non-blanks)       a key may be quoted
value   := quoted | bare text without blank, "{" or ","  |  {{ variable }}  |  title="..."
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from collector.group.facts import Facts
from collector.group.globs import path_matches, text_matches
from collector.group.syntax import FALSE_WORDS, TRUE_WORDS, RuleError

DEFAULT = "{{ default }}"
KEYS = {
    "message": "message",
    "type": "type",
    "error.type": "type",
    "value": "value",
    "error.value": "value",
    "function": "function",
    "stack.function": "function",
    "module": "module",
    "stack.module": "module",
    "path": "path",
    "stack.abs_path": "path",
    "package": "package",
    "stack.package": "package",
    "app": "app",
    "logger": "logger",
    "level": "level",
    "sdk": "sdk",
    "family": "family",
    "release": "release",
    "thread.id": "thread.id",
    "thread.name": "thread.name",
    "thread.state": "thread.state",
    "thread.crashed": "thread.crashed",
    "thread.current": "thread.current",
}
# Matchers of one group must agree on one item; keys that are not here look at frames.
GROUPS = {
    "message": "messages",
    "type": "exceptions",
    "value": "exceptions",
    "logger": "log",
    "level": "log",
    "sdk": "sdk",
    "family": "family",
    "release": "release",
    "thread.id": "threads",
    "thread.name": "threads",
    "thread.state": "threads",
    "thread.crashed": "threads",
    "thread.current": "threads",
}
IGNORE_CASE = frozenset({"value", "level"})
FLAGS = frozenset({"app", "thread.crashed", "thread.current"})

VARIABLE = re.compile(r"\{\{\s*(\S+?)\s*\}\}")
KEY = re.compile(r'\s*(!?)(?:([a-zA-Z0-9_.-]+)|"([a-zA-Z0-9_.:-]+)"):')
QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"')
BARE = re.compile(r"\S+")
BARE_IN_BRACKETS = re.compile(r"[^\s\]]+")
ATTRIBUTE = re.compile(r"([a-zA-Z0-9_.-]+)=(?=\")")
VALUE = re.compile(r"\{\{\s*\S+?\s*\}\}|[^\s{,]+")
GAP = re.compile(r"\s*,?\s*")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"'}
ESCAPE = re.compile(r"\\(.)")


class FingerprintMatcher(NamedTuple):
    """key: one of KEYS' values or tags.NAME."""

    key: str
    pattern: str
    negated: bool = False

    def accepts(self, item: Mapping[str, Any]) -> bool:
        """Whether one item of its group matches; an item without the field never does (negation flips)."""
        return self._accepts(item) != self.negated

    def _accepts(self, item: Mapping[str, Any]) -> bool:
        if self.key == "path":
            return any(path_matches(item[name], self.pattern) for name in ("abs_path", "filename") if item.get(name))
        if self.key == "message":
            texts = [item[name] for name in ("message", "value") if item.get(name) is not None]
            return any(text_matches(text, self.pattern, ignore_case=True) for text in texts)
        value = item.get(self.key)
        if value is None:
            return False
        if self.key in ("package", "release"):
            return path_matches(value, self.pattern)
        if self.key in ("family", "sdk"):
            wanted = self.pattern.split(",")
            return "all" in wanted or value in wanted
        if self.key in FLAGS:
            return self.pattern.lower() in (TRUE_WORDS if value else FALSE_WORDS)
        return text_matches(value, self.pattern, ignore_case=self.key in IGNORE_CASE)

    def __str__(self) -> str:
        return f'{"!" if self.negated else ""}{self.key}:"{self.pattern}"'


class FingerprintRule(NamedTuple):
    """One rule. `title`: template of the issue's title, or None. caller, callee: of the frames around the matching one,
    a stack's outermost frame has no caller; what must hold of a frame that is not there does not hold."""

    matchers: tuple[FingerprintMatcher, ...]
    fingerprint: tuple[str, ...]
    title: str | None = None
    built_in: bool = False
    caller: tuple[FingerprintMatcher, ...] = ()
    callee: tuple[FingerprintMatcher, ...] = ()

    def matches(self, facts: Facts) -> bool:
        """Whether for every group of matchers at least one item of the event satisfies all of them."""
        groups: dict[str, list[FingerprintMatcher]] = {}
        for matcher in self.matchers:
            group = "tags" if matcher.key.startswith("tags.") else GROUPS.get(matcher.key, "frames")
            groups.setdefault(group, []).append(matcher)
        if self.caller or self.callee:
            groups.setdefault("frames", [])
        return all(
            any(
                all(matcher.accepts(item) for matcher in matchers) and (group != "frames" or self._fits(item))
                for item in facts.items(group)
            )
            for group, matchers in groups.items()
        )

    def _fits(self, frame: Mapping[str, Any]) -> bool:
        """Whether the frames around this one match."""
        return all(
            not matchers or (side in frame and all(matcher.accepts(frame[side]) for matcher in matchers))
            for side, matchers in (("caller", self.caller), ("callee", self.callee))
        )

    def __str__(self) -> str:
        title = f' title="{self.title}"' if self.title else ""
        caller = f"[ {' '.join(map(str, self.caller))} ] | " if self.caller else ""
        callee = f" | [ {' '.join(map(str, self.callee))} ]" if self.callee else ""
        return f'{caller}{" ".join(map(str, self.matchers))}{callee} -> "{"".join(self.fingerprint)}"{title}'


class FingerprintRules:
    """The fingerprint rules of one project, in order. Raises RuleError with line, column and reason."""

    def __init__(self, text: str = "") -> None:
        self.rules: Sequence[FingerprintRule] = [
            _Line(line, number).rule()
            for number, line in enumerate(text.split("\n"), 1)
            if line.strip() and not line.strip().startswith("#")
        ]

    @property
    def ask_in_app(self) -> bool:
        """Whether some rule looks at what stack trace rules decide about a frame."""
        return any(each.key == "app" for rule in self.rules for each in (*rule.matchers, *rule.caller, *rule.callee))

    @classmethod
    def of(cls, rules: Iterable[Mapping[str, Any]]) -> "FingerprintRules":
        """From the JSON form {matchers: [[key, pattern]...], fingerprint: [...], attributes: {title}}."""
        found = cls()
        found.rules = [_of_json(rule, number) for number, rule in enumerate(rules, 1)]
        return found

    def match(self, facts: Facts) -> FingerprintRule | None:
        """The first rule that matches, of these and then of the built-in ones."""
        return next((rule for rule in self.rules if rule.matches(facts)), None) or match_built_in(facts)


def rule_for(facts: Facts, rules: "FingerprintRules | None") -> FingerprintRule | None:
    """The rule that decides about an event, of a project or built in. Each feedback is an issue of its own."""
    if facts.view.type == "feedback":
        return FingerprintRule((), (facts.view.event_id or facts.message() or "feedback",), None, True)
    return rules.match(facts) if rules else match_built_in(facts)


def match_built_in(facts: Facts) -> FingerprintRule | None:
    """The first of Sentry's own rules that matches."""
    if facts.family != "javascript":
        return None
    return next((rule for rule in BUILT_IN if rule.matches(facts)), None)


HYDRATION_MESSAGES = (
    "Hydration failed because the initial UI does not match what was rendered on the server.",
    "The server could not finish this Suspense boundary, likely due to an error during server rendering. "
    "Switched to client rendering.",
    "There was an error while hydrating this Suspense boundary. Switched to client rendering.",
    "There was an error while hydrating. Because the error happened outside of a Suspense boundary, "
    "the entire root will switch to client rendering.",
    "Text content does not match server-rendered HTML.",
)
_JAVASCRIPT = FingerprintMatcher("family", "javascript")
# javascript@2024-02-02 (section 13.4): patterns that hold for whole families of front-end errors.
BUILT_IN = (
    FingerprintRule((_JAVASCRIPT, FingerprintMatcher("type", "ChunkLoadError")), ("chunkloaderror",), None, True),
    FingerprintRule((_JAVASCRIPT, FingerprintMatcher("value", "ChunkLoadError*")), ("chunkloaderror",), None, True),
    *(
        FingerprintRule(
            (_JAVASCRIPT, FingerprintMatcher("tags.transaction", "*"), FingerprintMatcher("message", message)),
            ("hydrationerror", "{{tags.transaction}}"),
            None,
            True,
        )
        for message in HYDRATION_MESSAGES
    ),
)


def _key(name: object, number: int, column: int = 1) -> str:
    if not isinstance(name, str) or not (name in KEYS or name.startswith("tags.")):
        raise RuleError(number, column, f"unknown matcher {name!r}")
    return KEYS.get(name, name)


def _of_json(rule: Mapping[str, Any], number: int) -> FingerprintRule:
    try:
        matchers = []
        for key, pattern in rule["matchers"]:
            negated = key.startswith("!")
            matchers.append(FingerprintMatcher(_key(key[negated:], number), str(pattern), negated))
        title = (rule.get("attributes") or {}).get("title")
        fingerprint = tuple(str(part) for part in rule["fingerprint"])
        return FingerprintRule(tuple(matchers), fingerprint, title, bool(rule.get("is_builtin")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, RuleError):
            raise
        raise RuleError(number, 1, "a rule is {matchers: [[key, pattern]], fingerprint: [text]}") from error


class _Line:
    """A cursor over one line."""

    def __init__(self, text: str, number: int) -> None:
        self.text = text.rstrip()
        self.number = number
        self.at = len(text) - len(text.lstrip())

    def fail(self, reason: str) -> RuleError:
        return RuleError(self.number, self.at + 1, reason)

    def rule(self) -> FingerprintRule:
        caller = self.brackets()
        if caller:
            self.take("|")
        matchers = []
        while not self.text.startswith(("->", "|"), self.skip_blanks()):
            matchers.append(self.matcher())
        if not matchers:
            raise self.fail("expected at least one matcher such as type:ValueError")
        callee: list[FingerprintMatcher] = []
        if self.text.startswith("|", self.at):
            self.at += 1
            callee = self.brackets()
            if not callee:
                raise self.fail("expected a matcher of the frame called, such as [ function:load ]")
        self.take("->")
        fingerprint, title = self.values()
        return FingerprintRule(tuple(matchers), tuple(fingerprint), title, caller=tuple(caller), callee=tuple(callee))

    def take(self, sign: str) -> None:
        if not self.text.startswith(sign, self.skip_blanks()):
            raise self.fail(f"expected {sign}")
        self.at += len(sign)

    def brackets(self) -> list[FingerprintMatcher]:
        """The matchers of a frame beside; none where no bracket opens."""
        if not self.text.startswith("[", self.skip_blanks()):
            return []
        self.at += 1
        found: list[FingerprintMatcher] = []
        while not self.text.startswith("]", self.skip_blanks()):
            at = self.at
            found.append(self.matcher(BARE_IN_BRACKETS))
            if GROUPS.get(found[-1].key) or found[-1].key.startswith("tags."):
                self.at = at
                raise self.fail(f"{found[-1].key} says nothing about a frame beside")
        if not found:
            raise self.fail("expected a matcher such as function:load")
        self.at += 1
        return found

    def skip_blanks(self) -> int:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at

    def matcher(self, unquoted: re.Pattern[str] = BARE) -> FingerprintMatcher:
        found = KEY.match(self.text, self.at)
        if not found:
            raise self.fail("expected a matcher such as type:ValueError, or ->")
        key = _key(found[2] or found[3], self.number, self.at + 1)
        self.at = found.end()
        argument = QUOTED.match(self.text, self.at)
        if argument:
            self.at = argument.end()
            return FingerprintMatcher(key, _unescaped(argument[1]), bool(found[1]))
        bare = unquoted.match(self.text, self.at)
        if not bare or bare[0].startswith('"'):
            raise self.fail("unclosed quote" if bare else "expected a pattern")
        self.at = bare.end()
        return FingerprintMatcher(key, bare[0], bool(found[1]))

    def values(self) -> tuple[list[str], str | None]:
        fingerprint, title = [], None
        self.skip_blanks()
        while self.at < len(self.text):
            attribute = ATTRIBUTE.match(self.text, self.at)
            if attribute:
                if attribute[1] != "title":
                    raise self.fail(f"unknown attribute {attribute[1]!r}; there is only title")
                self.at = attribute.end()
            quoted = QUOTED.match(self.text, self.at)
            bare = None if quoted or attribute else VALUE.match(self.text, self.at)
            if not quoted and (not bare or bare[0].startswith('"')):
                raise self.fail("expected a value of the fingerprint")
            if attribute and quoted:
                title = _unescaped(quoted[1])
            else:
                fingerprint.append(_unescaped(quoted[1]) if quoted else bare[0] if bare else "")
            found = quoted or bare
            self.at = found.end() if found else self.at
            gap = GAP.match(self.text, self.at)
            self.at = gap.end() if gap else self.at
        if not fingerprint:
            raise self.fail("expected a value of the fingerprint")
        return fingerprint, title


def _unescaped(text: str) -> str:
    return ESCAPE.sub(lambda found: ESCAPES.get(found[1], found[0]), text)


def variable_of(part: str) -> str | None:
    """The name of the variable that a fingerprint part is, None for a literal."""
    found = VARIABLE.fullmatch(part)
    return found[1] if found else None


def is_default(part: str) -> bool:
    """Whether a part stands for what Sentry would group by."""
    return variable_of(part) == "default"


def resolve(part: str, facts: Facts, *, mark_unknown: bool) -> str:
    """The text of one part. `mark_unknown`: an unknown variable becomes a mark instead of staying as written."""
    name = variable_of(part)
    value = part if name is None else facts.variable(name)
    if value is None:
        value = f"<unrecognized-variable-{name}>" if mark_unknown else part
    return facts.parameterized(value)


def expand(template: str, facts: Facts) -> str:
    """A title template with its variables."""
    return VARIABLE.sub(lambda found: found[0] if (value := facts.variable(found[1])) is None else value, template)
