"""Time: wall clock for what is stored, monotonic clock for limits and timeouts."""

import time
from typing import Protocol


class Clock(Protocol):
    """What rooms may ask about time. Tests pass tests/helpers/clock.py FakeClock."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()
