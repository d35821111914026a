"""A day of the whole collector in seconds: front, spool, worker, store and sender in one thread, decided by one seed.

Real: every line of the product between an HTTP request (as ASGI sees it) and an upstream's answer: doors, admission,
spool, digest, DuckDB segments and state.sqlite (real files of a temporary folder), roll-up and sender.
Fake: the clocks, the disk under the spool (which loses and tears what was not synced), the upstream, and the two
processes with the link between them: the simulation calls their steps itself. A crash of the worker is the state of
its files at that moment, copied, without anything that was only in memory. Not modelled: DuckDB's and SQLite's own
writes lost by a power failure (their files survive as the kernel had them), threads, sockets and real time.
"""

import asyncio
import errno
import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import msgspec
import structlog

import collector.work as work_module
from collector.accept.ingest import build_ingest
from collector.config import Config, load
from collector.errors import CollectorError, Unavailable
from collector.machine.net import Answer, NetError, Request
from collector.serve import Front
from collector.spool.writer import SpoolWriter
from collector.store.outbox import Outbox
from collector.work import Shift, Work
from tests.faults.audit import Complaints, look_at_files
from tests.forward.edge import FakeNet
from tests.helpers.clock import FakeClock
from tests.helpers.disk import FakeDisk, Fault
from tests.helpers.mini_upstream import KEY as UPSTREAM_KEY
from tests.helpers.running import KEY
from tests.helpers.spool import InlineLanes
from tests.helpers.traffic import MAKERS, PLACE

CONFIG = """
[data]
dir = "{folder}"
[process]
batch_linger = "0 s"
[ingest]
max_memory_bytes = "0 B"
[spool]
file_bytes = "64 KiB"
max_spool_bytes = "4 MiB"
[store]
max_segment_bytes = "2 MB"
checkpoint_interval = "5 m"
[upstream]
dsn = "http://{upstream}@127.0.0.1:9/7"
[[project]]
id = 42
slug = "shop"
keys = ["{key}"]
issue_rate = "off"
"""
ISSUES = 12


class FakeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the fake clock's."""

    clock: FakeClock

    def time(self) -> float:
        return self.clock.monotonic()


class FakeEvent:
    """A stop flag whose waits pass on the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float | None = None) -> bool:
        self._clock.advance(seconds or 0.0)
        return False


class FakeLink:
    """What the worker tells the front, kept until the simulation delivers it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def send(self, kind: str, body: Any = None, call: int = 0) -> bool:
        self.told.append((kind, body))
        return True


class Simulation:
    """One seed. `history` tells what was done, for whoever must understand a failing seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder / "data"
        for name in ("segments", "quarantine", "tmp"):
            (self.folder / name).mkdir(parents=True)
        path = folder / "collector.toml"
        path.write_text(CONFIG.format(folder=self.folder, key=KEY, upstream=UPSTREAM_KEY))
        self.config: Config = load(path, {})
        self.clock = FakeClock()
        self.disk = FakeDisk(seed)
        self.net = FakeNet()
        self.loop = FakeLoop()
        self.loop.clock = self.clock
        self.acked: dict[str, list[str]] = {}
        self.sent: dict[str, list[str]] = {}
        self.answers: Counter[int] = Counter()
        self.history: Counter[str] = Counter()
        self.front: Front | None = None
        self.shift: Shift | None = None
        self.outbox: Outbox | None = None
        self._epochs = 0

    # -- its parts come and go

    def start_front(self) -> None:
        """As `serve` composes it; a disk that cannot be read leaves it down until the next try."""
        front = Front(self.config, self.clock, self.disk, None)
        front.spool = SpoolWriter(
            self.disk, self.folder / "spool", self.config.spool, self.clock, self._new_epoch, InlineLanes()
        )
        with suppress(CollectorError):
            self.loop.run_until_complete(front.spool.start())
            self.front = front
            doors = front._doors_of(self.config, front.admission, Counter())  # its own know the first spool
            self.app = build_ingest(doors, _nothing)

    def start_worker(self) -> None:
        """As `work` composes it, with the fake upstream."""
        self.link = FakeLink()
        with mock.patch.multiple(work_module, HttpNet=lambda *_, **__: self.net, jitter=self.chance.random):
            work = Work(self.config, self.link, self.clock, self.disk)  # type: ignore[arg-type]
        assert work.forward is not None
        with suppress(CollectorError, OSError):
            self.shift = Shift(work, lambda: None, FakeEvent(self.clock))  # type: ignore[arg-type]
            self.outbox = Outbox.open(self.folder / "state.sqlite")
            self.sender = work.forward.open_sender(self.outbox)

    def _new_epoch(self) -> int:
        self._epochs += 1
        return 1000 + self._epochs

    def stop_worker(self) -> None:
        """An orderly end: every batch that was begun is finished."""
        if self.outbox is not None:
            self.outbox.close()
        if self.shift is not None:
            self.shift.__exit__()
        self.outbox = self.shift = None

    def kill_worker(self) -> None:
        """What is in its files at this moment is all that is left of it."""
        survivors = self.folder.with_name("survivors")
        shutil.copytree(self.folder, survivors, ignore=shutil.ignore_patterns("*-shm"))
        self.stop_worker()
        shutil.rmtree(self.folder)
        survivors.rename(self.folder)

    def kill_front(self, power_loss_seed: int | None = None) -> None:
        """Both processes lose their descriptors; with a seed the spool loses what was not synced, too."""
        self.kill_worker()
        if self.front is not None and self.front.spool._retry is not None:
            self.front.spool._retry.cancel()
        self.front = None
        if power_loss_seed is None:
            self.disk.stop()
        else:
            self.disk.crash(power_loss_seed)

    # -- what goes through it

    def send(self, kind: str) -> int:
        """One request to the envelope door; its status, 0 while nobody listens."""
        one = f"{self.chance.getrandbits(128):032x}"
        body = self.error(one) if kind == "error" else MAKERS[kind]().replace(PLACE.encode(), one.encode())
        if self.front is None:
            return 0
        self.sent.setdefault(kind, []).append(one)
        status = self.loop.run_until_complete(self._post(body))
        if status == 200:
            self.acked.setdefault(kind, []).append(one)
        self.answers[status] += 1
        return status

    def error(self, one: str) -> bytes:
        """One of a dozen issues, from one of a few users."""
        number = self.chance.randrange(ISSUES)
        frame = {"filename": "app.py", "module": "app", "function": f"handler_{number}", "lineno": 1, "in_app": True}
        event = {
            "event_id": one,
            "platform": "python",
            "timestamp": self.clock.now() - self.chance.choice([0, 0, 0, 2, 4000]),
            "user": {"id": str(self.chance.randrange(9))},
            "extra": {"bulk": "b" * self.chance.choice([0, 10, 3000])},
            "exception": {"values": [{"type": f"Error{number}", "value": "x", "stacktrace": {"frames": [frame]}}]},
        }
        payload = json.dumps(event).encode()
        head = {"type": "event", "length": len(payload)}
        return b"\n".join([json.dumps({"event_id": one}).encode(), json.dumps(head).encode(), payload, b""])

    async def _post(self, body: bytes) -> int:
        auth = f"Sentry sentry_version=7, sentry_key={KEY}, sentry_client=simulation/1".encode()
        headers = [(b"x-sentry-auth", auth), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "method": "POST", "path": "/api/42/envelope/", "raw_path": b"/api/42/envelope/",
                 "query_string": b"", "headers": headers, "client": ("127.0.0.1", 5), "http_version": "1.1",
                 "scheme": "http", "server": ("127.0.0.1", 9000)}  # fmt: skip
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        await self.app(scope, receive, send)
        return status

    def work(self, batches: int) -> int:
        """So many batches of the worker, its care, and the word to the front; how many had something to do."""
        if self.shift is None:
            self.start_worker()
        if self.shift is None:
            return 0
        busy = sum(self.shift._guarded(self.shift.batch) for _ in range(batches))
        self.shift._guarded(self.shift.care)
        with suppress(Unavailable):
            self.shift.publish()
        self.deliver()
        return busy

    def deliver(self) -> None:
        """What the worker said reaches the front."""
        told, self.link.told = self.link.told, []
        if self.front is None or self.shift is None:
            return
        for kind, body in [*told, ("beat", self.shift.work.status())]:
            with suppress(Unavailable):
                self.loop.run_until_complete(
                    self.front.on_frame(kind, msgspec.msgpack.decode(msgspec.msgpack.encode(body)))
                )

    def forward(self, steps: int) -> None:
        """The sender does what it can."""
        if self.outbox is None:
            return
        with suppress(Unavailable):
            for _ in range(steps):
                if self.sender.step(lambda: None) > 0:
                    return

    def tick(self, seconds: float) -> None:
        """Time passes; what the front does each second is done once."""
        self.clock.advance(seconds)
        if self.front is None:
            self.start_front()
        else:
            self.loop.run_until_complete(self.front.flush_refusals())
        self.loop.run_until_complete(asyncio.sleep(0))

    # -- the day

    def run(self, hours: float) -> None:
        """Traffic, and now and then a disaster."""
        until = self.clock.monotonic() + hours * 3600
        self.start_front()
        while self.clock.monotonic() < until:
            self.tick(self.chance.expovariate(1 / 240))
            for _ in range(self.chance.choice([0, 1, 3, 8, 20])):
                kind = self.chance.choices(["error", "transaction", "session", "log", "check_in"], [60, 20, 8, 8, 4])[0]
                self.send(kind)
            self.work(self.chance.choice([0, 1, 1, 5]))
            self.forward(self.chance.choice([0, 1, 10]))
            if self.chance.random() < 0.2:
                self.disaster()

    def disaster(self) -> None:
        """One of them."""
        name, act = self.chance.choice(list(self.disasters().items()))
        self.history[name] += 1
        act()

    def disasters(self) -> dict[str, Callable[[], object]]:
        """Each once by name."""
        chance = self.chance
        verb = chance.choice(
            ["sync", "write", "create", "replace", "unlink", "sync_folder", "read", "truncate", "open"]
        )
        fault = Fault(verb, chance.randrange(1, 6), chance.choice([errno.EIO, errno.ENOSPC]), chance.random() < 0.3)
        return {
            "kill the worker": self.kill_worker,
            "end the worker": self.stop_worker,
            "kill both": self.kill_front,
            "power loss": lambda: self.kill_front(chance.randrange(1 << 16)),
            "power loss while writing": lambda: (self.disk.die_after(chance.randrange(12)), self.send("error"),
                                                 self.send("error"), self.kill_front(chance.randrange(1 << 16))),
            "disk fault": lambda: self.disk.fail(fault),
            "disk healed": self.disk.heal,
            "upstream away": lambda: self.mood(lambda _: NetError("refused", False, "refused")),
            "upstream hangs": lambda: self.mood(lambda _: NetError("timeout", True, "no answer")),
            "upstream takes and hangs": lambda: self.mood(self.take_and_hang),
            "upstream 503": lambda: self.mood(lambda _: Answer(503, {}, b"{}")),
            "upstream 429": lambda: self.mood(lambda _: Answer(429, {"retry-after": "120"}, b"{}")),
            "upstream well": lambda: self.mood(lambda _: None),
            "clock jump": lambda: self.clock.jump(chance.choice([-86400.0, -3600.0, 3600.0, 86400.0])),
        }  # fmt: skip

    def mood(self, how: Callable[[Request], Answer | NetError | None]) -> None:
        self.net.behave = how

    def take_and_hang(self, request: Request) -> NetError:
        self.net.take(request)
        return NetError("timeout", True, "no answer")

    # -- the audit

    def settle(self) -> None:
        """Everything is well again, and there is time."""
        self.disk.heal()
        self.mood(lambda _: None)
        for turn in range(400):
            self.tick(61.0)
            if turn < 2:  # the first finds out that the disk is well again
                self.send("error")
            busy = self.work(5)
            self.forward(200)
            if not busy and self.is_done():
                return
        raise AssertionError(f"never done: {self.status()}")

    def is_done(self) -> bool:
        """Stored as far as it was acknowledged. What goes upstream is waited for by `finish_forwarding`."""
        return self.front is not None and self.shift is not None and self.status()["ledger"]["in_spool"] == 0

    def status(self) -> dict[str, Any]:
        assert self.front is not None
        return self.loop.run_until_complete(self.front.status())

    def finish_forwarding(self) -> None:
        """Windows close by the wall clock, which may have been set back a day: step until nothing is left."""
        assert self.outbox is not None
        for _ in range(2000):
            self.clock.advance(120.0)
            self.work(1)
            self.forward(500)
            state = sqlite3.connect(self.folder / "state.sqlite")
            with state:
                left = state.execute(
                    "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM forward_windows)"
                ).fetchone()
            state.close()
            if left == (0,):
                return
        raise AssertionError("the outbox never gets empty")

    def audit(self) -> dict[str, Any]:
        """Raises AssertionError naming everything that is wrong; else the figures."""
        self.settle()
        self.finish_forwarding()
        status = self.status()
        ledger = status["ledger"]
        assert self.outbox is not None
        complaints = Complaints()
        with self.outbox.read() as cursor:
            counted = cursor.execute("SELECT coalesce(sum(count), 0) FROM issues").fetchone()[0]
            told = dict(cursor.execute("SELECT name, quantity FROM forward_counts").fetchall())
        self.stop_worker()
        look_at_files(self.folder, complaints)
        events, kinds = self.rows()
        doubled = [one for one, count in Counter(events).items() if count > 1]
        missing = set(self.acked.get("error", [])) - set(events)
        sums = ledger["stored"] + ledger["summarised"] + sum(ledger["dropped"].values()) + ledger["in_spool"]
        complaints.unless(not doubled, f"stored twice: {doubled[:3]}")
        complaints.unless(not missing, f"acknowledged and lost: {len(missing)}, as {sorted(missing)[:3]}")
        complaints.unless(set(events) <= set(self.sent["error"]), "something is stored that nobody sent")
        complaints.unless(counted == len(events), f"{len(events)} events, issues count {counted}")
        complaints.unless(ledger["received"] == sums, f"the ledger does not balance: {ledger}")
        complaints.unless(ledger["stored"] == len(events) + sum(kinds.values()), f"{len(events)} + {kinds}: {ledger}")
        dropped = sum(ledger["dropped"].values())  # by the ledger: a session of a day that the clock left, for one
        for kind in MAKERS:
            low, high = len(self.acked.get(kind, [])) - dropped, len(self.sent.get(kind, []))
            complaints.unless(low <= kinds[kind] <= high, f"{kind}: {low} acknowledged, {kinds[kind]} stored")
        everything = sum(len(ids) for ids in self.acked.values())
        complaints.unless(
            everything <= len(events) + sum(kinds.values()) + dropped,
            f"{everything} acknowledged, {len(events)} events, {dict(kinds)} and {dropped} dropped",
        )
        lost_on_the_way = sum(quantity for name, quantity in told.items() if name.startswith("dropped:"))
        complaints.unless(
            self.net.counted + lost_on_the_way >= len(events) and self.net.counted <= len(events),
            f"upstream counts {self.net.counted}, dropped by reason {lost_on_the_way}, of {len(events)}",
        )
        assert not complaints.lines, "; ".join(complaints.lines)
        return {"events": len(events), "items": sum(kinds.values()), "upstream": self.net.counted,
                "answers": dict(self.answers), "disasters": dict(self.history)}  # fmt: skip

    def rows(self) -> tuple[list[str], Counter[str]]:
        """Event ids and number of items by kind, over all segments."""
        events: list[str] = []
        kinds: Counter[str] = Counter()
        for path in sorted((self.folder / "segments").glob("*.duckdb")):
            with duckdb.connect(str(path), read_only=True) as segment:
                events += [row[0].hex for row in segment.execute("SELECT event_id FROM events").fetchall()]
                kinds.update(dict(segment.execute("SELECT kind, count(*) FROM items GROUP BY 1").fetchall()))
        return events, kinds

    def close(self) -> None:
        self.stop_worker()
        self.loop.close()


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the simulation only knocks at the envelope door")


@contextmanager
def simulation(folder: Path, seed: int) -> Iterator[Simulation]:
    """A simulation of one seed in an empty folder."""
    made = Simulation(folder, seed)
    try:
        yield made
    finally:
        made.close()


def simulate(folder: Path, seed: int, hours: float) -> dict[str, Any]:
    """A day and its audit."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # disasters are noisy
    with simulation(folder, seed) as day:
        day.run(hours)
        return day.audit()
