"""What is done when there is time: projects that expired leave their segments, attachments without a row go, the count
of kept events is put right. On the store's thread, in small steps; the long one runs in a process of its own.
"""

# ruff: noqa: S608 - only our own aliases are put into SQL; values are bound

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import duckdb
import structlog

from collector.errors import Damaged, Unavailable
from collector.machine.clock import Clock
from collector.store.attachments import Attachments
from collector.store.rewrite import PREFIX, Rewrite
from collector.store.schema import EXTERNAL
from collector.store.segments import Segments
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.state import State

log = structlog.get_logger("store")

LOOK_SECONDS = 60.0  # between two looks for expired projects; one segment a look, as retention by age does
SWEEP_SECONDS = 3600.0
AGAIN_SECONDS = 3600.0  # before a segment that could not be rewritten is tried again


class Places:
    """Where the work is done."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, segments: Segments, state: State,
                 attachments: Attachments, temp_folder: Path) -> None:  # fmt: skip
        self.connection = connection
        self.segments = segments
        self.state = state
        self.attachments = attachments
        self.temp_folder = temp_folder


class Upkeep:
    """`ages`: seconds that a project keeps its rows, for those that have a time of their own."""

    def __init__(self, places: Places, store: StoreSettings, retention: RetentionSettings, ages: Mapping[int, float],
                 clock: Clock) -> None:  # fmt: skip
        self._places = places
        self._memory_limit_bytes = int(store.memory_limit)
        self._settings = retention
        self._ages = dict(ages)
        self._clock = clock
        self._looked_at = clock.monotonic() - LOOK_SECONDS
        self._swept_at = clock.monotonic()
        self._next: dict[tuple[str, frozenset[int]], float] = {}  # when a file and its expired projects come next
        self._rewrite: Rewrite | None = None
        for path in places.temp_folder.glob(f"{PREFIX}*"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives up what is not finished; the next start begins it again."""
        if self._rewrite is not None:
            self._rewrite.discard()
            self._rewrite = None

    def run(self, trusts_clock: bool) -> None:
        """One step. Raises Damaged when a segment turns out to be."""
        if self._rewrite is not None:
            if self._rewrite.is_done:
                self._finish(self._rewrite)
            return
        if self._places.state.must_recount:
            with suppress(Unavailable):
                self._places.state.set_kept(self._places.segments.kept())
        mono = self._clock.monotonic()
        if mono - self._looked_at >= LOOK_SECONDS:
            self._looked_at = mono
            if trusts_clock and self._ages:
                self._look()
        if mono - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = mono
            self.sweep()

    # -- projects that keep their events for a shorter time -----------------------------------------------------------

    def _look(self) -> None:
        now = self._clock.now()
        segments = self._places.segments
        for one in segments.catalogue("sealed"):
            expired = frozenset(number for number, age in self._ages.items() if now - one.last_at > age)
            if not expired or self._next.get((one.name, expired), 0.0) > self._clock.monotonic():
                continue
            self._next[one.name, expired] = self._clock.monotonic() + AGAIN_SECONDS
            with suppress(Unavailable, Damaged):
                if not segments.holds(one.name, expired):
                    self._next[one.name, expired] = math.inf
                    continue
                if segments.free_bytes() < one.bytes + int(self._settings.min_free_bytes):
                    del self._next[one.name, expired]  # when there is room again; the oldest may go before
                    return
                self._rewrite = Rewrite(segments.path(one.name), expired, self._places.temp_folder,
                                        self._memory_limit_bytes)  # fmt: skip
                return

    def _finish(self, rewrite: Rewrite) -> None:
        self._rewrite = None
        try:
            counts = rewrite.result()
            if not any(one.name == rewrite.name for one in self._places.segments.catalogue("sealed")):
                rewrite.discard()  # removed meanwhile
                return
            gone = self._places.segments.replace(rewrite.name, rewrite.target, counts)
        except Unavailable as error:
            rewrite.discard()
            log.warning("expired projects stay for now", segment=rewrite.name, why=error.what)
            return
        log.info("expired projects taken out", segment=rewrite.name, projects=sorted(rewrite.project_ids),
                 quantity=gone)  # fmt: skip

    # -- attachments --------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Attachments that no row names any more go, then the oldest beyond their bounds."""
        attachments, now = self._places.attachments, self._clock.now()
        if not attachments.folder.is_dir():
            return
        named: set[bytes] = set()
        try:
            for one in self._places.segments.catalogue():
                with self._places.segments.reading(one.name) as alias:
                    named.update(bytes(row[0]) for row in self._places.connection.execute(
                        f"SELECT DISTINCT payload FROM {alias}.items WHERE enc = {EXTERNAL}").fetchall())  # fmt: skip
            attachments.sweep(named, now)
            attachments.trim(int(self._settings.max_attachment_bytes), float(self._settings.max_attachment_age), now)
        except (Unavailable, Damaged, OSError) as error:
            log.warning("attachments could not be swept", why=str(error))

    def evicted(self, segments: int) -> None:
        """So many segments were removed: their attachments go soon."""
        if segments:
            self._swept_at = self._clock.monotonic() - SWEEP_SECONDS
