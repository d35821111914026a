"""Takes the rows of expired projects out of a sealed segment: in a process of its own, while the old file serves.

A segment holds all projects, so one that keeps its events for a shorter time than the others is taken out of sealed
files by writing them anew without it: only then the disk really is given back, and nothing of the project is left in
free blocks. The child writes `tmp/rewrite-NAME.duckdb` from the old file, opened read-only; the store then puts it in
place by one rename (collector.store.segments.Segments.replace). Progress rows keep their deltas; their counts are those
of the rows that are left; `seg_info` `removed` adds up the ledger quantity that was taken out. Dictionaries of the
projects go too: they hold pieces of their events.

The child gets source, target, temporary folder, memory limit and project ids; it exits 0 and prints JSON
`[[issue, events], ...]` of what it took out, or exits 1 and prints a sentence.
"""

# ruff: noqa: S608 - our own names and integers are put into SQL

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import duckdb
import msgspec

import collector
from collector.errors import Unavailable
from collector.machine.lifeline import die_with_parent
from collector.store.engine import connect, quoted
from collector.store.payload import read_dictionaries
from collector.store.schema import SEGMENT_DDL
from collector.store.segment import ATTACH_OPTIONS, BLOCK_BYTES

CHILD = "import sys; from collector.store.rewrite import main; sys.exit(main(sys.argv[1:]))"
PREFIX = "rewrite-"
PAGE_BYTES = 8 << 20
CHECKPOINT_PAGES = 4
ROW_BYTES = 600  # of a row beside its payload
MIN_PAGE_ROWS = 50
IssueCounts = list[tuple[int, int]]

# How many of the removed rows lie before a commit's end: by position in the old file.
_COUNTS = """CREATE TEMP TABLE gone_{table} AS SELECT place, row_number() OVER (ORDER BY place) AS many FROM
  (SELECT row_number() OVER (ORDER BY rowid) AS place, project_id FROM s.{table}) WHERE project_id IN ({ids})"""
_PROGRESS = """INSERT INTO t.progress SELECT p.no, p.epoch, p.seq, p.total, p.committed_at,
  p.events - coalesce(e.many, 0), p.items - coalesce(i.many, 0),
  p.stored - coalesce(e.many, 0) - coalesce(i.many, 0), p.delta
  FROM (SELECT *, rowid AS place FROM s.progress) p
  ASOF LEFT JOIN gone_events e ON p.events >= e.place ASOF LEFT JOIN gone_items i ON p.items >= i.place
  ORDER BY p.place"""


class Rewrite:
    """A child at work."""

    def __init__(self, source: Path, project_ids: Collection[int], temp_folder: Path, memory_limit_bytes: int) -> None:
        """Starts it. Raises Unavailable."""
        self.name = source.stem
        self.project_ids = frozenset(project_ids)
        self.target = temp_folder / f"{PREFIX}{source.name}"
        self.target.unlink(missing_ok=True)
        arguments = [sys.executable, "-c", CHILD, str(os.getpid()), str(source), str(self.target), str(temp_folder),
                     str(memory_limit_bytes), ",".join(map(str, sorted(self.project_ids)))]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(Path(collector.__file__).parents[1])}
        try:
            self._child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                           env=environment)  # fmt: skip
        except OSError as error:
            raise Unavailable(f"cannot start a process to rewrite {source.name}: {error}") from error

    @property
    def is_done(self) -> bool:
        """Whether the child has ended; any thread may ask."""
        return self._child.poll() is not None

    def result(self) -> IssueCounts:
        """Events taken out by issue; waits for the child. Raises Unavailable when it failed."""
        out, _ = self._child.communicate()
        if self._child.returncode:
            self.discard()
            raise Unavailable(f"{self.name} could not be rewritten: {out.decode('utf-8', 'replace').strip()}")
        return msgspec.json.decode(out, type=IssueCounts)

    def discard(self) -> None:
        """Stops it and removes what it wrote."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        if self._child.stdout:
            self._child.stdout.close()
        for path in (self.target, self.target.with_name(self.target.name + ".wal")):
            path.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """The child."""
    parent, source, target, temp_folder, memory_limit_bytes, ids = arguments
    die_with_parent(int(parent))
    os.nice(10)
    os.umask(0o077)
    connection = connect(int(memory_limit_bytes), Path(temp_folder))
    try:
        counts = rewrite(connection, Path(source), Path(target), [int(one) for one in ids.split(",")])
    except duckdb.Error as error:
        sys.stdout.write(str(error).split("\n")[0])
        return 1
    finally:
        connection.close()
    sys.stdout.buffer.write(msgspec.json.encode(counts))
    return 0


def rewrite(connection: duckdb.DuckDBPyConnection, source: Path, target: Path, ids: list[int]) -> IssueCounts:
    """Writes `target`; returns the events that are not in it, by issue. Raises duckdb.Error."""
    listed = ", ".join(str(one) for one in ids)
    connection.execute(f"ATTACH {quoted(source)} AS s (READ_ONLY)")
    connection.execute(f"ATTACH {quoted(target)} AS t ({ATTACH_OPTIONS}, BLOCK_SIZE {BLOCK_BYTES})")
    for statement in SEGMENT_DDL:
        connection.execute(statement.format(seg="t"))
    for table in ("events", "items"):
        connection.execute(_COUNTS.format(table=table, ids=listed))
        _copy_rows(connection, table, listed)
    connection.execute(_PROGRESS)
    _copy_facts(connection, set(ids))
    counts = connection.execute(
        f"SELECT issue_id, count(*) FROM s.events WHERE project_id IN ({listed}) GROUP BY 1 ORDER BY 1"
    ).fetchall()
    connection.execute("CHECKPOINT t")
    connection.execute("DETACH t")
    return counts


def _copy_rows(connection: duckdb.DuckDBPyConnection, table: str, listed: str) -> None:
    """In pages and in order: DuckDB keeps the rows of one transaction in memory (measured: 500 MB do not fit in 96)."""
    last, size = connection.execute(
        f"SELECT coalesce(max(rowid), -1), coalesce(avg(octet_length(payload)), 0) + {ROW_BYTES} FROM s.{table}"
    ).fetchall()[0]
    step = max(MIN_PAGE_ROWS, int(PAGE_BYTES / size))
    for page, first in enumerate(range(0, last + 1, step)):
        connection.execute(
            f"INSERT INTO t.{table} BY NAME SELECT * FROM s.{table}"
            f" WHERE rowid BETWEEN {first} AND {first + step - 1} AND project_id NOT IN ({listed})"
        )
        if page % CHECKPOINT_PAGES == CHECKPOINT_PAGES - 1:
            connection.execute("CHECKPOINT t")


def _copy_facts(connection: duckdb.DuckDBPyConnection, ids: set[int]) -> None:
    facts = dict(connection.execute("SELECT k, v FROM s.seg_info").fetchall())
    for number, dictionary in read_dictionaries(facts).items():
        if dictionary.project_id in ids:
            del facts[f"dict:{number}"]
    gone = connection.execute("SELECT count(*) FROM (FROM gone_events UNION ALL FROM gone_items)").fetchall()[0][0]
    facts["removed"] = str(int(facts.get("removed", b"0")) + gone).encode()
    for key, value in facts.items():
        connection.execute("INSERT INTO t.seg_info VALUES (?, ?)", [key, value])
