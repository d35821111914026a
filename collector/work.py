"""Composition root of the worker: spool -> digest -> store -> forward, in one process (or one thread of the front).

Order of a batch: read from the spool, digest, one DuckDB transaction (rows + position), one SQLite transaction
(issues, ledger, roll-ups), and much later, after a verified checkpoint of the segment, "released" to the front, which
alone removes spool files. A crash between any two steps is repaired by the next start.

Started as `python -m collector.work FD`, where FD is one end of a socketpair; the first frame is the configuration.
"""

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from collector.config import Config, ProjectConfig
from collector.digest.digester import Digester, Memory
from collector.digest.project import ProjectRules
from collector.errors import ConfigError, Damaged, Invalidated, Unavailable
from collector.forward.room import Forward
from collector.forward.sender import World
from collector.forward.sync import Sync, Wanted
from collector.machine.clock import Clock, SystemClock
from collector.machine.disk import Disk, RealDisk
from collector.machine.link import ThreadLink
from collector.machine.logs import set_up_logs
from collector.machine.loops import Beat, Loop, Supervisor, calm_collector, wake_collector
from collector.machine.memory import Thrift, give_back
from collector.machine.net import Answer, HttpNet, Net, NetError, Request, jitter
from collector.model.event import Digested
from collector.model.outcome import DAMAGED, Outcome
from collector.model.settings import Size
from collector.protocol.ratelimits import RateLimit, limits_of_answer
from collector.spool.reader import SpoolReader, SpoolRecord
from collector.store.buckets import IssueRate, StoredProject
from collector.store.regroup import answer as regroup
from collector.store.statuses import UPSTREAM
from collector.store.store import Store

MAX_BATCH_BYTES = 8 * 2**20
CARE_EVERY_SECONDS = 1.0
PUBLISH_EVERY_SECONDS = 0.5
HURRY_EVERY_SECONDS = 5.0
RETRY_SECONDS = 1.0
LOCK_PATIENCE_SECONDS = 60.0
COPY_PATIENCE_SECONDS = 5.0  # a snapshot that is being copied at the end
RECENT_ISSUES = 20
MAX_API_ANSWER_BYTES = Size("8 MiB")  # an event that is looked up comes along whole

log = structlog.get_logger("work")
Job = Callable[["Shift"], None]


class ListeningNet:
    """The way out, with an ear for the limits in any answer."""

    def __init__(self, net: Net, told: Callable[[list[RateLimit]], None]) -> None:
        self._net = net
        self._told = told

    def send(self, request: Request) -> Answer:
        """As Net.send."""
        answer = self._net.send(request)
        self._listen(answer)
        return answer

    def send_many(self, requests: Sequence[Request]) -> list[Answer | NetError]:
        """As Net.send_many."""
        answers = self._net.send_many(requests)
        for answer in answers:
            if isinstance(answer, Answer):
                self._listen(answer)
        return answers

    def _listen(self, answer: Answer) -> None:
        headers = answer.headers
        limits = limits_of_answer(answer.status, headers.get("x-sentry-rate-limits"), headers.get("retry-after"))
        if limits:
            self._told(limits)

    def hurry(self, seconds: float) -> None:
        """As Net.hurry."""
        self._net.hurry(seconds)

    def close(self) -> None:
        """As Net.close."""
        self._net.close()


class Work:
    """Everything the worker owns. `run` returns when the link closes or "stop" arrives."""

    def __init__(self, config: Config, link: ThreadLink, clock: Clock, disk: Disk) -> None:
        self.config = config
        self.link = link
        self.clock = clock
        self.disk = disk
        self.folder = Path(config.data.dir)
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.wake = threading.Event()
        self.is_replaced = False  # another worker follows at once: what waits in the spool is for it
        self.digested = threading.Event()  # set when nothing more will be committed: what is ready then still goes out
        self.supervisor = Supervisor(clock, on_fatal=lambda name: self.leave())
        self.document: dict[str, Any] = {}
        self.forward = self._forward()
        self.sync = self._sync()

    def _forward(self) -> Forward | None:
        upstream = self.config.upstream
        if not upstream.dsn.reveal() and not upstream.hub:
            return None
        projects = {project.id: project.forward for project in self.config.project}
        modes = {number: one.mode for number, one in projects.items()}
        whole = [number for number, mode in modes.items() if (upstream.mode if mode == "inherit" else mode) == "events"]
        net: Net = HttpNet(upstream.net())
        if not upstream.hub:  # a hub takes everything in the end; what it cannot take now waits in the outbox
            net = ListeningNet(net, lambda told: self.tell_limits(whole, told))
        return Forward(upstream, projects, World(self.clock, net, jitter))

    def _sync(self) -> Sync | None:
        upstream = self.config.upstream
        if not upstream.api_token.reveal():
            return None
        net = HttpNet(msgspec.structs.replace(upstream.net(), max_answer_bytes=MAX_API_ANSWER_BYTES), connections=1)
        return Sync(upstream, World(self.clock, net, jitter), self.take_over)

    def take_over(self, wanted: Sequence[Wanted]) -> None:
        """Statuses that upstream has, for the digest thread."""
        self.jobs.put(lambda shift: shift.take_over(wanted))
        self.wake.set()

    def tell_limits(self, project_ids: list[int], told: list[RateLimit]) -> None:
        """What the upstream refuses need not come in, where all that comes in is sent on."""
        limits = [
            {"seconds": one.seconds, "categories": list(one.categories), "scope": one.scope, "reason": one.reason}
            for one in told
        ]
        for project_id in project_ids:
            self.link.send("limits", {"project_id": project_id, "limits": limits})

    def leave(self) -> None:
        """Ask every loop to finish."""
        self.supervisor.stop.set()
        self.wake.set()

    def run(self) -> None:
        """Run all loops; the digest loop in the calling thread."""
        self.supervisor.start(Loop("link", self.listen))
        self.supervisor.start(Loop("heartbeat", self.beat))
        self.supervisor.run_here(Loop("digest", self.digest))
        self.leave()
        self.digested.set()
        if self.forward is not None:
            self.forward.hurry()
        if self.sync is not None:
            self.sync.hurry()
        self.supervisor.join(self.config.process.shutdown_timeout)

    def listen(self, beat: Beat, stop: threading.Event) -> None:
        """Frames from the front; ends with the link."""
        while True:
            beat()
            frame = self.link.receive()
            if frame is None or frame[0] in ("stop", "replace"):
                self.is_replaced = frame is not None and frame[0] == "replace"
                self.leave()
                return
            kind, call, body = frame
            if kind != "wake":
                self.jobs.put(lambda shift, kind=kind, call=call, body=body: shift.answer(kind, call, body))  # type: ignore[misc]
            self.wake.set()

    def beat(self, beat: Beat, stop: threading.Event) -> None:
        """One sign of life a second, with the latest status document."""
        while not stop.wait(1.0):
            beat()
            self.link.send("beat", self.status())

    def status(self) -> dict[str, Any]:
        """What the front adds to its own status."""
        loops = self.supervisor.health()
        loops.pop("link", None)  # blocked in a read by design; the heartbeat loop proves the link
        return {**self.document, "loops": loops, "forward": self.forward.status() if self.forward else None,
                "sync": self.sync.status() if self.sync else None}  # fmt: skip

    def digest(self, beat: Beat, stop: threading.Event) -> None:
        """Open everything, then batch after batch until asked to stop."""
        try:
            shift = Shift(self, beat, stop)
        except ConfigError as error:  # data of a newer collector: events wait in the spool, and the status must say why
            self.document = {**self.document, "refused": str(error)}
            raise
        with shift:
            shift.run()

    def send(self, beat: Beat, stop: threading.Event) -> None:
        """The sender's loop; it starts once the store has made state.sqlite and ends after the last commit."""
        assert self.forward is not None
        self.forward.run(self.folder / "state.sqlite", beat, self.digested)

    def keep_statuses(self, beat: Beat, stop: threading.Event) -> None:
        """The loop that compares statuses with upstream's."""
        assert self.sync is not None
        self.sync.run(self.folder / "state.sqlite", beat, stop)


class Shift:
    """One life of the digest loop: it owns the store and the reader, and opens both afresh after a failure."""

    def __init__(self, work: Work, beat: Beat, stop: threading.Event) -> None:
        self.work, self.beat, self.stop, self.clock = work, beat, stop, work.clock
        config, folder = work.config, work.folder
        self._closing = contextlib.ExitStack()
        try:
            self._closing.callback(self._wait_for_lock(folder / "segments").close)
            self.store = Store.open(
                folder,
                config.store,
                config.retention,
                work.clock,
                projects={one.id: StoredProject(one.slug, issue_rate(one), one.max_age) for one in config.project},
                on_apply=[work.forward.on_applied] if work.forward else [],
            )
            self._closing.callback(self.store.close)
            rules = {project.id: project_rules(project) for project in config.project}
            store = self.store
            memory = Memory(store.knows, store.may_hold, store.is_over)
            self.digester = Digester(rules, config.digest, config.limits, memory=memory)
            self.reader = self._open_reader()
            self._closing.callback(lambda: self.reader.close())
        except BaseException:
            self._closing.close()
            raise
        self._waiting: list[Digested] = []
        self._copying: list[threading.Thread] = []
        self._cared_at = self._published_at = work.clock.monotonic()
        self._released: Any = None
        self._wanted = False
        self._hurried_at = -HURRY_EVERY_SECONDS

    def __enter__(self) -> "Shift":
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    def _wait_for_lock(self, folder: Path) -> Any:
        """The worker before us may still finish its batch: its lock on the segments is ours when it is gone."""
        deadline = self.clock.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            self.beat()
            try:
                return self.work.disk.lock_folder(folder)
            except Unavailable:
                if self.stop.wait(0.05) or self.clock.monotonic() > deadline:
                    raise

    def _open_reader(self) -> SpoolReader:
        return SpoolReader(self.work.disk, self.work.folder / "spool", self.store.position)

    def run(self) -> None:
        """Until stop: batches when there are records, questions and care in between."""
        self.publish()
        self.work.link.send("beat", self.work.status())
        if self.work.forward is not None and "forward" not in self.work.supervisor.health():
            self.work.supervisor.start(Loop("forward", self.work.send))
        if self.work.sync is not None and "sync" not in self.work.supervisor.health():
            self.work.supervisor.start(Loop("sync", self.work.keep_statuses))
        give_back(self.work.disk)
        thrift = Thrift(self.clock, self.work.disk)
        while not self.stop.is_set():
            self.beat()
            self.work.wake.clear()
            busy = self._guarded(self.batch)
            self._guarded(self.do_jobs)
            self._guarded(self.care)
            thrift.turn(busy)
            if not busy and not self.stop.is_set():
                self.work.link.send("idle", list(self.reader.position))
                self.work.wake.wait(1.0)
        while not self.work.is_replaced and self._guarded(self.batch):  # what was acknowledged before the stop
            self.beat()
        self._guarded(self.do_jobs)  # nothing that was asked stays without an answer
        for copying in self._copying:
            copying.join(COPY_PATIENCE_SECONDS)
        self.publish()

    def _guarded(self, step: Callable[[], bool]) -> bool:
        """A step that the disk may refuse: later, or again from where the store says it stands."""
        try:
            return step()
        except Damaged as error:
            if error.path == self.store.state_path:  # the loop begins again, and computes it from the segments
                self.store.give_up_state(error)
                raise
            log.error("a file was set aside; the spool is read again", path=str(error.path), what=error.what)
            self._waiting = []
            self.reader.close()
            self.reader = self._open_reader()
            return not self.stop.is_set()
        except Invalidated:  # nothing this store is asked would ever work again: the loop begins again
            raise
        except Unavailable as error:
            log.warning("the store cannot take it now", what=error.what)
            self.publish(error.what)
            self.stop.wait(RETRY_SECONDS)
            return False

    def batch(self) -> bool:
        """Digest and store what the spool has, up to one batch. False when there was nothing."""
        if not self._waiting:
            records = self._read()
            if not records:
                return False
            self._waiting = [self.one(record) for record in records]
        self.store.commit(self._waiting)
        self._waiting = []
        if self.work.forward is not None:
            self.work.forward.committed()
        if self.clock.monotonic() - self._published_at >= PUBLISH_EVERY_SECONDS:
            self.publish()
        return True

    def _read(self) -> list[SpoolRecord]:
        process = self.work.config.process
        records = self.reader.read(process.batch_records, MAX_BATCH_BYTES)
        # A commit costs about the same for 1 and for 50 records, so a small batch waits a moment for company.
        if records and len(records) < process.batch_records // 4 and not self.stop.is_set():
            self.stop.wait(process.batch_linger)
            with contextlib.suppress(Unavailable):  # the reader is past the first records: they must not be forgotten
                records += self.reader.read(process.batch_records - len(records), MAX_BATCH_BYTES)
        return records

    def one(self, record: SpoolRecord) -> Digested:
        """One spool record through the digest; a damaged one is set aside and counted."""
        if record.damaged is None:
            digested = self.digester.digest(record.position, record.received, record.body)
            if not record.lost:
                return digested
        else:
            digested = Digested(record.position, 0, damaged=record.damaged, why=record.why)
        at = self.clock.now()
        digested.outcomes.append(Outcome(0, DAMAGED, "spool", "default", record.lost, at, record.lost))
        digested.quantity += record.lost
        return digested

    def care(self) -> bool:
        """Rotation, retention and checkpoints when they are due; then tell the front which spool files may go."""
        if self.clock.monotonic() - self._cared_at >= CARE_EVERY_SECONDS:
            self._cared_at = self.clock.monotonic()
            released = self.store.maintain()
            if self._wanted and self._cared_at - self._hurried_at >= HURRY_EVERY_SECONDS:
                self._hurried_at, self._wanted = self._cared_at, False
                released = self.store.checkpoint()
            if released != self._released:
                self._released = released
                self.work.link.send("released", list(released))
        return False

    def do_jobs(self) -> bool:
        """Questions that need the store, between two batches."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.work.jobs.get_nowait()(self)
        return False

    def answer(self, kind: str, call: int, body: Any) -> None:
        """One question of the front."""
        if kind == "snapshot":  # copying takes as long as the file is large: beside the batches, not between them
            copying = threading.Thread(target=self._answer_now, args=(_snapshot, call, body), name="snapshot")
            self._copying = [*(thread for thread in self._copying if thread.is_alive()), copying]
            copying.start()
        elif kind == "release":  # the spool is short of room: its digested files need not wait for the next checkpoint
            self._wanted = True
        elif kind == "status":
            self._answer_now(_status, call, body)
        elif kind == "issues":
            self._decide(call, body)
        else:
            self.work.link.send("failed", f"unknown question {kind!r}", call)

    def _decide(self, call: int, body: Any) -> None:
        """A merge or split by hand; it is a commit, so what it raises is more than an answer."""
        try:
            self.work.link.send("answer", regroup(self.store, body), call)
        except (Unavailable, Damaged) as error:
            self.work.link.send("failed", str(error), call)
            raise

    def take_over(self, wanted: Sequence[Wanted]) -> None:
        """Statuses that upstream has; an issue that was changed here in the meantime is looked at again next time."""
        rows = self.store.reads.ask_state(
            "SELECT id, status FROM issues WHERE id IN (SELECT value FROM json_each($ids))",
            {"ids": str([one.issue_id for one in wanted])},
        )
        known = {row["id"]: row["status"] for row in rows}
        changes = [(one.issue_id, one.status) for one in wanted if known.get(one.issue_id) == one.seen]
        if changes:
            self.store.set_statuses(changes, UPSTREAM)

    def _answer_now(self, how: Callable[["Shift", Any], Any], call: int, body: Any) -> None:
        try:
            self.work.link.send("answer", how(self, body), call)
        except (Unavailable, Damaged) as error:
            self.work.link.send("failed", str(error), call)

    def publish(self, problem: str = "") -> None:
        """The document that heartbeats carry; built here because only this thread may ask the store."""
        self._published_at = self.clock.monotonic()
        status = self.store.status()
        self.work.document = {
            "position": list(status.position),
            "ledger": {**status.ledger, "dropped": status.dropped, "received_before": status.epoch_base},
            "store": {
                "segments": status.segments,
                "bytes": status.bytes,
                "events": status.events,
                "issues": status.issues,
                "released": list(status.released),
                "backlog": status.backlog,
                "evicted": status.ledger["evicted"],
            },
            "edges": self.store.edges(),
            "quarantine": {"files": len(status.quarantine), "bytes": status.quarantine_bytes},
            "recent_issues": self.store.recent_issues(RECENT_ISSUES),
            "problems": [problem] if problem else [],
        }


def issue_rate(project: ProjectConfig) -> IssueRate:
    """The per-issue bucket of a project."""
    return IssueRate(project.issue_rate.per_second, project.issue_burst)


def project_rules(project: ProjectConfig) -> ProjectRules:
    """What the digest needs of a project."""
    return ProjectRules(project.filters, project.scrubbing, project.grouping)


def _status(shift: Shift, body: Any) -> Any:
    shift.publish()
    return shift.work.status()


def _snapshot(shift: Shift, body: Any) -> Any:
    folder = Path(body)
    shift.work.disk.make_folder(folder)
    taken = shift.store.snapshot(folder)
    return {
        "sealed": [str(path) for path in taken.sealed],
        "active": str(taken.active) if taken.active else None,
        "state": str(taken.state),
    }


def regroup_at_rest(config: Config, body: Any) -> Any:
    """The answer of collector.store.regroup where no collector runs. Raises Unavailable (one does, or no folder)."""
    disk, folder = RealDisk(), Path(config.data.dir)
    if not (folder / "segments").is_dir():
        raise Unavailable(f"there is no data folder {folder}")
    ours, theirs = socket.socketpair()
    with ours, theirs, disk.lock_folder(folder):
        work = Work(config, ThreadLink(ours), SystemClock(), disk)
        with Shift(work, lambda: None, threading.Event()) as shift:
            return regroup(shift.store, body)


def work_on(sock: socket.socket) -> None:
    """The worker's entry for a process and for a thread alike."""
    link = ThreadLink(sock)
    hello = link.receive()
    if hello is None or hello[0] != "hello":
        return
    config = Config.from_bytes(hello[2])
    calm_collector()
    try:
        Work(config, link, SystemClock(), RealDisk()).run()
    except ConfigError as error:  # what only shows where it is used, such as a file of authorities
        link.send("mistaken", error.mistakes)
        raise
    finally:
        link.close()


def main() -> None:
    """`python -m collector.work FD`."""
    set_up_logs("info")
    os.nice(10)  # the user's app and the acks go first (measured: p99 of acks back to that without a worker)
    sock = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C, and a terminal that closes, reach the whole group: the front decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sock.shutdown(socket.SHUT_RD))
    work_on(sock)
    wake_collector()


if __name__ == "__main__":
    main()
