"""What a damaged state.sqlite still tells and no segment does: what waits to be sent, and what people decided.

All of it or nothing: only with every row of every such table, and the mark up to which they were kept, can the commits
behind the mark be told to forward again without telling any of them twice.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from collector.store.quarantine import Quarantine
from collector.store.state import State

# Written by forward and by the exchange of statuses with upstream; every other table is computed from the deltas.
ONLY_HERE = ("outbox", "forward_", "upstream_")
DECIDED = "decided"  # key in meta: statuses that wait for their issues

log = structlog.get_logger("store")


class Table(NamedTuple):
    """All rows of one table."""

    name: str
    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]


class Salvage(NamedTuple):
    """told_no: the last commit that the tables contain. statuses: issue id and status where it is not the usual one.
    outbox: entries that wait to be sent."""

    told_no: int
    tables: Sequence[Table]
    statuses: Sequence[tuple[int, str]]

    @property
    def outbox(self) -> int:
        return sum(len(table.rows) for table in self.tables if table.name == "outbox")


def salvage(path: Path) -> Salvage | None:
    """Reads what only this file has; None when some of it cannot be read, or there is no file."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
            tables = [_table(connection, name) for (name,) in names if name.startswith(ONLY_HERE)]
            mark = connection.execute("SELECT value FROM meta WHERE key = 'mark_no'").fetchone()
            statuses = connection.execute("SELECT id, status FROM issues WHERE status <> 'unresolved'").fetchall()
    except sqlite3.Error as error:
        log.warning("the outbox in it cannot be read; what is younger than an hour is made again", why=str(error))
        return None
    return Salvage(int(mark[0]) if mark else 0, tables, statuses)


def set_aside(path: Path, quarantine: Quarantine, max_users: int, why: str) -> None:
    """Puts state.sqlite into quarantine and begins a new one with what only the old one had; opening the store
    computes the rest from the segments. Raises Unavailable, Damaged."""
    log.error("state.sqlite set aside; it is computed again from the segments", why=why)
    found = salvage(path)
    for suffix in ("-wal", "-shm", ""):
        quarantine.move(path.with_name(path.name + suffix))
    if found is not None:
        state = State.open(path, max_users, check=False)
        try:
            with state.transaction() as cursor:
                put_back(cursor, found)
        finally:
            state.close()


def _table(connection: sqlite3.Connection, name: str) -> Table:
    cursor = connection.execute(f'SELECT * FROM "{name}"')  # noqa: S608 - a name from this very file
    return Table(name, [column[0] for column in cursor.description], cursor.fetchall())


def put_back(cursor: sqlite3.Cursor, found: Salvage) -> None:
    """Writes it into a new state.sqlite whose tables are still empty."""
    for table in found.tables:
        there = {row[1] for row in cursor.execute(f'PRAGMA table_info("{table.name}")')}
        kept = [number for number, column in enumerate(table.columns) if column in there]
        if kept and table.rows:
            names = ", ".join(f'"{table.columns[number]}"' for number in kept)
            marks = ", ".join("?" * len(kept))
            cursor.executemany(
                f'INSERT OR IGNORE INTO "{table.name}"({names}) VALUES ({marks})',  # noqa: S608
                [tuple(row[number] for number in kept) for row in table.rows],
            )
    decided = msgspec.json.encode(found.statuses).decode()
    cursor.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)", [("mark_told", found.told_no), (DECIDED, decided)])


def put_statuses_back(cursor: sqlite3.Cursor) -> None:
    """What people had decided about issues, now that these are there again."""
    row = cursor.execute("SELECT value FROM meta WHERE key = ?", (DECIDED,)).fetchone()
    if row is not None:
        decided = msgspec.json.decode(row[0], type=list[tuple[int, str]])
        cursor.executemany("UPDATE issues SET status = ? WHERE id = ?", [(status, issue) for issue, status in decided])
        cursor.execute("DELETE FROM meta WHERE key = ?", (DECIDED,))
