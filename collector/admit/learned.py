"""Limits that the upstream told us, for projects that forward everything: what it would refuse need not come in."""

import math
from collections.abc import Container, Iterable, Mapping
from typing import Any

from collector.admit.verdict import Limit
from collector.machine.clock import Clock

MAX_LIMITS = 200  # own choice: per project; the one that ends first goes first

Kind = tuple[tuple[str, ...], str]


class LearnedLimits:
    """Per project: (categories, scope) -> when it ends (wall clock) and why."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[int, dict[Kind, tuple[float, str]]] = {}

    def learn(self, project_id: int, limits: Iterable[Limit]) -> None:
        """Merge: for equal scope and categories the one that lasts longer stays."""
        known = self._ends.setdefault(project_id, {})
        now = self._clock.now()
        for limit in limits:
            kind = (limit.categories, limit.scope)
            end = now + limit.seconds
            if end > known.get(kind, (0.0, ""))[0]:
                known[kind] = (end, limit.reason)
        while len(known) > MAX_LIMITS:
            del known[min(known, key=lambda kind: known[kind][0])]

    def take_over(self, before: "LearnedLimits", project_ids: Container[int]) -> None:
        """Go on with what was learned of these projects."""
        self._ends = {number: known for number, known in before._ends.items() if number in project_ids}

    def active(self, project_id: int) -> list[Limit]:
        """What is still in force; what has ended is forgotten."""
        known = self._ends.get(project_id)
        if not known:
            return []
        now = self._clock.now()
        for kind in [kind for kind, (end, _) in known.items() if end <= now]:
            del known[kind]
        return [
            Limit(math.ceil(end - now), categories, scope, reason)
            for (categories, scope), (end, reason) in known.items()
        ]

    def state(self) -> list[Any]:
        """Plain values."""
        return [
            [project_id, list(categories), scope, end, reason]
            for project_id, known in self._ends.items()
            for (categories, scope), (end, reason) in known.items()
        ]

    def restore(self, state: Iterable[Any]) -> None:
        """Take limits over. Raises ValueError or TypeError when unusable."""
        ends: dict[int, dict[Kind, tuple[float, str]]] = {}
        for project_id, categories, scope, end, reason in state:
            kind = (tuple(str(name) for name in categories), str(scope))
            ends.setdefault(int(project_id), {})[kind] = (float(end), str(reason))
        self._ends = ends


def as_limits(told: Iterable[Mapping[str, Any]]) -> list[Limit]:
    """Limits as the worker's messages carry them."""
    return [
        Limit(int(entry["seconds"]), tuple(entry["categories"]), str(entry["scope"]), str(entry["reason"]))
        for entry in told
    ]
