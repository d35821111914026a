"""Random histories: commits, crashes, lost and torn write-ahead logs, lost state, days that pass; the spool replays.

The model is a list: a record is one event, `released` of them may be gone from the spool. Whatever happens, after a
restart and a replay from `position` each event is stored exactly once and counted exactly once.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.store.care import of_folder_at_rest, verify
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import SHOP, event, record
from tests.store.conftest import kill, read, segment_files

STEPS = 22


class History:
    """One store, its spool, and the ways they are treated badly."""

    def __init__(self, data: Path, seed: int) -> None:
        self.data = data
        self.random = random.Random(seed)
        self.clock = FakeClock()
        self.spooled = 0
        self.released = 0
        self.store = self._open()

    def _open(self) -> Store:
        return Store.open(self.data, StoreSettings(), RetentionSettings(), self.clock, projects=SHOP)

    def commit(self) -> None:
        self.spooled += self.random.randrange(1, 30)
        self.replay()

    def replay(self) -> None:
        """What the worker does: everything after the position, in batches of any size; what is released is gone."""
        while (seq := self.store.position.seq) < self.spooled:
            assert seq >= self.released
            last = min(self.spooled, seq + self.random.randrange(1, 40))
            self.store.commit([record(n, event(n, 1 + n % 7, self.clock.now())) for n in range(seq + 1, last + 1)])

    def checkpoint(self) -> None:
        self.released = self.store.checkpoint().seq

    def day(self) -> None:
        self.clock.advance(86_400)
        self.released = self.store.maintain().seq

    def crash(self) -> None:
        kill(self.store)
        self.store = self._open()
        self.replay()

    def restart(self) -> None:
        self.store.close()
        self.store = self._open()
        self.released = self.store.released.seq

    def lose_wal(self) -> None:
        self._harm(lambda wal: wal.unlink())

    def tear_wal(self) -> None:
        self._harm(lambda wal: os.truncate(wal, self.random.randrange(0, wal.stat().st_size + 1)))

    def flip_wal(self) -> None:
        self._harm(self._flip)

    def _flip(self, wal: Path) -> None:
        raw = bytearray(wal.read_bytes())
        raw[self.random.randrange(len(raw))] ^= 0xFF
        wal.write_bytes(raw)

    def _harm(self, how: Callable[[Path], None]) -> None:
        kill(self.store)
        for wal in (self.data / "segments").glob("*.wal"):
            how(wal)
        self.store = self._open()
        self.replay()

    def lose_state(self) -> None:
        kill(self.store)
        for path in self.data.glob("state.sqlite*"):
            path.unlink()
        self.store = self._open()
        self.replay()


WAYS = [
    *["commit"] * 8, "checkpoint", "checkpoint", "day", "crash", "crash", "restart", "lose_wal", "tear_wal", "flip_wal",
    "lose_state",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("COLLECTOR_TEST_HISTORIES", "5"))))
def test_whatever_happens_each_event_is_stored_once_and_counted_once(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path / "data", seed)
    for _ in range(STEPS):
        getattr(history, history.random.choice(WAYS))()
    history.commit()
    status = history.store.status()
    counted = history.store.reads.ask_state("SELECT sum(count) AS n FROM issues", {})[0]["n"]
    history.store.close()
    (tmp_path / "copies").mkdir()
    wrong = [one for one in verify(of_folder_at_rest(tmp_path / "data", tmp_path / "copies"), tmp_path) if one.wrong]
    assert wrong == []
    ids = sorted(int(row[0], 16) for path in segment_files(tmp_path / "data")
                 for row in read(path, "SELECT replace(event_id::VARCHAR, '-', '') FROM events"))  # fmt: skip
    assert ids == list(range(1, history.spooled + 1))
    assert (counted, status.ledger["stored"], status.dropped) == (history.spooled, history.spooled, {})
    assert status.damaged_again == 0
