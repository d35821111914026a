"""What goes in one request: an event, an item, or several containers of one kind put together."""

from collections.abc import Sequence
from typing import NamedTuple

from collector.errors import Damaged
from collector.forward import containers, wire
from collector.forward.containers import Container
from collector.forward.event import event_json, slim
from collector.forward.parcel import Parcel, Press, unpack
from collector.store.outbox import Entry


class Shipment(NamedTuple):
    """entries: what is done with once it was taken. body: the envelope. damaged: why it cannot be sent at all.
    container: what the entries hold, where they are containers."""

    entries: list[Entry]
    body: bytes
    container: Container | None = None
    damaged: str = ""


class Loading:
    """Makes shipments of outbox entries; in the sender's thread."""

    def __init__(self, pin: bool) -> None:
        self._pin = pin
        self._press = Press()

    def load(self, batch: Sequence[Entry], sent_at: float) -> list[Shipment]:
        """The shipments of a batch, in its order."""
        made: list[Shipment] = []
        waiting: list[tuple[int, Container]] = []
        for place, entry in enumerate(batch):
            try:
                parcel = unpack(entry.body)
                container = containers.of_parcel(parcel, self._press) if parcel.kind in containers.KINDS else None
                if container is not None:
                    waiting.append((place, container))
                else:
                    made.append(Shipment([entry], self._body(parcel, sent_at)))
            except Damaged as error:
                made.append(Shipment([entry], b"", damaged=f"an entry of the outbox is damaged: {error.what}"))
        for group in containers.groups(waiting):
            entries = [batch[place] for place, _ in group]
            made.append(self._together(entries, [one for _, one in group], sent_at))
        return made

    def _body(self, parcel: Parcel, sent_at: float) -> bytes:
        stored = self._press.unpack(parcel.packed)
        if parcel.kind in ("event", "summary"):
            return wire.event_envelope(parcel.event_id, event_json(parcel, stored, self._pin), sent_at)
        return wire.item_envelope(parcel.kind, parcel.event_id, parcel.headers, stored, sent_at)

    def _together(self, entries: list[Entry], parts: Sequence[Container], sent_at: float) -> Shipment:
        headers, payload = containers.join(parts)
        whole = parts[0]
        if len(parts) > 1:
            inside = b",".join(part.inside for part in parts if part.inside)
            whole = Container(whole.alike, inside, sum(part.count for part in parts))
        kind = entries[0].key.split(":")[1]
        return Shipment(entries, wire.item_envelope(kind, "", headers, payload, sent_at), whole)

    def smaller(self, shipment: Shipment, sent_at: float) -> list[Shipment]:
        """What to send instead of a shipment that was too large: parts of it, the event without its bulk, or []."""
        if len(shipment.entries) > 1:
            middle = len(shipment.entries) // 2
            return self.load(shipment.entries[:middle], sent_at) + self.load(shipment.entries[middle:], sent_at)
        if shipment.container is not None:
            halves = containers.halves(shipment.container)
            return [self._together(shipment.entries, [half], sent_at) for half in halves]
        parcel = unpack(shipment.entries[0].body)
        if parcel.kind not in ("event", "summary"):
            return []
        payload = slim(event_json(parcel, self._press.unpack(parcel.packed), self._pin))
        body = wire.event_envelope(parcel.event_id, payload, sent_at)
        return [Shipment(shipment.entries, body)] if len(body) < len(shipment.body) else []
