"""Durable queue and roll-ups of the forward room, kept in state.sqlite.

Two ways in. Inside a commit's SQLite transaction (`on_apply` callbacks) use the module functions with the cursor given:
what they write lives and dies with the commit, so a roll-up is never counted twice. From any other thread open an
`Outbox`: its own connection, one short transaction a call, waits up to 5 s for the other writer and then raises
Unavailable.

An entry with a `key` is put once: the same key again is ignored while the entry is there, and forward may keep a mark
of what was sent in `forward_state`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from collector.errors import Unavailable

BUSY_SECONDS = 5.0
ENTRY_OVERHEAD_BYTES = 100  # row, index entries and page slack of one outbox entry, measured about 90 bytes


class Entry(NamedTuple):
    """One thing to send. `priority`: smaller goes first. `quantity`: events it stands for. `created_at`: wall clock."""

    target: str
    category: str
    body: bytes
    priority: int = 5
    quantity: int = 1
    key: str = ""
    created_at: float = 0.0
    not_before: float = 0.0
    attempts: int = 0
    id: int = 0


class Rollup(NamedTuple):
    """What one issue did in one window. `window_at`: its start, seconds since the epoch. `event_id`: 16 bytes, the
    newest event with a payload. `flags`: the OR of the occurrences' flags."""

    issue_id: int
    window_at: int
    project_id: int
    events: int
    first_at: float
    last_at: float
    event_id: bytes
    level: str
    flags: int


def put(cursor: sqlite3.Cursor, entry: Entry) -> int:
    """Appends an entry, returns its id; an entry whose key is already queued is left alone (returns 0)."""
    cursor.execute(
        "INSERT OR IGNORE INTO outbox(priority, created_at, not_before, target, category, quantity, key, body)"
        " VALUES (?,?,?,?,?,?,?,?)",
        (entry.priority, entry.created_at, entry.not_before, entry.target, entry.category, entry.quantity, entry.key,
         entry.body),
    )  # fmt: skip
    return int(cursor.lastrowid or 0) if cursor.rowcount == 1 else 0


def roll_up(cursor: sqlite3.Cursor, rows: Sequence[Rollup]) -> None:
    """Adds counts to their (issue, window); the later event id and level win, flags are joined."""
    cursor.executemany(
        "INSERT INTO rollups VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT(issue_id, window_at) DO UPDATE SET"
        " count = count + excluded.count, first_at = min(first_at, excluded.first_at),"
        " last_at = max(last_at, excluded.last_at), event_id = excluded.event_id, level = excluded.level,"
        " flags = flags | excluded.flags",
        rows,
    )


def due_rollups(cursor: sqlite3.Cursor, before: float, limit: int = 500) -> list[Rollup]:
    """Roll-ups whose window began before `before`, oldest first."""
    cursor.execute("SELECT * FROM rollups WHERE window_at < ? ORDER BY window_at, issue_id LIMIT ?", (before, limit))
    return [Rollup(*row) for row in cursor.fetchall()]


def delete_rollups(cursor: sqlite3.Cursor, rows: Sequence[Rollup]) -> None:
    """Removes roll-ups that became entries; do it in the transaction that puts those."""
    cursor.executemany(
        "DELETE FROM rollups WHERE issue_id = ? AND window_at = ?", [(row.issue_id, row.window_at) for row in rows]
    )


def get_state(cursor: sqlite3.Cursor, key: str) -> Any:
    """A value that forward keeps beside its queue, None when absent."""
    row = cursor.execute("SELECT value FROM forward_state WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def set_state(cursor: sqlite3.Cursor, key: str, value: str | bytes | int | float) -> None:
    """Keeps a value beside the queue."""
    cursor.execute("INSERT OR REPLACE INTO forward_state VALUES (?,?)", (key, value))


class Outbox:
    """The queue seen from its own connection; use one object a thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, state_path: Path) -> Self:
        """Opens the queue in an existing state.sqlite. Raises Unavailable."""
        try:
            connection = sqlite3.connect(
                f"file:{state_path}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
            connection.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error as error:
            raise Unavailable(f"state.sqlite: {error}") from error
        return cls(connection)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """One write transaction; rolled back when the block raises. Raises Unavailable for disk and lock errors."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                cursor.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise Unavailable(f"state.sqlite: {error}") from error
            raise
        finally:
            cursor.close()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Cursor]:
        """A cursor that takes no lock. Raises Unavailable for disk errors."""
        cursor = self._connection.cursor()
        try:
            yield cursor
        except sqlite3.Error as error:
            raise Unavailable(f"state.sqlite: {error}") from error
        finally:
            cursor.close()

    def next_batch(self, target: str, now: float, limit: int = 100, max_bytes: int = 1 << 20) -> list[Entry]:
        """The entries to send next: by priority, then age; none that is postponed beyond `now`; at least one."""
        batch: list[Entry] = []
        taken = 0
        with self.read() as cursor:
            cursor.execute(
                "SELECT target, category, body, priority, quantity, key, created_at, not_before, attempts, id"
                " FROM outbox WHERE target = ? AND not_before <= ? ORDER BY priority, id LIMIT ?",
                (target, now, limit),
            )
            for row in cursor:
                taken += len(row[2])
                if batch and taken > max_bytes:
                    break
                batch.append(Entry(*row))
        return batch

    def put(self, entry: Entry) -> int:
        """Appends one entry outside a commit; returns its id, or 0 when its key is already queued."""
        with self.transaction() as cursor:
            return put(cursor, entry)

    def delete(self, ids: Sequence[int]) -> None:
        """Removes entries that were sent, or given up."""
        with self.transaction() as cursor:
            cursor.executemany("DELETE FROM outbox WHERE id = ?", [(number,) for number in ids])

    def postpone(self, ids: Sequence[int], not_before: float) -> None:
        """Puts entries off until `not_before` (wall clock) and counts the attempt."""
        with self.transaction() as cursor:
            cursor.executemany(
                "UPDATE outbox SET not_before = ?, attempts = attempts + 1 WHERE id = ?",
                [(not_before, number) for number in ids],
            )

    def size(self) -> tuple[int, int]:
        """(entries, bytes) queued, overhead of the rows included."""
        with self.read() as cursor:
            row = cursor.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM outbox").fetchone()
        return int(row[0]), int(row[1]) + int(row[0]) * ENTRY_OVERHEAD_BYTES

    def drop_oldest(self, max_bytes: int) -> list[Entry]:
        """Removes entries, least important and oldest first, until the rest fits; returns them without their bodies."""
        dropped: list[Entry] = []
        entries, used = self.size()
        if used <= max_bytes or not entries:
            return dropped
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT target, category, x'', priority, quantity, key, created_at, not_before, attempts, id,"
                " length(body) FROM outbox ORDER BY priority DESC, id"
            )
            for row in cursor:
                if used <= max_bytes:
                    break
                used -= row[10] + ENTRY_OVERHEAD_BYTES
                dropped.append(Entry(*row[:10]))
            cursor.executemany("DELETE FROM outbox WHERE id = ?", [(entry.id,) for entry in dropped])
        return dropped
