"""What lies in quarantine unscrubbed is for the owner only, and not for ever."""

import os
import stat
from pathlib import Path

from collector.model.event import Digested
from collector.model.outcome import Outcome
from collector.model.received import Position
from collector.store.quarantine import Quarantine
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW
from tests.store.conftest import Opener

DAY_SECONDS = 86_400.0


def aged(path: Path, written_at: float) -> Path:
    path.write_bytes(b"x")
    os.utime(path, (written_at, written_at))
    return path


def test_records_and_spool_files_go_when_they_are_old_and_databases_stay(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine", 1 << 20, 14 * DAY_SECONDS)
    old, young = NOW - 15 * DAY_SECONDS, NOW - 13 * DAY_SECONDS
    for name in ("record-1-1.bin", "record-1-1.txt", "000000000001.spool", "000000000001.spool.2", "20260901.duckdb"):
        aged(quarantine.folder / name, old)
    aged(quarantine.folder / "record-1-2.bin", young)
    quarantine.expire(NOW)
    assert quarantine.names() == ["20260901.duckdb", "record-1-2.bin"]
    quarantine.expire(NOW + 2 * DAY_SECONDS)
    assert quarantine.names() == ["20260901.duckdb"]


def test_the_age_of_a_file_counts_from_when_it_was_set_aside(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine", 1 << 20, 14 * DAY_SECONDS)
    moved = quarantine.move(aged(tmp_path / "000000000001.spool", NOW - 400 * DAY_SECONDS))
    assert moved is not None
    quarantine.expire(moved.stat().st_mtime + DAY_SECONDS)
    assert quarantine.names() == ["000000000001.spool"]


def test_the_store_lets_records_expire(open_store: Opener, clock: FakeClock, tmp_path: Path) -> None:
    store = open_store()
    outcome = Outcome(42, "invalid", "internal", "error", 1, NOW)
    store.commit([Digested(Position(7, 1, 1), 1, outcomes=[outcome], damaged=b"\x00raw", why="too deep")])
    record = tmp_path / "data/quarantine/record-7-1.bin"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    os.utime(record, (clock.now(), clock.now()))
    store.maintain()
    assert record.exists()
    clock.advance(15 * DAY_SECONDS)
    store.maintain()
    assert not record.exists()
