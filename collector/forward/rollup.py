"""Roll-up: the first event of an issue goes out in full, the rest is counted, each closed window leaves one summary.

Exactness: everything counted here is written in the SQLite transaction that applies the commit, so an occurrence is
either in the outbox, or in an open window, or not yet applied. A window becomes an outbox entry in one transaction too.
A window begins with the commit time of its first occurrence, not with the client's or our clock at apply time, so
replaying commits after a crash makes the same windows, and their summaries have the same event ids.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable

from collector.forward.budgets import NEW_SHARE, REGRESSED_SHARE, REST_SHARE, Budgets
from collector.forward.parcel import VERSION, Parcel, Press, pack
from collector.forward.relearn import UNTOLD, Relearning
from collector.forward.users import join
from collector.model import outcome
from collector.store import windows
from collector.store.delta import NEW, REGRESSED, SUMMARISED, AppliedBatch, Occurrence
from collector.store.outbox import Entry, put
from collector.store.windows import Window

Mode = Callable[[int], str]

NEW_ISSUE, REGRESSION, ITEM, EXEMPLAR, BULK = 0, 1, 2, 3, 4  # priorities in the outbox
ERROR = "error"
SUMMARY_KEY = "s:"  # outbox keys of summaries: s:<issue>:<event id>
WITHHELD_KEY = "sb:"  # the same of those that waited for a budget
TOLD_OTHERWISE = (outcome.SUMMARISED, outcome.EVICTED)  # counted in summaries; told when they were stored
NOT_REPORTED = ("session", "default")  # categories without outcomes in the protocol
DUPLICATE = "duplicate"  # the other copy was kept
# Added to the rank of a window that holds an event which would have left in full, had the budget allowed it.
NEW_RANK, REGRESSED_RANK = 1000, 500
NOTHING = -2  # below every rank
MAX_REMEMBERED_BYTES = 4 * 2**20
LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "fatal": 4}


class Remembered:
    """The newest exemplar payloads in memory, so that closing a window seldom reads a segment."""

    def __init__(self) -> None:
        self._payloads: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def keep(self, event_id: bytes, payload: bytes) -> None:
        """Remember one; the oldest are forgotten beyond MAX_REMEMBERED_BYTES."""
        self.drop(event_id)
        with self._lock:
            self._payloads[event_id] = payload
            self._bytes += len(payload)
            while self._bytes > MAX_REMEMBERED_BYTES:
                self._bytes -= len(self._payloads.popitem(last=False)[1])

    def drop(self, event_id: bytes) -> bytes | None:
        """Forget one and return it."""
        with self._lock:
            payload = self._payloads.pop(event_id, None)
            self._bytes -= len(payload or b"")
        return payload


class Rollup:
    """Counts occurrences in the digest thread; collector.forward.closing closes the windows."""

    def __init__(
        self, window_seconds: float, mode: Mode, reserve: Callable[..., bool], budgets: Budgets, history: Relearning
    ) -> None:
        self._window = float(window_seconds)
        self._mode = mode
        self._reserve = reserve
        self._budgets = budgets
        self._history = history
        self._press = Press()
        self.remembered = Remembered()

    # in the commit's transaction ----------------------------------------------------------------------------------

    def on_applied(self, cursor: sqlite3.Cursor, batch: AppliedBatch) -> bool:
        """`on_apply` callback of the store. Returns True when something can be sent at once."""
        is_history = self._history.look(cursor, batch)
        urgent = False
        groups: dict[int, list[Occurrence]] = {}
        for occurrence in batch.delta.occurrences:
            mode = self._mode(occurrence.project_id)
            if mode == "off":
                continue
            whole = mode == "events" or occurrence.flags & (NEW | REGRESSED)
            whole = whole and not occurrence.flags & SUMMARISED  # beyond the rate of its issue: only counted
            if whole and is_history and not self._history.is_told(batch):
                windows.count(cursor, UNTOLD, occurrence.count)
            elif whole and self._put_whole(cursor, batch, occurrence):
                urgent = True
            else:
                groups.setdefault(occurrence.issue_id, []).append(occurrence)
        for issue_id, occurrences in groups.items():
            if is_history and not self._history.joins(cursor, batch, issue_id):
                windows.count(cursor, UNTOLD, sum(one.count for one in occurrences))
                continue
            self._count(cursor, batch, issue_id, occurrences)
        if not is_history:  # a report has no id by which a receiver could tell a repetition
            self._report(cursor, batch)
        return urgent

    def _report(self, cursor: sqlite3.Cursor, batch: AppliedBatch) -> None:
        """What was dropped here is told upstream, so that its statistics stay truthful."""
        for row in batch.delta.outcomes:
            told = row.outcome not in TOLD_OTHERWISE and row.reason != DUPLICATE and row.category not in NOT_REPORTED
            if told and self._mode(row.project_id) != "off":
                windows.add_report(cursor, row.reason or row.outcome, row.category, row.quantity)

    def _put_whole(self, cursor: sqlite3.Cursor, batch: AppliedBatch, occurrence: Occurrence) -> bool:
        """Queue one event as it is; False when there is no room or no payload (it is then counted)."""
        payload = batch.payload(occurrence)
        if payload is None or not self._reserve(len(payload) // 4):
            return False
        flags = occurrence.flags
        share = NEW_SHARE if flags & NEW else REGRESSED_SHARE if flags & REGRESSED else REST_SHARE
        packed = self._press.pack(payload)
        if not self._budgets.take(cursor, occurrence.project_id, len(packed), share):
            return False
        priority = NEW_ISSUE if flags & NEW else REGRESSION if flags & REGRESSED else BULK
        row = batch.event(occurrence)
        event_id = occurrence.event_id.hex()
        parcel = Parcel(
            version=VERSION,
            kind="event",
            project_id=occurrence.project_id,
            issue_id=occurrence.issue_id,
            event_id=event_id,
            count=1,
            first_at=occurrence.at,
            last_at=occurrence.at,
            span_seconds=0.0,
            users=join(b"", [occurrence.user]),
            rank=rank(batch, occurrence),
            hash=row.hashes[0] if row and row.hashes else "",
            packed=packed,
        )
        key = f"e:{occurrence.project_id}:{event_id}"
        entry = Entry(ERROR, ERROR, pack(parcel), priority, 1, key, batch.committed_at)
        # 0: the key is queued already, which only a replay can do; either way the event is on its way.
        put(cursor, entry)
        return True

    def _count(self, cursor: sqlite3.Cursor, batch: AppliedBatch, issue_id: int, rows: list[Occurrence]) -> None:
        best, best_rank = most_informative(batch, rows)
        limited = self._budgets.is_limited(rows[0].project_id)
        # One that waits for its budget goes on counting, so a budget that is too small costs detail, not counts.
        window = (limited and windows.withheld_window(cursor, issue_id)) or windows.latest_window(cursor, issue_id)
        first_at, last_at = min(row.at for row in rows), max(row.until for row in rows)
        events = sum(row.count for row in rows)
        users = (row.user for row in rows)
        # Past its end but not closed because the outbox is full: it goes on counting, so a long outage costs nothing.
        ended = window is not None and batch.committed_at >= window.window_at + self._window
        ended = ended and not (limited and window is not None and windows.is_withheld(cursor, window))
        kept_rank = NOTHING
        if window is None or (ended and self._reserve(0)):
            window = Window(
                issue_id, batch.committed_at, rows[0].project_id, events, first_at, last_at, rows[0].event_id,
                best.event_id, best_rank, batch.committed_at, join(b"", users),
            )  # fmt: skip
        else:
            kept_rank = window.rank
            window = window._replace(
                events=window.events + events,
                first_at=min(window.first_at, first_at),
                last_at=max(window.last_at, last_at),
                users=join(window.users, users),
            )
        if best_rank >= kept_rank:
            self.remembered.drop(window.exemplar)
            window = window._replace(exemplar=best.event_id, rank=best_rank, exemplar_at=batch.committed_at)
            self._keep(cursor, batch, window, best, best_rank > kept_rank)
        windows.save_window(cursor, window)

    def _keep(
        self, cursor: sqlite3.Cursor, batch: AppliedBatch, window: Window, best: Occurrence, durably: bool
    ) -> None:
        """Keep the payload of the new exemplar in memory; on disk only where it is better than the one there."""
        event = batch.event(best)
        payload = event.payload if event is not None else batch.payload(best) if durably else None
        if payload is None:
            return
        self.remembered.keep(best.event_id, payload)
        if durably:
            packed = self._press.pack(payload)
            if self._reserve(len(packed), records=0):
                windows.save_exemplar(cursor, window, packed)


def most_informative(batch: AppliedBatch, rows: list[Occurrence]) -> tuple[Occurrence, int]:
    """The newest of the highest rank, and that rank."""
    best, best_rank = rows[0], NOTHING
    for row in rows:
        if (row_rank := rank(batch, row)) >= best_rank:
            best, best_rank = row, row_rank
    return best, best_rank


def rank(batch: AppliedBatch, occurrence: Occurrence) -> int:
    """How informative an event is: its level first, then a stack trace, then tags; -1 when its payload was not kept."""
    level = LEVELS.get(occurrence.level, 3) * 4
    level += NEW_RANK if occurrence.flags & NEW else REGRESSED_RANK if occurrence.flags & REGRESSED else 0
    row = batch.event(occurrence)
    if row is None:
        return -1 if occurrence.flags & SUMMARISED else level
    return level + (2 if len(row.frames) > 2 else 0) + (1 if row.tags else 0)
