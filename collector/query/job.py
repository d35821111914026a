"""What the two processes of an ad-hoc query tell each other: one Job as JSON on stdin, the answer on stdout, one
Verdict as JSON on stderr's last line."""

import msgspec


class Job(msgspec.Struct, frozen=True):
    """`segments`: files opened read-only. `state`: state.sqlite, "" without one. Limits: seconds, bytes, rows."""

    sql: str
    format: str
    segments: list[str]
    state: str
    timeout_seconds: float
    memory_limit_bytes: int
    max_rows: int
    max_result_bytes: int
    out: str = ""  # the file for a parquet answer, which stdout cannot take


class Verdict(msgspec.Struct, frozen=True):
    """How it went. cut_by: the limit that truncated it. error: one sentence, "" when it went well."""

    rows: int = 0
    truncated: bool = False
    cut_by: str = ""
    error: str = ""
    seconds: float = 0.0
    skipped: list[str] = []  # segments that could not be opened
