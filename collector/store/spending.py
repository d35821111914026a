"""What projects have spent of their budgets, and a clock that counts only time that passed while the machine ran.

`forward_facts`: small facts of the forward room by key; `ran_seconds` and `seen_monotonic` are the clock: the seconds
counted so far and the monotonic time at which that was. A monotonic time below the seen one means that the machine was
started again; then what it shows is what has passed at least. So setting the wall clock moves nothing.
`forward_spent`: amounts by project, kind of budget and slot of that clock.
"""

import sqlite3

EVENTS, BYTES = "events", "bytes"
SLOTS_KEPT = {EVENTS: 61, BYTES: 97}  # one more than the span has: the oldest may lie in it only partly
SLOT_SECONDS = {EVENTS: 60, BYTES: 900}  # of an hour, of a day


def fact(cursor: sqlite3.Cursor, key: str) -> float | None:
    """A fact, None when unknown."""
    row = cursor.execute("SELECT value FROM forward_facts WHERE key = ?", (key,)).fetchone()
    return float(row[0]) if row else None


def note(cursor: sqlite3.Cursor, key: str, value: float) -> None:
    """Keeps a fact."""
    cursor.execute("INSERT OR REPLACE INTO forward_facts VALUES (?,?)", (key, value))


def ran_seconds(cursor: sqlite3.Cursor, monotonic: float) -> float:
    """The clock's time now; `ran` writes it down."""
    ran, seen = fact(cursor, "ran_seconds") or 0.0, fact(cursor, "seen_monotonic")
    if seen is None:
        return ran
    return ran + (monotonic - seen if monotonic >= seen else max(0.0, monotonic))


def ran(cursor: sqlite3.Cursor, monotonic: float) -> float:
    """The clock's time now, kept for later."""
    now = ran_seconds(cursor, monotonic)
    note(cursor, "ran_seconds", now)
    note(cursor, "seen_monotonic", monotonic)
    return now


def spent(cursor: sqlite3.Cursor, project_id: int, what: str, at: float) -> int:
    """What was spent in the last hour (EVENTS) or day (BYTES); `at`: time of the clock."""
    since = int(at) // SLOT_SECONDS[what] - SLOTS_KEPT[what]
    row = cursor.execute(
        "SELECT coalesce(sum(amount), 0) FROM forward_spent WHERE project_id = ? AND what = ? AND slot > ?",
        (project_id, what, since),
    ).fetchone()
    return int(row[0])


def spend(cursor: sqlite3.Cursor, project_id: int, what: str, at: float, amount: int) -> None:
    """Adds to what was spent; forgets what is older than the span."""
    slot = int(at) // SLOT_SECONDS[what]
    cursor.execute(
        "INSERT INTO forward_spent VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        (project_id, what, slot, amount),
    )
    cursor.execute(
        "DELETE FROM forward_spent WHERE project_id = ? AND what = ? AND slot <= ?",
        (project_id, what, slot - SLOTS_KEPT[what]),
    )
