"""CPU per event of each stage from the HTTP request to the stored row, in one process, on real envelopes.

The product's own functions run in the product's order; a stopwatch round each counts the CPU of the calling thread
without the stages inside it. `other` is what no stage claims. Disk waits are no CPU and are not in here. MEANINGS says
what each stage is; there are two commits, the spool's (an event may be acknowledged) and the state database's.
"""

import asyncio
import functools
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import collector.digest.digester as digester_module
import collector.store.plan as plan_module
from collector.accept.doors import Doors
from collector.accept.ingest import build_ingest
from collector.accept.settings import IngestSettings
from collector.config import Config, ProjectConfig
from collector.digest.digester import Digester
from collector.digest.normalise import Normaliser
from collector.digest.normalised import Normalised
from collector.digest.project import Stages
from collector.filter.filters import Filters
from collector.machine.clock import SystemClock
from collector.machine.disk import RealDisk
from collector.model.received import Position, Received
from collector.spool import writer as writer_module
from collector.spool.journal import Journal
from collector.spool.reader import SpoolReader
from collector.spool.writer import SpoolWriter
from collector.store.buckets import StoredProject
from collector.store.payload import PayloadCodec
from collector.store.segment import Segment
from collector.store.state import State
from collector.store.store import Store
from collector.work import project_rules
from tests.helpers.corpus import templates
from tests.helpers.running import KEY
from tests.helpers.spool import InlineLanes

BATCH = Config().process.batch_records  # a backlog is digested in whole batches
AUTH = f"Sentry sentry_version=7, sentry_key={KEY}, sentry_client=load/1".encode()
Stage = tuple[str, Any, str]
STAGES: list[Stage] = [
    ("frame", writer_module, "encode_head"),
    ("commit", Journal, "commit"),
    ("read", SpoolReader, "read"),
    ("decode", digester_module, "open_body"),
    ("normalise", Normaliser, "normalise"),
    ("filter", Filters, "match"),
    ("scrub", Stages, "scrub_event"),
    ("scrub", Stages, "scrub_in_parts"),
    ("group", Stages, "group"),
    ("group", Normalised, "view"),
    ("group", digester_module, "decode"),
    ("row", digester_module, "event_row"),
    ("plan", plan_module.Planner, "plan"),
    ("compress", PayloadCodec, "encode"),
    ("append", Segment, "append"),
    ("commit_state", State, "apply"),
    ("train", Store, "_train"),
]
MEANINGS = {
    "accept": "front: path, key, limits and envelope header of a request, without HTTP",
    "frame": "front: the record's head for the spool",
    "commit": "front: writing records to the spool, 32 at a time, without the wait for the disk",
    "read": "worker: records from the spool",
    "decode": "worker: inflating the body and splitting it into items",
    "normalise": "worker: parsing the event's JSON and bringing it into its normal form",
    "filter": "worker: inbound filters",
    "scrub": "worker: removing personal data and secrets",
    "group": "worker: frames, hashes and fingerprint: which issue it is",
    "row": "worker: the typed columns",
    "plan": "worker: which rows and counts a batch adds: new or known issue, duplicate, storm",
    "compress": "worker: the payload, with its project's dictionary",
    "append": "worker: the batch's rows into the segment and the segment's commit (DuckDB)",
    "commit_state": "worker: the batch's counts into the state database and its commit (SQLite)",
    "train": "worker: making a project's compression dictionary, once a day, spread over the events of this run",
    "other": "what no stage claims: loops between them, and DuckDB's own threads",
    "sum": "all of the above",
}


class Stopwatch:
    """Exclusive CPU time by stage: what runs inside another stage is that stage's."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.whole = 0.0
        self._open: list[float] = []

    def around(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, measured."""

        @functools.wraps(work)
        def measured(*args: Any, **kwargs: Any) -> Any:
            self._open.append(0.0)
            began = time.thread_time()
            try:
                return work(*args, **kwargs)
            finally:
                spent = time.thread_time() - began
                self.seconds[stage] += spent - self._open.pop()
                if self._open:
                    self._open[-1] += spent

        return measured

    def watch(self, stages: list[Stage]) -> list[Callable[[], None]]:
        """Put the stopwatch round each stage that there is; undo them with what comes back."""
        undo = []
        for stage, owner, name in stages:
            original = getattr(owner, name, None)
            if original is None:
                continue
            setattr(owner, name, self.around(stage, original))
            undo.append(functools.partial(setattr, owner, name, original))
        return undo


def bodies(count: int) -> list[tuple[str, bytes]]:
    """Fresh envelopes, gzip."""
    some = templates()
    return [some[number * 7919 % len(some)].fresh() for number in range(count)]


class Reply:
    """Where the door's answers go."""

    running: ClassVar[set[Any]] = set()
    answered = 0

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Count it."""
        assert status == 200, body
        self.answered += 1


async def accept(events: list[tuple[str, bytes]], watch: Stopwatch) -> None:
    """The door alone: everything but HTTP and the spool, which says yes at once."""
    project = ProjectConfig(id=42, slug="shop", keys=[KEY])

    async def spool_add(received: Received, body: bytes) -> Position:
        return Position(1, 1, 1)

    def spool_tell(received: Received, body: bytes, told: Any) -> None:
        told(Position(1, 1, 1))

    doors = Doors([project], IngestSettings(), Config().limits, SystemClock(), spool_add, lambda outcome: None)
    doors.spool_tell = spool_tell
    app = build_ingest(doors, None)  # type: ignore[arg-type]
    reply: Any = Reply()
    for _, body in events:
        headers = [
            (b"content-encoding", b"gzip"),
            (b"content-length", str(len(body)).encode()),
            (b"x-sentry-auth", AUTH),
        ]
        began = time.thread_time()
        taken = app.direct(b"/api/42/envelope/", headers, "127.0.0.1")
        assert taken is not None
        taken.grow(len(body), reply)
        taken.finish(body, reply)
        watch.seconds["accept"] += time.thread_time() - began
    assert reply.answered == len(events)


async def spooled(events: list[tuple[str, bytes]], folder: Path) -> float:
    """Group commits of 32, as 32 connections make them; CPU seconds of the process meanwhile."""
    config = Config()
    writer = SpoolWriter(RealDisk(), folder, config.spool, SystemClock(), lambda: 1, InlineLanes())
    await writer.start()
    before = time.process_time()
    for first in range(0, len(events), 32):
        batch = events[first : first + 32]
        await asyncio.gather(
            *(
                writer.add(Received("envelope", 42, time.time(), encoding="gzip", quantity=1, event_id=one), body)
                for one, body in batch
            )
        )
    spent = time.process_time() - before
    await writer.close()
    return spent


def digested(folder: Path, count: int) -> float:
    """Everything the worker does, batch after batch; CPU seconds of the process, DuckDB's threads included."""
    config = Config()
    project = ProjectConfig(id=42, slug="shop", keys=[KEY])
    store = Store.open(folder, config.store, config.retention, SystemClock(), projects={42: StoredProject("shop")})
    digester = Digester({42: project_rules(project)}, config.digest, config.limits)
    reader = SpoolReader(RealDisk(), folder / "spool", store.position)
    done = 0
    before = time.process_time()
    while done < count:
        records = reader.read(BATCH, 8 * 2**20)
        if not records:
            break
        store.commit([digester.digest(one.position, one.received, one.body) for one in records])
        done += len(records)
    spent = time.process_time() - before
    reader.close()
    store.close()
    assert done >= count, f"{done} of {count} came back from the spool"
    return spent


def once(count: int) -> dict[str, float]:
    """Microseconds of CPU per event by stage."""
    events = bodies(count)
    watch = Stopwatch()
    undo = watch.watch(STAGES)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for each in ("spool", "segments", "quarantine", "tmp"):
                (folder / each).mkdir()
            asyncio.run(accept(events, watch))
            watch.whole = asyncio.run(spooled(events, folder / "spool")) + digested(folder, count)
    finally:
        for each in undo:
            each()
    told = {stage: seconds * 1e6 / count for stage, seconds in watch.seconds.items()}
    rest = watch.whole * 1e6 / count - sum(value for stage, value in told.items() if stage != "accept")
    return {**told, "other": rest}


def stages(repeats: int, count: int = 1500) -> dict[str, float]:
    """The least of the repeats, which neighbours disturb least; the first run warms up."""
    once(300)
    runs = [once(count) for _ in range(repeats)]
    order = ["accept", *dict.fromkeys(stage for stage, _, _ in STAGES), "other"]
    least = {stage: round(min(run[stage] for run in runs if stage in run), 1) for stage in order if stage in runs[0]}
    return {**least, "sum": round(sum(least.values()), 1)}
