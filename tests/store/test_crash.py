"""kill -9 of a real process that commits, checkpoints and rotates all the time."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from collector.machine.clock import SystemClock
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.store.conftest import read, segment_files

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("COLLECTOR_TEST_KILLS", "12"))


def run_and_kill(data: Path, seed: int, lines: int) -> int:
    """The last seq whose commit returned before the kill."""
    child = subprocess.Popen([sys.executable, "-m", "tests.store.committer", str(data), str(seed)], cwd=ROOT,
                             stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert child.stdout is not None
    seen = [child.stdout.readline() for _ in range(lines)]
    child.kill()
    seen += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    numbers = [int(line.removeprefix("open ")) for line in seen if line.endswith("\n")]
    return max(numbers, default=0)


@pytest.mark.slow
@pytest.mark.process
def test_after_every_kill_each_committed_event_is_stored_and_counted_exactly_once(tmp_path: Path) -> None:
    """1. A process commits batches of random size with tiny checkpoint and rotation limits.
    2. It is killed after a random number of commits, again and again, each time going on from the store's position.
    3. Result: every seq up to the position is stored once, issue counts, ledger and position agree, nothing aside."""
    rng = random.Random(7)
    data = tmp_path / "data"
    acknowledged = [run_and_kill(data, kill, 2 + rng.randrange(25)) for kill in range(KILLS)]
    assert acknowledged == sorted(acknowledged)

    store = Store.open(data, StoreSettings(), RetentionSettings(), SystemClock())
    last = store.position.seq
    status = store.status()
    counted = store._state.rows("SELECT sum(count) FROM issues")[0][0]
    store.close()
    ids = sorted(int(row[0], 16) for path in segment_files(data)
                 for row in read(path, "SELECT replace(event_id::VARCHAR, '-', '') FROM events"))  # fmt: skip
    assert last >= acknowledged[-1]
    assert ids == list(range(1, last + 1))
    assert (counted, status.ledger["stored"], status.dropped, status.quarantine) == (last, last, {}, [])
