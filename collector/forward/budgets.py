"""Budgets of projects: error events in any hour, compressed bytes in any 24 hours.

They are spent when something is queued. The last part of a budget is for what matters most: summaries may use
three quarters of it, regressions nine tenths, new issues all. What an event cannot have, it waits for as a count: its
window stays open and goes on counting, and when the budget allows, windows close in the order of what they hold: new
issues, regressions, then by rank. Other items that do not fit are dropped, counted and reported (`collector_budget`).
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from collector.forward.settings import ForwardSettings
from collector.store import spending, windows

NEW_SHARE, REGRESSED_SHARE, REST_SHARE = 1.0, 0.9, 0.75
REASON = "collector_budget"
# What leaves is compressed again with headers and a context more than the stored frame: measured 1.1 to 1.3 times it.
ENVELOPE_BYTES = 512


def wire_bytes(packed: int) -> int:
    """What a stored frame of `packed` bytes will take on the wire, rather too much."""
    return packed * 3 // 2 + ENVELOPE_BYTES


class Budgets:
    """Asked and charged inside transactions; all state is in the tables, so both threads may."""

    def __init__(self, projects: Mapping[int, ForwardSettings], monotonic: Callable[[], float]) -> None:
        self._projects = {number: one for number, one in projects.items() if _is_limit(one)}
        self._monotonic = monotonic
        self.limited = list(self._projects)

    def is_limited(self, project_id: int) -> bool:
        """True when the project has a budget at all."""
        return project_id in self._projects

    def may(self, cursor: sqlite3.Cursor, project_id: int, share: float) -> bool:
        """Whether a small event could be paid for; charges nothing."""
        settings = self._projects.get(project_id)
        if settings is None:
            return True
        at = spending.ran_seconds(cursor, self._monotonic())
        return all(
            not limit or spending.spent(cursor, project_id, what, at) + amount <= limit * share
            for what, limit, amount in _wanted(settings, 0, 1)
        )

    def could(self, project_id: int, size: int, share: float) -> bool:
        """Whether a whole day's budget is enough for `size` stored bytes."""
        settings = self._projects.get(project_id)
        limit = settings.max_bytes_per_day if settings is not None else 0
        return not limit or wire_bytes(size) <= limit * share

    def take(self, cursor: sqlite3.Cursor, project_id: int, size: int, share: float, events: int = 1) -> bool:
        """Spend `events` and what `size` stored bytes will take; False when a budget does not have it."""
        settings = self._projects.get(project_id)
        if settings is None:
            return True
        at = spending.ran(cursor, self._monotonic())
        charged = [(what, limit, amount) for what, limit, amount in _wanted(settings, size, events) if limit and amount]
        for what, limit, amount in charged:
            if spending.spent(cursor, project_id, what, at) + amount > limit * share:
                return False
        for what, _, amount in charged:
            spending.spend(cursor, project_id, what, at, amount)
        return True

    def charge(self, cursor: sqlite3.Cursor, project_id: int, size: int) -> None:
        """Spend what `size` stored bytes will take, be it more than is left: what leaves always counts."""
        settings = self._projects.get(project_id)
        if settings is not None and settings.max_bytes_per_day:
            at = spending.ran(cursor, self._monotonic())
            spending.spend(cursor, project_id, spending.BYTES, at, wire_bytes(size))

    def look(self, cursor: sqlite3.Cursor) -> dict[str, dict[str, Any]]:
        """Project id -> spent and limit of each budget, for people."""
        at = spending.ran_seconds(cursor, self._monotonic())
        shown: dict[str, dict[str, Any]] = {}
        for project_id, settings in self._projects.items():
            withheld = windows.withheld(cursor, project_id)
            shown[str(project_id)] = {
                "events_last_hour": spending.spent(cursor, project_id, spending.EVENTS, at),
                "max_events_per_hour": settings.max_events_per_hour,
                "bytes_last_day": spending.spent(cursor, project_id, spending.BYTES, at),
                "max_bytes_per_day": int(settings.max_bytes_per_day),
                "withheld_windows": withheld[0],
                "withheld_occurrences": withheld[1],
            }
        return shown


def _is_limit(settings: ForwardSettings) -> bool:
    return bool(settings.max_events_per_hour or settings.max_bytes_per_day)


def _wanted(settings: ForwardSettings, size: int, events: int) -> tuple[tuple[str, int, int], ...]:
    return (
        (spending.EVENTS, settings.max_events_per_hour, events),
        (spending.BYTES, int(settings.max_bytes_per_day), wire_bytes(size)),
    )
