"""What a commit took in, added up for the table `outcomes`: the other side of what it refused.

Outcome `accepted`, reason "" for what is stored and `summarised` for what was over the rate of its issue and is only
counted. Quantities as the protocol counts them: bytes of attachments, records of a container of logs or spans.
"""

from collections import Counter

import msgspec

from collector.model.envelope import Item
from collector.model.event import EventRow, ItemRow
from collector.protocol.kinds import counts_of
from collector.store.delta import OutcomeRow

ACCEPTED = "accepted"
OF_TYPE = dict.fromkeys(("csp", "hpkp", "expectct", "expectstaple"), "security") | {"feedback": "feedback"}
COUNTED_ALIKE = {"transaction": "transaction", "session": "session", "sessions": "session", "check_in": "monitor"}


class Accepted:
    """One commit's."""

    def __init__(self) -> None:
        self._events: dict[tuple[float, int, str, str], int] = {}
        self._quantities: Counter[tuple[int, int, str, str]] = Counter()
        self._items: Counter[tuple[int, int, str, str]] = Counter()

    def event(self, row: EventRow, count: int = 1, reason: str = "") -> None:
        """An event, or several that are alike."""
        key = (row.received_at // 60, row.project_id, row.type, reason)
        events = self._events
        events[key] = events.get(key, 0) + count

    def item(self, item: ItemRow) -> None:
        """Any other item."""
        category, quantity = COUNTED_ALIKE.get(item.kind), 1
        if category is None:
            category, quantity = counts_of(Item(item.kind, _headers(item), item.payload))[0]
        key = (int(item.received_at) // 60 * 60, item.project_id, category, "")
        self._quantities[key] += quantity
        self._items[key] += 1

    def rows(self) -> list[OutcomeRow]:
        """One row a minute, project, category and reason."""
        quantities, items = self._quantities.copy(), self._items.copy()
        for (minute, project_id, kind, reason), count in self._events.items():
            key = (int(minute) * 60, project_id, OF_TYPE.get(kind, "error"), reason)
            quantities[key] += count
            items[key] += count
        return [
            OutcomeRow(minute, project_id, "", category, ACCEPTED, reason, quantity, items[key])
            for key, quantity in quantities.items()
            for minute, project_id, category, reason in [key]
        ]


def _headers(item: ItemRow) -> dict[str, object]:
    try:
        headers: dict[str, object] = msgspec.json.decode(item.headers or "{}", type=dict)
    except msgspec.DecodeError:
        return {}
    return headers
