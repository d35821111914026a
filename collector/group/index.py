"""An index of the patterns of all stack trace rules: which rules can a frame match by its own texts?

The answer is one integer with a bit a rule. Patterns without wildcards are looked up, `text*` by its length; of the
others only those are tried whose longest fixed part occurs in the text at all.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from collector.group.frame import Look
from collector.group.globs import Glob, GlobError, compile_glob, lowered
from collector.group.syntax import Matcher, Rule

FAMILIES = ("native", "javascript", "other")
# More patterns than these are found by a piece of GRAM_CHARS characters; below, trying all is as fast (measured).
MAX_TRIED_PATTERNS = 32
GRAM_CHARS = 4
MAX_REMEMBERED_TEXTS = 4096
MAX_REMEMBERED_CHARS = 512
TEXT_FIELDS = ("function", "module", "path", "package")
PATH_FIELDS = frozenset({"path", "package"})
NONE: dict[int, dict[str, int]] = {}
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


def _full_match(glob: Glob, text: str, path: bool) -> bool:
    value = text.encode("utf-8", "replace")
    if glob.fullmatch(value):
        return True
    return path and not value.startswith(b"/") and glob.fullmatch(b"/" + value) is not None


class _Wild(NamedTuple):
    """A pattern that has to be tried; `fixed` is in every text that it matches. exact: and in no other text."""

    fixed: str
    glob: Glob
    bits: int
    exact: bool


class _FieldIndex:
    """The patterns of one field for one family, each with the rules (as bits) that it stands in."""

    def __init__(self, field: str) -> None:
        self.path = field in PATH_FIELDS
        self._patterns: dict[str, int] = {}  # of rules with one positive pattern of this field
        self._positive = 0
        self._several: list[tuple[int, tuple[Matcher, ...]]] = []  # rules with negated or several patterns
        self._literal: dict[str, int] = {}
        self._prefixes: dict[str, dict[int, dict[str, int]]] = {}  # by first character and length
        self._wild: list[_Wild] = []
        self._by_gram: dict[str, list[_Wild]] = {}
        self._remembered: dict[str, int] = {}
        self._without_text = 0

    def add(self, bit: int, matchers: tuple[Matcher, ...]) -> None:
        """Adds one rule."""
        if len(matchers) == 1 and not matchers[0].negated:
            self._positive |= bit
            self._patterns[matchers[0].pattern] = self._patterns.get(matchers[0].pattern, 0) | bit
        else:
            self._several.append((bit, matchers))

    def seal(self) -> None:
        """Sorts the patterns by how they are looked for."""
        for pattern, bits in self._patterns.items():
            text = lowered(pattern) if self.path else pattern
            if not WILD.search(text):
                self._literal[text] = self._literal.get(text, 0) | bits
                if self.path and text.startswith("/"):  # texts without the first slash are tried with it
                    self._literal[text[1:]] = self._literal.get(text[1:], 0) | bits
            elif not self.path and len(text) > 1 and text.endswith("*") and not WILD.search(text[:-1]):
                same = self._prefixes.setdefault(text[:1], {}).setdefault(len(text) - 1, {})
                same[text[:-1]] = same.get(text[:-1], 0) | bits
            else:
                try:
                    self._wild.append(self._tried(pattern, text, bits))
                except GlobError:
                    continue
        self._without_text = self._exclude(None)
        if len(self._wild) > MAX_TRIED_PATTERNS:
            self._spread()

    def _tried(self, pattern: str, text: str, bits: int) -> _Wild:
        inner = text[3:-3]
        if self.path and text == f"**/{inner}/**" and not WILD.search(inner):  # the commonest form: **/vendor/**
            return _Wild(f"/{inner}/", compile_glob(text, path=True), bits, True)
        return _Wild(_fixed_part(text), compile_glob(pattern, path=self.path), bits, False)

    def _spread(self) -> None:
        """Moves each pattern under the rarest piece of its fixed part, so that few are tried per text."""
        commonness = Counter(gram for wild in self._wild for gram in set(_grams(wild.fixed)))
        tried = [wild for wild in self._wild if len(wild.fixed) < GRAM_CHARS]
        for wild in self._wild:
            if len(wild.fixed) >= GRAM_CHARS:
                rarest = min(_grams(wild.fixed), key=commonness.__getitem__)
                self._by_gram.setdefault(rarest, []).append(wild)
        self._wild = tried

    def forget(self) -> None:
        """Empties the memo of texts."""
        self._remembered.clear()

    def excluded(self, text: str | None) -> int:
        """The rules that a frame with this text (None: without one) cannot match."""
        if text is None:
            return self._without_text
        found = self._remembered.get(text)
        if found is None:
            found = self._exclude(text)
            if len(text) <= MAX_REMEMBERED_CHARS:
                if len(self._remembered) >= MAX_REMEMBERED_TEXTS:
                    self._remembered.clear()
                self._remembered[text] = found
        return found

    def _exclude(self, text: str | None) -> int:
        excluded = self._positive & ~self._matched(text) if text is not None else self._positive
        for bit, matchers in self._several:
            if any((text is not None and matches_text(each, text)) == each.negated for each in matchers):
                excluded |= bit
        return excluded

    def _matched(self, text: str) -> int:
        """The rules whose only pattern of this field matches."""
        bits = self._literal.get(text, 0)
        for length, same in self._prefixes.get(text[:1], NONE).items():
            found = same.get(text[:length])
            if found and "\n" not in text[length:]:  # a star stops at the end of a line, paths apart (section 6.2)
                bits |= found
        padded = text if text.startswith("/") else "/" + text
        tried = [wild for wild in self._wild if wild[0] in padded]
        if self._by_gram:
            for gram in set(_grams(padded)) & self._by_gram.keys():
                tried += [wild for wild in self._by_gram[gram] if wild[0] in padded]
        for wild in tried:
            if (wild.exact and "\n" not in text) or _full_match(wild.glob, text, self.path):
                bits |= wild.bits
        return bits


def _grams(text: str) -> list[str]:
    return [text[index : index + GRAM_CHARS] for index in range(len(text) - GRAM_CHARS + 1)]


def _fixed_part(pattern: str) -> str:
    """The longest part of a pattern that every matching text contains; "" for one with alternatives or escapes."""
    if set(pattern) & set("[]{}\\"):
        return ""
    return max(re.split(r"[*?]+", pattern.replace("**/", "*").replace("/**", "*")), key=len)


class Index:
    """The index of all rules: one for each family, because most rules are about one family only."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._families = {family: _FamilyIndex(rules, family) for family in FAMILIES}

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
        found = look.candidates.get(self)
        if found is None:
            found = look.candidates[self] = self._families[look.family].candidates(look)
        return found

    def forget(self) -> None:
        """Empties the memos of texts."""
        for family in self._families.values():
            for patterns in family.fields.values():
                patterns.forget()


class _FamilyIndex:
    """The rules that frames of one family may match."""

    def __init__(self, rules: Sequence[Rule], family: str) -> None:
        self.fields: dict[str, _FieldIndex] = {}
        self._possible = 0
        for index, rule in enumerate(rules):
            if any(each.field == "family" and matches_text(each, family) == each.negated for each in rule.frame):
                continue
            bit = 1 << index
            self._possible |= bit
            for field in TEXT_FIELDS:
                matchers = tuple(each for each in rule.frame if each.field == field)
                if matchers:
                    self.fields.setdefault(field, _FieldIndex(field)).add(bit, matchers)
        for patterns in self.fields.values():
            patterns.seal()

    def candidates(self, look: Look) -> int:
        """One bit for each rule."""
        excluded = 0
        for field, patterns in self.fields.items():
            excluded |= patterns.excluded(Index.value(look, field))
        return self._possible & ~excluded
