"""Statuses of issues: who changed them when, and what an upstream says of the same issue.

`issue_statuses`: the last change of an issue's status. `by`: "person", "upstream" or "regression" (an event after
resolved). An issue without a row was never changed. It is the sum of the deltas.
`upstream_events`: the newest event of an issue that upstream has taken; by it upstream's issue is found.
`upstream_issues`: upstream's id of an issue, "" when it was looked for in vain; `base`: the status on which both sides
agreed last, "" before they did; `checked_at`: when it was looked for.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

UNRESOLVED, RESOLVED, IGNORED = "unresolved", "resolved", "ignored"
STATUSES = (UNRESOLVED, RESOLVED, IGNORED)
PERSON, UPSTREAM, REGRESSION = "person", "upstream", "regression"

STATUS_DDL = """
CREATE TABLE IF NOT EXISTS issue_statuses(
  issue_id INTEGER PRIMARY KEY, status TEXT NOT NULL, at REAL NOT NULL, by TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS upstream_events(
  issue_id INTEGER PRIMARY KEY, event_id TEXT NOT NULL, sent_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS upstream_issues(
  issue_id INTEGER PRIMARY KEY, upstream_id TEXT NOT NULL, base TEXT NOT NULL, checked_at REAL NOT NULL);
"""


class StatusChange(msgspec.Struct, frozen=True, array_like=True):
    """One change, in the delta of its commit. at: seconds since the epoch."""

    issue_id: int
    status: str
    at: float
    by: str


class Linked(NamedTuple):
    """An issue and its counterpart upstream. changed_at: 0.0 when its status was never changed here."""

    issue_id: int
    upstream_id: str
    base: str
    status: str
    changed_at: float


class Unlinked(NamedTuple):
    """An issue of which upstream has taken an event, without a counterpart so far."""

    issue_id: int
    event_id: str


def write_statuses(cursor: sqlite3.Cursor, changes: Sequence[StatusChange]) -> None:
    """Applies decisions of people and of upstream. What upstream decided is agreed at once: an event that re-opens the
    issue before the two are compared again is then a change here, and not one that upstream overrules."""
    for one in changes:
        cursor.execute("UPDATE issues SET status = ? WHERE id = ?", (one.status, one.issue_id))
        _note(cursor, one)
        if one.by == UPSTREAM:
            agree(cursor, [one.issue_id], one.status)


def note_regressions(cursor: sqlite3.Cursor, issue_ids: Iterable[int], at: float) -> None:
    """Events have re-opened these issues."""
    for issue_id in issue_ids:
        _note(cursor, StatusChange(issue_id, UNRESOLVED, at, REGRESSION))


def _note(cursor: sqlite3.Cursor, one: StatusChange) -> None:
    cursor.execute("INSERT OR REPLACE INTO issue_statuses VALUES (?,?,?,?)", (one.issue_id, one.status, one.at, one.by))


def note_delivered(cursor: sqlite3.Cursor, events: Iterable[tuple[int, str]], at: float) -> None:
    """Upstream has taken these events: (issue, event id)."""
    cursor.executemany(
        "INSERT OR REPLACE INTO upstream_events VALUES (?,?,?)", [(issue, event, at) for issue, event in events]
    )


def unlinked(cursor: sqlite3.Cursor, delivered_before: float, checked_before: float, limit: int) -> list[Unlinked]:
    """Issues to look for: those never looked for first. `delivered_before`: upstream needs a moment to store an event;
    `checked_before`: what was not found is looked for again later."""
    rows = cursor.execute(
        "SELECT e.issue_id, e.event_id FROM upstream_events e LEFT JOIN upstream_issues u USING (issue_id)"
        " WHERE e.sent_at <= ? AND (u.issue_id IS NULL OR (u.upstream_id = '' AND u.checked_at <= ?))"
        " ORDER BY coalesce(u.checked_at, 0), e.sent_at DESC LIMIT ?",
        (delivered_before, checked_before, limit),
    )
    return [Unlinked(*row) for row in rows.fetchall()]


def linked(cursor: sqlite3.Cursor, limit: int) -> list[Linked]:
    """Issues with a counterpart: those whose status differs from what was agreed first, then those seen last."""
    rows = cursor.execute(
        "SELECT u.issue_id, u.upstream_id, u.base, i.status, coalesce(s.at, 0.0) FROM upstream_issues u"
        " JOIN issues i ON i.id = u.issue_id LEFT JOIN issue_statuses s ON s.issue_id = u.issue_id"
        " WHERE u.upstream_id <> '' ORDER BY (i.status <> u.base) DESC, i.last_seen DESC LIMIT ?",
        (limit,),
    )
    return [Linked(*row) for row in rows.fetchall()]


def link(cursor: sqlite3.Cursor, issue_id: int, upstream_id: str, at: float) -> None:
    """Notes what was found, "" for nothing. What was agreed with another counterpart is void."""
    cursor.execute("INSERT OR REPLACE INTO upstream_issues VALUES (?,?,'',?)", (issue_id, upstream_id, at))


def agree(cursor: sqlite3.Cursor, issue_ids: Sequence[int], status: str) -> None:
    """Both sides have this status now."""
    cursor.executemany("UPDATE upstream_issues SET base = ? WHERE issue_id = ?", [(status, one) for one in issue_ids])


def links(cursor: sqlite3.Cursor) -> tuple[int, int]:
    """(issues with a counterpart, issues of which upstream has an event but that have none)."""
    found: list[Any] = cursor.execute("SELECT count(*) FROM upstream_issues WHERE upstream_id <> ''").fetchone()
    waiting: list[Any] = cursor.execute(
        "SELECT count(*) FROM upstream_events e LEFT JOIN upstream_issues u USING (issue_id)"
        " WHERE coalesce(u.upstream_id, '') = ''"
    ).fetchone()
    return int(found[0]), int(waiting[0])
