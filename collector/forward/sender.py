"""The sender: closes windows, keeps the outbox within its bounds, and sends a few requests at a time.

At least once, told once: an entry leaves the outbox only after an answer, and it always carries the same event id, by
which a receiver tells a repetition. Client reports have no id, so they are sent at most once: an attempt whose fate is
unknown is not repeated (`reports_unknown` counts what may be missing upstream).

After a start or a failure one request goes first; only when it was taken do several go at once.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from collector.forward import wire
from collector.forward.bounds import Bounds, drop
from collector.forward.chores import Chores, Close
from collector.forward.items import BATCHED, ITEM_KEY, QUEUES, is_told_apart
from collector.forward.limits import ALL, DEFAULT_SECONDS
from collector.forward.mishaps import Mishaps
from collector.forward.pace import Pace
from collector.forward.parcel import unpack
from collector.forward.parting import REASONS, REFUSED, UNKNOWN_FATE, Parting
from collector.forward.post import Post
from collector.forward.rollup import WITHHELD_KEY
from collector.forward.settings import UpstreamSettings
from collector.forward.shipments import Loading, Shipment
from collector.forward.suspects import Suspects
from collector.forward.target import Target
from collector.forward.verdict import Verdict
from collector.machine.clock import Clock
from collector.machine.net import Net
from collector.store import spending, windows
from collector.store.outbox import Entry, Outbox
from collector.store.statuses import note_delivered
from collector.store.windows import Queued

BATCH = 64  # entries marked as tried at once while all goes well
BATCH_BYTES = 4 * 2**20  # of their bodies; a container's worth of packed logs is well below it
CONTAINER_BATCH = 500
IDLE_SECONDS = 1.0  # the longest pause: windows end
REPORT_SECONDS = 5.0  # the longest that a report waits while events go out
MAX_REFUSALS = 10  # refusals in a row after which it is the upstream that is suspected, not the entries


class World(NamedTuple):
    """What the sender has from outside. `jitter`: random number in [0, 1)."""

    clock: Clock
    net: Net
    jitter: Callable[[], float]


class Sender:
    """Everything that happens in the forward thread; `step` does what can be done now. Raises Unavailable."""

    def __init__(
        self, settings: UpstreamSettings, target: Target, world: World, outbox: Outbox, close: Close, bounds: Bounds
    ) -> None:
        self._settings = settings
        self._clock = world.clock
        self._outbox = outbox
        self._bounds = bounds
        self._post = Post(target, world.clock, world.net, settings.encoding)
        self._loading = Loading(settings.fingerprint == "pin")
        self._parting = Parting(outbox, self._post, self._loading, world.clock)
        self._suspects = Suspects()
        self._refusals = 0
        self._is_trusted = False
        self._next_report_at = 0.0
        self._next_batch_at: dict[str, float] = {}
        self.is_draining = False
        self.limits = self._post.limits
        self.mishaps = Mishaps(world.clock)
        self._chores = Chores(outbox, close, bounds, self.mishaps, world.clock)
        self.pace = Pace(settings.max_backoff, world.jitter)
        with outbox.transaction() as cursor:
            if unknown := windows.end_reports(cursor):  # an earlier process may or may not have told them
                windows.count(cursor, "reports_unknown", unknown)

    @property
    def encoding(self) -> str:
        """The compression in use."""
        return self._post.encoding

    def step(self, beat: Callable[[], None]) -> float:
        """Close, bound, send. Returns the seconds until there may be something to do."""
        now = self._clock.monotonic()
        closed = self._chores.do()
        beat()
        if self.pace.state(now) == "open":
            return min(IDLE_SECONDS, self.pace.retry_at - now)
        sent = self._send_round(beat)
        return 0.0 if sent or closed else IDLE_SECONDS

    def _send_round(self, beat: Callable[[], None]) -> int:
        sent = sum(self._send_some(name, beat) for name in QUEUES)
        now = self._clock.monotonic()
        allowed = self.pace.state(now) != "open" and now >= self.limits.until(ALL)
        if allowed and (not sent or now >= self._next_report_at):
            self._send_reports()
            self._next_report_at = now + REPORT_SECONDS
        return sent

    def _send_some(self, name: str, beat: Callable[[], None]) -> int:
        """Send a few entries of one queue; returns how many are done with."""
        batch = self._next_batch(name)
        if not batch:
            return 0
        unsure = [entry for entry in batch if not is_told_apart(entry.key)]
        with self._outbox.transaction(synced=bool(unsure)) as cursor:
            windows.mark_tried(cursor, [entry.id for entry in batch], 1)
        for entry in [entry for entry in unsure if entry.attempts]:
            self._give_up(entry, UNKNOWN_FATE, known=True)
            batch.remove(entry)
        waiting = self._loading.load(batch, self._clock.now())
        taken: list[Entry] = []
        done, go_on = 0, True
        while waiting and go_on:
            beat()
            width = self._settings.connections if self._is_trusted else 1
            wave, waiting = waiting[:width], waiting[width:]
            untold, go_on = self._send_wave(wave, taken)
            done += max(0, len(wave) - len(untold))
            waiting = untold + waiting if untold else waiting
        self._close_books(taken, [entry.id for shipment in waiting for entry in shipment.entries])
        return done

    def _next_batch(self, name: str) -> list[Entry]:
        now = self._clock.monotonic()
        if now < self.limits.until(name) or self.pace.state(now) == "open":
            return []
        if name in BATCHED and now < self._next_batch_at.get(name, 0.0) and not self.is_draining:
            return []
        many = (CONTAINER_BATCH if name in BATCHED else BATCH) if self.pace.state(now) == "closed" else 1
        batch = self._outbox.next_batch(name, self._clock.now(), many + len(self._suspects), BATCH_BYTES)
        if name in BATCHED:
            self._next_batch_at[name] = now + float(self._settings.batch_linger)
        return self._suspects.last(batch)[:many]

    def _send_wave(self, wave: Sequence[Shipment], taken: list[Entry]) -> tuple[list[Shipment], bool]:
        """Send shipments at the same time. Returns those that the receiver cannot have, and whether to go on."""
        whole = [shipment for shipment in wave if not shipment.damaged]
        verdicts = iter(self._post.send_many([shipment.body for shipment in whole]) if whole else [])
        untold: list[Shipment] = []
        go_on = True
        later: list[tuple[Shipment, Verdict]] = []
        for shipment in wave:
            verdict = Verdict("damaged", shipment.damaged) if shipment.damaged else next(verdicts)
            for part, fate in self._parting.fates(shipment, verdict):
                if fate.what == "taken":
                    taken += part.entries
                    self._went_well(part.entries)
                elif fate.what in ("later", "limited"):
                    later.append((part, fate))
                else:
                    go_on = self._refuse(part, fate) and go_on
        for shipment, verdict in later:  # after the others: their success must not hide that something is wrong
            self._postpone(shipment, verdict, is_first=shipment is later[0][0])
            if not verdict.known:
                untold.append(shipment)
        return untold, go_on and not later

    def _close_books(self, taken: Sequence[Entry], untold: Sequence[int]) -> None:
        """One transaction for a batch: after a kill before it, the batch is told again under the same ids."""
        if not taken and not untold:
            return
        with self._outbox.transaction() as cursor:
            windows.mark_tried(cursor, untold, -1)
            windows.delete(cursor, [entry.id for entry in taken])
            events = [entry for entry in taken if not entry.key.startswith(ITEM_KEY)]
            if self._settings.api_token.reveal():  # by these, upstream's issues are found (collector.forward.sync)
                told = [unpack(entry.body) for entry in events]
                note_delivered(cursor, [(one.issue_id, one.event_id) for one in told], self._clock.now())
            windows.count(cursor, "sent_events", len(events))
            windows.count(cursor, "sent_occurrences", sum(entry.quantity for entry in events))
            windows.count(cursor, "sent_items", len(taken) - len(events))
            for entry in taken:
                if entry.key.startswith(ITEM_KEY):
                    windows.count(cursor, f"sent:{entry.category}", entry.quantity)
                elif entry.quantity > 1:
                    reason = "collector_budget" if entry.key.startswith(WITHHELD_KEY) else "collector_summarised"
                    windows.add_report(cursor, reason, entry.category, entry.quantity - 1)
            spending.ran(cursor, self._clock.monotonic())
        self._bounds.release(sum(len(entry.body) for entry in taken), len(taken))

    def _went_well(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._suspects.cleared(entry.id)
        self.pace.succeeded()
        self._refusals = 0
        self._is_trusted = True

    def _postpone(self, shipment: Shipment, verdict: Verdict, is_first: bool) -> None:
        """Not now: remember how long not."""
        now = self._clock.monotonic()
        category = shipment.entries[0].category
        if verdict.what == "limited":
            if now >= self.limits.until(category):
                if verdict.listed:  # its limits name other categories: this one is not paused, only tried again
                    self.pace.failed(now, verdict.why)
                    return
                self.limits.pause(category, now + (verdict.pause or DEFAULT_SECONDS))
            self.pace.succeeded()  # it works; what it said before is not what it says now
            return
        self._is_trusted = False
        if is_first:
            self.pace.failed(now, verdict.why, verdict.pause)
        for entry in shipment.entries:
            if verdict.blame == "entry" and self._suspects.accuse(entry.id):
                self._give_up(entry, "collector_undeliverable", known=True)

    def _refuse(self, shipment: Shipment, verdict: Verdict) -> bool:
        """Never again; False when so many were refused that upstream is suspected."""
        for entry in shipment.entries:
            self._give_up(entry, REASONS.get(verdict.what, REFUSED))
        self.mishaps.note(verdict.what, verdict.why)
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            self._is_trusted = False
            self.pace.failed(
                self._clock.monotonic(), f"{verdict.why}; the last {self._refusals} entries were all refused"
            )
            return False
        return True

    def _give_up(self, entry: Entry, reason: str, known: bool = False) -> None:
        """Drop an entry. `known`: the receiver may have it, so it is not reported as discarded."""
        row = Queued(
            entry.id, entry.priority, entry.key, entry.target, entry.category, entry.quantity, entry.created_at,
            int(known), len(entry.body),
        )  # fmt: skip
        drop(self._outbox, [row], reason)
        self._bounds.release(len(entry.body))

    def _send_reports(self) -> None:
        """Send what was collected since, as one envelope, at most once."""
        with self._outbox.read() as cursor:
            if not windows.has_reports(cursor):
                return
        with self._outbox.transaction() as cursor:
            reports = windows.take_reports(cursor)
        verdict = self._post.send(wire.report_envelope(reports, self._clock.now()))
        lost = verdict.known or verdict.what in ("refused", "too_large", "encoding")
        with self._outbox.transaction() as cursor:
            windows.end_reports(cursor)
            if verdict.what == "taken":
                windows.count(cursor, "sent_reports", 1)
                self.pace.succeeded()
            elif lost:
                windows.count(cursor, "reports_unknown", sum(quantity for _, _, quantity in reports))
            else:
                for reason, category, quantity in reports:
                    windows.add_report(cursor, reason, category, quantity)
        if verdict.what == "later":
            self.pace.failed(self._clock.monotonic(), verdict.why, verdict.pause)
