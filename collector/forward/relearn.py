"""After state.sqlite was lost: what may be told again, because the receiver will recognise it, and what may not.

The store then applies every commit that is left again. Outbox and windows were in the lost file, and nobody knows what
of them upstream has. Events of the last hour that leave in full are queued again: their ids are their own. A window's
summary has the id of its first occurrence, so it may be told again where the windows come out as they were: from the
beginning of an issue, or after a pause longer than a window. Occurrences of which that is not known, everything older
than an hour (receivers forget ids), and items that have no id are not told again: `replayed_untold` counts them, and
`replayed_untold_items`.
"""

import sqlite3
from collections.abc import Callable

from collector.store import spending, windows
from collector.store.delta import NEW, AppliedBatch

MAX_REPLAYED_SECONDS = 3600.0  # how long Sentry's ingestion remembers an event id
CALM_SECONDS = 5.0  # without a replayed commit: the replay is over
FACT = "relearning"
UNTOLD, UNTOLD_ITEMS = "replayed_untold", "replayed_untold_items"


class Relearning:
    """Knows whether the commits that come are history, and which issues' windows are as they were."""

    def __init__(self, window_seconds: float, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._window = float(window_seconds)
        self._wall = wall
        self._monotonic = monotonic
        self._on: bool | None = None
        self._batch_at = float("-inf")  # monotonic
        self._last: dict[int, float] = {}  # issue -> commit time of its last occurrence
        self._in_step: set[int] = set()

    def look(self, cursor: sqlite3.Cursor, batch: AppliedBatch) -> bool:
        """Whether this commit is history that a lost state.sqlite knew of."""
        if self._on is None or (batch.replayed and not self._on):
            self._on = self._read(cursor, batch.replayed)
        if self._on and not batch.replayed:
            self._finish(cursor)
        if self._on:
            self._batch_at = self._monotonic()
            self._in_step |= {one.id for one in batch.delta.new_issues}
            self._in_step |= {one.issue_id for one in batch.delta.occurrences if one.flags & NEW}
        return bool(self._on)

    def _read(self, cursor: sqlite3.Cursor, replayed: bool) -> bool:
        known = spending.fact(cursor, FACT)
        if known is None:  # the first commit that this state.sqlite sees
            known = float(replayed and not windows.counts(cursor) and windows.open_windows(cursor) == (0, 0))
            spending.note(cursor, FACT, known)
        return known == 1.0

    def is_told(self, batch: AppliedBatch) -> bool:
        """Whether what a commit brings in full may be queued again."""
        return self._wall() - batch.committed_at < MAX_REPLAYED_SECONDS

    def joins(self, cursor: sqlite3.Cursor, batch: AppliedBatch, issue_id: int) -> bool:
        """Whether occurrences of an issue may be counted: its windows are known to be what they were."""
        last = self._last.get(issue_id)
        self._last[issue_id] = batch.committed_at
        if issue_id not in self._in_step:
            paused = last is not None and batch.committed_at >= last + self._window
            if not paused and windows.latest_window(cursor, issue_id) is None:
                return False
            self._in_step.add(issue_id)
        window = windows.latest_window(cursor, issue_id)
        if window is not None and self._is_history(window.window_at):
            ended = batch.committed_at >= window.window_at + self._window
            if ended:
                self._forget(cursor, window)
        return True

    def _is_history(self, window_at: float) -> bool:
        return self._wall() - (window_at + self._window) >= MAX_REPLAYED_SECONDS

    def _forget(self, cursor: sqlite3.Cursor, window: windows.Window) -> None:
        windows.drop_window(cursor, window)
        windows.count(cursor, UNTOLD, window.events)

    def is_told_over(self, cursor: sqlite3.Cursor) -> bool:
        """A look without a lock: True when no replay goes on."""
        return spending.fact(cursor, FACT) != 1.0

    def is_over(self, cursor: sqlite3.Cursor) -> bool:
        """For the sender's thread, before it closes windows: False while the replay goes on. Ends it after."""
        if spending.fact(cursor, FACT) != 1.0:
            return True
        if self._monotonic() - self._batch_at < CALM_SECONDS:
            return False
        self._finish(cursor)
        return True

    def _finish(self, cursor: sqlite3.Cursor) -> None:
        spending.note(cursor, FACT, 0.0)
        for window in windows.due_windows(cursor, self._wall() - self._window - MAX_REPLAYED_SECONDS, 1e18, 1 << 30):
            self._forget(cursor, window)
        self._on = False
        self._last, self._in_step = {}, set()
