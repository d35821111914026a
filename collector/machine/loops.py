"""Background loops known by name: each stamps a heartbeat, and a dead one is seen, counted and restarted.

Restartable loops come back after a back-off of 0.1 s doubling to 30 s; a critical one calls `on_fatal` instead.
A loop is late when its last stamp is older than LATE_SECONDS; the health page turns red then.
"""

import gc
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

from collector.machine.clock import Clock

LATE_SECONDS = 10.0
MAX_BACKOFF_SECONDS = 30.0
LAG_NOW_SECONDS = 2.0
LAG_WINDOW_SECONDS = 60.0

log = structlog.get_logger("loops")


def calm_collector(allocations: int = 50_000) -> None:
    """Make Python's cycle collector rare: what is imported is never looked at again, the rest after so many allocations
    that were not freed.

    Events are trees without cycles, freed by reference counts alone; measured, each look at the living heap cost more
    than it ever found. What is in cycles is memory until then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(allocations, 20, 50)


def wake_collector() -> None:
    """Before the process ends: what was frozen is freed like the rest, else DuckDB lists it on stderr as leaked."""
    gc.unfreeze()


class LoopLag:
    """How late the timers of an event loop come: whatever keeps it busy makes each request wait as long.

    Only what may still be the worst is remembered: later ticks that were not as late, 240 at most with four a second.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._worst: deque[tuple[float, float]] = deque()  # (when, seconds late), each less late than the one before

    def saw(self, late_seconds: float) -> None:
        """A timer came so late; timers that come a little early are on time."""
        now, late = self._clock.monotonic(), max(0.0, late_seconds)
        while self._worst and self._worst[-1][1] <= late:
            self._worst.pop()
        self._worst.append((now, late))
        while self._worst[0][0] < now - LAG_WINDOW_SECONDS:
            self._worst.popleft()

    def worst(self, seconds: float) -> float:
        """The most of the last so many seconds (LAG_WINDOW_SECONDS at most), in seconds; 0.0 when no timer came."""
        since = self._clock.monotonic() - seconds
        return next((late for at, late in self._worst if at >= since), 0.0)

    def status(self) -> dict[str, float]:
        """Milliseconds: `now` of the last LAG_NOW_SECONDS, `worst` of the last LAG_WINDOW_SECONDS."""
        spans = {"now": LAG_NOW_SECONDS, "worst": LAG_WINDOW_SECONDS}
        return {name: round(self.worst(seconds) * 1000, 1) for name, seconds in spans.items()}


class Beat(Protocol):
    """What a loop calls at least every few seconds to show that it lives."""

    def __call__(self) -> None: ...


class Loop:
    """One supervised thread. `work(beat, stop)` returns when `stop` is set; anything else it raises is a failure."""

    def __init__(self, name: str, work: Callable[[Beat, threading.Event], None], critical: bool = False) -> None:
        self.name = name
        self.work = work
        self.critical = critical
        self.failures = 0
        self.last_error = ""
        self.beat_at = 0.0
        self.thread: threading.Thread | None = None


class Supervisor:
    """Runs loops as threads, restarts the restartable ones, and tells their health."""

    def __init__(self, clock: Clock, on_fatal: Callable[[str], None]) -> None:
        self._clock = clock
        self._on_fatal = on_fatal
        self._loops: dict[str, Loop] = {}
        self.stop = threading.Event()

    def start(self, loop: Loop) -> None:
        """Start one loop in a thread of its own."""
        self._loops[loop.name] = loop
        loop.beat_at = self._clock.monotonic()
        loop.thread = threading.Thread(target=self._run, args=(loop,), name=loop.name, daemon=True)
        loop.thread.start()

    def run_here(self, loop: Loop) -> None:
        """Run one loop in the calling thread (a process's main thread)."""
        self._loops[loop.name] = loop
        loop.beat_at = self._clock.monotonic()
        self._run(loop)

    def _run(self, loop: Loop) -> None:
        backoff = 0.1

        def beat() -> None:
            loop.beat_at = self._clock.monotonic()

        while not self.stop.is_set():
            started_at = self._clock.monotonic()
            try:
                loop.work(beat, self.stop)
                if self.stop.is_set():
                    return
                loop.last_error = "returned without being asked to"
            except Exception as error:  # the loop door: whatever it was, the loop must be seen to fail and come back
                loop.last_error = f"{type(error).__name__}: {error}"
            loop.failures += 1
            log.exception("loop failed", loop=loop.name, error=loop.last_error, failures=loop.failures)
            if loop.critical:
                self._on_fatal(loop.name)
                return
            if self._clock.monotonic() - started_at > MAX_BACKOFF_SECONDS:
                backoff = 0.1
            self.stop.wait(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)

    def join(self, timeout_seconds: float) -> list[str]:
        """Wait for all loops to end; returns the names of those still alive."""
        deadline = self._clock.monotonic() + timeout_seconds
        for loop in self._loops.values():
            if loop.thread is not None and loop.thread is not threading.current_thread():
                loop.thread.join(max(0.0, deadline - self._clock.monotonic()))
        return [loop.name for loop in self._loops.values() if loop.thread is not None and loop.thread.is_alive()]

    def health(self) -> dict[str, dict[str, object]]:
        """name -> {age_seconds, late, failures, last_error}."""
        now = self._clock.monotonic()
        return {
            name: {
                "age_seconds": round(now - loop.beat_at, 3),
                "late": now - loop.beat_at > LATE_SECONDS,
                "failures": loop.failures,
                "last_error": loop.last_error,
            }
            for name, loop in self._loops.items()
        }
