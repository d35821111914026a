"""Durable queue of the forward room, kept in state.sqlite beside its other tables (collector.store.windows).

Two ways in. Inside a commit's SQLite transaction (`on_apply` callbacks) use `put` with the cursor given: what it writes
lives and dies with the commit. From any other thread open an `Outbox`: its own connection, one short transaction a
call, waits up to 5 s for the other writer and then raises Unavailable.

An entry with a `key` is put once: the same key again is ignored while the entry is there.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

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


def put(cursor: sqlite3.Cursor, entry: Entry) -> int:
    """Appends an entry, returns its id; an entry whose key is already queued is left alone (returns 0)."""
    cursor.execute(
        "INSERT OR IGNORE INTO outbox(priority, created_at, not_before, target, category, quantity, key, body)"
        " VALUES (?,?,?,?,?,?,?,?)",
        (entry.priority, entry.created_at, entry.not_before, entry.target, entry.category, entry.quantity, entry.key,
         entry.body),
    )  # fmt: skip
    return int(cursor.lastrowid or 0) if cursor.rowcount == 1 else 0


class Outbox:
    """The queue seen from its own connection; use one object a thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._inode = _inode(path)

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
        return cls(connection, state_path)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    @property
    def is_replaced(self) -> bool:
        """True when state.sqlite was set aside and made anew since: open the new one."""
        return _inode(self._path) != self._inode

    @contextmanager
    def transaction(self, synced: bool = False) -> Iterator[sqlite3.Cursor]:
        """One write transaction; rolled back when the block raises. Raises Unavailable for disk and lock errors.

        synced: it outlives a power loss, not only the end of the process.
        """
        cursor = self._connection.cursor()
        try:
            if synced:
                cursor.execute("PRAGMA synchronous=FULL")
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
            if synced:
                cursor.execute("PRAGMA synchronous=NORMAL")
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

    def size(self) -> tuple[int, int]:
        """(entries, bytes) queued, overhead of the rows included."""
        with self.read() as cursor:
            row = cursor.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM outbox").fetchone()
        return int(row[0]), int(row[1]) + int(row[0]) * ENTRY_OVERHEAD_BYTES


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
