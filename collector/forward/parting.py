"""A shipment that was too large, or refused for one of those in it, is sent in parts, and nothing of it twice.

Entries that were put together are taken apart, and each has its own fate from then on. A single container is halved
until its parts are taken; when upstream cannot go on in between, its entry keeps what is not told yet. What was told
and the rest are written in one transaction: after a kill before it the entry is one of unknown fate, as any other is.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from collector.forward import containers
from collector.forward.containers import Container
from collector.forward.parcel import Press, pack, unpack
from collector.forward.post import Post
from collector.forward.rollup import NOT_REPORTED
from collector.forward.shipments import Loading, Shipment
from collector.forward.verdict import TAKEN, Verdict
from collector.machine.clock import Clock
from collector.store import windows
from collector.store.outbox import Entry, Outbox

REASONS = {"too_large": "collector_too_large", "damaged": "collector_damaged"}
REFUSED, UNKNOWN_FATE = "collector_refused", "collector_unknown_fate"
Fate = tuple[Shipment, Verdict]


class Parting:
    """Sends parts, in the sender's thread."""

    def __init__(self, outbox: Outbox, post: Post, loading: Loading, clock: Clock) -> None:
        self._outbox = outbox
        self._post = post
        self._loading = loading
        self._clock = clock
        self._press = Press()

    def fates(self, shipment: Shipment, verdict: Verdict) -> list[Fate]:
        """What became of a shipment and its parts. A taken one has the quantity that was told. Raises Unavailable."""
        parts = self._smaller(shipment, verdict)
        if not parts:
            return [(shipment, verdict)]
        if len(shipment.entries) == 1:
            return [self._in_parts(shipment, parts, verdict)]
        made: list[Fate] = []
        for place, part in enumerate(parts):
            last = self._post.send(part.body) if not part.damaged else Verdict("damaged", part.damaged)
            made += self.fates(part, last)
            last = made[-1][1]
            if last.what in ("later", "limited"):
                unsent = msgspec.structs.replace(last, known=False)
                return made + [(one, unsent) for one in parts[place + 1 :]]
        return made

    def _smaller(self, shipment: Shipment, verdict: Verdict) -> list[Shipment]:
        """A container with others may be refused for one of them; whatever is too large may be sent in parts."""
        if verdict.what == "too_large" or (verdict.what == "refused" and len(shipment.entries) > 1):
            return self._loading.smaller(shipment, self._clock.now())
        return []

    def _in_parts(self, shipment: Shipment, parts: list[Shipment], verdict: Verdict) -> Fate:
        """The fate of one entry."""
        entry = shipment.entries[0]
        waiting, failed = deque(parts), list[tuple[Shipment, Verdict]]()
        told = 0
        while waiting:
            part = waiting.popleft()
            verdict = self._post.send(part.body)
            if verdict.what == "taken":
                told += _quantity(part)
            elif verdict.what in ("later", "limited"):
                if part.container is None:
                    return shipment, verdict
                waiting.appendleft(part)
                return self._keep_rest(shipment, waiting, failed, told, verdict)
            elif smaller := self._smaller(part, verdict):
                waiting.extendleft(reversed(smaller))
            else:
                failed.append((part, verdict))
        if not told:
            return shipment, verdict
        self._write_off(entry, failed)
        return shipment._replace(entries=[entry._replace(quantity=told)]), TAKEN

    def _keep_rest(
        self, shipment: Shipment, waiting: deque[Shipment], failed: list[Fate], told: int, verdict: Verdict
    ) -> Fate:
        """What is not told yet stays in the outbox; the first of it is lost when its fate is unknown."""
        if not (told or failed or (verdict.known and len(waiting) > 1)):
            return shipment, verdict
        if verdict.known:
            failed = [*failed, (waiting.popleft(), verdict)]
        entry = shipment.entries[0]
        rest = [part.container for part in waiting if part.container is not None]
        if rest:
            self._replace(entry, rest, told)
            self._write_off(entry, failed)
            return shipment, msgspec.structs.replace(verdict, known=False)
        if not told:
            return shipment, verdict
        self._write_off(entry, failed)
        return shipment._replace(entries=[entry._replace(quantity=told)]), TAKEN

    def _replace(self, entry: Entry, rest: list[Container], told: int) -> None:
        headers, payload = containers.join(rest)
        quantity = sum(one.count for one in rest)
        packed = self._press.pack(payload)
        parcel = msgspec.structs.replace(unpack(entry.body), count=quantity, headers=headers, packed=packed)
        with self._outbox.transaction(synced=True) as cursor:
            windows.replace_body(cursor, entry.id, pack(parcel), quantity)
            windows.count(cursor, f"sent:{entry.category}", told)

    def _write_off(self, entry: Entry, failed: Iterable[Fate]) -> None:
        with self._outbox.transaction() as cursor:
            for part, verdict in failed:
                reason = UNKNOWN_FATE if verdict.known else REASONS.get(verdict.what, REFUSED)
                windows.count(cursor, f"dropped:{reason}", _quantity(part))
                if not verdict.known and entry.category not in NOT_REPORTED:
                    windows.add_report(cursor, reason, entry.category, _quantity(part))


def _quantity(part: Shipment) -> int:
    return part.container.count if part.container else sum(one.quantity for one in part.entries)
