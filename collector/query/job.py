"""What the two processes of an ad-hoc query tell each other: one Job as JSON on stdin, the answer on stdout, one
Verdict as JSON on stderr's last line."""

from typing import Any

import msgspec

FORMATS = ("table", "json", "ndjson", "csv", "parquet", "arrow")
BINARY = ("parquet", "arrow")  # not for a terminal
REASON = "query"  # of every ProtocolError about a statement
GRACE_SECONDS = 1.0  # between the time limit, where a statement is interrupted, and the end of its process
PROCESS_BYTES = 384 << 20  # interpreter, DuckDB's own memory and one large value, beside memory_limit
MAX_SQL_CHARS = 100_000


class Job(msgspec.Struct, frozen=True):
    """`segments`: files opened read-only. `state`: state.sqlite, "" without one. Limits: seconds, bytes, rows.
    `since`: wall clock seconds; what was received before is not in the views. `named`: run this document of
    collector.query.points with `values` instead of `sql`."""

    sql: str
    format: str
    segments: list[str]
    state: str
    timeout_seconds: float
    memory_limit_bytes: int
    max_rows: int
    max_result_bytes: int
    out: str = ""  # the file for a parquet answer, which stdout cannot take
    since: float = 0.0
    named: str = ""
    values: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True):
    """How it went. cut_by: the limit that truncated it. error: one sentence, "" when it went well; line and column
    (from 1) where in the statement, 0 when that is not known. has_network: the process could reach a network."""

    rows: int = 0
    truncated: bool = False
    cut_by: str = ""
    error: str = ""
    line: int = 0
    column: int = 0
    seconds: float = 0.0
    skipped: list[str] = []  # segments that could not be opened
    has_network: bool = False


def shown_bytes(count: int) -> str:
    """256000000 -> "256 MB"."""
    return f"{count / 1e6:.0f} MB"
