"""The other end of collector.query.sandbox: starts that process, gives it its Job, ends it when it does not end."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

import collector
from collector.errors import Unavailable
from collector.query.job import GRACE_SECONDS, Job, Verdict, shown_bytes

SPAWN_SECONDS = 60.0  # interpreter start, attach and loading, beside the time of the statement, on a busy machine
KILLED, CPU_LIMIT, ALARM = -9, -24, -14
FILE_LIMIT = -25


class Child:
    """One sandbox process for one Job. It starts at once and waits, so that it can be ready before there is a question.
    A context manager; leaving it ends the process."""

    def __init__(self) -> None:
        """Raises Unavailable when no process can be started."""
        self._answer = tempfile.NamedTemporaryFile(prefix="collector-answer-")  # noqa: SIM115 - closed by close()
        self._notes = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(collector.__file__).parents[1]),
                       "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}  # fmt: skip
        try:
            # A session of its own: Ctrl-C in a terminal is for whoever asks, not for the process that answers.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "collector.query.sandbox", str(os.getpid())], stdin=subprocess.PIPE,
                stdout=self._answer, stderr=self._notes, env=environment, cwd="/", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._close_files()
            raise Unavailable(f"cannot start a process for the query: {error}") from error

    @property
    def answer_path(self) -> str:
        """The file of the answer."""
        return self._answer.name

    def run(self, job: Job) -> Verdict:
        """Feeds the job and waits for the end."""
        longest = SPAWN_SECONDS + job.timeout_seconds + GRACE_SECONDS
        with suppress(BrokenPipeError):
            try:
                self._process.communicate(msgspec.json.encode(job), timeout=longest)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.wait()
        self._notes.seek(0)
        return _verdict(self._notes.read(), self._process.returncode, job)

    def answer(self) -> Iterator[bytes]:
        """What it answered, in parts."""
        self._answer.seek(0)
        while part := self._answer.read(1 << 20):
            yield part

    def kill(self) -> None:
        """Ends it at once; from any thread."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it, whatever it does, and removes its files."""
        if self._process.poll() is None:
            self._process.kill()
        with suppress(BrokenPipeError):
            if self._process.stdin:
                self._process.stdin.close()
        self._process.wait()
        self._close_files()

    def _close_files(self) -> None:
        self._answer.close()
        self._notes.close()


def _verdict(notes: bytes, code: int, job: Job) -> Verdict:
    last = notes.rstrip(b"\n").rpartition(b"\n")[2]
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(last, type=Verdict)
    if code in (KILLED, CPU_LIMIT, ALARM):
        return Verdict(error=f"the query ran longer than its time limit of {job.timeout_seconds:g} s and was killed")
    if code == FILE_LIMIT:
        return Verdict(error="the answer is larger than query.max_result_bytes")
    if code == 1:  # a Python error: its memory limit, or a mistake of ours; the child's words tell which
        words = last.decode("utf-8", "replace")
        if "MemoryError" not in words:
            raise Unavailable(f"the query process failed: {words}")
    return Verdict(error=f"the query needs more than its memory limit of {shown_bytes(job.memory_limit_bytes)}"
                         f" and was stopped (exit {code})")  # fmt: skip
