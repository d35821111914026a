"""SpoolWriter: many requests on one event loop, one thread that writes, one sync for all that wait.

Group commit without a waiting window: while one sync runs, the next batch gathers by itself. A window of 2-10 ms only
adds latency (measured; reference: http.md 3). Only the loop touches the queue, only the lane touches the files.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog

from collector.errors import Busy, CollectorError, Unavailable
from collector.machine.clock import Clock
from collector.machine.disk import Disk
from collector.model.received import Position, Received
from collector.spool.active import Submission
from collector.spool.frame import MAX_HEAD_BYTES, encode_head
from collector.spool.journal import LOOK_SECONDS, RETRY_SECONDS, Journal
from collector.spool.settings import SpoolSettings

BUSY_SECONDS = 30.0  # when the disk has room again depends on the worker; SDKs drop what they send meanwhile
QUEUE_BUSY_SECONDS = 5.0
RECORD_OVERHEAD_BYTES = 512  # frame header and head: measured 150-300 bytes

log = structlog.get_logger("spool")

Job = Callable[[], None]
Told = Callable[[Position | CollectorError], None]


class Lanes(Protocol):
    """Where blocking work runs."""

    def commit(self, job: Job) -> None:
        """Run the job after all that were given before it, one at a time."""
        ...

    def background(self, job: Job) -> None:
        """Run the job beside everything else."""
        ...

    def close(self) -> None:
        """Return when all is done."""
        ...


class ThreadLanes:
    """One thread for commits (cheaper than an executor: no future and no lock a job), one more now and then."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._beside: threading.Thread | None = None

    def commit(self, job: Job) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def background(self, job: Job) -> None:
        self._beside = threading.Thread(target=job, name="spool-spare", daemon=True)
        self._beside.start()

    def close(self) -> None:
        self._jobs.put(None)
        for thread in (self._thread, self._beside):
            if thread:
                thread.join()

    def _run(self) -> None:
        while job := self._jobs.get():
            try:
                job()
            except Exception:  # door: loop. One job's bug must not leave all later requests without an answer
                log.exception("a spool job failed")


class Pending(NamedTuple):
    """What lies behind a position: records, their ledger quantity, bytes on disk (in proportion within a file)."""

    records: int
    quantity: int
    bytes: int


class SpoolWriter:
    """The door into the spool. All methods are called on one event loop; start() first, close() last."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        settings: SpoolSettings,
        clock: Clock,
        new_epoch: Callable[[], int],
        lanes: Lanes | None = None,
    ) -> None:
        self._journal = Journal(disk, folder, settings, clock)
        self._settings = settings
        self._clock = clock
        self._new_epoch = new_epoch
        self._lanes = lanes or ThreadLanes()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: list[Submission] = []
        self._waiters: list[Told] = []
        self._queued_bytes = 0  # in the queue and in the batch that is being written
        self._room_bytes = 0  # up to which queued bytes nothing is refused; see _measure()
        self._used_bytes = 0
        self._floor_share = 0.0
        self._is_busy = False
        self._emptied: asyncio.Future[None] | None = None  # close() waits for it
        self.on_durable: Callable[[], None] = lambda: None  # called after each commit, once its waiters know
        self._is_closed = False
        self._look_at = 0.0
        self._retry: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Recover the folder and begin a new file. Raises Unavailable (folder in use or unreadable), ConfigError.

        A disk that can be read but not written is no error: add() fails with Unavailable until it can.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._on_lane(partial(self._journal.open, self._new_epoch))
        except CollectorError:
            await self.close()
            raise
        await self._on_lane(self._journal.begin)
        self._watch_trouble()

    # -- records

    def add(self, received: Received, body: bytes) -> "asyncio.Future[Position]":
        """Take one record. The future is done when it is durable; it fails with Busy or Unavailable, never otherwise.

        Records become durable in the order of the calls. A cancelled future changes nothing for its record.
        """
        assert self._loop is not None, "start() comes first"
        future: asyncio.Future[Position] = self._loop.create_future()
        try:
            self.tell(received, body, partial(_settle, future))
        except (Busy, Unavailable) as refusal:
            future.set_exception(refusal)
        return future

    def tell(self, received: Received, body: bytes, told: Told) -> None:
        """Like add() without the price of a future. Raises what the record is refused with at once; otherwise `told`
        is called once on the loop, after this call, with the position or with what went wrong."""
        assert self._loop is not None, "start() comes first"
        size_bytes = len(body) + RECORD_OVERHEAD_BYTES
        if self._queued_bytes + size_bytes > self._room_bytes and (refusal := self._refusal(size_bytes)):
            raise refusal
        head = encode_head(received)
        if len(head) > MAX_HEAD_BYTES:
            raise Unavailable(f"the head of a record takes at most {MAX_HEAD_BYTES} bytes")
        self._queue.append(Submission(head, body, received.quantity))
        self._waiters.append(told)
        self._queued_bytes += size_bytes
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._kick)  # not now: all that this turn of the loop reads shares the commit

    def _measure(self) -> None:
        """After whatever may change the disk: what would be asked anew for each record holds until the next time."""
        journal, settings = self._journal, self._settings
        self._used_bytes = journal.used_bytes
        free, floor = journal.space.free_bytes, journal.floor_bytes
        self._floor_share = floor / max(1, free)
        room = min(settings.max_spool_bytes - self._used_bytes, settings.max_queued_bytes, free - floor)
        self._room_bytes = 0 if self._is_closed else room

    def _refusal(self, size_bytes: int) -> CollectorError | None:
        journal, settings = self._journal, self._settings
        ahead = self._queued_bytes + size_bytes
        if self._is_closed:
            return Unavailable("the spool is closed")
        if journal.used_bytes + ahead > settings.max_spool_bytes:
            return Busy(BUSY_SECONDS, f"max_spool_bytes {settings.max_spool_bytes} reached", 429)
        if ahead > settings.max_queued_bytes and self._queued_bytes:
            return Busy(QUEUE_BUSY_SECONDS, f"max_queued_bytes {settings.max_queued_bytes} reached", 503)
        if journal.space.free_bytes - ahead < journal.floor_bytes:
            self._look()
            return Busy(BUSY_SECONDS, f"min_free_bytes {journal.floor_bytes} B reached", 503)
        return None

    def _look(self) -> None:
        """While records are refused nobody commits: look at the free space from here, once a second."""
        if self._clock.monotonic() >= self._look_at:
            self._look_at = self._clock.monotonic() + LOOK_SECONDS
            self._on_lane(self._journal.look)

    def _kick(self) -> None:
        batch, waiters, taken_bytes = self._queue, self._waiters, self._queued_bytes
        self._queue, self._waiters = [], []
        self._lanes.commit(partial(self._commit, batch, waiters, taken_bytes))

    def _commit(self, batch: list[Submission], waiters: list[Told], taken_bytes: int) -> None:
        """On the lane."""
        done: list[Position] = []
        why = "the spool failed"
        try:
            done, why = self._journal.commit(batch)
        finally:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._finish, waiters, done, why, taken_bytes)
        if self._journal.wants_spare():
            self._lanes.background(self._journal.prepare)

    def _finish(self, waiters: list[Told], done: list[Position], why: str, taken_bytes: int) -> None:
        self._queued_bytes -= taken_bytes
        self._measure()
        if self._queue:
            self._kick()
        else:
            self._is_busy = False
            if self._emptied is not None:
                self._emptied.set_result(None)
        results: list[Position | CollectorError] = [*done]
        results += [Unavailable(why) for _ in range(len(waiters) - len(done))]
        for told, result in zip(waiters, results, strict=True):
            try:
                told(result)
            except Exception:  # door: loop. One waiter's bug must not leave the others without an answer
                log.exception("a waiter of the spool failed")
        if done:
            self.on_durable()
        if why:
            self._watch_trouble()

    def take(self, settings: SpoolSettings) -> None:
        """Other settings from the next record on. What is acknowledged already stays so, also above a lower limit."""
        self._settings = settings
        self._journal.take(settings)
        self._measure()

    # -- trouble

    def _watch_trouble(self) -> None:
        """While there is no file to write to, try again without waiting for a request."""
        if self._journal.is_down and self._retry is None and not self._is_closed and self._loop:
            self._retry = self._loop.call_later(RETRY_SECONDS * 2, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._on_lane(self._journal.reopen).add_done_callback(lambda _: self._watch_trouble())

    # -- release and figures

    def release(self, position: Position) -> "asyncio.Future[None]":
        """Records up to `position` are safe elsewhere: durable checkpoint, then whole files below it go.

        Done when the checkpoint is durable; fails with Unavailable. A position of another epoch changes nothing.
        """
        return self._on_lane(partial(self._journal.release, position))

    @property
    def position(self) -> Position:
        """The last durable record; `total` is the ledger quantity received in this epoch."""
        return self._journal.position

    @property
    def released(self) -> Position:
        """Up to where records are not needed any more."""
        return self._journal.released

    @property
    def trouble(self) -> str:
        """One sentence while the disk does not take records, else ""."""
        return self._journal.trouble

    def pending(self, after: Position) -> Pending:
        """What waits behind `after` (usually what the store has committed). Everything, for another epoch."""
        position = self._journal.position
        seq, total = (after.seq, after.total) if after.epoch == position.epoch else (0, 0)
        records = size_bytes = 0
        for file in self._journal.files():
            held = file.last_seq - file.first_seq + 1
            waiting = min(held, file.last_seq - seq)
            if waiting > 0:
                records += waiting
                size_bytes += file.size_bytes * waiting // held
        return Pending(records, max(0, position.total - total), size_bytes)

    @property
    def pressure(self) -> float:
        """How near the next refusal is: 0 nothing waits, 1 records are refused."""
        return 1.0 if self._journal.is_down and self._journal.trouble else self.fullness

    @property
    def fullness(self) -> float:
        """The same for what only time and the worker can change. A disk that fails for half a second is no reason to
        tell clients to be silent for a minute."""
        settings, waiting = self._settings, self._queued_bytes
        used = (self._used_bytes + waiting) / settings.max_spool_bytes
        return min(1.0, max(used, waiting / settings.max_queued_bytes, self._floor_share))

    def status(self) -> dict[str, Any]:
        """Figures for the status document; `records` and `bytes` are those above the released position."""
        journal = self._journal
        pending = self.pending(journal.released)
        return {
            "records": pending.records,
            "bytes": pending.bytes,
            "quantity": pending.quantity,
            "disk_bytes": journal.used_bytes,
            "files": len(journal.files()),
            "position": list(journal.position),
            "released": list(journal.released),
            "free_bytes": journal.space.free_bytes,
            "floor_bytes": journal.floor_bytes,
            "max_bytes": int(self._settings.max_spool_bytes),
            "queued_bytes": self._queued_bytes,
            "pressure": round(self.pressure, 3),
            "trouble": journal.trouble,
            "foreign": journal.foreign,
        }

    async def close(self) -> None:
        """Write what waits, then close every file. Records added from now on fail with Unavailable."""
        self._is_closed = True
        self._measure()
        if self._retry:
            self._retry.cancel()
        if self._loop is not None:
            if self._is_busy:
                self._emptied = self._loop.create_future()
                await self._emptied
            await self._on_lane(self._journal.close)
        self._lanes.close()
        self._journal.leave()

    def _on_lane(self, act: Job) -> "asyncio.Future[None]":
        assert self._loop is not None
        loop = self._loop
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: CollectorError | None) -> None:
            self._measure()
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        def job() -> None:
            error: CollectorError | None = Unavailable("the spool failed")
            try:
                act()
                error = None
            except OSError as failure:
                error = Unavailable(f"the spool folder: {failure.strerror or failure}")
            except CollectorError as failure:
                error = failure
            finally:
                loop.call_soon_threadsafe(settle, error)

        self._lanes.commit(job)
        return future


def _settle(future: "asyncio.Future[Position]", result: Position | CollectorError) -> None:
    if future.done():
        return
    if isinstance(result, CollectorError):
        future.set_exception(result)
    else:
        future.set_result(result)
