"""An index of the patterns of all stack trace rules: which rules can a frame match by its own texts?

The answer is one integer with a bit a rule. Patterns without wildcards are looked up, `text*` by its length; of the
others only those are tried whose longest fixed part occurs in the text at all.
"""

import re
from collections.abc import Sequence

from collector.group.frame import Look
from collector.group.globs import GlobError, compile_glob
from collector.group.syntax import Matcher, Rule

MAX_REMEMBERED_TEXTS = 8192
MAX_REMEMBERED_CHARS = 1024
TEXT_FIELDS = ("function", "module", "path", "package")
PATH_FIELDS = frozenset({"path", "package"})
UPPER = re.compile(r"[A-Z]+")  # patterns know the case of ASCII only, as the published engine does
WILD = re.compile(r"[*?\[\]{}\\]")


def normalised(text: str, field: str) -> str:
    """A text as matchers of this field see it."""
    return text.lower().replace("\\", "/") if field in PATH_FIELDS else text


def matches_text(matcher: Matcher, text: str) -> bool:
    """Whether one pattern matches a text, negation left out. A pattern that is no glob never does."""
    if matcher.field == "family":
        words = matcher.pattern.split(",")
        return text in words or "all" in words
    try:
        glob = compile_glob(matcher.pattern, path=matcher.field in PATH_FIELDS)
    except GlobError:
        return False
    return _full_match(glob, text, matcher.field in PATH_FIELDS)


def _full_match(glob: re.Pattern[bytes], text: str, path: bool) -> bool:
    value = text.encode("utf-8", "replace")
    if glob.fullmatch(value):
        return True
    return path and not value.startswith(b"/") and glob.fullmatch(b"/" + value) is not None


class _FieldIndex:
    """The patterns of one field, each with the rules (as bits) that it stands in."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.path = field in PATH_FIELDS
        self.literal: dict[str, int] = {}
        self.prefixes: dict[int, dict[str, int]] = {}
        self.wild: list[tuple[str, re.Pattern[bytes], int]] = []
        self.positive = 0  # rules with one positive pattern of this field
        self.several: list[tuple[int, tuple[Matcher, ...]]] = []  # rules with negated or several patterns
        self._patterns: dict[str, int] = {}
        self._remembered: dict[str, int] = {}

    def add(self, bit: int, matchers: tuple[Matcher, ...]) -> None:
        if len(matchers) == 1 and not matchers[0].negated:
            self.positive |= bit
            self._patterns[matchers[0].pattern] = self._patterns.get(matchers[0].pattern, 0) | bit
        else:
            self.several.append((bit, matchers))

    def seal(self) -> None:
        """Sorts the patterns by how they are looked for."""
        for pattern, bits in self._patterns.items():
            text = UPPER.sub(lambda found: found[0].lower(), pattern).replace("\\", "/") if self.path else pattern
            if not WILD.search(text):
                self.literal[text] = self.literal.get(text, 0) | bits
                if self.path and text.startswith("/"):  # texts without the first slash are tried with it
                    self.literal[text[1:]] = self.literal.get(text[1:], 0) | bits
            elif not self.path and text.endswith("*") and not WILD.search(text[:-1]):
                same = self.prefixes.setdefault(len(text) - 1, {})
                same[text[:-1]] = same.get(text[:-1], 0) | bits
            else:
                try:
                    self.wild.append((_fixed_part(text), compile_glob(pattern, path=self.path), bits))
                except GlobError:
                    continue

    def excluded(self, text: str | None) -> int:
        """The rules that a frame with this text (None: without one) cannot match."""
        found = self._remembered.get(text or "") if text else None
        if found is None:
            found = self._exclude(text)
            if text and len(text) <= MAX_REMEMBERED_CHARS:
                if len(self._remembered) >= MAX_REMEMBERED_TEXTS:
                    self._remembered.clear()
                self._remembered[text] = found
        return found

    def _exclude(self, text: str | None) -> int:
        excluded = self.positive & ~self._matched(text) if text is not None else self.positive
        for bit, matchers in self.several:
            if any((text is not None and matches_text(each, text)) == each.negated for each in matchers):
                excluded |= bit
        return excluded

    def _matched(self, text: str) -> int:
        """The rules whose only pattern of this field matches."""
        bits = self.literal.get(text, 0)
        for length, same in self.prefixes.items():
            found = same.get(text[:length])
            if found and "\n" not in text[length:]:  # a star stops at the end of a line, paths apart (section 6.2)
                bits |= found
        padded = text if text.startswith("/") else "/" + text
        for fixed, glob, found in self.wild:
            if fixed in padded and _full_match(glob, text, self.path):
                bits |= found
        return bits


def _fixed_part(pattern: str) -> str:
    """The longest part of a pattern that every matching text contains; "" for one with alternatives or escapes."""
    if set(pattern) & set("[]{}\\"):
        return ""
    return max(re.split(r"[*?]+", pattern.replace("**/", "*").replace("/**", "*")), key=len)


class Index:
    """The index of all rules."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._fields = {field: _FieldIndex(field) for field in TEXT_FIELDS}
        self._every = (1 << len(rules)) - 1
        families = ("native", "javascript", "other")
        self._not_of_family = dict.fromkeys(families, 0)
        for index, rule in enumerate(rules):
            bit = 1 << index
            for field, patterns in self._fields.items():
                matchers = tuple(each for each in rule.frame if each.field == field)
                if matchers:
                    patterns.add(bit, matchers)
            for each in rule.frame:
                for family in families:
                    if each.field == "family" and matches_text(each, family) == each.negated:
                        self._not_of_family[family] |= bit
        for patterns in self._fields.values():
            patterns.seal()

    @staticmethod
    def value(look: Look, field: str) -> str | None:
        """The text of a frame that matchers of `field` look at."""
        if field == "function":
            return look.function or "<unknown>"
        if field == "family":
            return look.family
        text: str | None = look.path if field == "path" else getattr(look, field)
        return normalised(text, field) if text is not None else None

    def candidates(self, look: Look) -> int:
        """One bit for each rule that the frame may match, its neighbours, category and flag apart."""
        if look.candidates is None:
            excluded = self._not_of_family[look.family]
            for field, patterns in self._fields.items():
                excluded |= patterns.excluded(self.value(look, field))
            look.candidates = self._every & ~excluded
        return look.candidates
