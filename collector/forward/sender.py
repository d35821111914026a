"""The sender: closes windows, keeps the outbox within its bounds, and sends one request at a time.

At least once, told once: an entry leaves the outbox only after an answer, and it always carries the same event id, by
which a receiver tells a repetition. Client reports have no id, so they are sent at most once: an attempt whose fate is
unknown is not repeated (`reports_unknown` counts what may be missing upstream).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from collector.errors import Damaged
from collector.forward import wire
from collector.forward.bounds import Bounds, drop
from collector.forward.event import event_json, slim
from collector.forward.items import ITEM_KEY, QUEUES, is_told_apart
from collector.forward.limits import ALL, DEFAULT_SECONDS, Limits
from collector.forward.pace import Pace
from collector.forward.parcel import Press, unpack
from collector.forward.rollup import Rollup
from collector.forward.settings import UpstreamSettings
from collector.forward.suspects import Suspects
from collector.forward.target import Target, auth_headers
from collector.forward.verdict import Verdict, judge, judge_failure
from collector.machine.clock import Clock
from collector.machine.net import Net, NetError, Request
from collector.store import windows
from collector.store.outbox import Entry, Outbox
from collector.store.statuses import note_delivered
from collector.store.windows import Queued

BATCH = 20  # entries marked as tried at once while all goes well
IDLE_SECONDS = 1.0  # the longest pause: windows end
TIDY_SECONDS = 10.0
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
        self, settings: UpstreamSettings, target: Target, world: World, outbox: Outbox, rollup: Rollup, bounds: Bounds
    ) -> None:
        self._settings = settings
        self._target = target
        self._clock = world.clock
        self._net = world.net
        self._outbox = outbox
        self._rollup = rollup
        self._bounds = bounds
        self._press = Press()
        self._encoding: str = settings.encoding
        self._suspects = Suspects()
        self._refusals = 0
        self._next_tidy_at = 0.0
        self._next_report_at = 0.0
        self.limits = Limits()
        self.pace = Pace(settings.max_backoff, world.jitter)
        with outbox.transaction() as cursor:
            if unknown := windows.end_reports(cursor):  # an earlier process may or may not have told them
                windows.count(cursor, "reports_unknown", unknown)
        bounds.measure(outbox)

    def step(self, beat: Callable[[], None]) -> float:
        """Close, bound, send. Returns the seconds until there may be something to do."""
        now = self._clock.monotonic()
        wall = self._clock.now()
        closed = self._rollup.close(self._outbox, wall)
        if closed:
            self._bounds.measure(self._outbox)
        if now >= self._next_tidy_at or self._bounds.is_tight:
            self._bounds.enforce(self._outbox, wall)
            self._next_tidy_at = now + TIDY_SECONDS
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
        now = self._clock.monotonic()
        if now < self.limits.until(name):
            return 0
        many = BATCH if self.pace.state(now) == "closed" else 1
        batch = self._outbox.next_batch(name, self._clock.now(), many + len(self._suspects))
        batch = self._suspects.last(batch)[:many]
        if not batch or self.pace.state(now) == "open":
            return 0
        with self._outbox.transaction() as cursor:
            windows.mark_tried(cursor, [entry.id for entry in batch], 1)
        taken: list[Entry] = []
        for place, entry in enumerate(batch):
            beat()
            if entry.attempts and not is_told_apart(entry.key):
                self._give_up(entry, "collector_unknown_fate", known=True)
                continue
            verdict = self._send_entry(entry)
            if verdict.what == "taken":
                taken.append(entry)
                self._went_well(entry)
            elif not self._settle(entry, verdict):
                untold = [one.id for one in batch[place + 1 if verdict.known else place :]]
                self._close_books(taken, untold)
                return place
        self._close_books(taken, [])
        return len(batch)

    def _close_books(self, taken: Sequence[Entry], untold: Sequence[int]) -> None:
        """One transaction for a batch: after a kill before it, the batch is told again under the same ids."""
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
                if entry.quantity > 1:
                    windows.add_report(cursor, "collector_summarised", entry.category, entry.quantity - 1)
        self._bounds.release(sum(len(entry.body) for entry in taken), len(taken))

    def _went_well(self, entry: Entry) -> None:
        self._suspects.cleared(entry.id)
        self.pace.succeeded()
        self._refusals = 0

    def _send_entry(self, entry: Entry, slimmed: bool = False) -> Verdict:
        try:
            parcel = unpack(entry.body)
            stored = self._press.unpack(parcel.packed)
        except Damaged as error:
            return Verdict("refused", f"an entry of the outbox is damaged: {error.what}")
        if parcel.kind not in ("event", "summary"):
            return self._post(
                wire.item_envelope(parcel.kind, parcel.event_id, parcel.headers, stored, self._clock.now())
            )
        payload = event_json(parcel, stored, self._settings.fingerprint == "pin")
        if slimmed:
            payload = slim(payload)
        verdict = self._post(wire.event_envelope(parcel.event_id, payload, self._clock.now()))
        if verdict.what == "too_large" and not slimmed:
            return self._send_entry(entry, slimmed=True)
        return verdict

    def _post(self, body: bytes) -> Verdict:
        """One request. Limits are learnt from every answer; an unwelcome compression is changed for good."""
        while True:
            headers = auth_headers(self._target, self._encoding)
            request = Request("POST", self._target.url, headers, wire.ENCODERS[self._encoding](body))
            try:
                answer = self._net.send(request)
            except NetError as error:
                return judge_failure(error)
            self.limits.learn(answer.status, answer.headers, self._clock.monotonic())
            verdict = judge(answer)
            if verdict.what != "encoding" or self._encoding == "identity":
                return verdict
            self._encoding = wire.FALLBACK[self._encoding]

    def _settle(self, entry: Entry, verdict: Verdict) -> bool:
        """Act on a verdict; False when sending has to stop for now (the entry then stays)."""
        now = self._clock.monotonic()
        if verdict.what == "limited":
            if now < self.limits.until(entry.category):
                return False
            if verdict.listed:  # its limits name other categories: this one is not paused, only tried again
                self.pace.failed(now, verdict.why)
            else:
                self.limits.pause(entry.category, now + (verdict.pause or DEFAULT_SECONDS))
            return False
        if verdict.what == "later":
            self.pace.failed(now, verdict.why, verdict.pause)
            if verdict.blame == "entry" and self._suspects.accuse(entry.id):
                self._give_up(entry, "collector_undeliverable", known=True)
            return False
        self._give_up(entry, "collector_too_large" if verdict.what == "too_large" else "collector_refused")
        self.pace.last_error = verdict.why
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            self.pace.failed(now, f"{verdict.why}; the last {self._refusals} entries were all refused")
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
        verdict = self._post(wire.report_envelope(reports, self._clock.now()))
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
