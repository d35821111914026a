"""Spike protection: a learned hourly baseline per project and category; an hour far above it is cut off.

threshold = max(minimum, projection * clamp(5 * deviation, 3, 6)), over the hours of the last week (168), the recent
ones weighing more; projection is their weighted mean and deviation their weighted standard deviation in units of it.
What was dropped enters the baseline at a weight that falls from 1 to 0.1 over the first 24 hours of a spike, so that a
lasting change of traffic is learned slowly. Source: Sentry's documentation of spike protection.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import sqrt
from typing import Any, NamedTuple

from collector.admit.verdict import Claim, Limit
from collector.machine.clock import Clock

REASON = "spike_protection"
HOUR_SECONDS = 3600
WEEK_HOURS = 168
HALF_LIFE_HOURS = 48.0
MIN_HOURS = 24  # nothing is cut off before a day was seen
FAMILIES = {"error": "error", "attachment_item": "attachment", "transaction": "transaction", "span": "transaction"}
CATEGORIES = {
    "error": ("error",),
    "attachment": ("attachment", "attachment_item"),
    "transaction": ("transaction", "transaction_indexed", "span", "span_indexed"),
}


class Notice(NamedTuple):
    """A spike starts (`started`) or is over. At wall clock seconds."""

    project_id: int
    family: str
    started: bool
    threshold: int
    at: float


class _Series:
    """One project and family."""

    __slots__ = ("dropped", "hour", "hours", "seen", "spike_hours", "threshold")

    def __init__(self, hour: int) -> None:
        self.hour = hour
        self.hours: deque[float] = deque(maxlen=WEEK_HOURS)
        self.seen = self.dropped = self.spike_hours = 0
        self.threshold: int | None = None


class Spikes:
    """All baselines; empty and free of cost when not enabled."""

    def __init__(self, enabled: bool, min_items_per_hour: int, clock: Clock) -> None:
        self._enabled = enabled
        self._minimum = min_items_per_hour
        self._clock = clock
        self._series: dict[tuple[int, str], _Series] = {}
        self.notices: list[Notice] = []

    def take_over(self, before: "Spikes") -> None:
        """Go on with the baselines of the configuration until now."""
        self._series, self.notices = before._series, before.notices
        if self._minimum != before._minimum:
            for series in self._series.values():
                series.threshold = threshold(series.hours, self._minimum)

    def crossed(self, project_id: int, claims: Sequence[Claim]) -> list[Limit]:
        """Limits of the families whose hour is over its threshold."""
        if not self._enabled:
            return []
        now = self._clock.now()
        found = []
        for family in {family for claim in claims for family in _families(claim.limited_by)}:
            series = self._rolled(project_id, family, now)
            if series.threshold is not None and series.seen >= series.threshold:
                if not series.dropped and not series.spike_hours:
                    self.notices.append(Notice(project_id, family, True, series.threshold, now))
                seconds = HOUR_SECONDS - int(now) % HOUR_SECONDS
                found.append(Limit(min(seconds, 300), CATEGORIES[family], "project", REASON))
        return found

    def count(self, project_id: int, claims: Sequence[Claim], refused: Mapping[int, str]) -> None:
        """Count what came in and what a spike kept out."""
        if not self._enabled:
            return
        now = self._clock.now()
        for index, claim in enumerate(claims):
            for family in _families(claim.limited_by):
                series = self._rolled(project_id, family, now)
                if index not in refused:
                    series.seen += 1
                elif refused[index] == REASON:
                    series.dropped += 1

    def _rolled(self, project_id: int, family: str, now: float) -> _Series:
        """The series, with every hour that has passed closed."""
        hour = int(now) // HOUR_SECONDS
        key = (project_id, family)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(hour)
        if series.hour < hour:
            self._close_hours(series, hour, Notice(project_id, family, False, 0, now))
        return series

    def _close_hours(self, series: _Series, hour: int, over: Notice) -> None:
        weight = 10.0 ** -(min(series.spike_hours, 24) / 24)
        series.hours.append(series.seen + series.dropped * weight)
        series.hours.extend([0.0] * min(hour - series.hour - 1, WEEK_HOURS))
        if series.dropped:
            series.spike_hours += 1
        elif series.spike_hours:
            series.spike_hours = 0
            self.notices.append(over._replace(threshold=series.threshold or 0))
        series.hour, series.seen, series.dropped = hour, 0, 0
        series.threshold = threshold(series.hours, self._minimum)

    def state(self) -> list[Any]:
        """Plain values."""
        return [
            [project_id, family, one.hour, list(one.hours), one.seen, one.dropped, one.spike_hours]
            for (project_id, family), one in self._series.items()
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take baselines over. Raises ValueError or TypeError when unusable."""
        restored: dict[tuple[int, str], _Series] = {}
        for project_id, family, hour, hours, seen, dropped, spike_hours in state:
            one = restored[int(project_id), str(family)] = _Series(int(hour))
            one.hours.extend(float(value) for value in hours)
            one.seen, one.dropped, one.spike_hours = int(seen), int(dropped), int(spike_hours)
            one.threshold = threshold(one.hours, self._minimum)
        self._series = restored


@lru_cache(maxsize=256)
def _families(categories: frozenset[str]) -> tuple[str, ...]:
    return tuple({FAMILIES[name] for name in categories if name in FAMILIES})


def threshold(hours: Sequence[float], minimum: int) -> int | None:
    """Items an hour from which on the rest is cut off; None before a day was seen."""
    if len(hours) < MIN_HOURS:
        return None
    count = len(hours)
    weights: list[float] = [0.5 ** ((count - 1 - index) / HALF_LIFE_HOURS) for index in range(count)]
    total = sum(weights)
    mean = sum(weight * value for weight, value in zip(weights, hours, strict=True)) / total
    if mean <= 0:
        return minimum
    spread = sqrt(sum(w * (value - mean) ** 2 for w, value in zip(weights, hours, strict=True)) / total) / mean
    return max(minimum, round(mean * min(6.0, max(3.0, 5.0 * spread))))
