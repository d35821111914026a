"""Rolling retention: whole segments go, the oldest first, by age, by total bytes and by free disk.

Age is only judged by a clock that can be trusted: after the wall clock moved against the monotonic one by more than
JUMP_SECONDS, or stands more than GAP_SECONDS after the newest event at start, age removes nothing for SETTLE_SECONDS;
and then at most one segment a minute. Bytes and free disk do not depend on a clock.
"""

import structlog

from collector.machine.clock import Clock
from collector.store.segments import FREE_DISK, Segments
from collector.store.settings import RetentionSettings

log = structlog.get_logger("store")

JUMP_SECONDS = 600.0
GAP_SECONDS = 7 * 86_400.0
SETTLE_SECONDS = 86_400.0
AGE_INTERVAL_SECONDS = 60.0


class Retention:
    """Decides what goes. On the store's thread; `run` at least every few seconds."""

    def __init__(self, segments: Segments, settings: RetentionSettings, clock: Clock) -> None:
        self._segments = segments
        self._settings = settings
        self._clock = clock
        self._seen = (clock.now(), clock.monotonic())
        self._age_from = self._trust_from = clock.monotonic()
        newest = max((one.last_at for one in segments.catalogue()), default=clock.now())
        if abs(clock.now() - newest) > GAP_SECONDS:
            self._distrust("the clock stands far from the newest event")

    @property
    def trusts_clock(self) -> bool:
        """Whether ages may be judged now."""
        return self._clock.monotonic() >= self._trust_from

    def _distrust(self, why: str) -> None:
        self._age_from = self._trust_from = self._clock.monotonic() + SETTLE_SECONDS
        log.warning("retention by age waits a day", why=why)

    def run(self) -> int:
        """Removes what must go now; returns how many segments went."""
        wall, mono = self._clock.now(), self._clock.monotonic()
        drift = (wall - self._seen[0]) - (mono - self._seen[1])
        self._seen = (wall, mono)
        if abs(drift) > JUMP_SECONDS:
            self._distrust(f"the clock jumped by {drift:.0f} s")
        return self._by_age(wall, mono) + self._by_bytes() + self.free_disk()

    def _by_age(self, wall: float, mono: float) -> int:
        if mono < self._age_from:
            return 0
        sealed = self._segments.catalogue("sealed")
        if not sealed or wall - sealed[0].last_at <= float(self._settings.max_age):
            return 0
        self._age_from = mono + AGE_INTERVAL_SECONDS
        return 1 if self._segments.evict_oldest("age") else 0

    def _by_bytes(self) -> int:
        removed = 0
        while self._segments.bytes() > int(self._settings.max_bytes) and self._segments.evict_oldest("bytes"):
            removed += 1
        return removed

    def free_disk(self) -> int:
        """Removes sealed segments until the free disk is above its floor again."""
        removed = 0
        floor = int(self._settings.min_free_bytes)
        while self._segments.free_bytes() < floor and self._segments.evict_oldest(FREE_DISK):
            removed += 1
        return removed
