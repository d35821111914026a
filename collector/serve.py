"""Composition root of the front: HTTP doors, admission, the spool, and the worker's life.

One configuration after the other: `take` goes over to another one between two requests (collector.reload says when).

Start: lock the data folder, open the spool, listen, print the DSN lines; the worker comes up beside it and is not
waited for, because the spool takes events without it. Stop (SIGTERM, SIGINT): no new connections, in-flight requests
answered, refusals spooled, the worker finishes its batch, exit 0. A second signal leaves at once.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tomllib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn

from collector import __version__
from collector.accept.doors import Doors
from collector.accept.guard import take_settings, uvicorn_settings
from collector.accept.hub import HubApp, build_hub
from collector.accept.ingest import build_ingest
from collector.accept.pressure import MemoryPressure
from collector.admit.admission import Admission
from collector.admit.learned import as_limits
from collector.changes import same_upstream, worker_part
from collector.config import Config, ProjectConfig, Source
from collector.errors import Busy, ConfigError, Unavailable
from collector.hub.edges import Edges
from collector.machine.child import Worker
from collector.machine.clock import Clock, SystemClock
from collector.machine.disk import Disk, RealDisk
from collector.machine.ids import new_epoch, new_public_key
from collector.machine.link import CONTROL_SOCKET, AsyncLink, control_address
from collector.machine.logs import set_up_logs
from collector.machine.loops import LoopLag, calm_collector
from collector.machine.memory import give_back
from collector.model.received import START, Position, Received
from collector.model.tally import OutcomeTally
from collector.reload import Hangups, Reloader
from collector.spool.writer import SpoolWriter
from collector.status import MAX_BEAT_AGE_SECONDS, Facts, compose
from collector.web.app import build_web
from collector.web.sql import SqlDoor

FLUSH_EVERY_SECONDS = 1.0
HUNG_TICKS = 60  # seconds without a sign of life; the longest honest silence is a checkpoint of a large segment
KEEP_EVERY_SECONDS = 10.0
GARBAGE_OBJECTS = 2_000  # usual requests leave none; pages and reloads do, and 50,000 of it were 10 MB (measured)
BATCH_SECONDS = 30.0  # for the last batch of a worker that is replaced; what it had is digested again otherwise
FIRST_WORD_SECONDS = 60.0  # opening the store may include repairs
LOOK_SECONDS = 0.02
LISTEN_SECONDS = 0.2
TICKS_A_SECOND = 4  # uvicorn's own ten cost a tenth of a percent of a core more
ADMISSION_FILE = "admission.state"  # may be deleted: counters start afresh
FOLDERS = ("spool", "segments", "quarantine", "tmp")

log = structlog.get_logger("serve")
StartThread = Callable[[socket.socket], None]


def with_default_project(config: Config, disk: Disk, may_make: bool = True) -> Config:
    """The configuration, with the generated project of the data folder when the file names none.

    `project.toml` in the data folder holds it from the first start on, so that the DSN stays the same. Where it is not
    there and may not be made, there is no project.
    """
    folder = Path(config.data.dir)
    path = folder / "project.toml"
    if config.project or not (may_make or disk.exists(path)):
        return config
    disk.make_folder(folder)
    if not disk.exists(path):
        text = f'# Made at the first start because the configuration names no project.\nkey = "{new_public_key()}"\n'
        disk.write_whole(path, text.encode())
    try:
        key = tomllib.loads(disk.read_whole(path).decode())["key"]
        project = ProjectConfig(id=1, slug="default", keys=[key])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError([f"{path}: should hold key = 32 hex digits ({error}); delete it for a new one"]) from error
    return msgspec.structs.replace(config, project=[project])


def dsn_lines(config: Config, address: str) -> list[str]:
    """One DSN a project, for clients on this machine when the listen address is a wildcard."""
    place = local_address(address)
    return [f"http://{project.keys[0]}@{place}/{project.id}" for project in config.project]


def local_address(address: str) -> str:
    """Where this machine reaches a listen address, also a wildcard."""
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"{host}:{port}"


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handling: two signals mean what this module says they mean.

    Its tick, which runs in any case, tells how late the event loop is."""

    def __init__(self, settings: uvicorn.Config, clock: Clock) -> None:
        super().__init__(settings)
        self.clock = clock
        self.lag = LoopLag(clock)
        self._is_leaving = asyncio.Event()

    def leave(self) -> None:
        """Have it stop, at once."""
        self.should_exit = True
        self._is_leaving.set()

    async def main_loop(self) -> None:
        """Tick until it is over; uvicorn writes its date anew at every tenth tick of its own."""
        ticks, pause_seconds = 0, 1 / TICKS_A_SECOND
        while not await self.on_tick(ticks % TICKS_A_SECOND * 10 // TICKS_A_SECOND):
            ticks += 1
            due_at = self.clock.monotonic() + pause_seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._is_leaving.wait()
            self.lag.saw(self.clock.monotonic() - due_at)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers alone."""
        yield


class Front:
    """Everything the front owns, from listening to the last flush."""

    def __init__(
        self, config: Config, clock: Clock, disk: Disk, start_thread: StartThread | None, source: Source | None = None
    ) -> None:
        self.config = config
        self.clock = clock
        self.disk = disk
        self.folder = Path(config.data.dir)
        self.started_at = clock.monotonic()
        self.refusals = OutcomeTally()
        self.beat: dict[str, Any] = {}
        self.beat_at: float | None = None
        self.address = config.listen.address
        self.worker_is_idle = False
        self.spool = SpoolWriter(disk, self.folder / "spool", config.spool, clock, new_epoch)
        self.spool.on_durable = self._wake
        self.worker = Worker(worker_part(config).to_bytes(), self.on_frame, clock, start_thread)
        self.admission = self._admission_of(config)
        self.doors = self._doors_of(config, self.admission, Counter())
        self.edges = Edges(config.hub.edge) if config.hub.enabled else None
        self.sql = SqlDoor(config.query, lambda folder: self.on_control("snapshot", folder), self.folder)
        self.web = build_web(self.status, self.last_status, self.sql)
        self.hub: HubApp | None = build_hub(self.doors, self.edges, self.web) if self.edges else None
        self.app = build_ingest(self.doors, self.hub or self.web)
        self.server = QuietServer(uvicorn_settings(self.app, config.ingest), clock)
        self.reloader = Reloader(self, source, self._complete, clock) if source else None
        self.signals = 0
        self._settled = asyncio.Event()  # not while a worker is being replaced
        self._settled.set()
        self._is_working = False
        self._mistakes: list[str] = []
        self._restarts_before = 0
        self._kept = b""
        self._silent_ticks = 0
        self._spooled_refusals: deque[tuple[Position, dict[str, int]]] = deque()

    def _admission_of(self, config: Config) -> Admission:
        quotas = {project.id: project.quota for project in config.project}
        return Admission(config.admit, config.quota, quotas, self.clock, lambda: self.spool.fullness)

    def _doors_of(self, config: Config, admission: Admission, answers: "Counter[int]") -> Doors:
        return Doors(
            projects=config.project,
            settings=config.ingest,
            limits=config.limits,
            clock=self.clock,
            spool_add=self.spool.add,
            spool_tell=self.spool.tell,
            refused=self.refusals.add,
            admission=admission,
            pressure=MemoryPressure(config.ingest.max_memory_bytes, self.clock, self.disk),
            answers=answers,
        )

    def _complete(self, config: Config, may_make: bool) -> Config:
        return with_default_project(config, self.disk, may_make)

    def take(self, config: Config) -> None:
        """Go over to another configuration; requests under way end with what they began with. On the loop."""
        before, admission = self.config, self._admission_of(config)
        doors = self._doors_of(config, admission, self.doors.answers)
        edges = Edges(config.hub.edge) if config.hub.enabled else None
        hub = build_hub(doors, edges, self.web, self.hub) if edges else None
        if config.ingest != before.ingest:
            take_settings(self.server.config, config.ingest)
        if config.log != before.log:
            set_up_logs(config.log.level)
        if edges and self.edges:
            edges.take_over(self.edges)
        admission.take_over(self.admission, same_upstream(before, config))
        self.spool.take(config.spool)
        self.sql.take(config.query)
        self.app.take(doors, hub or self.web)
        self.admission, self.doors, self.edges, self.hub, self.config = admission, doors, edges, hub, config

    async def replace_worker(self, config: Config) -> list[str]:
        """Have a worker with another configuration. Why it does not work, [] when it does or when the one before did
        not work either. Raises Unavailable when the collector stops meanwhile."""
        is_judged = self._is_working or not self.worker.restarts
        self._settled.clear()
        try:
            await self.worker.replace(worker_part(config).to_bytes(), self._expect, BATCH_SECONDS)
            return await self._first_word() if is_judged else []
        finally:
            self._settled.set()

    def _expect(self) -> None:
        self._is_working, self._mistakes, self._restarts_before = False, [], self.worker.restarts

    async def _first_word(self) -> list[str]:
        until = self.clock.monotonic() + FIRST_WORD_SECONDS
        while not self._is_working and self.clock.monotonic() < until:
            if self._mistakes:
                return self._mistakes
            if self.worker.restarts > self._restarts_before:
                return ["the worker ended before it worked with the new configuration; the log says why"]
            await asyncio.sleep(LOOK_SECONDS)
        return []

    def _hear(self, beat: dict[str, Any]) -> None:
        """A sign of life. A worker that has not opened its files yet leaves what is known from the one before."""
        self._is_working = "position" in beat
        if not self._is_working and (failed := beat["loops"].get("digest", {}).get("last_error")):
            self._mistakes = [f"the worker does not work with the new configuration: {failed}"]
        known = {key: value for key, value in self.beat.items() if key != "refused"}
        self.beat, self.beat_at = {**known, **beat}, self.clock.monotonic()

    def _wake(self) -> None:
        """A worker that waits hears of what is durable. One frame ends its wait; it then reads until there is nothing
        and says that it is idle again."""
        if self.worker_is_idle:
            self.worker_is_idle = False
            self.worker.link.notify("wake")

    async def on_frame(self, kind: str, body: Any) -> Any:
        """What the worker says unasked."""
        self._silent_ticks = 0
        if kind == "limits":
            self.admission.learn(int(body["project_id"]), as_limits(body["limits"]))
        elif kind == "beat":
            self._hear(body)
        elif kind == "mistaken":
            self._mistakes = list(body)
        elif kind == "idle":
            self.worker_is_idle = True
            here, at = self.spool.position, Position(*body)
            if here.seq > (at.seq if at.epoch == here.epoch else 0):  # committed while the word was on its way
                self._wake()
        elif kind == "released":
            await self.spool.release(Position(*body))
        return None

    async def status(self) -> dict[str, Any]:
        """The status document, as fresh as the worker can make it within 2 s."""
        if self._settled.is_set():
            with contextlib.suppress(Unavailable):
                self._hear(await self.worker.link.call("status", timeout_seconds=2.0))
        return self.last_status()

    def last_status(self) -> dict[str, Any]:
        """The same with what the worker told last, a second ago at most while it is well: waits for nothing."""
        beat = self.beat
        # No await here: spool and refusals are read at one instant.
        return compose(
            Facts(
                config=self.config,
                beat=beat,
                beat_age_seconds=self.beat_age_seconds(),
                front_pid=os.getpid(),
                worker_pid=self.worker.pid,
                worker_restarts=self.worker.restarts,
                spool=self.spool.status(),
                waiting=self.spool.pending(Position(*(beat.get("position") or START))),
                refusals=self.refusals.by_ledger_key(),
                spooled_refusals=self.told_refusals(),
                shed_pressure=self.config.admit.shed_pressure,
                uptime_seconds=self.clock.monotonic() - self.started_at,
                address=self.address,
                dsns=dsn_lines(self.config, self.address),
                answers={str(code): count for code, count in self.doors.answers.items()},
                memory_trouble=self.doors.pressure.trouble() if self.doors.pressure else "",
                edges=self.edges.status() if self.edges else None,
                configuration=self.reloader.status() if self.reloader else None,
                loop_lag_ms=self.server.lag.status(),
            )
        )

    async def on_control(self, kind: str, body: Any) -> Any:
        """Questions of the command line, over the Unix socket."""
        if kind == "status":
            return await self.status()
        if kind in ("reload", "plan") and self.reloader:
            return await self.reloader.answer(kind, str(body))
        while True:
            try:
                return await self._ask_worker(kind, body)
            except Unavailable:
                if self._settled.is_set():
                    raise
                await self._settled.wait()  # it leaves what comes after its last batch to the next one

    async def _ask_worker(self, kind: str, body: Any) -> Any:
        asking = asyncio.ensure_future(self.worker.link.call(kind, body, timeout_seconds=60.0))
        try:
            while not (await asyncio.wait({asking}, timeout=LISTEN_SECONDS))[0]:
                if self.server.should_exit:  # a worker that has just started, or is busy, would hold up the stop
                    raise Unavailable("the collector stops")
                age = self.beat_age_seconds() or 0.0
                if age > MAX_BEAT_AGE_SECONDS:  # a copy may take long, but a worker that is busy still beats
                    raise Unavailable(f"worker: it has not reported for {age:.0f} s")
        finally:
            asking.cancel()
        return asking.result()

    def beat_age_seconds(self) -> float | None:
        """Since the worker's last sign of life; None before the first."""
        return None if self.beat_at is None else self.clock.monotonic() - self.beat_at

    async def flush_refusals(self) -> None:
        """Spool what was refused since the last time, so that the ledger takes the same exact path as events."""
        if not self.refusals:
            return
        keys = self.refusals.by_ledger_key()
        outcomes = self.refusals.take()
        quantity = sum(outcome.items for outcome in outcomes)
        received = Received(door="ledger", project_id=0, received_at=self.clock.now(), quantity=quantity)
        try:
            position = await self.spool.add(received, msgspec.msgpack.encode(outcomes))
            self._spooled_refusals.append((position, keys))
        except (Busy, Unavailable):  # disk trouble: keep them in memory until it is over
            for outcome in outcomes:
                self.refusals.add(outcome)

    async def flush_loop(self) -> None:
        """Spool refusals once a second; while room is short, ask for what is digested to be let go."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_SECONDS)
            await self.flush_refusals()
            if self.spool.pressure >= self.config.admit.shed_pressure:
                self.worker.link.notify("release")
            self.watch_worker()

    def watch_worker(self) -> None:
        """End a worker that hangs; `worker.run` starts another. Counted in our own ticks, so that a machine that slept,
        or a whole process group that was stopped, does not count against it."""
        self._silent_ticks += 1
        if self._silent_ticks >= HUNG_TICKS and self.worker.pid is not None:
            log.error("the worker hangs; ending it", silent_seconds=self._silent_ticks)
            self._silent_ticks = 0
            self.worker.kill()

    def told_refusals(self) -> dict[str, int]:
        """Refusals that the worker has not counted yet: in memory, or in the spool behind its position. They are shown
        as dropped from the beginning, so that the figure never goes back."""
        at = Position(*(self.beat.get("position") or START))
        while self._spooled_refusals and (
            at.epoch == self._spooled_refusals[0][0].epoch and at.seq >= self._spooled_refusals[0][0].seq
        ):
            self._spooled_refusals.popleft()
        told: Counter[str] = Counter()
        for _, keys in self._spooled_refusals:
            told.update(keys)
        return dict(told)

    def recall_admission(self) -> None:
        """Take over the counters of the last run, as far as they are usable."""
        path = self.folder / ADMISSION_FILE
        if self.disk.exists(path):
            self._kept = self.disk.read_whole(path)
            if not self.admission.load(self._kept):
                log.warning("the kept admission counters are unusable; they start afresh", file=ADMISSION_FILE)

    async def keep_admission(self) -> None:
        """Write the counters down when they have changed."""
        state = self.admission.dump()
        if state == self._kept:
            return
        try:
            await asyncio.to_thread(self.disk.write_whole, self.folder / ADMISSION_FILE, state)
            self._kept = state
        except (OSError, Unavailable) as error:  # the counters are a convenience; the next time may work
            log.warning("admission counters could not be kept", error=str(error))

    async def keep_loop(self) -> None:
        """Keep admission counters and tell of spikes."""
        while True:
            await asyncio.sleep(KEEP_EVERY_SECONDS)
            for notice in self.admission.take_notices():
                log.warning("spike started" if notice.started else "spike is over", **notice._asdict())
            await self.keep_admission()

    def on_signal(self) -> None:
        """First signal: orderly. Second: now."""
        self.signals += 1
        if self.signals > 1:
            self.worker.kill()
            os._exit(130)
        log.info("stopping")
        self.sql.stop()
        self.server.leave()

    async def run(self, announce: Callable[[list[str], str], None], hangups: Hangups | None = None) -> int:
        """Serve until a signal. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.on_signal)
        if self.reloader and hangups:
            hangups.hand_over(loop, self.reloader.ask, self.on_signal)
        await self.spool.start()
        self.recall_admission()
        listener = _listen(self.config.listen.address)
        host = self.config.listen.address.rpartition(":")[0]
        self.address = f"{host}:{listener.getsockname()[1]}"
        control = await self._open_control()
        worker = asyncio.create_task(self.worker.run(), name="worker")
        flush = asyncio.create_task(self.flush_loop(), name="flush")
        keep = asyncio.create_task(self.keep_loop(), name="keep")
        served = asyncio.create_task(self.server.serve(sockets=[listener]), name="http")
        while not self.server.started and not served.done():
            await asyncio.sleep(0.005)
        announce(dsn_lines(self.config, self.address), self.address)
        give_back(self.disk)
        if self.reloader:
            self.reloader.begin()
        await asyncio.wait({served, flush}, return_when=asyncio.FIRST_COMPLETED)
        code = 0 if served.done() and not served.exception() else 70
        self.server.leave()
        await asyncio.gather(served, return_exceptions=True)
        if self.reloader:
            await self.reloader.stop()
        for loop_task in (flush, keep):
            loop_task.cancel()
        await asyncio.gather(flush, keep, return_exceptions=True)
        await self.flush_refusals()
        await self.keep_admission()
        control.close()
        (self.folder / CONTROL_SOCKET).unlink(missing_ok=True)
        in_time = await self.worker.stop(worker, self.config.process.shutdown_timeout)
        if not in_time:
            log.warning("the worker did not finish in time; its batch will be digested again at the next start")
        await self.spool.close()
        log.info("stopped", code=code)
        return code

    async def _open_control(self) -> asyncio.Server:
        path = self.folder / CONTROL_SOCKET
        path.unlink(missing_ok=True)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await AsyncLink(self.on_control).run(reader, writer)

        with control_address(self.folder) as address:
            server = await asyncio.start_unix_server(serve, path=address)
        path.chmod(0o600)
        return server


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), int(port)))
    except OSError as error:
        listener.close()
        raise Unavailable(f"listen.address: {address} cannot be used: {error.strerror}") from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def serve(config: Config, start_thread: StartThread | None, source: Source, hangups: Hangups) -> int:
    """Run the collector until it is told to stop; the exit code. Raises ConfigError, Unavailable (folder in use).

    source: where the configuration comes from. hangups: those that came before.
    """
    import uvloop

    disk = RealDisk()
    folder = Path(config.data.dir)
    with _own_folder(disk, folder):
        config = with_default_project(config, disk)
        if config.process.worker == "thread":
            sys.setswitchinterval(0.0001)  # measured: an ack waits up to 5 ms per wake-up for the worker's slice else
        log.info("starting", version=__version__, data=str(folder))

        async def main() -> int:
            calm_collector(GARBAGE_OBJECTS)
            in_thread = start_thread if config.process.worker == "thread" else None
            front = Front(config, SystemClock(), disk, in_thread, source)
            return await front.run(_announce_to(folder), hangups)

        return uvloop.run(main())


class FolderRefused(Unavailable):
    """The data folder is another collector's, or cannot be written; exit 73."""


@contextlib.contextmanager
def _own_folder(disk: Disk, folder: Path) -> Iterator[None]:
    """The data folder with its rooms, locked for as long as this process lives. Raises FolderRefused."""
    try:
        for name in ("", *FOLDERS):
            disk.make_folder(folder / name)
        lock = disk.lock_folder(folder)
    except OSError as error:
        raise FolderRefused(f"data.dir: {error.filename or folder}: {error.strerror}") from error
    except Unavailable as error:
        raise FolderRefused(error.what) from error
    with lock:
        yield


def _announce_to(folder: Path) -> Callable[[list[str], str], None]:
    def announce(dsns: list[str], address: str) -> None:
        for dsn in dsns:
            print(f"DSN {dsn}")
        print(f"PAGE http://{address}/")
        print(f"DATA {folder}", flush=True)

    return announce
