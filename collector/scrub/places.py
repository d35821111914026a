"""A Place: one field path with everything known about it, made once and found again by a dictionary step per level.

What rules apply to a field depends on its path and types only, so it is worked out when a path is first seen. Places in
lists are shared by all elements unless a selector asks for an index. The memory is bounded: beyond MAX_PLACES the tree
is grown anew.
"""

from typing import Any, NamedTuple

from collector.scrub.patterns import WhichOf
from collector.scrub.rules import FILTERED, Application, Rule
from collector.scrub.schema import Node
from collector.scrub.selectors import NO
from collector.scrub.selectors import Step as Level
from collector.scrub.text import Entry, Keys, Step, has_spans, scrub_text, step_of

MAX_PLACES = 20_000

STRING, NUMBER, BOOLEAN, ARRAY, OBJECT, NULL = "string", "number", "boolean", "array", "object", "null"
KIND_OF: dict[type, str] = {
    str: STRING, int: NUMBER, float: NUMBER, bool: BOOLEAN, list: ARRAY, dict: OBJECT, type(None): NULL,
}  # fmt: skip
_BASIC = {kind: frozenset((kind,)) for kind in KIND_OF.values()}


Name = str | int | tuple[tuple[int, ...], tuple[int, ...]]  # of a place below another


class Plan(NamedTuple):
    """What happens to a text: steps, which of them may change a text, and whether a filtered text stays as it is."""

    steps: tuple[Step, ...]
    which: WhichOf
    keeps_filtered: bool


class Grown:
    """How many places a tree has, and what it was grown for."""

    __slots__ = ("_named", "_of_keys", "_of_users", "by_index", "count", "keys", "plans", "programs")

    def __init__(self, programs: list[list[Application]], keys: Keys) -> None:
        self.programs = programs
        self.keys = keys
        self.count = 0
        self.by_index = any(application.selector.uses_index for program in programs for application in program)
        self.plans: dict[tuple[Any, ...], Plan] = {}
        self._named = frozenset(key for program in programs for one in program for key in one.selector.keys)
        rules = (rule for program in programs for one in program for rule in one.rules)
        patterns = {id(one): one for rule in rules for one in rule.patterns if one.where != "value"}
        self._of_keys = WhichOf([one for one in patterns.values() if one.as_part is not None])
        self._of_users = [one for one in patterns.values() if one.as_part is None]

    def twin(self, key: str) -> Name:
        """What rules can tell of a key: keys with the same answer share their places."""
        if key.lower() in self._named:
            return key
        text = key.encode("utf-8", "surrogatepass")
        of_users = [number for number, one in enumerate(self._of_users) if one.regex.search(text)]
        return tuple(self._of_keys.of(text)), tuple(of_users)


class Place:
    """A field path: `steps` is what happens to a text there, `drops` the rules that take any other value away.

    `which` tells in one pass which steps may change a text.
    """

    __slots__ = ("drops", "grown", "keeps_filtered", "kids", "level", "node", "parent", "pii", "steps", "which")

    def __init__(self, grown: Grown, node: Node, level: Level, kind: str, parent: "Place | None") -> None:
        self.grown = grown
        self.node = node
        self.pii = node.pii
        self.level = level
        self.parent = parent
        self.kids: dict[tuple[Name, str], Place] = {}
        self.steps: tuple[Step, ...] = ()
        self.which: WhichOf | None = None
        self.keeps_filtered = False
        self.drops: tuple[Rule, ...] = ()
        grown.count += 1
        if self.pii != NO and kind not in (NULL, BOOLEAN):
            self._plan(kind)

    def scrub(self, text: str, entry: Entry) -> str | None:
        """The text after the rules of this place, None when it is deleted; remarks go into `entry`."""
        possible = None
        if self.which is not None and (not entry or not has_spans(entry)) and "\x00" not in text:
            possible = self.which.of(text.encode("utf-8", "surrogatepass"))
        return scrub_text(text, self.steps, entry, self.grown.keys, possible)

    def key(self, key: str, kind: str, value: Any = None) -> "Place":
        """The place under a key, for a value of that kind."""
        if self.node.typed_fields:
            return self._typed(key, kind, value)
        return self.kids.get((key, kind)) or self._below(key, kind, self.node.field(key))

    def _typed(self, key: str, kind: str, value: Any) -> "Place":
        """The place of a value whose own `type` says what it is; the key does when it has none."""
        node = self.node.field(key)
        if node.by_type is None:
            return self.kids.get((key, kind)) or self._below(key, kind, node)
        named = value.get("type") if isinstance(value, dict) else None
        if not isinstance(named, str) or not named:
            named = key
        known = named if named in node.by_type else ""
        typed = f"{kind} {known}"  # the same key may hold another type in the next event
        return self.kids.get((key, typed)) or self._below(key, kind, node.by_type.get(known, Node(node.pii)), typed)

    def _below(self, key: str, kind: str, node: Node, typed: str = "") -> "Place":
        twin = key if key in self.node.fields else self.grown.twin(key)
        typed = typed or kind
        level = Level(key, None, _types(node, kind))
        place = self.kids.get((twin, typed)) or self._grow((twin, typed), node, level, kind)
        self.kids[key, typed] = place
        self.grown.count += 1
        return place

    def item(self, number: int, kind: str) -> "Place":
        """The place of a list element."""
        name = number if self.grown.by_index else -1
        found = self.kids.get((name, kind))
        if found is not None:
            return found
        node = self.node.item
        return self._grow((name, kind), node, Level(None, number, _types(node, kind)), kind)

    def pair(self, key: str, kind: str) -> "Place":
        """The place of the value in a [key, value] pair of a list: the list seen as an object."""
        return self.kids.get((key, kind)) or self._below(key, kind, self.node.field(key))

    def _grow(self, name: tuple[Name, str], node: Node, level: Level, kind: str) -> "Place":
        if self.grown.count > MAX_PLACES:
            self.grown.count = 0
            root: Place = self
            while root.parent is not None:
                root = root.parent
            root.kids.clear()
        made = self.kids[name] = Place(self.grown, node, level, kind, self)
        return made

    def _levels(self) -> list[Level]:
        levels = [self.level]
        above = self.parent
        while above is not None:
            levels.append(above.level)
            above = above.parent
        levels.reverse()
        return levels

    def _plan(self, kind: str) -> None:
        levels = self._levels()
        key = (self.level.key or "").encode("utf-8", "surrogatepass")
        steps: list[Step] = []
        drops: list[Rule] = []
        for program in self.grown.programs:
            for application in program:
                if not application.selector.matches(levels, self.pii):
                    continue
                for rule in application.rules:
                    if kind == STRING:
                        steps += text_steps(rule, key)
                    elif drops_value(rule, key):
                        drops.append(rule)
        plans = self.grown.plans
        name = tuple((id(step.rule), id(step.pattern)) for step in steps)
        if name not in plans:
            plans[name] = _plan_of(steps)
        self.steps, self.which, self.keeps_filtered = plans[name]
        self.drops = tuple(drops[:1])


def _plan_of(steps: list[Step]) -> Plan:
    which = WhichOf([step.pattern for step in steps])
    able = [steps[number] for number in which.of(FILTERED.encode())]
    return Plan(tuple(steps), which, all(step.whole == FILTERED for step in able))


def text_steps(rule: Rule, key: bytes) -> list[Step]:
    """What a rule does to a text under a key."""
    if rule.anything and rule.removes:
        return [step_of(rule, None)]
    steps: list[Step] = []
    for pattern in rule.patterns:
        if pattern.where != "value" and pattern.regex.search(key):
            steps.append(step_of(rule, None))
        elif pattern.where != "key":
            steps.append(step_of(rule, pattern))
    return steps


def drops_value(rule: Rule, key: bytes) -> bool:
    """Whether a rule takes a number, list or object under a key away."""
    if rule.anything:
        return True
    return any(pattern.where != "value" and pattern.regex.search(key) for pattern in rule.patterns)


def _types(node: Node, kind: str) -> frozenset[str]:
    if not node.types:
        return _BASIC[kind]
    return node.types


def root_place(programs: list[list[Application]], keys: Keys, schema: Node) -> Place:
    """The place of a whole item."""
    grown = Grown(programs, keys)
    return Place(grown, schema, Level(None, None, schema.types or _BASIC[OBJECT]), OBJECT, None)
