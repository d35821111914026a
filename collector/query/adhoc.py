"""Ad-hoc SQL: one statement in, one answer out, by a process that is killed when it does not keep its limits.

Imports no DuckDB: the front asks too, and must stay small.
"""

import datetime
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from collector.errors import ProtocolError
from collector.model.settings import Duration
from collector.query.child import Child
from collector.query.job import FORMATS, GRACE_SECONDS, PROCESS_BYTES, REASON, Job, Verdict, shown_bytes
from collector.query.settings import QuerySettings

if TYPE_CHECKING:
    from collector.store.snapshots import Snapshot


class Limits(NamedTuple):
    """What one query may use."""

    timeout_seconds: float
    memory_limit_bytes: int
    max_rows: int
    max_result_bytes: int

    @classmethod
    def of(cls, settings: QuerySettings, max_rows: int | None = None, timeout_seconds: float | None = None) -> "Limits":
        """The configured limits, or less. Raises ProtocolError for what is no limit."""
        if max_rows is not None and max_rows < 0:
            raise ProtocolError(400, f"limit: {max_rows} should be 0 or more", REASON)
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise ProtocolError(400, f"timeout: {timeout_seconds:g} should be more than 0 seconds", REASON)
        rows = settings.max_rows if max_rows is None else min(max_rows, settings.max_rows)
        seconds = float(settings.timeout)
        seconds = seconds if timeout_seconds is None else min(timeout_seconds, seconds)
        return cls(seconds, int(settings.memory_limit), rows, int(settings.max_result_bytes))

    def sentences(self, has_network: bool | None) -> list[str]:
        """What holds for a query, in words. has_network: what a sandbox process found; None when none was asked."""
        network = {
            None: "no network where the kernel lets a process give it up (ask a query for what is in force)",
            True: "network: this kernel let the process keep it; DuckDB still opens nothing, because external access"
            " is off for good before a statement is read",
            False: "network: none, the process is alone in an empty network namespace",
        }[has_network]
        process = self.memory_limit_bytes + PROCESS_BYTES
        return [
            f"time: {self.timeout_seconds:g} s, then the statement is interrupted; {GRACE_SECONDS:g} s later its"
            " process is killed",
            f"memory: {shown_bytes(self.memory_limit_bytes)} in DuckDB, {shown_bytes(process)} of data in the whole"
            " process, no spilling to disk",
            f"rows: {self.max_rows}, and at most {shown_bytes(self.max_result_bytes)} of answer; what is beyond is cut"
            " and said",
            "files: those of the collector read-only, none of the machine, none written; no setting can be changed",
            network,
            "one processor, at the lowest priority",
        ]


class Sources(NamedTuple):
    """Files to read: `segments` oldest first, opened read-only; `state`: state.sqlite or None. `since`: wall clock
    seconds; events, items and outcomes from before are not seen."""

    segments: list[Path]
    state: Path | None
    since: float = 0.0


def of_snapshot(snapshot: "Snapshot") -> Sources:
    """The sources of a running store's snapshot."""
    segments = [*snapshot.sealed, *([snapshot.active] if snapshot.active else [])]
    return Sources(segments, snapshot.state if snapshot.state.exists() else None)


def of_folder(data: Path, copies: Path) -> Sources:
    """The sources of a data folder that nobody has open. Segments with a write-ahead log are copied into `copies`, so
    that looking changes nothing. Raises Unavailable."""
    from collector.store.snapshots import copy_database  # brings DuckDB along

    segments: list[Path] = []
    for path in sorted((data / "segments").glob("*.duckdb")):
        if path.with_name(path.name + ".wal").exists():
            copy_database(path, copies / path.name)
            path = copies / path.name
        segments.append(path)
    state = data / "state.sqlite"
    return Sources(segments, state if state.exists() else None)


class Ask(NamedTuple):
    """What is asked: a statement, or a document of collector.query.points by name with its values."""

    sql: str = ""
    named: str = ""
    values: dict[str, Any] = {}


def run(
    sql: str | Ask, sources: Sources, limits: Limits, format: str, out: BinaryIO, child: Child | None = None
) -> Verdict:
    """Runs one statement and writes its answer to `out` when it is complete. `child`: a process that already waits;
    it is used up. Raises as `judge`."""
    with child or Child() as one:
        verdict = judge(sql, sources, limits, format, one)
        for part in one.answer():
            out.write(part)
    return verdict


def judge(sql: str | Ask, sources: Sources, limits: Limits, format: str, child: Child) -> Verdict:
    """Has a waiting process run one statement; the answer stays in its file.

    Raises ProtocolError (400: the statement; 408: its time; 413: its memory or size) with a sentence for the user and,
    where the place is known, the line and a mark under it as `causes`; Unavailable when no process can be started.
    """
    ask = sql if isinstance(sql, Ask) else Ask(sql)
    if format not in FORMATS:
        raise ProtocolError(400, f"unknown format {format!r}; there are {', '.join(FORMATS)}", REASON)
    try:
        ask.sql.encode()
    except UnicodeEncodeError:
        raise ProtocolError(400, "the statement is not UTF-8 text", REASON) from None
    segments = [str(path) for path in sources.segments]
    verdict = child.run(
        Job(ask.sql, format, segments, str(sources.state or ""), *limits, child.answer_path, sources.since, ask.named,
            ask.values)
    )  # fmt: skip
    if verdict.error:
        raise ProtocolError(_status(verdict.error), verdict.error, REASON, _mark(ask.sql, verdict))
    return verdict


def parse_since(text: str, now: float | None = None) -> float:
    """The moment that "2 d" (ago) or "2026-11-20T12:00" (UTC) means, wall clock seconds. Raises ValueError."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return (time.time() if now is None else now) - float(Duration(text))
        except ValueError:
            raise ValueError(f'{text!r} is neither an age such as "2 d" nor a time such as 2026-11-20T12:00') from None
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()


def newer_than(sources: Sources, at: float) -> Sources:
    """Only what was received at or after `at` (wall clock, seconds): segments whose newest commit is older are left
    out whole. What the catalogue does not know stays."""
    import sqlite3  # 3 MB that the front is spared until somebody asks

    sources = sources._replace(since=at)
    if sources.state is None:
        return sources
    try:
        with closing(sqlite3.connect(f"file:{sources.state}?mode=ro", uri=True, timeout=5)) as connection:
            rows = connection.execute(
                "SELECT name FROM segments WHERE state = 'sealed' AND last_at < ?", (at,)
            ).fetchall()
    except sqlite3.Error:
        return sources
    old = {row[0] for row in rows}
    return sources._replace(segments=[path for path in sources.segments if path.stem not in old])


def _mark(sql: str, verdict: Verdict) -> list[str]:
    """The line of the mistake, as much of it as fits, and a mark under its place."""
    lines = sql.split("\n")
    if not 0 < verdict.line <= len(lines):
        return []
    start = max(0, verdict.column - 60)
    line = lines[verdict.line - 1][start : start + 100].replace("\t", " ").rstrip()
    return [line, " " * (verdict.column - 1 - start) + "^"] if line else []


def _status(sentence: str) -> int:
    if sentence.startswith(("there is no", "no event of", "several events")):
        return 404
    if "time limit" in sentence:
        return 408
    return 413 if "memory limit" in sentence or "max_result_bytes" in sentence else 400
