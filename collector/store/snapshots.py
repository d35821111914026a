"""Consistent copies of the active file while commits go on.

While a copy is made no checkpoint runs, so the `.duckdb` file does not change and the `.wal` only grows; a WAL cut in
the middle of a transaction reads as its last whole one. The copying is `cp` in a child process: this process must
never open the active file (collector.store.segment). The copied `.duckdb` is kept as `tmp/base.duckdb` and linked again
until the next checkpoint changes the file, so that a query right after another only copies the WAL.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from collector.errors import Unavailable

COPY_SECONDS = 60.0


def wal_of(path: Path) -> Path:
    """The write-ahead log that DuckDB keeps beside a file."""
    return path.with_name(path.name + ".wal")


class Snapshot(NamedTuple):
    """sealed: files that never change, oldest first; opened read-only by anyone. active: the copy, None when there is
    no active segment. state: state.sqlite itself (SQLite readers need no copy)."""

    sealed: list[Path]
    active: Path | None
    state: Path


class CheckpointHold:
    """Lets copies and checkpoints exclude each other, from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._copies = 0
        self._busy = False

    @contextmanager
    def copying(self) -> Iterator[None]:
        """No checkpoint begins inside the block; waits for one that runs."""
        with self._condition:
            if not self._condition.wait_for(lambda: not self._busy, timeout=COPY_SECONDS):
                raise Unavailable("a checkpoint takes very long")
            self._copies += 1
        try:
            yield
        finally:
            with self._condition:
                self._copies -= 1
                self._condition.notify_all()

    @contextmanager
    def changing(self, wait_seconds: float) -> Iterator[bool]:
        """The block may change the active file when it gets True; False when copies are still being made."""
        with self._condition:
            free = self._condition.wait_for(lambda: not self._copies, timeout=wait_seconds)
            self._busy = free
        try:
            yield free
        finally:
            with self._condition:
                self._busy = False
                self._condition.notify_all()


def copy(source: Path, target: Path) -> None:
    """`cp` in a child process; an absent source leaves no target. Raises Unavailable."""
    if not source.exists():
        target.unlink(missing_ok=True)
        return
    cp = shutil.which("cp") or "/bin/cp"
    try:
        done = subprocess.run([cp, "--reflink=auto", str(source), str(target)], capture_output=True,
                              timeout=COPY_SECONDS, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"copy of {source.name}: {error}") from error
    if done.returncode and source.exists():
        target.unlink(missing_ok=True)
        raise Unavailable(f"copy of {source.name}: {done.stderr.decode('utf-8', 'replace').strip()}")


def copy_database(source: Path, target: Path) -> None:
    """The file, then its WAL: in this order the WAL may only hold more, never less, than belongs to the file."""
    copy(source, target)
    copy(wal_of(source), wal_of(target))


class ActiveCopies:
    """Copies of the active file for one query after another; any thread, inside `CheckpointHold.copying`."""

    def __init__(self, temp_folder: Path) -> None:
        self._base = temp_folder / "base.duckdb"
        self._lock = threading.Lock()
        self._of: tuple[Path, int] | None = None  # which file, after how many checkpoints
        self._base.unlink(missing_ok=True)

    def put(self, source: Path, generation: int, target: Path) -> None:
        """Makes `target` and its WAL. `generation`: changes whenever the `.duckdb` file does. Raises Unavailable."""
        with self._lock:
            if self._of != (source, generation) or not self._base.exists():
                self._of = None
                self._base.unlink(missing_ok=True)
                copy(source, self._base)
                self._of = (source, generation)
            try:
                os.link(self._base, target)
            except OSError:  # another file system
                copy(self._base, target)
        copy(wal_of(source), wal_of(target))

    def forget(self) -> None:
        """Gives the disk space back; a copy that is being read stays readable."""
        with self._lock:
            self._of = None
            self._base.unlink(missing_ok=True)
