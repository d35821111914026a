"""A memo with a bound: what was worked out once is not worked out again, within a budget of memory."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """First in, first out. `max_weight` bounds the sum of the weights given to `put` (roughly bytes)."""

    def __init__(self, max_weight: int) -> None:
        self.max_weight = max_weight
        self.weight = 0
        self._entries: dict[Hashable, tuple[T, int]] = {}

    def get(self, key: Hashable) -> T | None:
        """The value kept under `key`."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: Hashable, value: T, weight: int) -> None:
        """Keeps `value`, unless it is heavier than an eighth of the whole memo; the oldest entries make room."""
        if weight * 8 > self.max_weight:
            return
        before = self._entries.pop(key, None)
        self._entries[key] = (value, weight)
        self.weight += weight - (before[1] if before else 0)
        while self.weight > self.max_weight:
            self.weight -= self._entries.pop(next(iter(self._entries)))[1]

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._entries)
