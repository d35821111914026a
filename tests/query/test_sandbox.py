"""Ways out of the sandbox, each refused or stopped; the files and the machine stay as they were."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from collector.errors import ProtocolError
from collector.query import adhoc, child
from collector.query.adhoc import Limits, Sources
from collector.query.job import PROCESS_BYTES, Job, shown_bytes
from collector.query.sandbox import execute, prepare
from collector.query.settings import QuerySettings
from tests.helpers.running import wait_for

LIMITS = Limits.of(QuerySettings())

READ_FILES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_json_auto('/etc/passwd')",
    "SELECT * FROM read_ndjson('/etc/passwd')",
    "SELECT * FROM read_json_objects('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_blob('/proc/self/mem')",
    "SELECT * FROM read_parquet('/etc/passwd')",
    "SELECT * FROM parquet_scan('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM parquet_schema('/etc/passwd')",
    "SELECT * FROM parquet_kv_metadata('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM glob('/**')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM '/proc/self/environ'",
    "SELECT * FROM 'http://127.0.0.1:1/x.csv'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
    "FROM read_duckdb('{segment}')",
    "SELECT * FROM sqlite_scan('{state}', 'issues')",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "SELECT * FROM events WHERE message IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM (SELECT * FROM events UNION ALL BY NAME SELECT * FROM read_csv('/etc/passwd'))",
    "SELECT getenv('HOME')",
    "SELECT getvariable('x'), * FROM query('SELECT 1')",
    "SELECT * FROM query_table('/etc/passwd')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM python_map_function()",
    "SELECT * FROM sources",
    "SELECT * FROM job",
]
WRITE_FILES = [
    "COPY (SELECT 1) TO '{out}'",
    "COPY events TO '{out}' (FORMAT parquet)",
    "COPY events FROM '/etc/passwd'",
    "WITH x AS (COPY (SELECT 1) TO '{out}') SELECT 1",
    "SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '{out}') SELECT 1)",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '/tmp'",
    "ATTACH '{out}' AS other",
    "ATTACH '{segment}' AS other",
    "ATTACH ':memory:' AS other",
    "ATTACH 'http://127.0.0.1:1/x.duckdb' AS other",
    "DETACH segment_0",
    "USE segment_0",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MACRO m(a) AS a",
    "CREATE SECRET s (TYPE s3)",
    "CREATE SCHEMA s",
    "CREATE TYPE t AS ENUM ('a')",
    "CREATE SEQUENCE s",
    "INSERT INTO segment_0.events SELECT * FROM segment_0.events",
    "UPDATE segment_0.events SET title = ''",
    "DELETE FROM segment_0.events",
    "DROP TABLE segment_0.events",
    "DROP VIEW events",
    "ALTER TABLE segment_0.events ADD COLUMN x INT",
    "TRUNCATE segment_0.events",
    "VACUUM",
    "CHECKPOINT segment_0",
    "BEGIN",
    "COMMIT",
    "SELECT 1; DROP TABLE segment_0.events",
    "COMMIT; DROP TABLE segment_0.events",
    "WITH x AS (DELETE FROM segment_0.events RETURNING 1) SELECT * FROM x",
    "WITH x AS (INSERT INTO segment_0.seg_info VALUES ('a', 'b') RETURNING 1) SELECT * FROM x",
    "WITH x AS (UPDATE segment_0.seg_info SET v = 'b' RETURNING 1) SELECT * FROM x",
]
CHANGE_SETTINGS = [
    "SET memory_limit='10GB'",
    "SET threads=8",
    "SET enable_external_access=true",
    "SET lock_configuration=false",
    "SET temp_directory='/tmp'",
    "SET allowed_directories=['/']",
    "SET allowed_paths=['/etc/passwd']",
    "SET max_execution_time=0",
    "SET GLOBAL python_enable_replacements=true",
    "SET VARIABLE x = 1",
    "RESET memory_limit",
    "RESET lock_configuration",
    "PRAGMA memory_limit='10GB'",
    "PRAGMA enable_profiling='json'",
    "PRAGMA profile_output='{out}'",
    "PRAGMA database_list",
    "SET enable_logging=true",
    "CALL enable_logging()",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '/tmp/x.duckdb_extension'",
    "FORCE INSTALL httpfs FROM community",
    "UPDATE EXTENSIONS",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CALL pragma_version()",
    "EXPLAIN ANALYZE SELECT 1",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_temporary_files()",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM pragma_database_size()",
    "SELECT * FROM which_secret('a', 'b')",
    "SELECT path FROM duckdb_databases",
    'SELECT path FROM main."DuckDB_Databases" AS d',
    "TABLE pragma_database_list",
    "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'allowed_paths'",
    "SELECT current_setting('allowed_paths')",
    "SELECT (SELECT max(x) FROM (SELECT CURRENT_SETTING('temp_directory') AS x))",
    "SELECT write_log('x')",
]
WEAR_OUT = [
    "SELECT count(*) FROM range(100000000000) a",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "SELECT sum(hash(a.range * b.range)) FROM range(1000000) a, range(1000000) b",
    "SELECT regexp_matches(repeat('a', 3000000) || n::VARCHAR, '(a|aa)*c(a|aa)*c(a|b)*d') FROM range(100000) t(n)",
    "SELECT length(repeat('x', 2000000000))",
    "SELECT length(repeat(repeat('x', 1000000), 4000))",
    "SELECT list(repeat('x', 1000000)) FROM range(2000)",
    "SELECT string_agg(repeat('x', 100000), ',') FROM range(100000)",
    "SELECT * FROM range(50000000) t(n) ORDER BY hash(n)",
    "SELECT length(list_reduce(list_transform(range(60), lambda x: 'ab'), lambda a, b: a || a || b))",
    "SELECT printf('%2000000000d', 1)",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT bit_count(repeat('1', 1900000000)::BIT)",
]


def digest_of(sources: Sources) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources.segments]


def attempt(sql: str, sources: Sources, out: Path, limits: Limits = LIMITS) -> ProtocolError:
    text = filled(sql, sources, out)
    with pytest.raises(ProtocolError) as caught:
        adhoc.run(text, sources, limits, "json", io.BytesIO())
    return caught.value


@pytest.fixture
def locked(sources: Sources) -> Iterator[duckdb.DuckDBPyConnection]:
    connection, skipped = prepare(job_of(sources, ""))
    assert skipped == []
    yield connection
    connection.close()


def job_of(sources: Sources, sql: str) -> Job:
    segments = [str(path) for path in sources.segments]
    return Job(sql, "json", segments, str(sources.state), 5.0, 128 << 20, 10, 1 << 20)


def filled(sql: str, sources: Sources, out: Path) -> str:
    return sql.replace("{out}", str(out)).replace("{segment}", str(sources.segments[0])).replace(
        "{state}", str(sources.state)
    )  # fmt: skip


@pytest.mark.parametrize("group", [READ_FILES, WRITE_FILES, CHANGE_SETTINGS], ids=["read", "write", "settings"])
def test_no_statement_leaves_the_sandbox(
    locked: duckdb.DuckDBPyConnection, sources: Sources, tmp_path: Path, group: list[str]
) -> None:
    before = digest_of(sources)
    answers = io.BytesIO()
    jobs = {sql: job_of(sources, filled(sql, sources, tmp_path / "out")) for sql in group}
    refusals = {sql: execute(locked, job, answers).error for sql, job in jobs.items()}
    assert [sql for sql, error in refusals.items() if not error or "root:" in error] == []
    assert answers.getvalue() == b""
    assert list(tmp_path.iterdir()) == []
    assert digest_of(sources) == before


@pytest.mark.parametrize(
    "sql", [READ_FILES[6], WRITE_FILES[0], WRITE_FILES[3], CHANGE_SETTINGS[0], "UPDATE EXTENSIONS"]
)
def test_a_refusal_reaches_the_caller_as_one_sentence(sources: Sources, tmp_path: Path, sql: str) -> None:
    error = attempt(sql, sources, tmp_path / "out")
    assert error.status == 400
    assert "\n" not in error.detail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_wears_the_machine_out_is_stopped_with_a_sentence(sources: Sources, tmp_path: Path) -> None:
    limits = LIMITS._replace(timeout_seconds=0.5, memory_limit_bytes=64 << 20)
    refusals = {sql: attempt(sql, sources, tmp_path / "out", limits) for sql in WEAR_OUT}
    assert {sql: error.detail for sql, error in refusals.items() if error.status not in (408, 413)} == {}


def run_directly(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    try:
        connection.execute(sql).fetchall()
    except Exception:  # any refusal is right here
        return False
    return True


def test_the_locked_instance_alone_reads_and_writes_no_file(
    locked: duckdb.DuckDBPyConnection, sources: Sources, tmp_path: Path
) -> None:
    """The guard taken away: the instance holds by itself."""
    before = digest_of(sources)
    statements = [*READ_FILES, *WRITE_FILES, *CHANGE_SETTINGS]
    survivors = {sql for sql in statements if run_directly(locked, filled(sql, sources, tmp_path / "out"))}
    assert survivors <= HARMLESS
    assert list(tmp_path.iterdir()) == []
    assert digest_of(sources) == before


HARMLESS = {  # nothing of the machine, nothing that lasts longer than the process
    "ATTACH ':memory:' AS other", "DETACH segment_0", "USE segment_0", "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1", "CREATE VIEW v AS SELECT 1", "CREATE MACRO m(a) AS a", "CREATE SCHEMA s",
    "CREATE TYPE t AS ENUM ('a')", "CREATE SEQUENCE s", "DROP VIEW events", "VACUUM", "CHECKPOINT segment_0",
    "BEGIN", "COMMIT", "SELECT getvariable('x'), * FROM query('SELECT 1')", "SET VARIABLE x = 1",
    "PRAGMA database_list", "CALL pragma_version()", "PREPARE p AS SELECT 1", "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1", "SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_temporary_files()", "SELECT * FROM duckdb_extensions()", "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_database_size()", "SELECT * FROM which_secret('a', 'b')",
    "SELECT path FROM duckdb_databases", "TABLE pragma_database_list",
    'SELECT path FROM main."DuckDB_Databases" AS d', "SELECT write_log('x')",
    "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'allowed_paths'",
    "SELECT current_setting('allowed_paths')",
    "SELECT (SELECT max(x) FROM (SELECT CURRENT_SETTING('temp_directory') AS x))",
}  # fmt: skip


def test_harmless_statements_of_every_kind_run(locked: duckdb.DuckDBPyConnection, sources: Sources) -> None:
    statements = [
        "FROM events LIMIT 1", "VALUES (1)", "DESCRIBE events", "SHOW TABLES", "SUMMARIZE issues",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a", "SELECT unnest([1, 2])", "SELECT * FROM range(3)",
        "SELECT count(*) FILTER (level = 'error'), list(title ORDER BY timestamp)[1] FROM events GROUP BY ALL",
        "SELECT *, row_number() OVER (PARTITION BY issue_id ORDER BY timestamp) AS n FROM events QUALIFY n = 1",
        "SELECT time_bucket(INTERVAL 1 HOUR, timestamp) AS hour, count(*) FROM events GROUP BY 1 ORDER BY 1",
        "SELECT e.key, count(*) FROM events, json_each(tags) e GROUP BY 1",
        "SELECT issue_id FROM events INTERSECT SELECT id FROM issues",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t",
        "SELECT * EXCLUDE (payload, tags) FROM events LIMIT 2;",
    ]  # fmt: skip
    errors = {sql: execute(locked, job_of(sources, sql), io.BytesIO()).error for sql in statements}
    assert {sql: error for sql, error in errors.items() if error} == {}


def test_the_child_gets_no_secrets_of_ours(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, dict[str, str]] = {}
    real = child.subprocess.Popen

    def spy(*arguments: object, **named: object) -> object:
        seen["env"] = dict(named["env"])  # type: ignore[call-overload]
        return real(*arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setenv("COLLECTOR_UPSTREAM_DSN", "http://secret@host/1")
    monkeypatch.setattr(child.subprocess, "Popen", spy)
    adhoc.run("SELECT 1", sources, LIMITS, "json", io.BytesIO())
    assert set(seen["env"]) == {"PATH", "PYTHONPATH", "LANG", "MALLOC_ARENA_MAX"}
    assert "COLLECTOR_UPSTREAM_DSN" in os.environ


def test_the_process_has_no_network_where_the_kernel_allows(sources: Sources) -> None:
    """A process like the sandbox's, asked what it can see. Result: not even the loopback interface is up, and the
    verdict says what is the case."""
    seen = subprocess.run(
        [sys.executable, "-c", SEES_NETWORK], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    ).stdout.split()
    verdict = adhoc.run("SELECT 1", sources, LIMITS, "json", io.BytesIO())
    assert (seen[0] == "False") == verdict.has_network
    assert seen in (["True", "unreachable"], ["False", "reached"])
    words = " ".join(LIMITS.sentences(verdict.has_network))
    assert ("an empty network namespace" in words) != verdict.has_network


SEES_NETWORK = """
import socket
from collector.query.isolation import leave_network
listener = socket.create_server(("127.0.0.1", 0))
left = leave_network([])
try:
    socket.create_connection(listener.getsockname(), 1)
    print(left, "reached")
except OSError:
    print(left, "unreachable")
"""


@pytest.mark.parametrize("format", ["json", "arrow"])
def test_the_clock_of_the_kernel_ends_what_nothing_else_does(sources: Sources, format: str) -> None:
    """One call of a string function that DuckDB cannot interrupt."""
    sql = "SELECT length(replace(repeat(repeat('ab', 1000), 60000), 'ab', 'b')) + length(regexp_replace("
    sql += "repeat('aab', 30000000), '(a|aa)+b', 'x', 'g')) AS n"
    error = attempt_as(sql, sources, format, LIMITS._replace(timeout_seconds=0.2))
    assert error.status in (408, 413)


def attempt_as(sql: str, sources: Sources, format: str, limits: Limits) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        adhoc.run(sql, sources, limits, format, io.BytesIO())
    return caught.value


OUR_FUNCTIONS = [
    "SELECT collector_event_json(-5, 9, 'x'::BLOB) AS x",
    "SELECT collector_event_json(99999, 1, '\\x28\\xB5\\x2F\\xFD'::BLOB) AS x",
    "SELECT collector_item_text(0, 0, '\\xFF'::BLOB) AS x",
    "SELECT collector_event_json(NULL, NULL, NULL) AS x",
    "SELECT collector_item_text(0, 200, 'x'::BLOB) AS x",
]


@pytest.mark.parametrize("sql", OUR_FUNCTIONS)
def test_our_own_functions_make_nothing_of_what_they_do_not_know(sources: Sources, sql: str) -> None:
    out = io.BytesIO()
    adhoc.run(sql, sources, LIMITS, "ndjson", out)
    assert out.getvalue() == b'{"x":null}\n'


ODD_VALUES = [
    "DATE '290000-01-01'", "DATE '-4000-01-01'", "TIMESTAMP 'infinity'", "TIMESTAMP '290000-01-01'",
    "TIMESTAMPTZ '0001-01-01 00:00:00+00'", "'10:00:00+02'::TIMETZ", "'101'::BIT", "union_value(a := 1)",
    "MAP {[1, 2]: 'x'}", "chr(0) || 'a'", "1e308::DOUBLE * 10", "1::BIGNUM", "TIME '24:00:00'", "'{}'::JSON::VARIANT",
]  # fmt: skip


@pytest.mark.parametrize("format", ["json", "csv", "table", "arrow"])
def test_a_value_that_is_odd_never_breaks_an_answer(sources: Sources, format: str) -> None:
    sql = "SELECT " + ", ".join(f"{value} AS c{number}" for number, value in enumerate(ODD_VALUES))
    out = io.BytesIO()
    adhoc.run(sql, Sources([], None), LIMITS, format, out)
    assert out.getvalue()


def test_nothing_is_left_of_a_query_that_was_killed(sources: Sources) -> None:
    """A waiting process whose owner changes its mind."""
    with child.Child() as one:
        path = Path(one.answer_path)
        pid = one._process.pid
        assert path.exists()
    assert not path.exists()
    assert not Path(f"/proc/{pid}").exists()


TOO_DEEP = {
    "parentheses": "SELECT " + "(" * 40_000 + "1" + ")" * 40_000,
    "sums": "SELECT " + "+".join(["1"] * 900),
    "subqueries": "SELECT * FROM (" * 400 + "SELECT 1" + ")" * 400,
    "lists": "SELECT " + "[" * 900 + "1" + "]" * 900,
    "cases": "SELECT " + "CASE WHEN true THEN " * 900 + "1" + " END" * 900,
    "negations": "SELECT " + "NOT " * 20_000 + "true",
    "names": "WITH " + ",".join(f"t{number} AS (SELECT 1)" for number in range(3000)) + " SELECT 1",
    "length": "SELECT '" + "x" * 100_001 + "'",
    "no text": "SELECT '\udcff'",
}


@pytest.mark.parametrize("sql", TOO_DEEP.values(), ids=TOO_DEEP)
def test_a_statement_that_is_too_much_to_read_is_refused_with_a_sentence(sql: str) -> None:
    error = attempt_as(sql, Sources([], None), "json", LIMITS)
    assert error.status == 400
    assert len(error.detail) < 300


def test_the_front_and_the_command_line_import_no_database() -> None:
    code = "import sys, collector.cli, collector.serve; print({'duckdb', 'sqlite3'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert done.stdout == "set()\n"


def test_the_limits_that_are_stated_are_those_of_the_process(sources: Sources) -> None:
    """A query that runs on and on, looked at from outside, then ended from outside."""
    limits = LIMITS._replace(timeout_seconds=30.0)
    with child.Child() as one, ThreadPoolExecutor(1) as pool:
        running = pool.submit(adhoc.judge, "SELECT count(*) FROM range(100000000000) a", sources, limits, "json", one)
        folder = Path(f"/proc/{one._process.pid}")
        data = str(limits.memory_limit_bytes + PROCESS_BYTES)
        wait_for(lambda: data in (folder / "limits").read_text().split("Max data size")[1].splitlines()[0])
        assert (folder / "stat").read_text().rsplit(") ")[1].split()[16] == "19"
        assert (folder / "environ").read_text().count("=") == 4
        one.kill()
        with pytest.raises(ProtocolError, match="was killed"):
            running.result()
    assert f"{shown_bytes(int(data))} of data in the whole process" in " ".join(limits.sentences(None))
