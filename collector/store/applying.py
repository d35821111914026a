"""One delta written into the tables of state.sqlite, inside the caller's transaction.

`issues.users` is exact up to `max_users_per_issue` distinct users. Beyond, the table `issue_users` keeps the smallest
`max_users` hashes of each issue and the count is estimated from the largest of them (k minimum values; standard error
1/sqrt(k-2), 3.1 % for 1024); it never falls.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence

from collector.store.batches import write_told
from collector.store.delta import REGRESSED, SUMMARISED, Delta, Occurrence, configs_of
from collector.store.issues import short_id

HASH_SPACE = 1 << 63
MAX_RECENT_PAIRS = 20_000

ADD_LEDGER = "INSERT INTO ledger VALUES (?,?) ON CONFLICT(key) DO UPDATE SET quantity = quantity + excluded.quantity"
UNACCOUNTED = "dropped:invalid:internal"


class Users:
    """Distinct users per issue; remembers pairs seen lately so that a loud user costs no SQL."""

    def __init__(self, max_users: int) -> None:
        self._max = max_users
        self._recent: OrderedDict[tuple[int, int], None] = OrderedDict()

    def forget(self) -> None:
        """After a rollback: what was remembered may not be in the table."""
        self._recent.clear()

    def add(self, cursor: sqlite3.Cursor, occurrences: Sequence[Occurrence]) -> None:
        """Counts the users of these occurrences."""
        pairs = {(one.issue_id, one.user) for one in occurrences if one.user}
        by_issue: dict[int, list[int]] = {}
        for issue_id, user in pairs - self._recent.keys():
            by_issue.setdefault(issue_id, []).append(user)
        for issue_id, users in by_issue.items():
            self._add(cursor, issue_id, users)
        for pair in pairs:
            self._recent[pair] = None
            self._recent.move_to_end(pair)
        while len(self._recent) > MAX_RECENT_PAIRS:
            self._recent.popitem(last=False)

    def _add(self, cursor: sqlite3.Cursor, issue_id: int, users: list[int]) -> None:
        row = cursor.execute("SELECT users FROM issues WHERE id = ?", (issue_id,)).fetchone()
        if row is None:
            return
        room = max(0, self._max - row[0])
        if users[:room]:
            cursor.executemany("INSERT OR IGNORE INTO issue_users VALUES (?,?)",
                               [(issue_id, user) for user in users[:room]])  # fmt: skip
            if cursor.rowcount:
                cursor.execute("UPDATE issues SET users = users + ? WHERE id = ?", (cursor.rowcount, issue_id))
        for user in users[room:]:
            self._estimate(cursor, issue_id, user)

    def _estimate(self, cursor: sqlite3.Cursor, issue_id: int, user: int) -> None:
        """One user more or less beyond the bound."""
        kept = cursor.execute("SELECT count(*) FROM issue_users WHERE issue_id = ?", (issue_id,)).fetchone()[0]
        largest = self._largest(cursor, issue_id)
        if kept >= self._max and user >= largest:
            return
        cursor.execute("INSERT OR IGNORE INTO issue_users VALUES (?,?)", (issue_id, user))
        if cursor.rowcount != 1:
            return
        if kept < self._max:
            cursor.execute("UPDATE issues SET users = users + 1 WHERE id = ?", (issue_id,))
            return
        cursor.execute("DELETE FROM issue_users WHERE issue_id = ? AND user = ?", (issue_id, largest))
        estimate = (self._max - 1) * HASH_SPACE // max(1, self._largest(cursor, issue_id))
        cursor.execute("UPDATE issues SET users = max(users, ?) WHERE id = ?", (estimate, issue_id))

    def _largest(self, cursor: sqlite3.Cursor, issue_id: int) -> int:
        row = cursor.execute("SELECT max(user) FROM issue_users WHERE issue_id = ?", (issue_id,)).fetchone()
        return int(row[0] or 0)


def write_delta(cursor: sqlite3.Cursor, delta: Delta, users: Users) -> None:
    """Adds everything a delta holds."""
    if delta.new_issues:
        _new_issues(cursor, delta)
    if delta.hashes:
        cursor.executemany("INSERT OR IGNORE INTO hashes VALUES (?,?,?)", delta.hashes)
        cursor.executemany("INSERT OR IGNORE INTO hash_configs VALUES (?,?)", configs_of(delta))
    if delta.retitled:
        cursor.executemany(
            "UPDATE issues SET title = ?, culprit = ?, level = ? WHERE id = ?",
            [(one.title, one.culprit, one.level, one.issue_id) for one in delta.retitled],
        )
    _occurrences(cursor, delta.occurrences)
    users.add(cursor, delta.occurrences)
    if delta.fills:
        cursor.executemany("INSERT OR REPLACE INTO issue_fills VALUES (?,?,?,?)", delta.fills)
    _outcomes_and_ledger(cursor, delta)
    write_told(cursor, delta.told)


def move_hashes(cursor: sqlite3.Cursor, delta: Delta) -> None:
    """The issues that hashes were given by hand, and those that were made for it."""
    if delta.moves:
        _new_issues(cursor, delta)
        cursor.executemany("INSERT OR REPLACE INTO hashes VALUES (?,?,?)", delta.moves)
        cursor.executemany("INSERT OR IGNORE INTO hash_configs VALUES (?,?)", configs_of(delta))


def _new_issues(cursor: sqlite3.Cursor, delta: Delta) -> None:
    slugs = dict(cursor.execute("SELECT id, slug FROM projects").fetchall())
    for one in delta.new_issues:
        slug = slugs.setdefault(one.project_id, str(one.project_id))
        cursor.execute(
            "INSERT INTO issues(id, project_id, short_id, hash, title, culprit, level, first_seen, last_seen)"
            " VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO NOTHING",
            (one.id, one.project_id, short_id(slug, one.short_no), one.hash, one.title, one.culprit, one.level, one.at,
             one.at),
        )  # fmt: skip
        cursor.execute(
            "INSERT INTO projects VALUES (?,?,?) ON CONFLICT(id) DO UPDATE SET"
            " last_short_no = max(last_short_no, excluded.last_short_no)",
            (one.project_id, slug, one.short_no),
        )


def _occurrences(cursor: sqlite3.Cursor, occurrences: Sequence[Occurrence]) -> None:
    sums: dict[int, tuple[int, int, float, float, int]] = {}
    hours: dict[tuple[int, int], int] = {}
    for one in occurrences:
        count, kept, first, last, flags = sums.get(one.issue_id, (0, 0, one.at, one.at, 0))
        kept += 0 if one.flags & SUMMARISED else 1
        sums[one.issue_id] = (count + one.count, kept, min(first, one.at), max(last, one.until), flags | one.flags)
        hour = (one.issue_id, int(one.at) // 3600 * 3600)
        hours[hour] = hours.get(hour, 0) + one.count
    cursor.executemany(
        "UPDATE issues SET count = count + ?, kept = kept + ?, first_seen = min(first_seen, ?),"
        " last_seen = max(last_seen, ?) WHERE id = ?",
        [(count, kept, first, last, issue_id) for issue_id, (count, kept, first, last, _) in sums.items()],
    )
    cursor.executemany(
        "INSERT INTO issue_hours VALUES (?,?,?)"
        " ON CONFLICT(issue_id, hour) DO UPDATE SET count = count + excluded.count",
        [(*hour, count) for hour, count in hours.items()],
    )
    regressed = [(issue_id,) for issue_id, entry in sums.items() if entry[4] & REGRESSED]
    if regressed:
        cursor.executemany("UPDATE issues SET status = 'unresolved' WHERE id = ?", regressed)


def _outcomes_and_ledger(cursor: sqlite3.Cursor, delta: Delta) -> None:
    ledger = {"stored": delta.stored, "summarised": delta.summarised, UNACCOUNTED: delta.unaccounted}
    for one in delta.outcomes:
        key = f"dropped:{one.outcome}:{one.reason}" if one.reason else f"dropped:{one.outcome}"
        ledger[key] = ledger.get(key, 0) + one.items
    cursor.executemany(ADD_LEDGER, [entry for entry in ledger.items() if entry[1]])
    if delta.outcomes or delta.accepted:
        cursor.executemany(
            "INSERT INTO outcomes VALUES (?,?,?,?,?,?,?,?)"
            " ON CONFLICT(minute, project_id, public_key, category, outcome, reason)"
            " DO UPDATE SET quantity = quantity + excluded.quantity, items = items + excluded.items",
            [(one.minute, one.project_id, one.public_key, one.category, one.outcome, one.reason, one.quantity,
              one.items) for one in (*delta.outcomes, *delta.accepted)],
        )  # fmt: skip
