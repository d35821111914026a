"""The process that runs one ad-hoc statement, and nothing else: `python -m collector.query.sandbox`, Job on stdin.

Order: limits of the process, attach the segments read-only, load what comes from state.sqlite, make the views; then
lock: no external access, no change of settings. Only then the statement is even parsed. What still gets past memory
limits (string functions do) meets RLIMIT_DATA; what gets past time limits meets the parent's SIGKILL.
"""

import os
import re
import resource
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import msgspec

from collector.errors import ProtocolError
from collector.query.derived import DERIVED
from collector.query.guard import check
from collector.query.job import Job, Verdict
from collector.query.render import RENDERERS, Head
from collector.query.unpacking import register
from collector.query.views import VIEWS, View, derived_view_sql, segment_view_sql
from collector.store.engine import quoted

PAGE_ROWS = 200
CATALOGUE = re.compile(r"\b(show|describe|summarize|duckdb_views|duckdb_columns|information_schema)\b", re.IGNORECASE)
PROCESS_BYTES = 384 << 20  # interpreter, DuckDB's own memory and one large value, beside memory_limit


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


def limit_process(job: Job) -> None:
    """Caps memory, processor time, files and core dumps of this process."""
    data = job.memory_limit_bytes + PROCESS_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    seconds = int(job.timeout_seconds * 2) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (job.max_result_bytes + PROCESS_BYTES, job.max_result_bytes + PROCESS_BYTES)
    )


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
    return duckdb.connect(":memory:", config=config)


def attach(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> tuple[list[str], list[str]]:
    """(aliases, files that could not be opened). A damaged file must not hide the others."""
    aliases: list[str] = []
    skipped: list[str] = []
    for number, path in enumerate(paths):
        alias = f"segment_{number}"
        try:
            connection.execute(f"ATTACH {quoted(path)} AS {alias} (READ_ONLY)")
            connection.execute(f"SELECT 1 FROM {alias}.events LIMIT 0").fetchall()  # noqa: S608 - our own alias
            aliases.append(alias)
        except duckdb.Error:
            skipped.append(Path(path).name)
    return aliases, skipped


def make_views(connection: duckdb.DuckDBPyConnection, aliases: list[str], state: str, sql: str) -> None:
    """All documented views. Those of state.sqlite are only filled when the statement mentions them."""
    source = sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=5) if state else None
    try:
        connection.execute("CREATE TABLE project_slugs(project_id UBIGINT, slug VARCHAR)")
        if source is not None:
            _insert(
                connection, "project_slugs", ["UBIGINT", "VARCHAR"], source.execute("SELECT id, slug FROM projects")
            )
        for view in VIEWS:
            _make_view(connection, view, aliases, source, sql)
        wanted = {view.name for view in DERIVED if _mentions(sql, view.name) or CATALOGUE.search(sql)}
        wanted |= {name for view in DERIVED if view.name in wanted for name in view.needs}
        for view in DERIVED:
            if view.name in wanted:
                _make_view(connection, view, aliases, source, sql)
    finally:
        if source is not None:
            source.close()


def _mentions(sql: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", sql, re.IGNORECASE) is not None


def _make_view(connection: duckdb.DuckDBPyConnection, view: View, aliases: list[str], state: sqlite3.Connection | None,
               sql: str) -> None:  # fmt: skip
    if view.source:
        connection.execute(segment_view_sql(view, aliases))
    elif view.body:
        connection.execute(derived_view_sql(view))
    else:
        _load(connection, view, state, sql)


def _load(connection: duckdb.DuckDBPyConnection, view: View, source: sqlite3.Connection | None, sql: str) -> None:
    columns = ", ".join(f'"{column.name}" {column.type}' for column in view.columns)
    connection.execute(f"CREATE TABLE state_{view.name}({columns})")
    if source is not None and _mentions(sql, view.name) and _has_table(source, view.state_sql):
        types = ["BIGINT" if column.type == "TIMESTAMP" else column.type for column in view.columns]
        casts = [f"make_timestamp(c{number})" if column.type == "TIMESTAMP" else f"c{number}"
                 for number, column in enumerate(view.columns)]  # fmt: skip
        _insert(connection, f"state_{view.name}", types, source.execute(view.state_sql), casts)
    connection.execute(f"CREATE VIEW {view.name} AS SELECT * FROM state_{view.name}")  # noqa: S608 - our own name


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


def explain_error(error: duckdb.Error, sql: str) -> str:
    """One sentence, with line and column where DuckDB knows them."""
    text = str(error)
    start = text.find("{")
    try:
        facts = msgspec.json.decode(text[start:]) if start >= 0 else {}
    except msgspec.DecodeError:
        facts = {}
    if not isinstance(facts, dict) or "exception_message" not in facts:
        place = re.search(r"\nLINE (\d+): (.*)\n( *)\^", text)
        sentence = text.split("\n")[0]
        return f"{sentence} (line {place[1]})" if place else sentence
    sentence = f"{facts.get('exception_type', '')} error: {facts['exception_message']}".replace("\n", "; ")
    if "position" in facts:
        before = sql.encode("utf-8", "replace")[: int(facts["position"])].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        sentence += f" (line {line}, column {column})"
    return sentence


def execute(connection: duckdb.DuckDBPyConnection, job: Job, out: BinaryIO) -> Verdict:
    """Checks and runs the statement on a locked instance, writes the answer to `out`."""
    try:
        check(connection, job.sql)
        if job.format == "parquet":
            return _to_parquet(connection, job)
        cursor = connection.execute(job.sql)
        head = Head([str(column[0]) for column in cursor.description or []],
                    [str(column[1]) for column in cursor.description or []])  # fmt: skip
        answer = Answer(cursor, job)
        for part in RENDERERS[job.format](head, answer.pages()):
            answer.bytes += len(part)
            out.write(part)
        out.flush()
    except ProtocolError as error:
        return Verdict(error=error.detail)
    except duckdb.InterruptException:
        return Verdict(error=f"the query ran longer than its time limit of {job.timeout_seconds:g} s")
    except (duckdb.OutOfMemoryException, MemoryError):
        return Verdict(error=f"the query needs more than its memory limit of {job.memory_limit_bytes >> 20} MiB")
    except duckdb.Error as error:
        return Verdict(error=explain_error(error, job.sql))
    return Verdict(answer.rows, bool(answer.cut_by), answer.cut_by)


def _to_parquet(connection: duckdb.DuckDBPyConnection, job: Job) -> Verdict:
    """Has DuckDB write the answer; one row more than allowed tells whether it was cut."""
    select = f"SELECT * FROM ({job.sql.rstrip().rstrip(';')}\n) LIMIT {job.max_rows}"  # noqa: S608 - passed the guard
    connection.execute(f"COPY ({select}) TO {quoted(job.out)} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
    rows = connection.execute(f"SELECT count(*) FROM read_parquet({quoted(job.out)})").fetchall()[0][0]  # noqa: S608
    return Verdict(rows, rows == job.max_rows, "max_rows" if rows == job.max_rows else "")


def prepare(job: Job) -> tuple[duckdb.DuckDBPyConnection, list[str]]:
    """A locked instance with all views, and the segments that could not be opened."""
    connection = connect(job)
    aliases, skipped = attach(connection, job.segments)
    register(connection, aliases)
    make_views(connection, aliases, job.state, job.sql)
    lock(connection, job.timeout_seconds, job.out)
    return connection, skipped


def run(job: Job) -> Verdict:
    """The whole job; the answer goes to stdout."""
    started = time.monotonic()  # the parent measures the limits; this is only told to the user
    connection, skipped = prepare(job)
    verdict = execute(connection, job, sys.stdout.buffer)
    return msgspec.structs.replace(verdict, skipped=skipped, seconds=round(time.monotonic() - started, 4))


def main() -> int:
    """The child's entry: exit 0 with an answer, 1 with a sentence."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    limit_process(job)
    verdict = run(job)
    sys.stderr.buffer.write(b"\n" + msgspec.json.encode(verdict) + b"\n")
    sys.stderr.flush()
    return 1 if verdict.error else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # nothing is left to do; taking DuckDB and its functions apart costs 20 ms and may print
