"""Ad-hoc SQL: one statement in, one answer out, by a process that is killed when it does not keep its limits."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import msgspec

import collector
from collector.errors import ProtocolError, Unavailable
from collector.query.guard import REASON
from collector.query.job import Job, Verdict
from collector.query.render import FORMATS
from collector.query.settings import QuerySettings
from collector.store.snapshots import Snapshot, copy_database

SPAWN_SECONDS = 5.0  # interpreter start, attach and loading, beside the time of the statement


class Limits(NamedTuple):
    """What one query may use."""

    timeout_seconds: float
    memory_limit_bytes: int
    max_rows: int
    max_result_bytes: int

    @classmethod
    def of(cls, settings: QuerySettings, max_rows: int | None = None, timeout_seconds: float | None = None) -> "Limits":
        """The configured limits, or less."""
        rows = settings.max_rows if max_rows is None else min(max_rows, settings.max_rows)
        seconds = float(settings.timeout)
        seconds = seconds if timeout_seconds is None else min(timeout_seconds, seconds)
        return cls(seconds, int(settings.memory_limit), rows, int(settings.max_result_bytes))


class Sources(NamedTuple):
    """Files to read: `segments` oldest first, opened read-only; `state`: state.sqlite or None."""

    segments: list[Path]
    state: Path | None


def of_snapshot(snapshot: Snapshot) -> Sources:
    """The sources of a running store's snapshot."""
    segments = [*snapshot.sealed, *([snapshot.active] if snapshot.active else [])]
    return Sources(segments, snapshot.state if snapshot.state.exists() else None)


def of_folder(data: Path, copies: Path) -> Sources:
    """The sources of a data folder that nobody has open. Segments with a write-ahead log are copied into `copies`, so
    that looking changes nothing. Raises Unavailable."""
    segments: list[Path] = []
    for path in sorted((data / "segments").glob("*.duckdb")):
        if path.with_name(path.name + ".wal").exists():
            copy_database(path, copies / path.name)
            path = copies / path.name
        segments.append(path)
    state = data / "state.sqlite"
    return Sources(segments, state if state.exists() else None)


def run(sql: str, sources: Sources, limits: Limits, format: str, out: BinaryIO) -> Verdict:
    """Runs one statement and writes its answer to `out` when it is complete.

    Raises ProtocolError (400: the statement; 408: its time; 413: its memory or size) with a sentence for the user,
    Unavailable when no process can be started.
    """
    if format not in FORMATS:
        raise ProtocolError(400, f"unknown format {format!r}; there are {', '.join(FORMATS)}", REASON)
    with tempfile.NamedTemporaryFile(prefix="collector-answer-") as answer, tempfile.TemporaryFile() as notes:
        out_name = answer.name if format == "parquet" else ""
        job = Job(sql, format, [str(path) for path in sources.segments], str(sources.state or ""), *limits, out_name)
        code = _child(job, answer, notes)
        notes.seek(0)
        verdict = _verdict(notes.read(), code, job)
        if verdict.error:
            raise ProtocolError(_status(verdict.error), verdict.error, REASON)
        answer.seek(0)
        while part := answer.read(1 << 20):
            out.write(part)
    return verdict


def newer_than(sources: Sources, at: float) -> Sources:
    """Without the segments whose newest commit is older than `at` (wall clock, seconds). What the catalogue does not
    know stays."""
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


def _child(job: Job, answer: IO[bytes], notes: IO[bytes]) -> int:
    """Starts the sandbox, feeds it, kills it at twice its time. Returns its exit code, negative for a signal."""
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(collector.__file__).parents[1]),
                   "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}  # fmt: skip
    try:
        child = subprocess.Popen([sys.executable, "-m", "collector.query.sandbox"], stdin=subprocess.PIPE,
                                 stdout=answer, stderr=notes, env=environment, cwd="/")  # fmt: skip
    except OSError as error:
        raise Unavailable(f"cannot start a process for the query: {error}") from error
    with child:
        try:
            with suppress(BrokenPipeError):
                child.communicate(msgspec.json.encode(job), timeout=job.timeout_seconds * 2 + SPAWN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        except BaseException:
            child.kill()
            raise
    return child.returncode


def _verdict(notes: bytes, code: int, job: Job) -> Verdict:
    last = notes.rstrip(b"\n").rpartition(b"\n")[2]
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(last, type=Verdict)
    if code in (-9, -24):
        return Verdict(error=f"the query ran longer than its time limit of {job.timeout_seconds:g} s and was killed")
    if code == 1:  # a Python error: its memory limit, or a mistake of ours; the child's words tell which
        words = last.decode("utf-8", "replace")
        if "MemoryError" not in words:
            raise Unavailable(f"the query process failed: {words}")
    return Verdict(error=f"the query needs more than its memory limit of {job.memory_limit_bytes >> 20} MiB"
                         f" and was stopped (exit {code})")  # fmt: skip


def _status(sentence: str) -> int:
    if "time limit" in sentence:
        return 408
    return 413 if "memory limit" in sentence or "max_result_bytes" in sentence else 400
