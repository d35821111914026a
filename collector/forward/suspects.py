"""Entries that may be the reason why upstream fails: tried last, and given up after enough proof.

An upstream that answers 500 or nothing at all can be broken, or can be broken by this one event. After a failure the
next probe is another entry; when that one goes through, the failure counts against the first. PROOFS of those and the
entry is given up, so one poisonous event never blocks the queue and an outage never costs an event.
"""

from collections.abc import Sequence

from collector.store.outbox import Entry

PROOFS = 5


class Suspects:
    """Entry id -> how often it failed right before others went through."""

    def __init__(self) -> None:
        self._proofs: dict[int, int] = {}
        self._open: set[int] = set()

    def __len__(self) -> int:
        return len(self._proofs)

    def last(self, batch: Sequence[Entry]) -> list[Entry]:
        """The batch with the suspects at its end."""
        return sorted(batch, key=lambda entry: entry.id in self._proofs)

    def accuse(self, entry_id: int) -> bool:
        """Note a failure; True when the entry should be given up."""
        self._proofs.setdefault(entry_id, 0)
        self._open.add(entry_id)
        return self._proofs[entry_id] >= PROOFS

    def cleared(self, entry_id: int) -> None:
        """Another entry went through: open accusations become proofs, except its own."""
        self._proofs.pop(entry_id, None)
        self._open.discard(entry_id)
        for other in self._open:
            self._proofs[other] += 1
        self._open.clear()
