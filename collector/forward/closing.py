"""Closing: windows that have ended become outbox entries, one transaction for both; in the sender's thread.

Those of a project with a budget close in the order of what they hold, as long as the budget lasts; the rest is withheld
and goes on counting. Their events say so upstream: what they stand for is reported as `collector_budget`.
"""

import hashlib
import sqlite3
from typing import NamedTuple

import msgspec

from collector.errors import Damaged
from collector.forward.budgets import NEW_SHARE, REGRESSED_SHARE, REST_SHARE, Budgets
from collector.forward.event import slim, stand_in
from collector.forward.parcel import VERSION, Parcel, Press, pack
from collector.forward.rollup import ERROR, EXEMPLAR, NEW_RANK, REGRESSED_RANK, SUMMARY_KEY, WITHHELD_KEY, Remembered
from collector.store import windows
from collector.store.outbox import Entry, Outbox, put
from collector.store.windows import Window

CLOSE_GRACE_SECONDS = 0.25  # a commit that began before the window's end may still be on its way
MAX_CLOSED_AT_ONCE = 50


class Due(NamedTuple):
    """close: windows that may close now. withhold: more of these projects have ended and are not marked yet."""

    close: list[Window]
    withhold: list[Window]


class Closing:
    """Closes the windows of all projects."""

    def __init__(self, window_seconds: float, remembered: Remembered, budgets: Budgets) -> None:
        self._window = float(window_seconds)
        self._remembered = remembered
        self._budgets = budgets
        self._press = Press()

    def close(self, outbox: Outbox, now: float, limit: int = MAX_CLOSED_AT_ONCE) -> int:
        """Turn windows that have ended into outbox entries; returns how many. Raises Unavailable.

        Payloads are read and packed before the transaction begins: the digest thread waits for no more than the writes.
        """
        with outbox.read() as cursor:
            due = self._due(cursor, now, limit)
        if not due.close and not due.withhold:
            return 0
        packed = [self._affordable(outbox, window) for window in due.close]
        closed = 0
        with outbox.transaction() as cursor:
            for window in due.withhold:
                windows.withhold(cursor, window)
            for window, payload in zip(due.close, packed, strict=True):
                closed += self._close(cursor, window, payload, now)
        return closed

    def _due(self, cursor: sqlite3.Cursor, now: float, limit: int) -> Due:
        before, after = now - self._window - CLOSE_GRACE_SECONDS, now + self._window
        limited = self._budgets.limited
        due = Due(windows.due_windows(cursor, before, after, limit, limited), [])
        for project_id in limited:
            ended = windows.due_of(cursor, project_id, before, after, limit)
            for place, window in enumerate(ended):
                if not self._budgets.may(cursor, project_id, _share(window)):
                    due.withhold.extend(one for one in ended[place:] if not windows.is_withheld(cursor, one))
                    break
                due.close.append(window)
        return due

    def _close(self, cursor: sqlite3.Cursor, window: Window, payload: bytes, now: float) -> int:
        if not self._budgets.take(cursor, window.project_id, len(payload), _share(window)):
            windows.withhold(cursor, window)
            return 0
        taken = windows.take_window(cursor, window)
        if taken is None:
            return 0  # a better exemplar came in between: the next round takes it
        windows.drop_exemplar(cursor, taken)
        waited = windows.end_withheld(cursor, taken)
        put(cursor, self._summary(cursor, taken, payload, now, WITHHELD_KEY if waited else SUMMARY_KEY))
        return 1

    def _affordable(self, outbox: Outbox, window: Window) -> bytes:
        """The payload, without what would be more than the whole budget: else its window could never close."""
        packed = self._payload_of(outbox, window)
        if self._budgets.could(window.project_id, len(packed), _share(window)):
            return packed
        try:
            packed = self._press.pack(slim(self._press.unpack(packed)))
        except (Damaged, msgspec.MsgspecError):
            packed = b""
        if packed and self._budgets.could(window.project_id, len(packed), _share(window)):
            return packed
        with outbox.read() as cursor:
            return self._press.pack(stand_in(windows.issue_line(cursor, window.issue_id), window.last_at))

    def _payload_of(self, outbox: Outbox, window: Window) -> bytes:
        payload = self._remembered.drop(window.exemplar)
        if payload is None:
            with outbox.read() as cursor:
                if packed := windows.exemplar(cursor, window):
                    return packed
                payload = stand_in(windows.issue_line(cursor, window.issue_id), window.last_at)
        return self._press.pack(payload)

    def _summary(self, cursor: sqlite3.Cursor, window: Window, packed: bytes, now: float, kind: str) -> Entry:
        line = windows.issue_line(cursor, window.issue_id)
        event_id = summary_id(window.project_id, window.opener)
        parcel = Parcel(
            version=VERSION,
            kind="summary",
            project_id=window.project_id,
            issue_id=window.issue_id,
            event_id=event_id,
            count=window.events,
            first_at=window.first_at,
            last_at=window.last_at,
            span_seconds=max(self._window, window.exemplar_at - window.window_at),
            users=window.users,
            rank=window.rank,
            hash=line[0] if line else "",
            packed=packed,
        )
        key = f"{kind}{window.issue_id}:{event_id}"
        return Entry(ERROR, ERROR, pack(parcel), EXEMPLAR, window.events, key, now)


def _share(window: Window) -> float:
    if window.rank >= NEW_RANK:
        return NEW_SHARE
    return REGRESSED_SHARE if window.rank >= REGRESSED_RANK else REST_SHARE


def summary_id(project_id: int, opener: bytes) -> str:
    """Event id of the summary of the window that `opener` (16 bytes) began: no other window has the same one."""
    return hashlib.blake2b(opener, digest_size=16, key=b"summary", salt=project_id.to_bytes(8, "big")).hexdigest()
