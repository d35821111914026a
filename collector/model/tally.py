"""A tally of outcomes: equal ones of one minute become one with the summed quantity."""

from collector.model.outcome import Outcome

Key = tuple[int, str, str, str, str, int]


class OutcomeTally:
    """Merges outcomes until somebody takes them. Not thread-safe: one owner."""

    def __init__(self) -> None:
        self._sums: dict[Key, list[int]] = {}
        self.items = 0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        key = (
            outcome.project_id,
            outcome.outcome,
            outcome.reason,
            outcome.category,
            outcome.public_key,
            int(outcome.at // 60),
        )
        sums = self._sums.setdefault(key, [0, 0])
        sums[0] += outcome.quantity
        sums[1] += outcome.items
        self.items += outcome.items

    def by_ledger_key(self) -> dict[str, int]:
        """Items per ledger key, as `ledger.dropped` shows them."""
        dropped: dict[str, int] = {}
        for (_, outcome, reason, _, _, _), (_, items) in self._sums.items():
            key = f"{outcome}:{reason}" if reason else outcome
            dropped[key] = dropped.get(key, 0) + items
        return {key: items for key, items in dropped.items() if items}

    def take(self) -> list[Outcome]:
        """All merged outcomes; the tally is empty afterwards."""
        merged = [
            Outcome(project_id, outcome, reason, category, quantity, minute * 60.0, items, public_key)
            for (project_id, outcome, reason, category, public_key, minute), (quantity, items) in self._sums.items()
        ]
        self._sums.clear()
        self.items = 0
        return merged

    def __bool__(self) -> bool:
        return bool(self._sums)
