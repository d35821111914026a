"""state.sqlite: issues, outcomes, ledger, catalogue of segments; forward's queue lives in it too.

Everything but `forward`'s own tables and issue states set by people is the sum of the deltas up to `mark`. One
transaction applies one delta, moves the mark and calls `on_apply`; so a delta is applied once, whatever happens.
`synchronous=NORMAL`: after a power loss the newest transactions may be missing, their deltas are applied again.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from collector.errors import ConfigError, Damaged, Unavailable
from collector.model.outcome import DAMAGED
from collector.model.received import START, Position
from collector.store.applying import ADD_LEDGER, Users, move_hashes, write_delta
from collector.store.buckets import IssueRate
from collector.store.delta import AppliedBatch, regressed
from collector.store.issues import IssueIndex, hash_key, short_id
from collector.store.schema import STATE_DDL, STATE_FORMAT
from collector.store.segment import Progress
from collector.store.statuses import note_regressions, write_statuses

OnApply = Callable[[sqlite3.Cursor, AppliedBatch], None]

BUSY_MILLISECONDS = 5000
RECOUNT = "recount_kept"  # key in meta
DAMAGE = ("malformed", "not a database", "disk image", "file is encrypted")


class State:
    """The connection of the store's thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection, max_users: int) -> None:
        self.path = path
        self._connection = connection
        self._users = Users(max_users)
        self.on_apply: list[OnApply] = []

    @classmethod
    def open(cls, path: Path, max_users: int, check: bool) -> Self:
        """Opens or makes the file; `check` reads all of it first (after an unclean end). Raises Damaged, Unavailable,
        ConfigError when it is newer."""
        connection = None
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MILLISECONDS / 1000)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_size=-4096")
            if check and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise Damaged(path, str(found))
            is_old = _lacks_kept(connection)
            connection.executescript(STATE_DDL)
            state = cls(path, connection, max_users)
            if is_old:
                state.add_kept()
            state._check_format()
        except sqlite3.Error as error:
            if connection:
                connection.close()
            raise _translate(error, path) from error
        except (Damaged, ConfigError):
            if connection:
                connection.close()
            raise
        return state

    def add_kept(self) -> None:
        """Brings a file from before `issues.kept` up to date; the counts follow by `set_kept`."""
        with self.transaction() as cursor:
            cursor.execute("ALTER TABLE issues ADD COLUMN kept INTEGER NOT NULL DEFAULT 0")
            cursor.execute("ALTER TABLE issues ADD COLUMN kept_since REAL")
            _set(cursor, RECOUNT, 1)

    def _check_format(self) -> None:
        found = self.get("format")
        if found is None:
            self.set("format", STATE_FORMAT)
        elif found > STATE_FORMAT:
            raise ConfigError([f"{self.path}: written by a newer collector (format {found}, this one reads"
                               f" {STATE_FORMAT}); start that version, or move the file away"])  # fmt: skip

    def close(self) -> None:
        """Closes the connection; SQLite checkpoints its WAL."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """One write transaction. Raises Unavailable, Damaged."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                cursor.execute("ROLLBACK")
            self._users.forget()
            if isinstance(error, sqlite3.Error):
                raise _translate(error, self.path) from error
            raise
        finally:
            cursor.close()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises Unavailable, Damaged."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _translate(error, self.path) from error

    def dicts(self, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All rows of a query with named parameters, as dicts. Raises Unavailable, Damaged."""
        try:
            cursor = self._connection.execute(statement, dict(values))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.Error as error:
            raise _translate(error, self.path) from error

    # -- small facts --------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Any:
        """A value of `meta`, None when absent."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else None

    def set(self, key: str, value: Any) -> None:
        """Sets a value of `meta`."""
        with self.transaction() as cursor:
            _set(cursor, key, value)

    @property
    def mark(self) -> tuple[int, Position]:
        """Number and position of the last commit that is contained."""
        return self._place("mark")

    @property
    def released(self) -> tuple[int, Position]:
        """Number and position of the last commit known to be in a checkpointed, verified file."""
        return self._place("released")

    def _place(self, name: str) -> tuple[int, Position]:
        found = dict(self.rows("SELECT key, value FROM meta WHERE key LIKE ?", (name + "_%",)))
        if f"{name}_no" not in found:
            return 0, START
        return found[f"{name}_no"], Position(*(found[f"{name}_{part}"] for part in ("epoch", "seq", "total")))

    def load_index(self) -> IssueIndex:
        """What the assignment of issues needs in memory."""
        index = IssueIndex()
        for project_id, digest, issue_id in self.rows("SELECT project_id, hash, issue_id FROM hashes"):
            index.known[hash_key(project_id, digest)] = issue_id
        index.configs = {(project_id, config) for project_id, config in self.rows("SELECT * FROM hash_configs")}
        index.resolved = {row[0] for row in self.rows("SELECT id FROM issues WHERE status = 'resolved'")}
        index.short_nos = dict(self.rows("SELECT id, last_short_no FROM projects"))
        index.next_id = self.rows("SELECT coalesce(max(id), 0) + 1 FROM issues")[0][0]
        return index

    def load_fills(self, now: float, rates: Mapping[int, IssueRate]) -> list[tuple[int, int, float, float]]:
        """Rate buckets that were low when the last commit was applied; those that are full again are removed."""
        fills = self.rows("SELECT issue_id, project_id, tokens, at FROM issue_fills ORDER BY at")
        low = [(issue, project, tokens, at) for issue, project, tokens, at in fills
               if (rate := rates.get(project)) and rate.per_second is not None
               and tokens + max(0.0, now - at) * rate.per_second < rate.burst]  # fmt: skip
        kept = {one[0] for one in low}
        with self.transaction() as cursor:
            cursor.executemany(
                "DELETE FROM issue_fills WHERE issue_id = ?", [(one[0],) for one in fills if one[0] not in kept]
            )
        return low

    def name_projects(self, slugs: Mapping[int, str]) -> None:
        """Keeps the slugs, for short ids and for queries."""
        with self.transaction() as cursor:
            cursor.executemany(
                "INSERT INTO projects(id, slug) VALUES (?,?) ON CONFLICT(id) DO UPDATE SET slug = excluded.slug",
                list(slugs.items()),
            )

    def adopt(self, issue_id: int, facts: Sequence[Any]) -> None:
        """Makes an issue again whose first delta is gone. facts: project, hash, title, culprit, level, first seen in
        microseconds."""
        project_id, digest, title, culprit, level, at = facts
        with self.transaction() as cursor:
            row = cursor.execute("SELECT slug, last_short_no FROM projects WHERE id = ?", (project_id,)).fetchone()
            slug, last = row or (str(project_id), 0)
            cursor.execute("INSERT OR REPLACE INTO projects VALUES (?,?,?)", (project_id, slug, last + 1))
            cursor.execute(
                "INSERT INTO issues(id, project_id, short_id, hash, title, culprit, level, first_seen, last_seen)"
                " VALUES (?,?,?,?,?,?,?,?,?)",
                (issue_id, project_id, short_id(slug, last + 1), digest, title or "", culprit or "", level or "error",
                 at / 1e6, at / 1e6),
            )  # fmt: skip
            cursor.execute("INSERT OR IGNORE INTO hashes VALUES (?,?,?)", (project_id, digest, issue_id))
            cursor.execute("INSERT OR IGNORE INTO hash_configs VALUES (?,'')", (project_id,))

    # -- deltas -------------------------------------------------------------------------------------------------------

    def covers(self, position: Position) -> bool:
        """True when the delta of this position is contained, so that it must not be applied again."""
        mark = self.mark[1]
        return position.epoch == mark.epoch and position.seq <= mark.seq

    def apply(self, batch: AppliedBatch, segment: str, progress: Progress) -> None:
        """Applies one commit's delta, once. Raises Unavailable, Damaged."""
        delta = batch.delta
        with self.transaction() as cursor:
            place_no, mark, told_no = _read_mark(cursor)
            if batch.no <= place_no:
                return
            contained = batch.position.epoch == mark.epoch and batch.position.seq <= mark.seq
            if contained:  # its rows were lost with a damaged file after it was counted; the spool brought them again
                _add(cursor, "lost_quantity", -delta.stored)
            else:
                _settle_lost(cursor)
                if batch.position.epoch != mark.epoch:
                    _set(cursor, "epoch_base", _accounted(cursor))
                write_delta(cursor, delta, self._users)
                for callback in self.on_apply if batch.no > told_no else ():
                    callback(cursor, batch)
                note_regressions(cursor, regressed(delta), batch.committed_at)
            move_hashes(cursor, delta)  # in any case: no record of the spool brings them again
            write_statuses(cursor, delta.statuses)
            cursor.execute("INSERT OR REPLACE INTO commits VALUES (?,?,?,?,?,?)",
                           (batch.no, segment, *batch.position, delta.stored))  # fmt: skip
            cursor.execute(
                "UPDATE segments SET events = ?, items = ?, stored = ?, no = ?, last_at = max(coalesce(last_at, 0), ?),"
                " first_at = coalesce(first_at, ?) WHERE name = ?",
                (progress.events, progress.items, progress.stored, batch.no, batch.committed_at, batch.committed_at,
                 segment),
            )  # fmt: skip
            _set_place(cursor, "mark", batch.no, mark if contained else batch.position)

    def release(self, no: int, position: Position) -> None:
        """The commits up to `no` are in verified files."""
        with self.transaction() as cursor:
            _set_place(cursor, "released", no, position)
            cursor.execute("DELETE FROM commits WHERE no <= ?", (no,))

    def expect_again(self, after_no: int) -> int:
        """The rows of the commits after `after_no` are gone from the segments though counted here: the spool should
        bring them again. Returns their ledger quantity; what does not come is later counted as damaged."""
        with self.transaction() as cursor:
            lost = cursor.execute("SELECT coalesce(sum(stored), 0) FROM commits WHERE no > ?", (after_no,)).fetchone()[
                0
            ]
            cursor.execute("DELETE FROM commits WHERE no > ?", (after_no,))
            _add(cursor, "lost_quantity", lost)
        return int(lost)

    def set_aside(self, name: str, why: str) -> int:
        """A segment went to quarantine: its released quantity moves from stored to damaged, the rest is expected from
        the spool. Returns the quantity lost for good."""
        with self.transaction() as cursor:
            row = cursor.execute(
                "SELECT stored FROM segments WHERE name = ? AND state <> 'quarantined'", (name,)
            ).fetchone()
            waiting = cursor.execute(
                "SELECT coalesce(sum(stored), 0) FROM commits WHERE segment = ?", (name,)
            ).fetchone()
            cursor.execute("DELETE FROM commits WHERE segment = ?", (name,))
            cursor.execute("UPDATE segments SET state = 'quarantined', why = ? WHERE name = ?", (why, name))
            lost = max(0, (row[0] if row else 0) - waiting[0])
            _add(cursor, "lost_quantity", waiting[0])
            _move_to_damaged(cursor, lost)
            _set(cursor, RECOUNT, 1)
        return int(lost)

    @property
    def must_recount(self) -> bool:
        """Whether `issues.kept` is not what the segments hold any more."""
        return bool(self.get(RECOUNT))

    def set_kept(self, counts: Mapping[int, int]) -> None:
        """`issues.kept`: events in the segments, by issue."""
        with self.transaction() as cursor:
            cursor.execute("UPDATE issues SET kept = 0 WHERE kept <> 0")
            cursor.executemany("UPDATE issues SET kept = ? WHERE id = ?", [(n, issue) for issue, n in counts.items()])
            _set(cursor, RECOUNT, 0)

    def balance(self, total: int) -> None:
        """After a rebuild: what the spool counted and no delta is left of belongs to segments that were evicted."""
        with self.transaction() as cursor:
            missing = total - (_accounted(cursor) - int(self.get("epoch_base") or 0))
            if missing > 0:
                cursor.executemany(ADD_LEDGER, [("stored", missing), ("evicted", missing)])

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """(ledger by key, dropped by ledger key)."""
        ledger = dict(self.rows("SELECT key, quantity FROM ledger"))
        dropped = {key[8:]: value for key, value in ledger.items() if key.startswith("dropped:")}
        return ledger, dropped


def remove_kept(cursor: sqlite3.Cursor, counts: Iterable[tuple[int, int]], until: float) -> None:
    """Events were removed: (issue, how many), the newest of them received at `until`."""
    cursor.executemany(
        "UPDATE issues SET kept = max(0, kept - ?), kept_since = max(coalesce(kept_since, 0), ?) WHERE id = ?",
        [(count, until, issue) for issue, count in counts],
    )


def mark_recount(cursor: sqlite3.Cursor) -> None:
    """`issues.kept` is to be counted again."""
    _set(cursor, RECOUNT, 1)


def _lacks_kept(connection: sqlite3.Connection) -> bool:
    columns = {row[1] for row in connection.execute("PRAGMA table_info(issues)")}
    return bool(columns) and "kept" not in columns


def _translate(error: sqlite3.Error, path: Path) -> Unavailable | Damaged:
    text = str(error)
    if isinstance(error, sqlite3.DatabaseError) and any(sign in text for sign in DAMAGE):
        return Damaged(path, text)
    return Unavailable(f"{path.name}: {text}")


def _set(cursor: sqlite3.Cursor, key: str, value: Any) -> None:
    cursor.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))


def _add(cursor: sqlite3.Cursor, key: str, value: int) -> None:
    cursor.execute("INSERT INTO meta VALUES (?,?) ON CONFLICT(key) DO UPDATE SET value = value + excluded.value",
                   (key, value))  # fmt: skip


def _set_place(cursor: sqlite3.Cursor, name: str, no: int, position: Position) -> None:
    values = (no, position.epoch, position.seq, position.total)
    cursor.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?,?)",
        [(f"{name}_{part}", value) for part, value in zip(("no", "epoch", "seq", "total"), values, strict=True)],
    )


def _read_mark(cursor: sqlite3.Cursor) -> tuple[int, Position, int]:
    """Number and position of the last commit contained, and of the last one whose callbacks ran in a state.sqlite from
    before this one (collector.store.salvage)."""
    found = dict(cursor.execute("SELECT key, value FROM meta WHERE key LIKE 'mark_%'").fetchall())
    told_no = found.get("mark_told", 0)
    if "mark_no" not in found:
        return 0, START, told_no
    return found["mark_no"], Position(found["mark_epoch"], found["mark_seq"], found["mark_total"]), told_no


def _move_to_damaged(cursor: sqlite3.Cursor, quantity: int) -> None:
    if quantity > 0:
        cursor.executemany(ADD_LEDGER, [("stored", -quantity), (f"dropped:{DAMAGED}", quantity)])


def _accounted(cursor: sqlite3.Cursor) -> int:
    """Ledger quantity that has found its place, over all spools so far."""
    row = cursor.execute(
        "SELECT coalesce(sum(quantity), 0) FROM ledger WHERE key IN ('stored', 'summarised') OR key LIKE 'dropped:%'"
    ).fetchone()
    return int(row[0])


def _settle_lost(cursor: sqlite3.Cursor) -> None:
    """The spool went past what was lost: whatever did not come again is damaged."""
    row = cursor.execute("SELECT value FROM meta WHERE key = 'lost_quantity'").fetchone()
    if row and row[0]:
        _move_to_damaged(cursor, row[0])
        _set(cursor, "lost_quantity", 0)
