"""The language of stack trace rules, one rule a line (reference/grouping.md, section 6.1).

rule      := [caller] matcher+ [callee] action+ ["#" comment]
caller    := "[" matcher "]" "|"          callee := "|" "[" matcher "]"
matcher   := ["!"] name ":" argument      argument := quoted | run of non-blanks; "\\\\" means one backslash
action    := ["^" | "v"] ("+" | "-") ("app" | "group")  |  name "=" value
"""

import re
from typing import NamedTuple

from collector.group.globs import GlobError, compile_glob

FRAME_FIELDS = {
    "stack.function": "function",
    "function": "function",
    "stack.module": "module",
    "module": "module",
    "stack.abs_path": "path",
    "path": "path",
    "stack.package": "package",
    "package": "package",
    "category": "category",
    "family": "family",
    "app": "app",
}
EXCEPTION_FIELDS = {
    "error.type": "type",
    "type": "type",
    "error.value": "value",
    "value": "value",
    "error.mechanism": "mechanism",
    "mechanism": "mechanism",
}
TRUE_WORDS = frozenset({"1", "yes", "true"})
FALSE_WORDS = frozenset({"0", "no", "false"})
MAX_FRAME_COUNT = 2**64 - 1

NAME = re.compile(r"[a-zA-Z0-9_.-]+")
BLANKS = re.compile(r"\s*")
ARGUMENT = re.compile(r'"([^"]*)"|([^ \t\r\n\f]*)')
FLAG = re.compile(r"([\^v]?)([+-])([a-zA-Z0-9_.-]*)")
DIGITS = re.compile(r"\+?[0-9]+")


class RuleError(ValueError):
    """A rule that cannot be understood. line and column count from 1."""

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.line = line
        self.column = column
        self.reason = reason


class Matcher(NamedTuple):
    """field: function, module, path, package, category, family, app; or type, value, mechanism of the exception."""

    field: str
    pattern: str
    negated: bool = False

    @property
    def of_exception(self) -> bool:
        """Whether it looks at the exception; such a matcher means the same with or without brackets."""
        return self.field in ("type", "value", "mechanism")


class FlagAction(NamedTuple):
    """Sets `flag` (app or group) to `value`; reach: "" this frame, "^" all towards the crash, "v" all before."""

    flag: str
    value: bool
    reach: str


class VarAction(NamedTuple):
    """Sets a variable: category (text), max-frames or min-frames (number), invert-stacktrace (0 or 1, no effect)."""

    name: str
    value: str | int


class Rule(NamedTuple):
    """One rule. `text` is the line as written, without comment."""

    frame: tuple[Matcher, ...]
    exception: tuple[Matcher, ...]
    caller: Matcher | None
    callee: Matcher | None
    actions: tuple[FlagAction | VarAction, ...]
    text: str


def parse_rules(text: str) -> list[Rule]:
    """The rules of a text, blank lines and comment lines left out. Raises RuleError at the first mistake."""
    rules = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            rules.append(_Line(line, number, len(line) - len(line.lstrip())).rule())
    return rules


class _Line:
    """A cursor over one line."""

    def __init__(self, text: str, number: int, at: int) -> None:
        self.text = text.rstrip()
        self.number = number
        self.at = at

    def fail(self, reason: str, at: int | None = None) -> RuleError:
        return RuleError(self.number, (self.at if at is None else at) + 1, reason)

    def skip_blanks(self) -> None:
        found = BLANKS.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def take(self, char: str) -> bool:
        self.skip_blanks()
        if not self.text.startswith(char, self.at):
            return False
        self.at += len(char)
        return True

    def expect(self, char: str) -> None:
        if not self.take(char):
            raise self.fail(f"expected {char!r}")

    def rule(self) -> Rule:
        caller = callee = None
        if self.take("["):
            caller = self.bracketed()
            self.expect("|")
        matchers = []
        while (matcher := self.matcher()) is not None:
            matchers.append(matcher)
        if not matchers:
            raise self.fail("expected at least one matcher such as function:name")
        if self.take("|"):
            self.expect("[")
            callee = self.bracketed()
        actions = tuple(self.actions())
        about_exception = [matcher for matcher in (caller, *matchers, callee) if matcher and matcher.of_exception]
        return Rule(
            frame=tuple(matcher for matcher in matchers if not matcher.of_exception),
            exception=tuple(about_exception),
            caller=caller if caller and not caller.of_exception else None,
            callee=callee if callee and not callee.of_exception else None,
            actions=actions,
            text=self.text[: self.at].strip(),
        )

    def bracketed(self) -> Matcher:
        matcher = self.matcher()
        if matcher is None:
            raise self.fail("expected a matcher such as function:name")
        self.expect("]")
        return matcher

    def matcher(self) -> Matcher | None:
        """The matcher that starts here, None when something else does."""
        self.skip_blanks()
        start = self.at
        negated = self.text.startswith("!", start)
        name = NAME.match(self.text, start + negated)
        if not name or not self.text.startswith(":", name.end()):
            if negated:
                raise self.fail("expected a matcher such as function:name after '!'")
            return None
        field = FRAME_FIELDS.get(name[0]) or EXCEPTION_FIELDS.get(name[0])
        if field is None:
            raise self.fail(f"unknown matcher {name[0]!r}")
        self.at = name.end() + 1
        argument = ARGUMENT.match(self.text, self.at)
        if not argument or (argument[1] is None and argument[2].startswith('"')):
            raise self.fail("unclosed quote")
        self.at = argument.end()
        pattern = argument[1] if argument[1] is not None else argument[2]
        matcher = Matcher(field, pattern.replace("\\\\", "\\"), negated)
        if matcher.of_exception:  # a broken glob of a frame matcher only never matches (section 6.2)
            try:
                compile_glob(matcher.pattern, path=False)
            except GlobError as error:
                raise self.fail(str(error), argument.start()) from error
        return matcher

    def actions(self) -> list[FlagAction | VarAction]:
        actions: list[FlagAction | VarAction] = []
        while True:
            self.skip_blanks()
            if self.at == len(self.text) or self.text.startswith("#", self.at):
                break
            flag = FLAG.match(self.text, self.at)
            actions.append(self.flag(flag) if flag else self.variable())
        if not actions:
            raise self.fail("expected at least one action such as +app")
        return actions

    def flag(self, found: re.Match[str]) -> FlagAction:
        if found[3] not in ("app", "group"):
            raise self.fail(f"unknown flag {found[3]!r}; a flag is app or group", found.start(3))
        self.at = found.end()
        return FlagAction(found[3], found[2] == "+", found[1])

    def variable(self) -> VarAction:
        name = NAME.match(self.text, self.at)
        if not name:
            raise self.fail("expected an action such as +app or category=name")
        if name[0] not in ("category", "max-frames", "min-frames", "invert-stacktrace"):
            raise self.fail(f"unknown variable {name[0]!r}")
        self.at = name.end()
        self.expect("=")
        self.skip_blanks()
        value = NAME.match(self.text, self.at)
        start = self.at
        if not value:
            raise self.fail(f"expected a value for {name[0]}")
        self.at = value.end()
        if name[0] == "category":
            return VarAction("category", value[0])
        if name[0] == "invert-stacktrace":
            if value[0] not in TRUE_WORDS | FALSE_WORDS:
                raise self.fail("invert-stacktrace is 0 or 1", start)
            return VarAction(name[0], int(value[0] in TRUE_WORDS))
        if not DIGITS.fullmatch(value[0]) or int(value[0]) > MAX_FRAME_COUNT:
            raise self.fail(f"{name[0]} is a number of frames", start)
        return VarAction(name[0], int(value[0]))
