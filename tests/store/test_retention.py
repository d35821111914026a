"""Rotation, retention, snapshots."""

import os
import threading
from pathlib import Path

import pytest

from collector.model.received import Position
from collector.model.settings import Duration, Size
from collector.store.buckets import IssueRate, StoredProject
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, event, record, records
from tests.store.conftest import Opener, kill, read, segment_files

DAY = 86_400.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def days(store: Store, clock: FakeClock, number: int) -> None:
    for day in range(number):
        first = store.position.seq + 1
        store.commit(records(first, first + 9))
        clock.advance(DAY if day < number - 1 else 0)
        store.maintain()


def names(data: Path) -> list[str]:
    return [path.stem for path in segment_files(data)]


def test_each_utc_day_has_its_file_and_a_sealed_one_opens_anywhere(
    open_store: Opener, clock: FakeClock, data: Path
) -> None:
    store = open_store()
    days(store, clock, 3)
    assert names(data) == ["20260921", "20260922", "20260923"]
    assert read(segment_files(data)[0], "SELECT count(*), max(tags->>'tenant_id') FROM events") == [(10, "t2")]
    assert not list((data / "segments").glob("20260921*.wal"))
    assert store.released == Position(7, 20, 20)


def test_a_full_file_is_rotated_within_the_day(open_store: Opener, data: Path) -> None:
    store = open_store(StoreSettings(max_segment_bytes=Size("1 MiB")))
    store.commit([record(n, event(n, payload=os.urandom(90 * n))) for n in range(1, 200)])
    store.checkpoint()
    store.commit(records(200, 210))
    store.maintain()
    assert names(data) == ["20260921", "20260921-2"]
    assert store.position.seq == 210


def test_an_idle_day_leaves_no_file(open_store: Opener, clock: FakeClock, data: Path) -> None:
    store = open_store()
    days(store, clock, 1)
    for _ in range(4):
        clock.advance(DAY)
        store.maintain()
    assert names(data) == ["20260921", "20260925"]
    assert store.position == Position(7, 10, 10)


def test_old_segments_go_one_a_minute_and_are_counted_as_evicted(
    open_store: Opener, clock: FakeClock, data: Path
) -> None:
    store = open_store(retention=RetentionSettings(max_age=Duration("3 d")))
    days(store, clock, 3)
    clock.advance(DAY / 4)
    store.maintain()
    assert names(data) == ["20260921", "20260922", "20260923"]
    clock.advance(2 * DAY)
    store.maintain()
    assert names(data)[0] == "20260922"
    store.maintain()
    assert names(data)[0] == "20260922"
    clock.advance(61)
    store.maintain()
    assert names(data)[0] == "20260923"
    assert store.status().ledger == {"stored": 30, "summarised": 0, "evicted": 20}
    assert store._state.rows("SELECT sum(count) FROM issues") == [(30,)]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, 10 * 365 * DAY, -10 * 365 * DAY])
def test_a_clock_that_jumps_deletes_nothing_and_keeps_the_order(
    open_store: Opener, clock: FakeClock, data: Path, jump: float
) -> None:
    store = open_store()
    days(store, clock, 3)
    clock.jump(jump)
    for _ in range(10):
        clock.advance(61)
        store.maintain()
        store.commit(records(store.position.seq + 1, store.position.seq + 1))
    clock.jump(-jump)
    store.maintain()
    store.commit(records(41, 45))
    kill(store)
    again = open_store()
    assert again.position == Position(7, 45, 45)
    assert again.status().ledger == {"stored": 45, "summarised": 0, "evicted": 0}


def test_a_clock_that_jumped_while_we_were_down_deletes_nothing(open_store: Opener, clock: FakeClock) -> None:
    store = open_store()
    days(store, clock, 3)
    store.close()
    clock.jump(10 * 365 * DAY)
    again = open_store()
    again.maintain()
    assert again.status().ledger["evicted"] == 0
    clock.advance(DAY + 61)
    again.maintain()
    assert again.status().ledger["evicted"] == 10


def test_beyond_its_bytes_the_oldest_goes_at_once(open_store: Opener, clock: FakeClock, data: Path) -> None:
    store = open_store()
    days(store, clock, 4)
    used = store.status().bytes
    store.close()
    again = open_store(retention=RetentionSettings(max_bytes=Size(f"{used // 2} B")))
    again.maintain()
    assert again.status().bytes <= used // 2
    assert names(data)[-1].startswith("20260924")
    assert again.position == Position(7, 40, 40)


def test_below_the_free_disk_floor_the_oldest_goes(open_store: Opener, clock: FakeClock) -> None:
    store = open_store()
    days(store, clock, 3)
    store.close()
    again = open_store(retention=RetentionSettings(min_free_bytes=Size("1000 TB")))
    again.maintain()
    assert again.status().segments == 1


def test_a_removal_cut_short_is_finished_and_not_counted_twice(
    open_store: Opener, clock: FakeClock, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    days(store, clock, 2)
    with monkeypatch.context() as patch:
        patch.setattr(store._segments, "_unlink", lambda name, is_urgent=True: None)
        store._segments.evict_oldest("age")
    kill(store)
    again = open_store()
    assert names(data) == ["20260922"]
    assert again.status().ledger["evicted"] == 10
    assert again.status().dropped == {}


def test_a_snapshot_is_whole_while_commits_and_checkpoints_go_on(
    open_store: Opener, clock: FakeClock, tmp_path: Path
) -> None:
    store = open_store()
    days(store, clock, 2)
    stop = threading.Event()
    seen: list[int] = []

    def look() -> None:
        number = 0
        while not stop.is_set() and number < 8:
            number += 1
            folder = tmp_path / f"copy{number}"
            folder.mkdir()
            snapshot = store.snapshot(folder)
            assert snapshot.active is not None
            seen.append(int(read(snapshot.active, "SELECT count(*) FROM events")[0][0]))

    reader = threading.Thread(target=look)
    reader.start()
    for first in range(21, 521, 10):
        store.commit(records(first, first + 9))
        store.checkpoint()
    stop.set()
    reader.join()
    assert len(seen) >= 1
    assert seen == sorted(seen)
    assert {number % 10 for number in seen} == {0}


def test_files_are_for_their_owner_only(open_store: Opener, data: Path) -> None:
    store = open_store()
    store.commit(records(1, 5))
    modes = {path.name: path.stat().st_mode & 0o777 for path in [*data.rglob("*")]}
    assert {name: mode for name, mode in modes.items() if mode not in (0o600, 0o700)} == {}


def test_copies_that_a_killed_query_left_are_swept(open_store: Opener, data: Path) -> None:
    open_store().close()
    for name, age in (("query-old", 7200.0), ("query-new", 60.0)):
        (data / "tmp" / name).mkdir()
        os.utime(data / "tmp" / name, (NOW - age, NOW - age))
    open_store()
    assert [path.name for path in (data / "tmp").glob("query-*")] == ["query-new"]


def kept(store: Store) -> list[tuple[object, ...]]:
    return store._state.rows("SELECT count, kept, kept_since FROM issues ORDER BY id")


def test_an_issue_outlives_its_events_and_says_so(open_store: Opener, clock: FakeClock) -> None:
    store = open_store()
    store.commit(records(1, 10, issues=2))
    until = clock.now()
    clock.advance(DAY)
    store.maintain()
    store.commit(records(11, 14, issues=4))
    assert kept(store) == [(6, 6, None), (6, 6, None), (1, 1, None), (1, 1, None)]
    assert store._segments.evict_oldest("age")
    assert kept(store) == [(6, 1, until), (6, 1, until), (1, 1, None), (1, 1, None)]
    store.close()
    again = open_store()
    assert kept(again)[0] == (6, 1, until)


def test_events_beyond_the_rate_are_counted_but_not_kept(open_store: Opener) -> None:
    store = open_store(projects={42: StoredProject("shop", IssueRate(1.0, 5))})
    store.commit(records(1, 20, issues=1))
    assert kept(store) == [(20, 5, None)]


def test_a_segment_that_is_damaged_when_its_turn_comes_is_set_aside_and_counted_once(
    open_store: Opener, clock: FakeClock, data: Path
) -> None:
    store = open_store()
    days(store, clock, 2)
    path = data / "segments/20260921.duckdb"
    path.write_bytes(b"\xff" * path.stat().st_size)
    store._segments.evict_oldest("age")
    status = store.status()
    assert (status.ledger["evicted"], status.dropped, status.quarantine) == (0, {"damaged": 10}, [path.name])
    assert store._state.must_recount
    store.maintain()
    assert sum(int(str(row[1])) for row in kept(store)) == status.events == 10
