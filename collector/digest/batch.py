"""A batch of an edge collector (collector.hub) entry by entry, each as if an SDK had sent it here."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec
from msgspec import Raw, structs

from collector.hub.batch import SUMMARY, Batch, Entry, item_of, read_batch, users_of
from collector.model.envelope import Envelope, Item
from collector.model.event import Digested, Standing, Told
from collector.model.outcome import Outcome
from collector.model.received import Received
from collector.protocol import encodings
from collector.protocol.limits import LimitSettings

EDGE_TAG = "collector.edge"
TAGGED = frozenset((SUMMARY, "event", "transaction", "feedback"))

_decode_top = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


class Taker(Protocol):
    """What takes the items of one envelope."""

    def item(self, index: int, item: Item) -> None:
        """One item becomes an event, an item row or an outcome."""
        ...


def open_batch(body: bytes, limits: LimitSettings) -> Batch:
    """A spooled batch. Raises ProtocolError when it is not what was admitted."""
    size = int(limits.max_hub_batch_bytes)
    return read_batch(encodings.decode("zstd", body, size, limits.max_decode_ratio, "max_hub_batch_bytes"))


def take_batch(
    digested: Digested, received: Received, batch: Batch, record: Callable[[Received, Envelope], Taker]
) -> None:
    """All entries into `digested`; what stands for N is N in rows, standings and outcomes."""
    edge = received.slug
    digested.told = Told(edge, batch.batch_id, received.project_id, len(batch.entries), received.received_at)
    for index, entry in enumerate(batch.entries):
        # The sender's address is that of the edge, not of a user; its clock was the edge's concern.
        head = structs.replace(received, event_id=entry.event_id, remote_addr="", user_agent="")
        events, outcomes = len(digested.events), len(digested.outcomes)
        record(head, Envelope({}, [])).item(index, _tagged(item_of(entry), entry.kind, edge))
        if entry.count == 1:
            continue
        if len(digested.events) > events:
            digested.standings[events] = Standing(entry.count, entry.first_at, entry.last_at, users_of(entry))
        else:
            digested.outcomes[outcomes:] = _times(digested.outcomes[outcomes:], entry)


def _times(outcomes: list[Outcome], entry: Entry) -> Iterator[Outcome]:
    for one in outcomes:
        yield structs.replace(one, quantity=one.quantity * entry.count, items=one.items * entry.count)


def _tagged(item: Item, kind: str, edge: str) -> Item:
    """With the tag that says where it came from; of a name that comes twice the first one counts."""
    if kind not in TAGGED:
        return item
    try:
        event: dict[str, Any] = _decode_top(item.payload)
        tags = msgspec.json.decode(event["tags"]) if "tags" in event else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return item  # its fate is that of any event that is not JSON
    if isinstance(tags, dict):
        tags = list(tags.items())
    event["tags"] = [[EDGE_TAG, edge], *(tags if isinstance(tags, list) else [])]
    return Item(item.type, item.headers, _encode(event))
