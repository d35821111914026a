"""A small world around the spool: writer, reader, a store that commits positions, a ledger of what was acknowledged.

Everything runs in one thread on a FakeDisk and a FakeClock, so a run is decided by its steps alone.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from collector.errors import Busy, Unavailable
from collector.model.received import START, Position, Received
from collector.model.settings import Size
from collector.spool.inspect import released
from collector.spool.reader import SpoolReader, SpoolRecord
from collector.spool.settings import SpoolSettings
from collector.spool.writer import Job, SpoolWriter
from tests.helpers.clock import FakeClock
from tests.helpers.disk import FakeDisk

FOLDER = Path("/data/spool")
SMALL = SpoolSettings(file_bytes=Size(6000), max_spool_bytes=Size("1 MiB"))


class InlineLanes:
    """Runs every job at once, in the calling thread."""

    def commit(self, job: Job) -> None:
        job()

    def background(self, job: Job) -> None:
        job()

    def close(self) -> None:
        pass


class StoreState(NamedTuple):
    """What the store knows: up to where it read, what it got (id, quantity), what it was told is lost, and how much
    of both belongs to epochs before this one."""

    position: Position = START
    delivered: tuple[tuple[int, int], ...] = ()
    lost: int = 0
    damages: int = 0
    earlier: int = 0

    @property
    def accounted(self) -> int:
        return sum(quantity for _, quantity in self.delivered) + self.lost - self.earlier


class FakeStore:
    """Commits batches with their position; `committed` is in its log, `checked` survives even a damaged log."""

    def __init__(self) -> None:
        self.committed = self.checked = StoreState()

    def commit(self, records: list[SpoolRecord]) -> None:
        state = self.committed
        for record in records:
            if record.position.epoch == state.position.epoch and record.position.seq <= state.position.seq:
                continue
            if record.position.epoch != state.position.epoch:
                state = state._replace(earlier=state.accounted + state.earlier)
            known = state.delivered
            if record.damaged is None:
                known = (*known, (int(record.received.event_id), record.received.quantity))
            damages = state.damages + (record.damaged is not None)
            state = StoreState(record.position, known, state.lost + record.lost, damages, state.earlier)
        self.committed = state

    def checkpoint(self) -> None:
        self.checked = self.committed

    def lose_tail(self) -> None:
        self.committed = self.checked


class SpoolWorld:
    """Steps a test may take, and the one audit that must hold after any of them."""

    def __init__(self, disk: FakeDisk | None = None, settings: SpoolSettings = SMALL) -> None:
        self.loop = asyncio.new_event_loop()
        self.disk = disk or FakeDisk()
        self.clock = FakeClock()
        self.settings = settings
        self.store = FakeStore()
        self.acked: dict[int, int] = {}
        self.refused: Counter[str] = Counter()
        self.is_corrupted = False
        self.last_id = 0
        self.epochs = 0
        self.writer: SpoolWriter | None = None
        self.reader: SpoolReader | None = None
        self.start()

    # -- steps

    def start(self) -> None:
        """Front and worker come up; a folder that cannot be read leaves them down."""
        writer = SpoolWriter(self.disk, FOLDER, self.settings, self.clock, self.new_epoch, InlineLanes())
        self.reader = self.open_reader()
        try:
            self.loop.run_until_complete(writer.start())
        except Unavailable:
            return
        self.writer = writer

    def new_epoch(self) -> int:
        self.epochs += 1
        return 1000 + self.epochs

    def open_reader(self) -> SpoolReader:
        return SpoolReader(self.disk, FOLDER, self.store.committed.position)

    def accept(self, sizes: list[int], quantity: int = 1) -> list[Position | Exception]:
        """As many requests at once as there are sizes."""
        if self.writer is None:
            return []
        first = self.last_id + 1
        self.last_id += len(sizes)
        futures = [
            self.writer.add(received(first + index, quantity), body(first + index, size))
            for index, size in enumerate(sizes)
        ]
        results = self.loop.run_until_complete(gathered(futures))
        for index, result in enumerate(results):
            if isinstance(result, Position):
                self.acked[first + index] = quantity
            else:
                assert isinstance(result, Busy | Unavailable), result
                self.refused[type(result).__name__] += 1
        return results

    def digest(self, max_records: int = 100, max_bytes: int = 100_000) -> int:
        """The worker takes one batch; how many records it had."""
        assert self.reader is not None
        try:
            records = self.reader.read(max_records, max_bytes)
        except Unavailable:
            return 0
        for record in records:
            assert record.damaged is not None or record.body == body(int(record.received.event_id), len(record.body))
        self.store.commit(records)
        return len(records)

    def release(self) -> None:
        """The store makes sure of what it has; the spool may forget it."""
        self.store.checkpoint()
        self.send_release(self.store.checked.position)

    def send_release(self, position: Position) -> None:
        if self.writer is None:
            return
        try:
            self.loop.run_until_complete(as_coroutine(self.writer.release(position)))
        except Unavailable:
            pass

    def restart_worker(self, lose_tail: bool = False) -> None:
        """The worker dies; with `lose_tail` its database log was damaged, too."""
        if lose_tail:
            self.store.lose_tail()
        assert self.reader is not None
        self.reader.close()
        self.reader = self.open_reader()

    def crash(self, seed: int | None, lose_tail: bool = False) -> None:
        """Power loss (seed) or kill -9 of everything (None), then a start."""
        self.forget_writer()
        if seed is None:
            self.disk.stop()
        else:
            self.disk.crash(seed)
        if lose_tail:
            self.store.lose_tail()
        self.start()

    def stop(self) -> None:
        """Orderly end of the front."""
        if self.writer is not None:
            self.loop.run_until_complete(self.writer.close())
        self.forget_writer()
        assert self.reader is not None
        self.reader.close()

    def forget_writer(self) -> None:
        if self.writer is not None and self.writer._retry is not None:
            self.writer._retry.cancel()
        self.writer = None

    # -- the audit

    def settle(self) -> None:
        """The disk is well, the front is up, the worker has caught up."""
        self.disk.heal()
        self.disk.meanwhile = None
        self.clock.advance(60)
        if self.writer is None:
            self.disk.stop()
            self.start()
        self.accept([10])  # the first finds out that the disk is well again
        self.accept([10])
        rounds = 0
        while self.digest(max_records=7):
            rounds += 1
            assert rounds < 10_000, "the reader never ends"

    def audit(self) -> None:
        """Each acknowledged record exactly once, in order, figures exact; nothing lost without damage."""
        self.settle()
        assert self.writer is not None
        state = self.store.committed
        ids = [each for each, _ in state.delivered]
        assert ids == sorted(set(ids)), f"twice or out of order: {ids}"
        assert self.writer.position == state.position, f"wrote {self.writer.position}, read {state.position}"
        assert self.writer.pending(state.position) == (0, 0, 0), "something waits that nobody can read"
        # Bytes that rot behind what the store has, and before a checkpoint: the next start cannot know they were there.
        assert state.accounted >= state.position.total, "acknowledged quantity is lost and not counted"
        if not self.is_corrupted:
            assert state.accounted == state.position.total, f"{state.accounted} stored of {state.position.total}"
            missing = set(self.acked) - set(ids)
            assert not missing, f"acknowledged and lost: {sorted(missing)}"
            assert (state.lost, state.damages, state.earlier) == (0, 0, 0), f"phantom damage: {state}"
            self.audit_checkpoint()

    def audit_checkpoint(self) -> None:
        """Whoever trusts the spool's own checkpoint finds every record behind it."""
        after = released(self.disk, FOLDER)
        reader = SpoolReader(self.disk, FOLDER, after)
        records = reader.read(1 << 30, 1 << 30)
        reader.close()
        gaps = [each.why for each in records if each.damaged is not None]
        assert not gaps, f"not behind the checkpoint {after}: {gaps}"

    def close(self) -> None:
        self.forget_writer()
        self.loop.close()


def received(number: int, quantity: int = 1) -> Received:
    return Received("envelope", 42, 1_790_000_000.0, quantity=quantity, event_id=str(number))


def body(number: int, size: int) -> bytes:
    """Bytes that tell their record and look a little like frames."""
    return (b"%d \xcbREC\0" % number * (size // 6 + 1))[:size]


async def gathered(futures: "list[asyncio.Future[Position]]") -> list[Position | Exception]:
    return await asyncio.gather(*futures, return_exceptions=True)  # type: ignore[return-value]


async def as_coroutine(future: "asyncio.Future[None]") -> None:
    await future
