"""Outbox entries become a batch of the hub protocol (collector.hub), once and for good.

Packing is one transaction: the entries go, one entry with the very bytes of the request comes. Whoever is killed then,
the same bytes under the same batch id are sent until the hub has answered, and the hub stores an id once. So everything
that goes to a hub arrives exactly once, items without an id of their own and client reports too.

Format of `outbox.body` for such an entry (key `b:<batch id as hex>`, target `hub:<queue>`): one msgpack array in the
field order of Packed.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import zstandard

from collector.errors import Damaged
from collector.forward.event import event_json, slim
from collector.forward.parcel import MAX_PAYLOAD_BYTES, Parcel, Press, unpack
from collector.hub.batch import EVENT, MAX_USERS, SUMMARY, VERSION, Batch, Entry, read_batch, write_batch
from collector.machine.ids import new_batch_id
from collector.store import windows
from collector.store.outbox import Entry as Queued
from collector.store.outbox import put

BATCH_KEY = "b:"
TARGET = "hub:"
PACKED_VERSION = 1
REPORTS = "reports"  # the queue of client reports; they belong to no category
MAX_ENTRIES, MAX_BYTES = 500, 1 << 20  # per batch, as stored; one entry may be larger
MAX_RAW_BYTES = 4 << 20  # of payloads; alike ones shrink to a hundredth, which a hub takes for a bomb beyond 8 MiB


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """A batch as it waits. events, items: entries by kind; occurrences: what the events stand for."""

    version: int
    batch_id: bytes
    project_id: int
    events: int
    occurrences: int
    items: int
    body: bytes


class Load(NamedTuple):
    """What goes into one batch: entries of one queue and one project. created_at: of the oldest."""

    queue: str
    project_id: int
    entries: list[Entry]
    created_at: float


class Packing:
    """Makes batches; in the sender's thread. `edge`: our name at the hub. pin: our hashes go along."""

    def __init__(self, edge: str, pin: bool) -> None:
        self._edge = edge
        self._pin = pin
        self._press = Press()

    def entry_of(self, parcel: Parcel) -> Entry:
        """One parcel as the hub reads it. Raises Damaged."""
        stored = self._press.unpack(parcel.packed)
        headers = parcel.headers
        is_event = parcel.kind in (EVENT, SUMMARY)
        if is_event:
            # as a plain event: what it stands for is said once, in `count`
            stored = event_json(msgspec.structs.replace(parcel, kind=EVENT), stored, self._pin)
            headers = b""
        first, last = min(parcel.first_at, parcel.last_at), max(parcel.first_at, parcel.last_at)
        kind = EVENT if parcel.kind == SUMMARY and parcel.count == 1 else parcel.kind
        count = parcel.count if is_event else 1
        return Entry(kind, parcel.event_id, count, first, last, parcel.users[: 8 * MAX_USERS], headers, stored)

    def report(
        self, cursor: sqlite3.Cursor, project_id: int, reports: Sequence[tuple[str, str, int]], now: float
    ) -> int:
        """Queue a client report of (reason, category, quantity)."""
        discarded = [{"reason": reason, "category": category, "quantity": count} for reason, category, count in reports]
        payload = msgspec.json.encode({"timestamp": now, "discarded_events": discarded})
        entry = Entry("client_report", "", 1, now, now, b"", b"", payload)
        return self.put(cursor, Load(REPORTS, project_id, [entry], now), now)

    def put(self, cursor: sqlite3.Cursor, load: Load, now: float) -> int:
        """Queue a batch, its id made for good; its size."""
        batch = Batch(VERSION, self._edge, new_batch_id(), now, load.project_id, load.entries)
        events = [entry for entry in load.entries if entry.kind in (EVENT, SUMMARY)]
        occurrences, items = sum(entry.count for entry in events), len(load.entries) - len(events)
        packed = Packed(
            PACKED_VERSION, batch.batch_id, load.project_id, len(events), occurrences, items, write_batch(batch)
        )
        body = msgspec.msgpack.encode(packed)
        is_report = load.queue == REPORTS
        category, quantity = ("default", 0) if is_report else (load.queue, batch.occurrences)
        key = BATCH_KEY + batch.batch_id.hex()
        put(cursor, Queued(TARGET + load.queue, category, body, 0, quantity, key, load.created_at))
        return len(body)

    def halves(self, cursor: sqlite3.Cursor, entry: Queued, packed: Packed, now: float) -> bool:
        """Instead of a batch that the hub does not take as it is: two of half its entries, or its event without its
        bulk. False when there is nothing smaller; nothing is changed then."""
        raw = zstandard.ZstdDecompressor().decompress(packed.body, max_output_size=2 * MAX_PAYLOAD_BYTES)
        whole = read_batch(raw).entries
        middle = len(whole) // 2
        parts = [part for part in (whole[:middle], whole[middle:]) if part]
        if len(whole) == 1:
            slimmed = slim(whole[0].payload) if whole[0].kind in (EVENT, SUMMARY) else whole[0].payload
            if len(slimmed) >= len(whole[0].payload):
                return False
            parts = [[msgspec.structs.replace(whole[0], payload=slimmed)]]
        windows.delete(cursor, [entry.id])
        for part in parts:
            self.put(cursor, Load(entry.target.removeprefix(TARGET), packed.project_id, part, entry.created_at), now)
        return True


def packed_of(entry: Queued) -> Packed:
    """The inverse of what `Packing` put. Raises Damaged."""
    try:
        return msgspec.msgpack.decode(entry.body, type=Packed)
    except msgspec.DecodeError as error:
        raise Damaged("state.sqlite: outbox", f"a batch cannot be read: {error}") from error


def parcel_of(entry: Queued) -> Parcel:
    """The parcel of an entry that is not packed yet. Raises Damaged."""
    return unpack(entry.body)
