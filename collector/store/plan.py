"""From spool records to one commit: rows, delta, and what memory learns once the commit is durable. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from collector.model.event import Digested, EventRow, ItemRow
from collector.model.outcome import INVALID, SUMMARISED, Outcome
from collector.store.buckets import IssueBuckets
from collector.store.delta import SUMMARISED as SUMMARISED_FLAG
from collector.store.delta import Delta, Occurrence, add_outcomes, user_hash
from collector.store.issues import Assignment, IssueIndex
from collector.store.payload import PayloadCodec, Training
from collector.store.recent import RecentIds
from collector.store.schema import NOT_KEPT
from collector.store.segment import micros

DUPLICATE = "duplicate"
MAX_TEXT_CHARS = 8192  # of one typed column; the payload has the whole text


class Plan(NamedTuple):
    """One commit, ready to be written. `rows_of`: the EventRow of each stored occurrence by its 16-byte id."""

    events: list[tuple[Any, ...]]
    items: list[tuple[Any, ...]]
    delta: Delta
    duplicates: int
    assignment: Assignment
    seen: set[int]
    rows_of: dict[bytes, EventRow]
    item_rows: Sequence[ItemRow] = ()

    def accept(self, recent: RecentIds) -> None:
        """The commit is durable."""
        self.assignment.accept()
        recent.add(self.seen)


class Planner:
    """What a plan is made with."""

    def __init__(self, index: IssueIndex, recent: RecentIds, buckets: IssueBuckets, training: Training) -> None:
        self.index = index
        self.recent = recent
        self.buckets = buckets
        self.training = training

    def plan(self, batch: Sequence[Digested], codec: PayloadCodec) -> Plan:
        """Rows and delta of a batch; nothing in memory changes before `accept`, but for bucket fills."""
        assignment = Assignment(self.index)
        plan = Plan([], [], Delta(), 0, assignment, set(), {})
        outcomes: list[Outcome] = []
        occurrences: list[Occurrence] = []
        stored = summarised = duplicates = unaccounted = 0
        for record in batch:
            outcomes += record.outcomes
            parts = len(record.events) + len(record.items) + sum(one.items for one in record.outcomes)
            unaccounted += record.quantity - parts
            for row in record.events:
                key = RecentIds.key(row.project_id, row.event_id)
                if key in self.recent or key in plan.seen:
                    duplicates += 1
                    outcomes.append(Outcome(row.project_id, INVALID, DUPLICATE, "error", 1, row.received_at))
                    continue
                plan.seen.add(key)
                one = self._event(row, plan, codec)
                occurrences.append(one)
                if one.flags & SUMMARISED_FLAG:
                    summarised += 1
                else:
                    stored += 1
            stored += len(record.items)
            plan.items.extend(_item_tuple(item, codec) for item in record.items)
        delta = Delta(
            stored=stored, summarised=summarised, unaccounted=unaccounted, new_issues=assignment.new_issues,
            hashes=assignment.hashes, occurrences=occurrences, retitled=list(assignment.retitled.values()),
            outcomes=add_outcomes(outcomes),
        )  # fmt: skip
        item_rows = [item for record in batch for item in record.items]
        return plan._replace(delta=delta, duplicates=duplicates, item_rows=item_rows)

    def _event(self, row: EventRow, plan: Plan, codec: PayloadCodec) -> Occurrence:
        issue_id, flags = plan.assignment.assign(row)
        kept = bool(flags) or self.buckets.take(row.project_id, issue_id, row.received_at)
        if kept:
            enc, payload = codec.encode(row.payload, row.project_id)
            self.training.see(row.project_id, row.payload, enc, len(payload))
        else:
            enc, payload = NOT_KEPT, None
            flags |= SUMMARISED_FLAG
        plan.events.append(_event_tuple(row, issue_id, enc, payload))
        event_id = bytes.fromhex(row.event_id)
        plan.rows_of[event_id] = row
        return Occurrence(issue_id, row.project_id, event_id, row.timestamp, user_hash(row.user_id), row.level, flags)


def _cut(text: str) -> str | None:
    return text if 0 < len(text) <= MAX_TEXT_CHARS else (text[:MAX_TEXT_CHARS] or None)


def _event_tuple(row: EventRow, issue_id: int, enc: int, payload: bytes | None) -> tuple[Any, ...]:
    """In the order of schema.EVENT_COLUMNS; an empty text is NULL."""
    tags = msgspec.json.encode(dict(row.tags)).decode() if row.tags else None
    return (
        row.event_id, row.project_id, issue_id, micros(row.timestamp), micros(row.received_at), row.type, row.level,
        row.platform, _cut(row.release), _cut(row.dist), _cut(row.environment), _cut(row.transaction),
        _cut(row.server_name), _cut(row.logger), _cut(row.user_id), _cut(row.message), _cut(row.culprit),
        _cut(row.exception_type), _cut(row.exception_value), _cut(row.title), tags, row.trace_id or None,
        row.sdk or None, row.hashes[0], row.frames or None, len(row.payload), enc, payload,
    )  # fmt: skip


def _item_tuple(item: ItemRow, codec: PayloadCodec) -> tuple[Any, ...]:
    """In the order of schema.ITEM_COLUMNS."""
    enc, payload = codec.encode(item.payload, 0)
    return (micros(item.received_at), item.project_id, item.kind, item.event_id or None, item.headers or None,
            len(item.payload), enc, payload)  # fmt: skip


__all__ = ["DUPLICATE", "SUMMARISED", "Plan", "Planner"]
