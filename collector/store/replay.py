"""What a start mends: deltas that SQLite has not seen, issues whose first event is gone, the event ids seen lately."""

# ruff: noqa: S608 - only our own aliases are put into SQL; values are bound

import functools
from collections.abc import Callable
from contextlib import suppress

import duckdb
import structlog

from collector.errors import Damaged, Unavailable
from collector.model.event import EventRow
from collector.model.received import Position
from collector.store.delta import AppliedBatch, Delta, Occurrence, decode_delta
from collector.store.reads import Reads
from collector.store.recent import RecentIds
from collector.store.replayed import ReplayedItems
from collector.store.salvage import put_statuses_back
from collector.store.segment import Progress
from collector.store.segments import Segments
from collector.store.state import State

log = structlog.get_logger("store")

DELTA_PAGE_ROWS = 50


def no_event(_: Occurrence) -> EventRow | None:
    """The row of an occurrence that is not of this very commit."""
    return None


class Replay:
    """Reads what the segments know and state.sqlite does not. On the store's thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, segments: Segments, state: State, reads: Reads,
                 payload_of: Callable[[Occurrence], bytes | None]) -> None:  # fmt: skip
        self._connection = connection
        self._segments = segments
        self._state = state
        self._reads = reads
        self._payload_of = payload_of

    def run(self, fresh: bool) -> None:
        """Applies the deltas that SQLite has not seen; notices commits that SQLite has and the segments lost."""
        for one in self._segments.catalogue():
            if one.no > self._state.mark[0]:
                with suppress(Damaged), self._segments.reading(one.name) as alias:
                    self._replay_segment(one.name, alias)
        with suppress(Unavailable):
            progress = self._segments.active.progress
            if progress.no < self._state.mark[0] and (lost := self._state.expect_again(progress.no)):
                log.error("rows lost with a damaged file; the spool brings them again", quantity=lost)
            if fresh and progress.no:
                self._state.balance(progress.position.total)
        with self._state.transaction() as cursor:
            put_statuses_back(cursor)

    def _replay_segment(self, name: str, alias: str) -> None:
        items_before = self._connection.execute(
            f"SELECT coalesce(max(items), 0) FROM {alias}.progress WHERE no <= ?", [self._state.mark[0]]
        ).fetchall()[0][0]
        codec = functools.partial(self._reads.codec, alias, name)
        while True:
            rows = self._connection.execute(
                "SELECT no, epoch, seq, total, epoch_us(committed_at), events, items, stored, delta"
                f" FROM {alias}.progress WHERE no > ? AND octet_length(delta) > 0 ORDER BY no LIMIT {DELTA_PAGE_ROWS}",
                [self._state.mark[0]],
            ).fetchall()
            if not rows:
                return
            for no, epoch, seq, total, at, events, items, stored, raw in rows:
                delta = decode_delta(raw)
                self._adopt_strangers(delta, alias)
                again = ReplayedItems(self._connection, alias, codec, items_before, items - items_before)
                items_before = items
                batch = AppliedBatch(no, Position(epoch, seq, total), at / 1e6, delta, True, no_event,
                                     self._payload_of, again)  # fmt: skip
                self._state.apply(batch, name, Progress(no, batch.position, events, items, stored))

    def _adopt_strangers(self, delta: Delta, alias: str) -> None:
        """Issues whose first event is in a segment that is gone: made again from the events at hand."""
        created = {one.id for one in delta.new_issues}
        wanted = {one.issue_id for one in delta.occurrences} - created
        missing = [number for number in wanted if not self._state.rows("SELECT 1 FROM issues WHERE id = ?", (number,))]
        for number in missing:
            row = self._connection.execute(
                f"SELECT project_id, hash, title, culprit, level, epoch_us(timestamp) FROM {alias}.events"
                " WHERE issue_id = ? ORDER BY timestamp LIMIT 1",
                [number],
            ).fetchall()
            if row:
                self._state.adopt(number, row[0])

    def recent_ids(self, max_ids: int) -> RecentIds:
        """The newest event ids, oldest first, so that the newest survive when memory is short."""
        recent = RecentIds(max_ids)
        wanted = max_ids
        found: list[list[tuple[int, str]]] = []
        for one in reversed(self._segments.catalogue()):
            if wanted <= 0:
                break
            with suppress(Damaged, Unavailable), self._segments.reading(one.name) as alias:
                rows = self._connection.execute(
                    f"SELECT project_id, replace(event_id::VARCHAR, '-', '') FROM {alias}.events"
                    " ORDER BY rowid DESC LIMIT ?",
                    [wanted],
                ).fetchall()
                wanted -= len(rows)
                found.append(rows)
        for rows in reversed(found):
            for row in reversed(rows):
                recent.add({RecentIds.key(*row)})
        return recent
