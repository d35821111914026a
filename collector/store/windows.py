"""Tables of the forward room beside its queue (store/outbox.py), all in state.sqlite.

`forward_windows`: what an issue did since `window_at`, one row an open window. `window_at`: commit time of its first
occurrence, seconds since the epoch; `opener`: that occurrence's event id (16 bytes); `exemplar`: event id of the most
informative one, `rank` how informative, `exemplar_at` its commit time; `users`: see collector.forward.users.
`forward_exemplars`: a payload of each open window as one zstd frame: the first of the best rank, so that it is written
seldom; the newest of that rank is kept in memory and preferred.
`forward_reports`: quantities to report upstream as discarded, by reason and category; `in_flight` 1 once a request
with them may have left.
`forward_counts`: totals since the beginning, by name.
`forward_withheld`: windows that ended and wait for the budget of their project; they go on counting.

The functions take the cursor of a transaction: that of a commit (`on_apply` callback) or of `Outbox.transaction`.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple


class Window(NamedTuple):
    """One row of forward_windows."""

    issue_id: int
    window_at: float
    project_id: int
    events: int
    first_at: float
    last_at: float
    opener: bytes
    exemplar: bytes
    rank: int
    exemplar_at: float
    users: bytes


class Queued(NamedTuple):
    """An outbox entry without its body."""

    id: int
    priority: int
    key: str
    target: str
    category: str
    quantity: int
    created_at: float
    attempts: int
    bytes: int


def latest_window(cursor: sqlite3.Cursor, issue_id: int) -> Window | None:
    """The youngest open window of an issue."""
    row = cursor.execute(
        "SELECT * FROM forward_windows WHERE issue_id = ? ORDER BY window_at DESC LIMIT 1", (issue_id,)
    ).fetchone()
    return Window(*row) if row else None


def withheld_window(cursor: sqlite3.Cursor, issue_id: int) -> Window | None:
    """The window of an issue that waits for a budget."""
    row = cursor.execute(
        "SELECT w.* FROM forward_windows w JOIN forward_withheld USING (issue_id, window_at) WHERE issue_id = ?"
        " ORDER BY window_at DESC LIMIT 1",
        (issue_id,),
    ).fetchone()
    return Window(*row) if row else None


def is_withheld(cursor: sqlite3.Cursor, window: Window) -> bool:
    """True when a window waits for a budget."""
    row = cursor.execute(
        "SELECT 1 FROM forward_withheld WHERE issue_id = ? AND window_at = ?", (window.issue_id, window.window_at)
    ).fetchone()
    return row is not None


def withhold(cursor: sqlite3.Cursor, window: Window) -> None:
    """From now on a window waits for the budget of its project."""
    cursor.execute(
        "INSERT OR IGNORE INTO forward_withheld VALUES (?,?,?)", (window.issue_id, window.window_at, window.project_id)
    )


def end_withheld(cursor: sqlite3.Cursor, window: Window) -> bool:
    """It waits no longer; False when it did not wait."""
    cursor.execute(
        "DELETE FROM forward_withheld WHERE issue_id = ? AND window_at = ?", (window.issue_id, window.window_at)
    )
    return cursor.rowcount > 0


def withheld(cursor: sqlite3.Cursor, project_id: int) -> tuple[int, int]:
    """(windows, occurrences in them) of a project that wait for its budget."""
    row = cursor.execute(
        "SELECT count(*), coalesce(sum(w.events), 0) FROM forward_windows w"
        " JOIN forward_withheld h USING (issue_id, window_at) WHERE h.project_id = ?",
        (project_id,),
    ).fetchone()
    return int(row[0]), int(row[1])


def due_of(cursor: sqlite3.Cursor, project_id: int, before: float, after: float, limit: int) -> list[Window]:
    """As `due_windows`, of one project, those of the highest rank first."""
    rows = cursor.execute(
        "SELECT * FROM forward_windows WHERE project_id = ? AND (window_at <= ? OR window_at > ?)"
        " ORDER BY rank DESC, window_at, issue_id LIMIT ?",
        (project_id, before, after, limit),
    )
    return [Window(*row) for row in rows.fetchall()]


def save_window(cursor: sqlite3.Cursor, window: Window) -> None:
    """Writes a window, over the row that was there."""
    cursor.execute("INSERT OR REPLACE INTO forward_windows VALUES (?,?,?,?,?,?,?,?,?,?,?)", window)


def due_windows(
    cursor: sqlite3.Cursor, before: float, after: float, limit: int, but_of: Sequence[int] = ()
) -> list[Window]:
    """Windows that began at or before `before`, or after `after` (the clock was set back), oldest first; without those
    of the projects `but_of`."""
    marks = ",".join("?" * len(but_of))
    rows = cursor.execute(
        "SELECT * FROM forward_windows WHERE (window_at <= ? OR window_at > ?)"  # noqa: S608 - only marks
        f" AND project_id NOT IN ({marks}) ORDER BY window_at, issue_id LIMIT ?",
        (before, after, *but_of, limit),
    )
    return [Window(*row) for row in rows.fetchall()]


def open_windows(cursor: sqlite3.Cursor) -> tuple[int, int]:
    """(windows, occurrences in them)."""
    row = cursor.execute("SELECT count(*), coalesce(sum(events), 0) FROM forward_windows").fetchone()
    return int(row[0]), int(row[1])


def drop_window(cursor: sqlite3.Cursor, window: Window) -> None:
    """Removes a window and its payload."""
    cursor.execute(
        "DELETE FROM forward_windows WHERE issue_id = ? AND window_at = ?", (window.issue_id, window.window_at)
    )
    drop_exemplar(cursor, window)


def take_window(cursor: sqlite3.Cursor, window: Window) -> Window | None:
    """Removes a window and returns it as it is now, or None when it is gone or has another exemplar since."""
    row = cursor.execute(
        "DELETE FROM forward_windows WHERE issue_id = ? AND window_at = ? AND exemplar = ? RETURNING *",
        (window.issue_id, window.window_at, window.exemplar),
    ).fetchone()
    return Window(*row) if row else None


def save_exemplar(cursor: sqlite3.Cursor, window: Window, packed: bytes) -> None:
    """Keeps the payload that the summary of a window will carry."""
    cursor.execute(
        "INSERT OR REPLACE INTO forward_exemplars VALUES (?,?,?)", (window.issue_id, window.window_at, packed)
    )


def exemplar(cursor: sqlite3.Cursor, window: Window) -> bytes:
    """The kept payload of a window, b"" without one."""
    row = cursor.execute(
        "SELECT packed FROM forward_exemplars WHERE issue_id = ? AND window_at = ?", (window.issue_id, window.window_at)
    ).fetchone()
    return bytes(row[0]) if row else b""


def drop_exemplar(cursor: sqlite3.Cursor, window: Window) -> None:
    """Removes the kept payload of a window."""
    cursor.execute(
        "DELETE FROM forward_exemplars WHERE issue_id = ? AND window_at = ?", (window.issue_id, window.window_at)
    )


def exemplar_bytes(cursor: sqlite3.Cursor) -> int:
    """Bytes of all kept payloads."""
    return int(cursor.execute("SELECT coalesce(sum(length(packed)), 0) FROM forward_exemplars").fetchone()[0])


def issue_line(cursor: sqlite3.Cursor, issue_id: int) -> tuple[str, str, str, str] | None:
    """(hash, title, culprit, level) of an issue: what a summary says when no payload is left."""
    row = cursor.execute("SELECT hash, title, culprit, level FROM issues WHERE id = ?", (issue_id,)).fetchone()
    return (row[0], row[1], row[2], row[3]) if row else None


def queued(cursor: sqlite3.Cursor, older_than: float | None = None) -> list[Queued]:
    """All entries without their bodies, oldest first; only those created before `older_than` when given."""
    rows = cursor.execute(
        "SELECT id, priority, key, target, category, quantity, created_at, attempts, length(body) FROM outbox"
        " WHERE created_at < ? ORDER BY id",
        (older_than if older_than is not None else 1e18,),
    )
    return [Queued(*row) for row in rows.fetchall()]


def bodies(cursor: sqlite3.Cursor, ids: Sequence[int]) -> list[bytes]:
    """The bodies of entries, in the order of `ids`; entries that are gone are left out."""
    rows = [cursor.execute("SELECT body FROM outbox WHERE id = ?", (number,)).fetchone() for number in ids]
    return [row[0] for row in rows if row]


def replace_body(cursor: sqlite3.Cursor, number: int, body: bytes, quantity: int) -> None:
    """Gives an entry another body."""
    cursor.execute("UPDATE outbox SET body = ?, quantity = ? WHERE id = ?", (body, quantity, number))


def delete(cursor: sqlite3.Cursor, ids: Sequence[int]) -> None:
    """Removes entries."""
    cursor.executemany("DELETE FROM outbox WHERE id = ?", [(number,) for number in ids])


def postpone(cursor: sqlite3.Cursor, ids: Sequence[int], until: float) -> None:
    """Leaves entries in the queue until a wall clock time."""
    cursor.executemany("UPDATE outbox SET not_before = ? WHERE id = ?", [(until, number) for number in ids])


def mark_tried(cursor: sqlite3.Cursor, ids: Sequence[int], tried: int) -> None:
    """Notes before (1) or after (-1) a request that the receiver may know these entries."""
    cursor.executemany("UPDATE outbox SET attempts = attempts + ? WHERE id = ?", [(tried, number) for number in ids])


def oldest_created_at(cursor: sqlite3.Cursor) -> float | None:
    """Wall clock time of the oldest unsent entry."""
    row = cursor.execute("SELECT created_at FROM outbox ORDER BY id LIMIT 1").fetchone()
    return float(row[0]) if row else None


def add_report(cursor: sqlite3.Cursor, reason: str, category: str, quantity: int) -> None:
    """Adds to what is to be reported upstream as discarded."""
    cursor.execute(
        "INSERT INTO forward_reports VALUES (?,?,0,?)"
        " ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity",
        (reason, category, quantity),
    )


def take_reports(cursor: sqlite3.Cursor) -> list[tuple[str, str, int]]:
    """(reason, category, quantity) of all that is to be reported; from now on it counts as in flight."""
    rows = cursor.execute("SELECT reason, category, quantity FROM forward_reports WHERE in_flight = 0").fetchall()
    cursor.execute("UPDATE forward_reports SET in_flight = 1 WHERE in_flight = 0")
    return [(row[0], row[1], row[2]) for row in rows]


def end_reports(cursor: sqlite3.Cursor) -> int:
    """Forgets what is in flight; returns its quantity."""
    row = cursor.execute("SELECT coalesce(sum(quantity), 0) FROM forward_reports WHERE in_flight = 1").fetchone()
    cursor.execute("DELETE FROM forward_reports WHERE in_flight = 1")
    return int(row[0])


def has_reports(cursor: sqlite3.Cursor) -> bool:
    """True when something is to be reported."""
    return cursor.execute("SELECT 1 FROM forward_reports WHERE in_flight = 0 LIMIT 1").fetchone() is not None


def count(cursor: sqlite3.Cursor, name: str, quantity: int) -> None:
    """Adds to a total."""
    cursor.execute(
        "INSERT INTO forward_counts VALUES (?,?) ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity",
        (name, quantity),
    )


def counts(cursor: sqlite3.Cursor) -> dict[str, int]:
    """All totals."""
    return {str(row[0]): int(row[1]) for row in cursor.execute("SELECT name, quantity FROM forward_counts").fetchall()}
