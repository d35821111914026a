"""The sender to a hub: closes windows, keeps the outbox within its bounds, and sends one batch at a time.

Told once: a batch leaves the outbox only after the hub's own answer, and the hub stores an id once (collector.hub), so
an attempt whose fate is unknown is simply repeated. What the hub says of one project holds up that project only.
"""

from collections.abc import Callable, Sequence

from collector.errors import Damaged
from collector.forward.bounds import Bounds, drop
from collector.forward.chores import Chores, Close
from collector.forward.hub_packing import (
    BATCH_KEY,
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_RAW_BYTES,
    REPORTS,
    TARGET,
    Load,
    Packed,
    Packing,
    packed_of,
    parcel_of,
)
from collector.forward.hub_target import HubTarget, HubVerdict, judge_hub
from collector.forward.items import QUEUES
from collector.forward.limits import ALL, DEFAULT_SECONDS, Limits
from collector.forward.mishaps import Mishaps
from collector.forward.pace import Pace
from collector.forward.sender import IDLE_SECONDS, REPORT_SECONDS, World
from collector.forward.settings import UpstreamSettings
from collector.machine.net import NetError, Request
from collector.store import windows
from collector.store.outbox import Entry, Outbox
from collector.store.windows import Queued

HELD_SECONDS = 30.0  # between two attempts of a project that the hub does not know
MAX_BROKEN = 5  # answers 500 to one batch after which it is halved


class HubSender:
    """Everything that happens in the forward thread of an edge; `step` does what can be done now. Raises Unavailable.

    close: turns windows that have ended into entries. home: the project under which client reports go.
    """

    def __init__(
        self, settings: UpstreamSettings, target: HubTarget, world: World, outbox: Outbox, close: Close, bounds: Bounds
    ) -> None:
        self._target = target
        self._clock = world.clock
        self._net = world.net
        self._outbox = outbox
        self._bounds = bounds
        self._packing = Packing(target.edge, settings.fingerprint == "pin")
        self._held: dict[int, tuple[float, str]] = {}  # project -> until when (monotonic), and why
        self._broken: dict[str, int] = {}
        self._next_report_at = 0.0
        self.home = 1
        self.limits = Limits()
        self.mishaps = Mishaps(world.clock)
        self._chores = Chores(outbox, close, bounds, self.mishaps, world.clock)
        self.pace = Pace(settings.max_backoff, world.jitter)

    def step(self, beat: Callable[[], None]) -> float:
        """Close, bound, send. Returns the seconds until there may be something to do."""
        now = self._clock.monotonic()
        closed = self._chores.do()
        beat()
        if self.pace.state(now) == "open":
            return min(IDLE_SECONDS, self.pace.retry_at - now)
        sent = sum(self._send_some(queue, beat) for queue in QUEUES)
        sent += self._reports(beat, now)
        self._say_held()
        return 0.0 if sent or closed else IDLE_SECONDS

    def _reports(self, beat: Callable[[], None], now: float) -> int:
        """Client reports, every few seconds."""
        if now >= self._next_report_at and self.home not in self._held:
            with self._outbox.read() as cursor:
                has_reports = windows.has_reports(cursor)
            if has_reports:
                wall = self._clock.now()
                with self._outbox.transaction(synced=True) as cursor:
                    self._packing.report(cursor, self.home, windows.take_reports(cursor), wall)
                    windows.end_reports(cursor)
                self._next_report_at = now + REPORT_SECONDS
        return self._send_some(REPORTS, beat)

    def _send_some(self, queue: str, beat: Callable[[], None]) -> int:
        """Send a batch of one queue, made now unless one waits; returns how many are done with."""
        now = self._clock.monotonic()
        if self.pace.state(now) == "open" or now < max(self.limits.until(queue), self.limits.until(ALL)):
            return 0
        entry = self._waiting(queue)
        if entry is None and queue != REPORTS and self._pack(queue):
            entry = self._waiting(queue)
        if entry is None:
            return 0
        try:
            packed = packed_of(entry)
        except Damaged as error:
            self._give_up(entry, "collector_refused")
            self.mishaps.note("damaged", error.what)
            return 1
        beat()
        return int(self._settle(entry, packed, self._post(entry, packed)))

    def _waiting(self, queue: str) -> Entry | None:
        return next(iter(self._outbox.next_batch(TARGET + queue, self._clock.now(), 1)), None)

    def _pack(self, queue: str) -> bool:
        """Make a batch of what waits in a queue, of the project whose turn it is; False when nothing waits."""
        entries = self._outbox.next_batch(queue, self._clock.now(), MAX_ENTRIES, MAX_BYTES)
        if not entries:
            return False
        chosen: list[int] = []
        postponed: list[int] = []
        raw_bytes = 0
        load = Load(queue, 0, [], entries[0].created_at)
        for entry in entries:
            try:
                parcel = parcel_of(entry)
                made = self._packing.entry_of(parcel)
            except Damaged:
                self._give_up(entry, "collector_refused")
                continue
            if parcel.project_id in self._held:
                postponed.append(entry.id)
            elif not chosen or parcel.project_id == load.project_id:
                load = load._replace(project_id=parcel.project_id)
                chosen.append(entry.id)
                load.entries.append(made)
                raw_bytes += len(made.payload)
                if raw_bytes >= MAX_RAW_BYTES:
                    break
        wall = self._clock.now()
        with self._outbox.transaction(synced=True) as cursor:
            windows.postpone(cursor, postponed, wall + HELD_SECONDS)
            if chosen:
                windows.delete(cursor, chosen)
                self._packing.put(cursor, load, wall)
        self._bounds.measure(self._outbox)
        return bool(chosen)

    def _post(self, entry: Entry, packed: Packed) -> HubVerdict:
        with self._outbox.transaction() as cursor:
            windows.mark_tried(cursor, [entry.id], 1)
        request = Request("POST", self._target.url, self._target.headers(), packed.body)
        try:
            answer = self._net.send(request)
        except NetError as error:
            return HubVerdict("later", error.what)
        self.limits.learn(answer.status, answer.headers, self._clock.monotonic())
        return judge_hub(answer, packed.batch_id.hex())

    def _settle(self, entry: Entry, packed: Packed, verdict: HubVerdict) -> bool:
        """Act on a verdict; False when the batch stays."""
        now = self._clock.monotonic()
        if verdict.what == "taken":
            self._taken(entry, packed)
            return True
        if verdict.what == "no_project":
            self._hold(entry, packed.project_id, verdict.why)
            return False
        if verdict.what == "limited":
            if now >= max(self.limits.until(entry.category), self.limits.until(ALL)):
                self.limits.pause(ALL, now + (verdict.pause or DEFAULT_SECONDS))
            self.pace.last_error = verdict.why
            return False
        broken = self._broken.pop(entry.key, 0) + 1 if verdict.broken else 0
        if verdict.what == "later" and broken < MAX_BROKEN:
            if broken:
                self._broken[entry.key] = broken
            self.pace.failed(now, verdict.why, verdict.pause)
            return False
        self._halve(entry, packed, verdict)
        return True

    def _halve(self, entry: Entry, packed: Packed, verdict: HubVerdict) -> None:
        """The hub does not take the batch as it is: find the part that it does not take."""
        reason = "collector_too_large" if verdict.what == "too_large" else "collector_refused"
        try:
            with self._outbox.transaction(synced=True) as cursor:
                halved = self._packing.halves(cursor, entry, packed, self._clock.now())
        except Damaged:
            halved = False
        if not halved:
            self._give_up(entry, reason)
        self._bounds.measure(self._outbox)
        self.pace.last_error = verdict.why

    def _taken(self, entry: Entry, packed: Packed) -> None:
        """After a kill before this transaction the batch is told again under the same id."""
        with self._outbox.transaction() as cursor:
            windows.delete(cursor, [entry.id])
            windows.count(cursor, "sent_batches", 1)
            windows.count(cursor, "sent_events", packed.events)
            windows.count(cursor, "sent_occurrences", packed.occurrences)
            windows.count(cursor, "sent_items", packed.items)
        self._broken.pop(entry.key, None)
        self._held.pop(packed.project_id, None)
        self._bounds.release(len(entry.body))
        self.pace.succeeded()

    def _hold(self, entry: Entry, project_id: int, why: str) -> None:
        """The others go on."""
        self._held[project_id] = (self._clock.monotonic() + HELD_SECONDS, why)
        with self._outbox.transaction() as cursor:
            windows.postpone(cursor, [entry.id], self._clock.now() + HELD_SECONDS)

    def _say_held(self) -> None:
        """The first reason why a project is held up stays in the status; what is over is tried again."""
        now = self._clock.monotonic()
        for project_id, (until, why) in list(self._held.items()):
            if now >= until:
                del self._held[project_id]
            elif not self.pace.failures:
                self.pace.last_error = why

    def _give_up(self, entry: Entry, reason: str) -> None:
        """Drop an entry; the hub has said that it did not take it, so it is reported as discarded."""
        row = Queued(entry.id, entry.priority, entry.key, entry.target, entry.category, entry.quantity,
                     entry.created_at, 0, len(entry.body))  # fmt: skip
        drop(self._outbox, [row], reason)
        self._bounds.release(len(entry.body))


def is_batch(key: str) -> bool:
    """True for an outbox key of a batch."""
    return key.startswith(BATCH_KEY)


def fields_of(entry: Entry) -> Sequence[tuple[str, object]]:
    """What a look into the outbox shows of a batch. Raises Damaged."""
    packed = packed_of(entry)
    return (("kind", "batch"), ("event_id", packed.batch_id.hex()), ("project", packed.project_id), ("issue", None))
