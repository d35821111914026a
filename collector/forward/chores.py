"""What every step of a sender begins with: the clock is watched, due windows become entries, the outbox is bounded."""

from collections.abc import Callable

from collector.forward.bounds import Bounds
from collector.forward.mishaps import Mishaps
from collector.machine.clock import Clock
from collector.store import windows
from collector.store.outbox import Outbox

TIDY_SECONDS = 10.0

Close = Callable[[Outbox, float], int]


class Chores:
    """close: turns windows that have ended into entries and says how many."""

    def __init__(self, outbox: Outbox, close: Close, bounds: Bounds, mishaps: Mishaps, clock: Clock) -> None:
        self._outbox = outbox
        self._close = close
        self._bounds = bounds
        self._mishaps = mishaps
        self._clock = clock
        self._next_tidy_at = 0.0
        bounds.measure(outbox)

    def do(self) -> int:
        """Returns how many entries were made. Raises Unavailable."""
        now, wall = self._clock.monotonic(), self._clock.now()
        if self._mishaps.watch_clock():
            with self._outbox.transaction() as cursor:
                windows.count(cursor, "clock_steps", 1)
        closed = self._close(self._outbox, wall)
        if closed:
            self._bounds.measure(self._outbox)
        if now >= self._next_tidy_at or self._bounds.is_tight:
            self._bounds.enforce(self._outbox, wall)
            self._next_tidy_at = now + TIDY_SECONDS
        return closed
