"""One spool record through the stages: open, normalise, filter, scrub, group, row."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from collector.digest.about import About, Invalid
from collector.digest.batch import open_batch, take_batch
from collector.digest.enrich import Enrichment
from collector.digest.ids import hex_id, id_of, made_id
from collector.digest.items import ITEM_RULES, json_object
from collector.digest.lazy import LazyEvent
from collector.digest.normalise import Normaliser
from collector.digest.normalised import Normalised
from collector.digest.places import Places
from collector.digest.project import ProjectRules, Stages
from collector.digest.records import CHECKS, sift
from collector.digest.row import RowView, event_row
from collector.digest.security import event_of_report
from collector.digest.settings import DigestSettings
from collector.digest.storm import Glimpse, IsOver, Storm, never_over
from collector.digest.times import seconds_of
from collector.errors import ProtocolError
from collector.group.view import decode
from collector.machine.clock import Clock, SystemClock
from collector.machine.disk import Disk, RealDisk
from collector.model.envelope import Envelope, Item
from collector.model.event import Digested, EventRow, ItemRow
from collector.model.outcome import DAMAGED, FILTERED, INVALID, Outcome
from collector.model.received import Position, Received
from collector.protocol.kinds import counts_of
from collector.protocol.limits import LimitSettings, for_admitted
from collector.protocol.recordings import is_oversized
from collector.protocol.records import open_body
from collector.protocol.reports import read_report

EVENT_ITEMS = frozenset(("event", "feedback", "user_report_v2", "security", "raw_security"))
REPLAY_PARTS = ("replay_recording", "replay_video")
LEDGER_DOOR, HUB_DOOR = "ledger", "hub"
SECONDS_PER_DAY = 86400.0

_LEDGER = msgspec.msgpack.Decoder(list[Outcome])


class Memory(NamedTuple):
    """What the store is asked while events are digested; the defaults know nothing, so that any event may be the first
    of its issue and each is kept.

    knows: project id and hashes -> whether one of them belongs to an issue, so that hashes of another grouping
    configuration cost events of new issues only. holds: project id and configuration -> whether it was ever used, and
    those only where it was. is_over: see collector.digest.storm.
    """

    knows: Callable[[int, list[str]], bool] = lambda project_id, hashes: False
    holds: Callable[[int, str], bool] = lambda project_id, config: True
    is_over: IsOver = never_over


NO_MEMORY = Memory()


def enrichment_of(settings: DigestSettings, disk: Disk | None = None, clock: Clock | None = None) -> Enrichment:
    """Enrichment as configured: with places when there is a database."""
    if not settings.geo_database:
        return Enrichment()
    places = Places(Path(settings.geo_database), disk or RealDisk(), clock or SystemClock())
    return Enrichment(places.locate)


class Digester:
    """Turns spool records into rows and outcomes. One per worker; not safe to share between threads."""

    def __init__(
        self,
        projects: Mapping[int, ProjectRules],
        settings: DigestSettings,
        limits: LimitSettings,
        enrichment: Enrichment | None = None,
        memory: Memory = NO_MEMORY,
    ) -> None:
        self.settings = settings
        self.limits = limits
        self._admitted = for_admitted(limits)
        self.normaliser = Normaliser(enrichment or enrichment_of(settings))
        self._stages = {
            project_id: Stages(rules, partial(memory.knows, project_id), partial(memory.holds, project_id))
            for project_id, rules in projects.items()
        }
        self._other = Stages(ProjectRules())
        self._storms = {
            project_id: Storm(project_id, stages, memory.is_over) for project_id, stages in self._stages.items()
        }
        self._other_storm = Storm(0, self._other, never_over)

    def digest(self, position: Position, received: Received, body: bytes) -> Digested:
        """What becomes of one record. Never raises: a record that cannot be digested comes back with `damaged` set.

        Holds: digested.parts == received.quantity.
        """
        digested = Digested(position, received.quantity)
        try:
            if received.door == LEDGER_DOOR:
                digested.outcomes = _LEDGER.decode(body)
            elif received.door == HUB_DOOR:
                take_batch(digested, received, open_batch(body, self._admitted), partial(Record, self, digested))
            else:
                self._envelope(digested, received, body)
            assert digested.parts == received.quantity, "the record's quantity"
        except Exception as error:  # the door of a spool record: whatever is wrong with one must not stop the others
            return self._damaged(position, received, body, error)
        return digested

    def _damaged(self, position: Position, received: Received, body: bytes, error: Exception) -> Digested:
        reason = error.reason if isinstance(error, ProtocolError) else "internal"
        why = f"{type(error).__name__} in a record of door {received.door!r} ({reason})"
        category = "default" if received.door == LEDGER_DOOR else "error"
        lost = Outcome(received.project_id, INVALID if isinstance(error, ProtocolError) else DAMAGED, reason, category,
                       received.quantity, received.received_at, received.quantity, received.public_key)  # fmt: skip
        return Digested(position, received.quantity, outcomes=[lost], damaged=bytes(body), why=why)

    def _envelope(self, digested: Digested, received: Received, body: bytes) -> None:
        envelope = open_body(received, body, self._admitted)
        record = Record(self, digested, received, envelope)
        for index, item in enumerate(envelope.items):
            if index not in received.skip:
                record.item(index, item)

    def storm(self, project_id: int) -> Storm:
        """The storms of a project; one that never rages for a project that is no longer configured."""
        return self._storms.get(project_id, self._other_storm)

    def stages(self, project_id: int) -> "Stages":
        """The compiled rules of a project; those of no project for one that is no longer configured."""
        return self._stages.get(project_id, self._other)


class Record:
    """The items of one envelope on their way into one Digested."""

    def __init__(self, digester: Digester, digested: Digested, received: Received, envelope: Envelope) -> None:
        self.digester = digester
        self.digested = digested
        self.received = received
        self.headers = envelope.headers
        self.stages = digester.stages(received.project_id)
        self.sent_at = seconds_of(envelope.headers.get("sent_at")) if envelope.headers.get("sent_at") else None
        self.event_id = hex_id(received.event_id) or hex_id(envelope.headers.get("event_id"))
        self.has_event = False
        self.replay_filter: str | None = None  # the parts of a replay share the fate of its event

    def item(self, index: int, item: Item) -> None:
        """One item becomes an event, an item row or an outcome: exactly one of them."""
        try:
            if item.type == "client_report":
                self._client_report(item)
            elif item.type in EVENT_ITEMS:
                self._event(index, item)
            else:
                self._other(index, item)
        except Invalid as invalid:
            self._drop(item, INVALID, invalid.reason)

    def _about(self, index: int, item: Item, event_id: str) -> About:
        received = self.received
        return About(
            event_id=event_id,
            project_id=received.project_id,
            received_at=received.received_at,
            item="feedback" if item.type == "user_report_v2" else item.type,
            sent_at=self.sent_at,
            client_ip=received.remote_addr,
            client=received.client,
            infer_ip=self.stages.infer_ip,
            retention_days=round(self.digester.settings.max_event_age / SECONDS_PER_DAY),
        )

    def _event(self, index: int, item: Item) -> None:
        is_report = item.type == "raw_security"  # one request may bring several, each an event of its own
        if self.has_event and not is_report:
            raise Invalid("duplicate_item", "an envelope holds one event")
        given = "" if self.has_event else self.event_id
        self.has_event = True
        payload = bytes(item.payload)
        if is_report:
            payload = event_of_report(payload, item.headers, self.received)
        event_id = given or id_of(payload) or made_id(self.digested.position, index)
        about = self._about(index, item, event_id)
        normalised = self.digester.normaliser.normalise(payload, about)
        reason = self.stages.filters.match(LazyEvent(normalised.event), about.client_ip)
        if reason is not None:
            self._drop(item, FILTERED, reason)
            return
        self.digested.events.append(self._stormy_row(normalised, about, payload))

    def _stormy_row(self, normalised: Normalised, about: About, sent: bytes) -> EventRow:
        """The short way for a copy of an issue that keeps no more events, else the long one."""
        storm = self.digester.storm(about.project_id)
        if self.received.door == HUB_DOOR:  # its events stand for others, and may be the last to show
            return self._row(normalised, about, sent)
        seen = None if storm.calm else storm.glimpse(normalised)
        copy = storm.copy(seen, about.event_id, about.received_at) if seen else None
        if copy is not None:
            return copy
        row = self._row(normalised, about, sent, seen)
        storm.note(row)
        return row

    def _row(self, normalised: Normalised, about: About, sent: bytes, seen: Glimpse | None = None) -> EventRow:
        changed = self.stages.scrub_in_parts(normalised)
        if changed is None:
            return self._written_row(normalised, about, sent)
        if seen is None or changed:
            view = normalised.view()
            seen = Glimpse(view, self.stages.group(view))
        return event_row(seen.view, normalised.payload, about.project_id, about.event_id, seen.grouping)

    def _written_row(self, normalised: Normalised, about: About, sent: bytes) -> EventRow:
        """The same by way of the written event."""
        try:
            payload = self.stages.scrub_event(normalised.payload)
        except ProtocolError:  # parts that pass through as bytes may hold what only the repair can read
            normalised = self.digester.normaliser.normalise_slowly(sent, about)
            payload = self.stages.scrub_event(normalised.payload)
        view = decode(payload, RowView)
        return event_row(view, payload, about.project_id, about.event_id, self.stages.group(view))

    def _other(self, index: int, item: Item) -> None:
        payload = bytes(item.payload)
        if item.type == "attachment" and not self.event_id:
            raise Invalid("invalid_event_id", "an attachment without an event")
        about = self._about(index, item, self.event_id or made_id(self.digested.position, index))
        if item.type in CHECKS:
            self._records(item, about)
            return
        if item.type == "transaction":
            normalised = self.digester.normaliser.normalise(payload, about)
            reason = self.stages.filters.match(LazyEvent(normalised.event), about.client_ip)
            payload = normalised.payload
        else:
            rule = ITEM_RULES.get(item.type)
            payload = rule(payload, about) if rule is not None else payload
            limit = self.digester.limits.max_replay_unpacked_bytes
            if item.type == "replay_recording" and is_oversized(payload, limit):
                raise Invalid("too_large:replay_recording", "max_replay_unpacked_bytes")
            reason = self._filter(item, payload, about)
        if reason is not None:
            self._drop(item, FILTERED, reason)
            return
        self._keep(item, payload)

    def _keep(self, item: Item, payload: bytes) -> None:
        headers = msgspec.json.encode(item.headers).decode()
        at, project_id = self.received.received_at, self.received.project_id
        scrubbed = self.stages.scrub_item(payload, item)
        self.digested.items.append(ItemRow(project_id, item.type, at, self.event_id, headers, scrubbed))

    def _records(self, item: Item, about: About) -> None:
        """Logs or spans: each record has a fate of its own; the item is one of the ledger's, kept or dropped."""
        filters = self.stages.filters
        records = sift(
            item,
            about,
            lambda record: filters.match(record, about.client_ip, item.type),
            self.digester.normaliser.enrichment.browser,
        )
        if records.kept or not records.dropped:
            self._keep(Item(item.type, records.headers, records.payload), records.payload)
        counted = 0 if records.kept else 1
        for (outcome, reason), counts in records.dropped.items():
            for category, quantity in counts:
                self._count(outcome, reason, category, quantity, counted)
                counted = 0

    def _filter(self, item: Item, payload: bytes, about: About) -> str | None:
        filters = self.stages.filters
        if item.type in ("session", "sessions"):
            return filters.match(msgspec.json.decode(payload), about.client_ip, "session")
        if item.type == "replay_event":
            self.replay_filter = filters.match(json_object(payload, "invalid_replay"), about.client_ip)
            return self.replay_filter
        return self.replay_filter if item.type in REPLAY_PARTS else None

    def _client_report(self, item: Item) -> None:
        received = self.received
        self.digested.items.append(
            ItemRow(received.project_id, item.type, received.received_at, "", "{}", bytes(item.payload))
        )
        self.digested.outcomes.extend(
            read_report(item.payload, received.project_id, received.public_key, received.received_at)
        )

    def _drop(self, item: Item, outcome: str, reason: str) -> None:
        """Count an item that is not kept, under each of its categories; it stands for one ledger item."""
        for place, (category, quantity) in enumerate(counts_of(item)):
            self._count(outcome, reason, category, quantity, 0 if place else 1)

    def _count(self, outcome: str, reason: str, category: str, quantity: int, items: int) -> None:
        received = self.received
        at, key = received.received_at, received.public_key
        self.digested.outcomes.append(Outcome(received.project_id, outcome, reason, category, quantity, at, items, key))
