"""quarantine/: files of ours that turned out damaged, and records that could not be digested; bounded, never read back.

A file keeps its name with a number when that is taken. A record is `record-EPOCH-SEQ.bin`, its reason beside it in
`record-EPOCH-SEQ.txt`; records go first when the folder outgrows its budget, the oldest before the newer. What was
never scrubbed (records, spool files) goes when it is old; damaged databases are left for the owner.
"""

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from collector.model.received import Position

UNSCRUBBED = ("record-*", "*.spool*")  # as received
LOOK_SECONDS = 3600.0


class QuarantineStatus(NamedTuple):
    """files: names, at most 100. bytes: of all of them."""

    files: list[str]
    bytes: int


class Quarantine:
    """The folder. Failing to set something aside never stops the caller: the reason is on the log and in the ledger."""

    def __init__(self, folder: Path, max_bytes: int, max_age_seconds: float = math.inf) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._looked_at = -math.inf
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def move(self, path: Path) -> Path | None:
        """Moves a file of ours here; returns where it lies now, None when it does not exist (any more)."""
        target = self.folder / path.name
        number = 1
        while target.exists():
            number += 1
            target = self.folder / f"{path.name}.{number}"
        try:
            path.rename(target)
        except FileNotFoundError:
            return None
        with suppress(OSError):
            os.utime(target)  # its age counts from here
        return target

    def put_record(self, position: Position, record: bytes, why: str) -> None:
        """Keeps a record that could not be digested. The same position again replaces it."""
        stem = f"record-{position.epoch}-{position.seq}"
        with suppress(OSError):
            self._write(self.folder / f"{stem}.bin", record)
            self._write(self.folder / f"{stem}.txt", (why + "\n").encode("utf-8", "replace"))
            self.trim()

    def _write(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    def trim(self) -> None:
        """Removes the oldest records until the folder fits its budget; damaged databases are left for the owner."""
        used = self.status().bytes
        if used <= self._max_bytes:
            return
        for path in sorted(self.folder.glob("record-*"), key=lambda p: p.stat().st_mtime):
            if used <= self._max_bytes:
                return
            used -= path.stat().st_size
            path.unlink(missing_ok=True)

    def expire(self, now: float) -> None:
        """Removes what was never scrubbed and is too old; looks once an hour. `now`: Unix seconds."""
        if abs(now - self._looked_at) < LOOK_SECONDS:
            return
        self._looked_at = now
        for path in (path for pattern in UNSCRUBBED for path in self.folder.glob(pattern)):
            with suppress(OSError):
                if now - path.stat().st_mtime > self._max_age_seconds:
                    path.unlink()

    def names(self) -> list[str]:
        """Everything that lies here, sorted."""
        try:
            return sorted(os.listdir(self.folder))
        except OSError:
            return []

    def status(self) -> QuarantineStatus:
        """What lies here."""
        names: list[str] = []
        total = 0
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                names.append(entry.name)
                total += entry.stat(follow_symlinks=False).st_size
        return QuarantineStatus(sorted(names)[:100], total)
