"""Stack trace rules of a project on top of the built-in ones.

The built-in sets are data files of this package, one rule a line, so that they can be refreshed without code.
"""

import importlib.resources
from collections.abc import Sequence
from functools import lru_cache

from collector.group.engine import Common, Engine, IndexedEngine
from collector.group.frame import Look
from collector.group.memo import Memo
from collector.group.recall import Known
from collector.group.stack import StackReader
from collector.group.syntax import Rule, parse_rules

# Set id -> data files, one after the other. The older set was called newstyle:2023-01-11 before.
BUILT_IN_SETS = {
    "all-platforms:2026-01-20": ("rules_2026_01_20.txt", "rules_unity.txt"),
    "all-platforms:2023-01-11": ("rules_2023_01_11.txt", "rules_unity.txt"),
}
MAX_FRAME_MEMO_BYTES = 8 * 2**20
MAX_RECALLED_BYTES = 16 * 2**20


@lru_cache(maxsize=8)
def built_in_text(name: str) -> str:
    """The text of a built-in set. Raises KeyError for an unknown name."""
    folder = importlib.resources.files(__package__)
    return "".join(folder.joinpath(file).read_text("utf-8") for file in BUILT_IN_SETS[name])


@lru_cache(maxsize=8)
def built_in_rules(name: str) -> tuple[Rule, ...]:
    """The rules of a built-in set; none for ""."""
    return tuple(parse_rules(built_in_text(name))) if name else ()


class StackRules:
    """The rules of one project. Parsing checks everything, so that nothing can fail when events are grouped.

    Raises RuleError with line, column and reason.
    """

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.rules: Sequence[Rule] = parse_rules(text)
        self.recalled: Known = Memo(MAX_RECALLED_BYTES)
        self._frames: Memo[Look] = Memo(MAX_FRAME_MEMO_BYTES)
        self._engines: dict[str, Engine] = {}
        self.by_config: dict[str, StackReader] = {}  # a shorter way to `reader`
        self._readers: dict[tuple[str, bool], StackReader] = {}
        self._all_readers: list[StackReader] = []

    def on_top_of(self, built_in: str) -> Engine:
        """The engine that runs the set `built_in` (none when "") and then these rules."""
        if built_in not in self._engines:
            names = BUILT_IN_SETS if built_in else ("",)
            common = Common([[*built_in_rules(name), *self.rules] for name in names])
            self._engines.update({name: IndexedEngine(common, number) for number, name in enumerate(names)})
        return self._engines[built_in]

    def forget(self) -> None:
        """Empties all memos; results never depend on them."""
        self.recalled.clear()
        for reader in self._readers.values():
            reader.forget()

    def reader(self, built_in: str, *, legacy: bool) -> StackReader:
        """The reader of stacks for one configuration; it remembers what it read."""
        reader = self._readers.get((built_in, legacy))
        if reader is None:
            reader = StackReader(self.on_top_of(built_in), self._frames, self._all_readers, legacy=legacy)
            self._readers[built_in, legacy] = reader
            self._all_readers.append(reader)
        return reader


@lru_cache(maxsize=1)
def no_rules() -> StackRules:
    """The rules of a project that has none."""
    return StackRules()
