"""Stack trace rules at work: the two passes, over an index of all patterns.

Pass one, `classify`, decides per frame whether it is in app and which category it has. Pass two, `weigh`, decides per
variant which frames count. Facts: reference/grouping.md, section 6.3.

What a frame can match by its own texts never changes, so it is worked out once a frame, as one bit a rule
(`Index.candidates`); only what depends on neighbours, categories and flags is looked at per stack. A thousand more
rules cost a few wider integers. The rule sets of several configurations share one index, in which a rule that stands
in all of them is one bit.
"""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple, Protocol

from msgspec import Struct

from collector.group.frame import Look
from collector.group.index import Index, matches_text
from collector.group.syntax import FALSE_WORDS, TRUE_WORDS, FlagAction, Matcher, Rule, VarAction


class About(NamedTuple):
    """What rules may ask about the exception that owns the stack."""

    type: str | None = None
    value: str | None = None
    mechanism: str | None = None


class Place(Struct, frozen=True, gc=False):
    """Where a frame belongs after the first pass."""

    category: str | None
    in_app: bool | None


class Weighed(NamedTuple):
    """Second pass: per frame whether it counts and which rule said so (""), and the same for the whole stack."""

    flags: list[bool]
    why: list[str]
    contributes: bool
    stack_why: str


class Engine(Protocol):
    """Compiled rules. asks_about_exceptions: whether the answer depends on the exception at all."""

    asks_about_exceptions: bool

    def classify(self, looks: Sequence[Look], about: About, said: list[str] | None = None) -> list[Place]:
        """The first pass over one stack. `said`: takes, per frame, the rule that had the last word about in_app."""
        ...

    def weigh(
        self, looks: Sequence[Look], places: Sequence[Place], about: About, starts: Sequence[Sequence[bool]]
    ) -> list[Weighed]:
        """The second pass over one stack, once for each variant in `starts`: what counts there so far."""
        ...

    def agrees(self, other: "Engine", looks: Sequence[Look]) -> bool:
        """Whether both surely say the same about a stack; False also where that is not easy to tell."""
        ...

    def forget(self) -> None:
        """Empties the memos; results never depend on them."""
        ...


def start(look: Look) -> Place:
    """A frame's place before any rule."""
    return Place(look.category, look.in_app)


class _Compiled(NamedTuple):
    """A rule with what must be looked at per stack taken apart; categories and flags: (wanted, negated)."""

    rule: Rule
    category: tuple[tuple[Matcher, bool], ...]
    app: tuple[tuple[bool | None, bool], ...]
    classifies: tuple[FlagAction | VarAction, ...]
    weighs: tuple[FlagAction | VarAction, ...]
    text: str


class Common:
    """The rules of several sets, merged so that each set keeps its order, compiled and indexed once.

    masks: per set, one bit for each of the merged rules that stands in it.
    """

    def __init__(self, sets: Sequence[Sequence[Rule]]) -> None:
        rules: list[Rule] = []
        for each in sets:
            rules = _merged(rules, each)
        self.masks = [_members(rules, each) for each in sets]
        self.rules = [_compile(rule) for rule in rules]
        self.index = Index(rules)
        self.classifying = _mask(bool(rule.classifies) for rule in self.rules)
        self.weighing = _mask(bool(rule.weighs) for rule in self.rules)
        # Rules that can only match where a category is, and rules that give one.
        self.of_category = _mask(any(not each.negated for each, _ in rule.category) for rule in self.rules)
        self.giving_category = _mask(
            any(isinstance(action, VarAction) for action in rule.classifies) for rule in self.rules
        )


class IndexedEngine:
    """Our own engine; tests compare it with the published one."""

    def __init__(self, common: Common, number: int = 0) -> None:
        """The engine of set `number`."""
        self._common = common
        self._index = common.index
        self._rules = common.rules
        self._members = common.masks[number]
        self.asks_about_exceptions = any(
            rule.rule.exception for index, rule in enumerate(self._rules) if self._members >> index & 1
        )
        self._classifying = common.classifying & self._members
        self._weighing = common.weighing & self._members

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> "IndexedEngine":
        """The engine of one set alone."""
        return cls(Common([rules]))

    def agrees(self, other: Engine, looks: Sequence[Look]) -> bool:
        """Whether both surely say the same about a stack: no rule that only one of them has can match in it."""
        if not isinstance(other, IndexedEngine) or other._common is not self._common:
            return False
        bits = 0
        for look in looks:
            bits |= self._index.candidates(look)
        both = self._members | other._members
        without = 0 if any(look.category for look in looks) else self._hopeless(bits & both)
        return not bits & (self._members ^ other._members) & ~without

    def _hopeless(self, bits: int) -> int:
        """In a stack without categories: the rules that cannot match unless one of `bits` gives a category first."""
        common = self._common
        return 0 if bits & ~common.of_category & common.giving_category else common.of_category

    def classify(self, looks: Sequence[Look], about: About, said: list[str] | None = None) -> list[Place]:
        """The first pass over one stack. `said`: takes, per frame, the rule that had the last word about in_app."""
        categories = [look.category for look in looks]
        in_app = [look.in_app for look in looks]
        candidates = self._candidates(looks)
        for rule, bit in self._relevant(candidates, categories, about, self._classifying):
            found = self._matching(rule, bit, (looks, candidates, categories, in_app))
            for index in found:
                for action in rule.classifies:
                    if isinstance(action, VarAction):
                        categories[index] = str(action.value)
                        continue
                    for each in _reach(action.reach, index, len(looks)):
                        in_app[each] = action.value
                        if said is not None:
                            said[each] = rule.text
        return [Place(category, flag) for category, flag in zip(categories, in_app, strict=True)]

    def weigh(
        self, looks: Sequence[Look], places: Sequence[Place], about: About, starts: Sequence[Sequence[bool]]
    ) -> list[Weighed]:
        """The second pass over one stack, once for each variant."""
        categories = [place.category for place in places]
        in_app = [place.in_app for place in places]
        candidates = self._candidates(looks)
        state = (looks, candidates, categories, in_app)
        matched = [
            (rule, found)
            for rule, bit in self._relevant(candidates, categories, about, self._weighing)
            if (found := self._matching(rule, bit, state))
        ]
        return [_weigh_one(matched, list(flags)) for flags in starts]

    def forget(self) -> None:
        """Empties the memos; results never depend on them."""
        self._index.forget()

    def _candidates(self, looks: Sequence[Look]) -> list[int]:
        return [self._index.candidates(look) for look in looks]

    def _relevant(
        self, candidates: Sequence[int], categories: Sequence[str | None], about: About, of_pass: int
    ) -> Iterator[tuple[_Compiled, int]]:
        """The rules of a pass that some frame may match, in order, each with its bit."""
        bits = 0
        for each in candidates:
            bits |= each
        bits &= of_pass
        if not any(categories):
            bits &= ~self._hopeless(bits)
        while bits:
            bit = bits & -bits
            bits ^= bit
            rule = self._rules[bit.bit_length() - 1]
            if not rule.rule.exception or _about_matches(rule.rule, about):
                yield rule, bit

    def _matching(
        self,
        rule: _Compiled,
        bit: int,
        state: tuple[Sequence[Look], Sequence[int], Sequence[str | None], Sequence[bool | None]],
    ) -> list[int]:
        """The frames that a rule matches."""
        looks, candidates, categories, in_app = state
        found = [index for index, each in enumerate(candidates) if each & bit]
        if rule.category:
            for matcher, literal in rule.category:
                found = [index for index in found if _category_matches(matcher, literal, categories[index])]
        for wanted, negated in rule.app:
            found = [index for index in found if (wanted is bool(in_app[index])) != negated]
        for neighbour, step in ((rule.rule.caller, -1), (rule.rule.callee, 1)):
            if neighbour is not None and found:
                found = [
                    index
                    for index in found
                    if 0 <= index + step < len(looks)
                    and _one_matches(neighbour, looks[index + step], categories[index + step], in_app[index + step])
                ]
        return found


def _merged(one: list[Rule], other: Sequence[Rule]) -> list[Rule]:
    """All rules of both, each list in its own order; what both have in the same place stands there once."""
    merged: list[Rule] = []
    for _, start, end, other_start, other_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        merged += one[start:end]
        if one[start:end] != other[other_start:other_end]:
            merged += other[other_start:other_end]
    return merged


def _members(merged: Sequence[Rule], rules: Sequence[Rule]) -> int:
    """Which of the merged rules are these ones, first come first found."""
    mask = at = 0
    for rule in rules:
        while merged[at] != rule:
            at += 1
        mask |= 1 << at
        at += 1
    return mask


def _mask(flags: Iterator[bool]) -> int:
    return sum(1 << index for index, flag in enumerate(flags) if flag)


def _compile(rule: Rule) -> _Compiled:
    category = tuple((each, not set(each.pattern) & set("*?[{}\\")) for each in rule.frame if each.field == "category")
    app = tuple((_app_word(each.pattern), each.negated) for each in rule.frame if each.field == "app")
    first = tuple(
        action
        for action in rule.actions
        if (isinstance(action, FlagAction) and action.flag == "app")
        or (isinstance(action, VarAction) and action.name == "category")
    )
    second = tuple(
        action
        for action in rule.actions
        if (isinstance(action, FlagAction) and action.flag == "group")
        or (isinstance(action, VarAction) and action.name in ("max-frames", "min-frames"))
    )
    return _Compiled(rule, category, app, first, second, rule.text)


def _app_word(word: str) -> bool | None:
    """What an `app:` matcher wants; any other word wants nothing that exists."""
    return True if word in TRUE_WORDS else False if word in FALSE_WORDS else None


def _category_matches(matcher: Matcher, literal: bool, category: str | None) -> bool:
    if category is None:
        return matcher.negated
    same = category == matcher.pattern if literal else matches_text(matcher, category)
    return same != matcher.negated


def _one_matches(matcher: Matcher, look: Look, category: str | None, in_app: bool | None) -> bool:
    """Whether a caller or callee matches."""
    if matcher.field == "app":
        return (_app_word(matcher.pattern) is bool(in_app)) != matcher.negated
    value = category if matcher.field == "category" else Index.value(look, matcher.field)
    return (value is not None and matches_text(matcher, value)) != matcher.negated


def _about_matches(rule: Rule, about: About) -> bool:
    for matcher in rule.exception:
        value = getattr(about, matcher.field)
        if matches_text(matcher, "<unknown>" if value is None else value) == matcher.negated:
            return False
    return True


def _reach(reach: str, index: int, count: int) -> range:
    """The frames that an action at `index` is about: itself, all towards the crash, or all before."""
    if reach == "^":
        return range(index + 1, count)
    return range(index) if reach == "v" else range(index, index + 1)


def _weigh_one(matched: Sequence[tuple[_Compiled, list[int]]], flags: list[bool]) -> Weighed:
    """Applies the rules to one variant."""
    why = [""] * len(flags)
    max_frames = min_frames = 0
    stack_why = ""
    for rule, found in matched:
        for index in found:
            for action in rule.weighs:
                if isinstance(action, FlagAction):
                    for each in _reach(action.reach, index, len(flags)):
                        if flags[each] != action.value:
                            flags[each], why[each] = action.value, _because(action.value, rule.text)
                elif action.name == "max-frames":
                    max_frames = int(action.value)
                else:
                    min_frames, stack_why = int(action.value), rule.text
    if max_frames:
        kept = 0
        for index in range(len(flags) - 1, -1, -1):
            kept += flags[index]
            if flags[index] and kept > max_frames:
                flags[index], why[index] = False, f"ignored because only {max_frames} frames are considered"
    count = sum(flags)
    if min_frames and count < min_frames:
        return Weighed(flags, why, False, f"discarded: fewer than {min_frames} frames count, says rule ({stack_why})")
    return Weighed(flags, why, count > 0, "")


def _because(value: bool, text: str) -> str:
    return f"{'un-ignored' if value else 'ignored'} by stack trace rule ({text})"
