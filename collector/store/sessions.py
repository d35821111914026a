"""Tables of sessions on their way upstream, in state.sqlite beside those of collector.store.windows.

`forward_sessions`: sessions that began here and have not ended, one row each; `body` is the newest update as JSON,
`errored` 1 once any update had errors, `seen_at` commit time of the first update.
`forward_session_counts`: ended sessions by project, release, environment, minute in which they started and user
(`did`, "" for none), `opened_at` commit time of the first of them.
"""

import sqlite3
from typing import NamedTuple

STATUSES = ("exited", "errored", "abnormal", "crashed", "unhandled")


class Held(NamedTuple):
    """A session that goes on."""

    project_id: int
    sid: str
    seen_at: float
    errored: int
    body: bytes


class Tally(NamedTuple):
    """Sessions that are counted alike. minute: seconds since the epoch, a multiple of 60."""

    project_id: int
    release: str
    environment: str
    minute: int
    did: str
    exited: int = 0
    errored: int = 0
    abnormal: int = 0
    crashed: int = 0
    unhandled: int = 0

    @property
    def sessions(self) -> int:
        """How many."""
        return sum(self[5:])


def held(cursor: sqlite3.Cursor, project_id: int, sid: str) -> Held | None:
    """The open session with this id."""
    row = cursor.execute(
        "SELECT project_id, sid, seen_at, errored, body FROM forward_sessions WHERE project_id = ? AND sid = ?",
        (project_id, sid),
    ).fetchone()
    return Held(*row) if row else None


def hold(cursor: sqlite3.Cursor, session: Held) -> None:
    """Keeps a session open, over what was known of it."""
    cursor.execute(
        "INSERT OR REPLACE INTO forward_sessions(project_id, sid, seen_at, errored, body) VALUES (?,?,?,?,?)", session
    )


def release_held(cursor: sqlite3.Cursor, project_id: int, sid: str) -> None:
    """Forgets an open session."""
    cursor.execute("DELETE FROM forward_sessions WHERE project_id = ? AND sid = ?", (project_id, sid))


def held_longer(cursor: sqlite3.Cursor, before: float, after: float, limit: int) -> list[Held]:
    """Open sessions first seen before `before`, or after `after` (the clock was set back)."""
    rows = cursor.execute(
        "SELECT project_id, sid, seen_at, errored, body FROM forward_sessions WHERE seen_at <= ? OR seen_at > ?"
        " ORDER BY seen_at LIMIT ?",
        (before, after, limit),
    )
    return [Held(*row) for row in rows.fetchall()]


def count(cursor: sqlite3.Cursor, tally: Tally, at: float) -> None:
    """Adds to what is counted."""
    cursor.execute(
        "INSERT INTO forward_session_counts VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
        " exited = exited + excluded.exited, errored = errored + excluded.errored,"
        " abnormal = abnormal + excluded.abnormal, crashed = crashed + excluded.crashed,"
        " unhandled = unhandled + excluded.unhandled",
        (*tally, at),
    )


def due_groups(cursor: sqlite3.Cursor, before: float, after: float, limit: int) -> list[tuple[int, str, str]]:
    """(project, release, environment) of which something was counted at or before `before`, or after `after`."""
    rows = cursor.execute(
        "SELECT DISTINCT project_id, release, environment FROM forward_session_counts"
        " WHERE opened_at <= ? OR opened_at > ? LIMIT ?",
        (before, after, limit),
    )
    return [(row[0], row[1], row[2]) for row in rows.fetchall()]


def take(cursor: sqlite3.Cursor, group: tuple[int, str, str], limit: int) -> list[Tally]:
    """Removes up to `limit` counts of a group and returns them, oldest minute first."""
    rows = cursor.execute(
        "SELECT project_id, release, environment, minute, did, exited, errored, abnormal, crashed, unhandled"
        " FROM forward_session_counts WHERE project_id = ? AND release = ? AND environment = ?"
        " ORDER BY minute, did LIMIT ?",
        (*group, limit),
    ).fetchall()
    cursor.executemany(
        "DELETE FROM forward_session_counts WHERE project_id = ? AND release = ? AND environment = ?"
        " AND minute = ? AND did = ?",
        [row[:5] for row in rows],
    )
    return [Tally(*row) for row in rows]


def waiting(cursor: sqlite3.Cursor) -> tuple[int, int, int]:
    """(open sessions, counted sessions, rows they take)."""
    opened = cursor.execute("SELECT count(*) FROM forward_sessions").fetchone()[0]
    row = cursor.execute(
        "SELECT coalesce(sum(exited + errored + abnormal + crashed + unhandled), 0), count(*)"
        " FROM forward_session_counts"
    ).fetchone()
    return int(opened), int(row[0]), int(row[1])
