"""From spool records to one commit: rows, delta, and what memory learns once the commit is durable. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from collector.model.event import Digested, EventRow, ItemRow, Standing
from collector.model.outcome import INVALID, SUMMARISED, Outcome
from collector.store.accepted import Accepted
from collector.store.attachments import digest_of
from collector.store.batches import DUPLICATE, Batches, PlaceOf
from collector.store.buckets import Fills, IssueBuckets
from collector.store.delta import SUMMARISED as SUMMARISED_FLAG
from collector.store.delta import Delta, Occurrence, add_outcomes, user_hash
from collector.store.issues import Assignment, IssueIndex
from collector.store.payload import PayloadCodec, Training
from collector.store.recent import RecentIds
from collector.store.schema import ATTACHMENT, EXTERNAL, NOT_KEPT
from collector.store.segment import micros

MAX_TEXT_CHARS = 8192  # of one typed column; the payload has the whole text

encode_json = msgspec.json.Encoder().encode


class Plan(NamedTuple):
    """One commit, ready to be written. `rows_of`: the EventRow of each occurrence of the delta by its 16-byte id.
    `fills`: rate buckets as they are after it."""

    events: list[tuple[Any, ...]]
    items: list[tuple[Any, ...]]
    delta: Delta
    duplicates: int
    assignment: Assignment
    seen: set[int]
    rows_of: dict[bytes, EventRow]
    fills: Fills
    item_rows: Sequence[ItemRow] = ()

    @property
    def attachments(self) -> dict[bytes, bytes]:
        """Contents by digest that must be durable before the commit is."""
        return {digest_of(item.payload): item.payload for item in self.item_rows if item.kind == ATTACHMENT}

    def accept(self, recent: RecentIds) -> None:
        """The commit is durable."""
        self.assignment.accept()
        recent.add(self.seen)


class Planner:
    """What a plan is made with."""

    def __init__(
        self,
        index: IssueIndex,
        recent: RecentIds,
        buckets: IssueBuckets,
        training: Training,
        place_of: PlaceOf = lambda edge, batch_id: None,
    ) -> None:
        self.index = index
        self.place_of = place_of
        self.recent = recent
        self.buckets = buckets
        self.training = training

    def plan(self, batch: Sequence[Digested], codec: PayloadCodec) -> Plan:
        """Rows and delta of a batch; nothing in memory changes before `accept`."""
        assignment = Assignment(self.index)
        plan = Plan([], [], Delta(), 0, assignment, set(), {}, {})
        outcomes: list[Outcome] = []
        occurrences: list[Occurrence] = []
        beyond = _Beyond()
        accepted = Accepted()
        stored = duplicates = unaccounted = 0
        recent, seen = self.recent, plan.seen
        batches = Batches(self.place_of)
        records = [batches.once(record) if record.told else record for record in batch]
        for record in records:
            outcomes += record.outcomes
            unaccounted += record.quantity - record.parts
            for number, row in enumerate(record.events):
                key = RecentIds.key(row.project_id, row.event_id)
                standing = record.standings.get(number) if record.standings else None
                if key in recent or key in seen:
                    duplicates += 1
                    outcomes.append(_duplicate(row, standing.count if standing else 1))
                    continue
                seen.add(key)
                one = self._event(row, plan, codec)
                if one.flags & SUMMARISED_FLAG:
                    beyond.add(one, row, plan.rows_of)
                    accepted.event(row, 1, SUMMARISED)
                else:
                    occurrences.append(one)
                    stored += 1
                    accepted.event(row)
                if standing is not None:
                    for more in rest_of(one, standing):
                        beyond.add(more, row, plan.rows_of)
                        accepted.event(row, more.count, SUMMARISED)
            stored += len(record.items)
            for item in record.items:
                plan.items.append(_item_tuple(item, codec))
                accepted.item(item)
        delta = Delta(
            stored=stored, summarised=beyond.quantity, unaccounted=unaccounted, new_issues=assignment.new_issues,
            hashes=assignment.hashes, occurrences=[*occurrences, *beyond.occurrences()],
            retitled=list(assignment.retitled.values()), outcomes=add_outcomes(outcomes),
            fills=self.buckets.low(plan.fills), configs=sorted(assignment.configs), told=batches.told,
            accepted=accepted.rows(),
        )  # fmt: skip
        item_rows = [item for record in records for item in record.items]
        return plan._replace(delta=delta, duplicates=duplicates, item_rows=item_rows)

    def _event(self, row: EventRow, plan: Plan, codec: PayloadCodec) -> Occurrence:
        issue_id, flags = plan.assignment.assign(row)
        event_id = bytes.fromhex(row.event_id)
        # without payload: the digest knew that the issue is over its rate, so nothing is asked of its bucket
        within = bool(row.payload) and self.buckets.take(plan.fills, row.project_id, issue_id, row.received_at)
        if within or flags:
            enc, payload = self._payload(row, codec)
            plan.events.append(_event_tuple(row, issue_id, enc, payload))
            plan.rows_of[event_id] = row
        else:
            flags = SUMMARISED_FLAG
            micros(row.timestamp)  # a row that breaks its contract is refused whether it is kept or not
        return Occurrence(issue_id, row.project_id, event_id, row.timestamp, user_hash(row.user_id), row.level, flags)

    def _payload(self, row: EventRow, codec: PayloadCodec) -> tuple[int, bytes | None]:
        if not row.payload:  # its issue was lost or re-opened after the digest had looked
            return NOT_KEPT, None
        enc, payload = codec.encode(row.payload, row.project_id)
        self.training.see(row.project_id, row.payload, enc, len(payload))
        return enc, payload


class _Beyond:
    """Events beyond the rate of their issue, added up: a storm costs a delta as much as its users, not its copies."""

    def __init__(self) -> None:
        self.quantity = 0
        self._alike: dict[tuple[int, int, str, int], list[Occurrence]] = {}

    def add(self, one: Occurrence, row: EventRow, rows_of: dict[bytes, EventRow]) -> None:
        """Counts one. The row of the first stays at hand for this commit, so that forward can show an exemplar."""
        self.quantity += one.count
        key = (one.issue_id, one.user, one.level, int(one.at) // 3600)
        same = self._alike.get(key)
        if same is None:
            if row.payload:
                rows_of[one.event_id] = row
            self._alike[key] = [one]
        else:
            same.append(one)

    def occurrences(self) -> list[Occurrence]:
        """One for all that are alike."""
        return [same[0] if len(same) == 1 else _together(same) for same in self._alike.values()]


def _together(alike: list[Occurrence]) -> Occurrence:
    first = alike[0]
    return Occurrence(
        first.issue_id, first.project_id, first.event_id, min(one.at for one in alike), first.user, first.level,
        first.flags, sum(one.count for one in alike), max(one.until for one in alike),
    )  # fmt: skip


def rest_of(one: Occurrence, standing: Standing) -> list[Occurrence]:
    """What an event stands for besides itself, as counted occurrences: one for each known user, so that distinct users
    are counted where edges share them, and the others for the event's own."""
    left = standing.count - 1
    others = [user for user in standing.users if user != one.user][:left]
    counts = [(user, 1) for user in others]
    if left > len(others):
        counts.append((one.user, left - len(others)))
    return [
        Occurrence(one.issue_id, one.project_id, one.event_id, standing.first_at, user, one.level, SUMMARISED_FLAG,
                   count, standing.last_at)
        for user, count in counts
    ]  # fmt: skip


def _duplicate(row: EventRow, count: int) -> Outcome:
    return Outcome(row.project_id, INVALID, DUPLICATE, "error", count, row.received_at, items=count)


def _event_tuple(row: EventRow, issue_id: int, enc: int, payload: bytes | None) -> tuple[Any, ...]:
    """In the order of schema.EVENT_COLUMNS; an empty text is NULL, a long one cut."""
    tags = encode_json(dict(row.tags)).decode() if row.tags else None
    cut = MAX_TEXT_CHARS
    return (
        row.event_id, row.project_id, issue_id, micros(row.timestamp), micros(row.received_at), row.type, row.level,
        row.platform, row.release[:cut] or None, row.dist[:cut] or None, row.environment[:cut] or None,
        row.transaction[:cut] or None, row.server_name[:cut] or None, row.logger[:cut] or None,
        row.user_id[:cut] or None, row.message[:cut] or None, row.culprit[:cut] or None,
        row.exception_type[:cut] or None, row.exception_value[:cut] or None, row.title[:cut] or None, tags,
        row.trace_id or None, row.sdk or None, row.hashes[0], row.frames or None, len(row.payload), enc, payload,
    )  # fmt: skip


def _item_tuple(item: ItemRow, codec: PayloadCodec) -> tuple[Any, ...]:
    """In the order of schema.ITEM_COLUMNS."""
    if item.kind == ATTACHMENT:
        enc, payload = EXTERNAL, digest_of(item.payload)
    else:
        enc, payload = codec.encode(item.payload, 0)
    return (micros(item.received_at), item.project_id, item.kind, item.event_id or None, item.headers or None,
            len(item.payload), enc, payload)  # fmt: skip


__all__ = ["DUPLICATE", "SUMMARISED", "Plan", "Planner"]
