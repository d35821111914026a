"""Memory pressure: requests are refused before this process is too large for its machine, not after."""

import os
from pathlib import Path

from collector.errors import Busy
from collector.machine.clock import Clock
from collector.machine.disk import Disk

STATM = Path("/proc/self/statm")  # sizes in pages; the second number is what is resident
PAGE_BYTES = os.sysconf("SC_PAGESIZE")
LOOK_SECONDS = 1.0
BUSY_SECONDS = 5.0


class MemoryPressure:
    """Looks at most once a second. max_bytes 0 is no limit."""

    def __init__(self, max_bytes: int, clock: Clock, disk: Disk) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._disk = disk
        self._looked_at = float("-inf")
        self._used_bytes = 0

    def trouble(self) -> str:
        """A sentence for people, "" while there is room."""
        if not self._max_bytes:
            return ""
        now = self._clock.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at, self._used_bytes = now, self._resident_bytes()
        if self._used_bytes < self._max_bytes:
            return ""
        return f"max_memory_bytes is {self._max_bytes}, this process has {self._used_bytes}"

    def check(self) -> None:
        """Raises Busy 503 under pressure."""
        if trouble := self.trouble():
            raise Busy(BUSY_SECONDS, trouble, 503)

    def _resident_bytes(self) -> int:
        handle = self._disk.open(STATM)
        try:
            return int(self._disk.read_at(handle, 256, 0).split()[1]) * PAGE_BYTES
        finally:
            self._disk.close(handle)
