"""The process that runs one ad-hoc statement, and nothing else: `python -m collector.query.sandbox PARENT`: whose
process id that is; Job on stdin.

Order: out of the network, limits of the process, attach the segments read-only, load what comes from state.sqlite,
make the views; then lock: no external access, no change of settings. Only then the statement is even parsed. What still
gets past memory limits (string functions do) meets RLIMIT_DATA; what gets past time limits meets the kernel's alarm.
"""

import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import msgspec

from collector.errors import ProtocolError
from collector.machine.lifeline import die_with_parent
from collector.query.derived import DERIVED
from collector.query.guard import check
from collector.query.isolation import leave_network, limit_process, set_alarm
from collector.query.job import GRACE_SECONDS, Job, Verdict, shown_bytes
from collector.query.render import RENDERERS, Head
from collector.query.unpacking import register
from collector.query.views import VIEWS, View, after, derived_view_sql, segment_view_sql
from collector.store.engine import quoted

PAGE_ROWS = 200
EXPLAIN = "EXPLAIN "
CATALOGUE = re.compile(r"\b(show|describe|summarize|duckdb_views|duckdb_columns|information_schema)\b", re.IGNORECASE)


class Answer:
    """Rows in pages, counted, cut at the limits."""

    def __init__(self, cursor: Any, job: Job) -> None:
        self._cursor = cursor
        self._job = job
        self.rows = 0
        self.bytes = 0
        self.cut_by = ""

    def pages(self) -> Iterator[list[tuple[Any, ...]]]:
        """Pages of rows until the end, `max_rows`, or `max_result_bytes` (overstepped by one page at most)."""
        while page := self._cursor.fetchmany(PAGE_ROWS):
            room = self._job.max_rows - self.rows
            if len(page) > room:
                self.cut_by = "max_rows"
                page = page[:room]
            if self.bytes > self._job.max_result_bytes:
                self.cut_by = "max_result_bytes"
                return
            self.rows += len(page)
            if page:
                yield page
            if self.cut_by:
                return


def connect(job: Job) -> duckdb.DuckDBPyConnection:
    """An empty instance with the limits of the job."""
    config: dict[str, Any] = {
        "threads": 1,
        "async_threads": 1,
        "memory_limit": f"{job.memory_limit_bytes}B",
        "temp_directory": "",
        "max_temp_directory_size": "0MB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allow_unsigned_extensions": False,
        "python_enable_replacements": False,
        "errors_as_json": True,
    }
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone='UTC'")  # now() then compares with our times, whatever the machine's zone
    return connection


def attach(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> tuple[list[str], list[str]]:
    """(aliases, files that could not be opened). A damaged file must not hide the others."""
    aliases: list[str] = []
    skipped: list[str] = []
    for number, path in enumerate(paths):
        alias = f"segment_{number}"
        try:
            connection.execute(f"ATTACH {quoted(path)} AS {alias} (READ_ONLY)")
            connection.execute(f"SELECT 1 FROM {alias}.events LIMIT 0").fetchall()  # noqa: S608 - our own alias
            connection.execute(f"SELECT max(octet_length(v)) FROM {alias}.seg_info").fetchall()  # noqa: S608
            aliases.append(alias)
        except duckdb.Error:
            skipped.append(Path(path).name)
    return aliases, skipped


def make_views(
    connection: duckdb.DuckDBPyConnection, aliases: list[str], state: str, sql: str, since: float = 0.0
) -> None:
    """All documented views. Those of state.sqlite are only filled when the statement mentions them. `since`: what was
    received before (wall clock seconds) is not in them."""
    source = sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=5) if state else None
    try:
        connection.execute("CREATE TABLE project_slugs(project_id UBIGINT, slug VARCHAR)")
        if source is not None:
            _insert(
                connection, "project_slugs", ["UBIGINT", "VARCHAR"], source.execute("SELECT id, slug FROM projects")
            )
        for view in VIEWS:
            if view.source:
                connection.execute(segment_view_sql(view, aliases, since))
            else:
                _load(connection, view, source, sql, since)
        wanted = {view.name for view in DERIVED if _mentions(sql, view.name) or CATALOGUE.search(sql)}
        wanted |= {name for view in DERIVED if view.name in wanted for name in view.needs}
        for view in DERIVED:
            if view.name not in wanted:
                continue
            if view.body:
                connection.execute(derived_view_sql(view))
            else:
                _load(connection, view, source, sql, since)
    finally:
        if source is not None:
            source.close()


def _mentions(sql: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", sql, re.IGNORECASE) is not None


def _load(connection: duckdb.DuckDBPyConnection, view: View, source: sqlite3.Connection | None, sql: str,
          since: float) -> None:  # fmt: skip
    columns = ", ".join(f'"{column.name}" {column.type}' for column in view.columns)
    connection.execute(f"CREATE TABLE state_{view.name}({columns})")
    if source is not None and _mentions(sql, view.name) and _has_table(source, view.state_sql):
        types = ["BIGINT" if column.type == "TIMESTAMP" else column.type for column in view.columns]
        casts = [f"make_timestamp(c{number})" if column.type == "TIMESTAMP" else f"c{number}"
                 for number, column in enumerate(view.columns)]  # fmt: skip
        _insert(connection, f"state_{view.name}", types, source.execute(view.state_sql), casts)
    where = f" WHERE {after(view.time, since // 60 * 60)}" if view.time and since else ""  # outcomes: by minute
    connection.execute(f"CREATE VIEW {view.name} AS SELECT * FROM state_{view.name}{where}")  # noqa: S608 - our own name


def _has_table(source: sqlite3.Connection, statement: str) -> bool:
    """False for a table that no collector has made yet."""
    try:
        source.execute(f"EXPLAIN {statement}").close()
    except sqlite3.OperationalError:
        return False
    return True


def _insert(connection: duckdb.DuckDBPyConnection, table: str, types: list[str], rows: sqlite3.Cursor,
            casts: list[str] | None = None) -> None:  # fmt: skip
    names = [f"c{number}" for number in range(len(types))]
    values = ", ".join(casts or names)
    appender = connection.query_appender(
        f"INSERT INTO {table} SELECT {values} FROM appender_data",  # noqa: S608 - our own names
        dict(zip(names, types, strict=True)),
    )
    while page := rows.fetchmany(PAGE_ROWS):
        appender.append_rows([tuple(str(v) if t == "VARCHAR" else v for v, t in zip(row, types, strict=True))
                              for row in page])  # fmt: skip
    appender.flush()


def lock(connection: duckdb.DuckDBPyConnection, timeout_seconds: float, out: str = "") -> None:
    """From here on the instance reads what is attached, for a limited time, and nothing can be set. `out`: the one
    file that may be written."""
    if out:
        connection.execute(f"SET allowed_paths=[{quoted(out)}]")
    connection.execute(f"SET max_execution_time={max(1, int(timeout_seconds * 1000))}")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")


def explain_error(error: duckdb.Error, sql: str, ahead: int = 0) -> Verdict:
    """One sentence, with line and column where DuckDB knows them; `sql` has `ahead` characters that are not the
    user's. Without `sql` no place is told."""
    text = str(error)
    start = text.find("{")
    try:
        facts = msgspec.json.decode(text[start:]) if start >= 0 else {}
    except msgspec.DecodeError:
        facts = {}
    if not isinstance(facts, dict) or "exception_message" not in facts:
        place = re.search(r"\nLINE (\d+): (.*)\n( *)\^", text)
        sentence = text.split("\n")[0]
        return Verdict(error=f"{sentence} (line {place[1]})", line=int(place[1])) if place else Verdict(error=sentence)
    sentence = f"{facts.get('exception_type', '')} error: {facts['exception_message']}".replace("\n", "; ")
    if facts.get("exception_type") == "Data Corruption":
        sentence += "; collector verify tells in which file, collector repair sets it aside"
    if "position" not in facts or not sql:
        return Verdict(error=sentence)
    before = sql.encode("utf-8", "replace")[: int(facts["position"])].decode("utf-8", "replace")[ahead:]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return Verdict(error=f"{sentence} (line {line}, column {column})", line=line, column=column)


def execute(connection: duckdb.DuckDBPyConnection, job: Job, out: BinaryIO) -> Verdict:
    """Checks and runs the statement on a locked instance, writes the answer to `out`."""
    try:
        check(connection, job.sql)
        return WRITERS.get(job.format, _as_text)(connection, job, out)
    except ProtocolError as error:
        return Verdict(error=error.detail)
    except duckdb.InterruptException:
        return Verdict(error=f"the query ran longer than its time limit of {job.timeout_seconds:g} s")
    except (duckdb.OutOfMemoryException, MemoryError):
        return Verdict(error=f"the query needs more than its memory limit of {shown_bytes(job.memory_limit_bytes)}")
    except duckdb.Error as error:
        if job.format in WRITERS:
            return _explain_plainly(connection, job.sql) or Verdict(error=explain_error(error, "").error)
        return explain_error(error, job.sql)


def _explain_plainly(connection: duckdb.DuckDBPyConnection, sql: str) -> Verdict | None:
    """A mistake in a statement that we put into another one: where it is in the user's own."""
    try:
        connection.execute(EXPLAIN + sql).fetchall()
    except duckdb.Error as error:
        return explain_error(error, EXPLAIN + sql, len(EXPLAIN))
    return None


def _as_text(connection: duckdb.DuckDBPyConnection, job: Job, out: BinaryIO) -> Verdict:
    cursor = connection.execute(job.sql)
    head = Head([str(column[0]) for column in cursor.description or []],
                [str(column[1]) for column in cursor.description or []])  # fmt: skip
    answer = Answer(cursor, job)
    for part in RENDERERS[job.format](head, answer.pages()):
        answer.bytes += len(part)
        out.write(part)
    out.flush()
    return Verdict(answer.rows, bool(answer.cut_by), answer.cut_by)


def _as_parquet(connection: duckdb.DuckDBPyConnection, job: Job, out: BinaryIO) -> Verdict:
    """Has DuckDB write the answer into the one file that it may write."""
    sql = job.sql.rstrip().rstrip(";")
    select = f"SELECT * FROM ({sql}\n) LIMIT {job.max_rows}"  # noqa: S608 - passed the guard
    connection.execute(f"COPY ({select}) TO {quoted(job.out)} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
    rows = connection.execute(f"SELECT count(*) FROM read_parquet({quoted(job.out)})").fetchall()[0][0]  # noqa: S608
    more = f"SELECT count(*) FROM (SELECT 1 FROM ({sql}\n) LIMIT 1 OFFSET {job.max_rows})"  # noqa: S608
    is_cut = rows == job.max_rows and connection.execute(more).fetchall() == [(1,)]
    return Verdict(rows, is_cut, "max_rows" if is_cut else "")


def _as_arrow(connection: duckdb.DuckDBPyConnection, job: Job, out: BinaryIO) -> Verdict:
    from collector.query.arrow import write_stream

    rows, cut_by = write_stream(connection, job.sql.rstrip().rstrip(";"), job.max_rows, job.max_result_bytes, out)
    return Verdict(rows, bool(cut_by), cut_by)


WRITERS: dict[str, Callable[[duckdb.DuckDBPyConnection, Job, BinaryIO], Verdict]] = {
    "parquet": _as_parquet, "arrow": _as_arrow,
}  # fmt: skip


def state_damaged(error: sqlite3.DatabaseError) -> str:
    """The sentence for a state.sqlite that cannot be read."""
    return f"state.sqlite cannot be read: {error}; collector repair computes it again from the segments"


def prepare(job: Job) -> tuple[duckdb.DuckDBPyConnection, list[str]]:
    """A locked instance with all views, and the segments that could not be opened."""
    connection = connect(job)
    aliases, skipped = attach(connection, job.segments)
    register(connection, aliases, str(Path(job.state).parent) if job.state else "")
    make_views(connection, aliases, job.state, job.sql, job.since)
    lock(connection, job.timeout_seconds, job.out if job.format == "parquet" else "")
    return connection, skipped


def run(job: Job) -> Verdict:
    """The whole job; the answer goes to stdout."""
    started = time.monotonic()  # only told to the user; what limits is DuckDB's clock and the kernel's
    if job.named:
        from collector.query.points import answer_named

        verdict, skipped = answer_named(job, sys.stdout.buffer)
    else:
        try:
            connection, skipped = prepare(job)
        except sqlite3.DatabaseError as error:
            return Verdict(error=state_damaged(error))
        set_alarm(job.timeout_seconds + GRACE_SECONDS)
        verdict = execute(connection, job, sys.stdout.buffer)
    return msgspec.structs.replace(verdict, skipped=skipped, seconds=round(time.monotonic() - started, 4))


def main() -> int:
    """The child's entry: exit 0 with an answer, 1 with a sentence."""
    die_with_parent(int(sys.argv[1]))
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    has_network = not leave_network([*job.segments, *([job.state] if job.state else [])])
    limit_process(job)
    verdict = msgspec.structs.replace(run(job), has_network=has_network)
    sys.stderr.buffer.write(b"\n" + msgspec.json.encode(verdict) + b"\n")
    sys.stderr.flush()
    return 1 if verdict.error else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # nothing is left to do; taking DuckDB and its functions apart costs 20 ms and may print
