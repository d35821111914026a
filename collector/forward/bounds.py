"""The outbox stays within its bytes and its age, and what that costs is counted and reported upstream.

When it is nearly full, `summarise` folds the unsent summaries of an issue: first those of one hour, then of one day,
then all. An entry that the receiver may know (it was tried) is never folded, its count could be told twice. What still
does not fit is dropped, the least important and oldest first; first events of new issues go last.
"""

import threading
from collections.abc import Sequence
from functools import reduce

from collector.errors import Damaged
from collector.forward.parcel import fold, pack, unpack
from collector.forward.rollup import NOT_REPORTED, SUMMARY_KEY, WITHHELD_KEY
from collector.forward.settings import UpstreamSettings
from collector.store import windows
from collector.store.outbox import Outbox
from collector.store.windows import Queued

HIGH, LOW = 0.9, 0.6  # folding begins at HIGH of the budget and ends at LOW of it
FOLD_STEPS_SECONDS = (3600.0, 86400.0, float("inf"))
MAX_FOLDED_AT_ONCE = 64  # bodies held in memory; a longer group is folded in turns
ENTRY_BYTES = 100  # row and index overhead beside the body, as the outbox counts it


class Bounds:
    """How full the outbox is. `reserve` is for the digest thread, `enforce` for the sender."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self._settings = settings
        self._max = self.max_bytes = int(settings.max_outbox_bytes)
        self._was_tight = False
        self._lock = threading.Lock()
        self.bytes = 0
        self.records = 0

    def reserve(self, size: int, records: int = 1) -> bool:
        """True when `size` more bytes fit; they count as used then. 0 only asks. records: 0: it is no entry yet."""
        with self._lock:
            if self.bytes + size > self._max:
                return False
            self.bytes += size
            self.records += records if size else 0
        return True

    def release(self, size: int, records: int = 1) -> None:
        """Entries with bodies of `size` in all are gone."""
        with self._lock:
            self.bytes = max(0, self.bytes - size - records * ENTRY_BYTES)
            self.records = max(0, self.records - records)

    @property
    def is_tight(self) -> bool:
        """True when `enforce` has something to do."""
        return self.bytes > self._max * HIGH

    @property
    def is_full(self) -> bool:
        """For people: it was tight, and there is not much room again."""
        return self.is_tight or self._was_tight

    def measure(self, outbox: Outbox) -> None:
        """Take the true size."""
        records, size = outbox.size()
        with outbox.read() as cursor:
            size += windows.exemplar_bytes(cursor)
        with self._lock:
            self.records, self.bytes = records, size

    def enforce(self, outbox: Outbox, now: float) -> None:
        """Expire, measure, fold, drop. Raises Unavailable."""
        self._expire(outbox, now)
        self.measure(outbox)
        self._was_tight = self.is_tight or (self._was_tight and self.bytes > self._max * LOW)
        if not self.is_tight:
            return
        if self._settings.when_full == "summarise":
            for step in FOLD_STEPS_SECONDS:
                self._fold(outbox, step)
                self.measure(outbox)
                if self.bytes <= self._max * LOW:
                    return
        if self.bytes > self._max:
            self._drop(outbox)
            self.measure(outbox)

    def _expire(self, outbox: Outbox, now: float) -> None:
        with outbox.read() as cursor:
            old = windows.queued(cursor, older_than=now - self._settings.max_age)
        drop(outbox, old, "collector_expired")

    def _drop(self, outbox: Outbox) -> None:
        """Make the rest fit into HIGH of the budget."""
        with outbox.read() as cursor:
            entries = windows.queued(cursor)
        newest_first = -1 if self._settings.when_full == "drop_newest" else 1
        entries.sort(key=lambda entry: (-entry.priority, newest_first * entry.id))
        excess = self.bytes - self._max * HIGH
        doomed: list[Queued] = []
        for entry in entries:
            if excess <= 0:
                break
            doomed.append(entry)
            excess -= entry.bytes + ENTRY_BYTES
        drop(outbox, doomed, "collector_outbox_full")

    def _fold(self, outbox: Outbox, step: float) -> None:
        """Fold the summaries of each issue that were made in one stretch of `step` seconds."""
        with outbox.read() as cursor:
            entries = windows.queued(cursor)
        groups: dict[tuple[str, int], list[Queued]] = {}
        for entry in entries:
            if entry.key.startswith((SUMMARY_KEY, WITHHELD_KEY)) and not entry.attempts:
                stretch = 0 if step == float("inf") else int(entry.created_at // step)
                groups.setdefault((entry.key.split(":")[1], stretch), []).append(entry)
        for group in groups.values():
            while len(group) > 1:
                turn, rest = group[:MAX_FOLDED_AT_ONCE], group[MAX_FOLDED_AT_ONCE:]
                self._fold_group(outbox, turn)
                group = [turn[-1], *rest]

    def _fold_group(self, outbox: Outbox, group: Sequence[Queued]) -> None:
        ids = [entry.id for entry in group]
        with outbox.read() as cursor:
            bodies = windows.bodies(cursor, ids)
        try:
            parcels = [unpack(body) for body in bodies]
        except Damaged:  # the sender drops and counts the damaged one when its turn comes
            return
        folded = reduce(fold, parcels)
        with outbox.transaction() as cursor:
            windows.replace_body(cursor, ids[-1], pack(folded), folded.count)
            windows.delete(cursor, ids[:-1])
            windows.count(cursor, "folded", len(ids) - 1)


def drop(outbox: Outbox, entries: Sequence[Queued], reason: str) -> None:
    """Give entries up: counted, and reported upstream unless the receiver may have them already."""
    if not entries:
        return
    with outbox.transaction() as cursor:
        windows.delete(cursor, [entry.id for entry in entries])
        for entry in entries:
            windows.count(cursor, f"dropped:{reason}", entry.quantity)
            if not entry.attempts and entry.category not in NOT_REPORTED:
                windows.add_report(cursor, reason, entry.category, entry.quantity)
