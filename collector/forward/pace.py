"""When to try again: exponential back-off with jitter, and a breaker that lets one request through as a probe.

    closed     everything went well; any number of requests
    open       the last request failed; nothing until `retry_at`
    half_open  the pause is over; one request decides

Times are monotonic seconds. The pause doubles from FIRST_SECONDS up to the setting; the jitter takes away up to half,
so that a fleet does not knock at the same moment.
"""

from collections.abc import Callable

FIRST_SECONDS = 1.0


class Pace:
    """The breaker of one upstream."""

    def __init__(self, max_backoff_seconds: float, jitter: Callable[[], float]) -> None:
        self._max = float(max_backoff_seconds)
        self._jitter = jitter
        self.failures = 0
        self.retry_at = 0.0
        self.last_error = ""

    def state(self, now: float) -> str:
        """closed, open or half_open."""
        if not self.failures:
            return "closed"
        return "half_open" if now >= self.retry_at else "open"

    def succeeded(self) -> None:
        """An answer that says the other side works."""
        self.failures = 0
        self.retry_at = 0.0
        self.last_error = ""

    def failed(self, now: float, why: str, at_least_seconds: float = 0.0) -> None:
        """No usable answer. `at_least_seconds`: what the other side asked for."""
        self.failures += 1
        self.last_error = why
        pause = min(FIRST_SECONDS * 2.0 ** min(self.failures - 1, 20), self._max)
        self.retry_at = now + max(pause * (1.0 - self._jitter() / 2.0), at_least_seconds)
