"""Files of ours that are not what we wrote: set aside, counted, the rest goes on (faults D2 and D5 11, 13-15, 25)."""

import os
import sqlite3
from pathlib import Path

import pytest

from collector.errors import ConfigError, Damaged, Unavailable
from collector.model.received import Position
from collector.store import outbox
from collector.store import probe as probe_module
from collector.store.buckets import IssueRate, StoredProject
from collector.store.delta import AppliedBatch
from collector.store.engine import connect
from collector.store.segment import Commit
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, event, record, records
from tests.store.conftest import Opener, kill, read, segment_files

DAY = 86_400.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def balance(store: Store) -> int:
    status = store.status()
    return status.ledger["stored"] + status.ledger["summarised"] + sum(status.dropped.values())


def counts(store: Store) -> list[int]:
    return [row[0] for row in store._state.rows("SELECT count FROM issues ORDER BY id")]


def two_days(open_store: Opener, clock: FakeClock) -> Store:
    """Records 1-20 in a sealed day, 21-30 in the active one, nothing of that checkpointed."""
    store = open_store()
    store.commit(records(1, 20))
    clock.advance(DAY)
    store.maintain()
    store.commit(records(21, 30))
    return store


def damage(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xde\xad\xbe\xef" * 4)


def test_a_deleted_wal_moves_the_position_back_and_a_replay_counts_nothing_twice(
    open_store: Opener, clock: FakeClock, data: Path
) -> None:
    kill(two_days(open_store, clock))
    (data / "segments/20260922.duckdb.wal").unlink()
    store = open_store()
    assert store.position == Position(7, 20, 20)
    assert store.status().damaged_again == 10
    assert store.commit(records(21, 30)).stored == 10
    assert (counts(store), balance(store), store.status().damaged_again) == ([6] * 5, 30, 0)
    store.commit(records(31, 35))
    assert (counts(store), balance(store), store.status().dropped) == ([7] * 5, 35, {})
    store.checkpoint()
    assert [len({row[0] for row in read_ids(path)}) for path in [*segment_files(data)][:1]] == [20]


def read_ids(path: Path) -> list[tuple[object, ...]]:
    return read(path, "SELECT event_id FROM events")


def test_what_a_lost_wal_held_and_the_spool_cannot_bring_is_damaged_never_silent(
    open_store: Opener, clock: FakeClock, data: Path
) -> None:
    kill(two_days(open_store, clock))
    (data / "segments/20260922.duckdb.wal").unlink()
    store = open_store()
    store.commit(records(26, 30))
    store.commit(records(31, 31))
    assert store.status().dropped == {"damaged": 5}
    assert balance(store) == 31


@pytest.mark.parametrize("at", [0, 5000, -4000])
def test_a_damaged_wal_loses_nothing_that_the_spool_still_has(
    open_store: Opener, clock: FakeClock, data: Path, at: int
) -> None:
    kill(two_days(open_store, clock))
    wal = data / "segments/20260922.duckdb.wal"
    damage(wal, at % wal.stat().st_size)
    store = open_store()
    store.commit(records(store.position.seq + 1, 31))
    assert balance(store) == 31
    assert sum(counts(store)) == 31
    assert store.status().dropped == {}


def test_a_torn_wal_ends_at_the_last_whole_commit(open_store: Opener, clock: FakeClock, data: Path) -> None:
    store = two_days(open_store, clock)
    store.commit(records(31, 33))
    kill(store)
    wal = data / "segments/20260922.duckdb.wal"
    os.truncate(wal, wal.stat().st_size - 7)
    again = open_store()
    assert again.position == Position(7, 30, 30)
    assert again.status().damaged_again == 3


@pytest.mark.parametrize("how", ["zero", "garbage", "header", "cut"])
def test_a_damaged_active_file_is_set_aside_and_the_next_one_started(
    open_store: Opener, clock: FakeClock, data: Path, how: str
) -> None:
    store = two_days(open_store, clock)
    store.checkpoint()
    store.commit(records(31, 34))
    kill(store)
    broken = data / "segments/20260922.duckdb"
    ways = {
        "zero": lambda: os.truncate(broken, 0),
        "garbage": lambda: broken.write_bytes(os.urandom(50_000)),
        "header": lambda: damage(broken, 4096),
        "cut": lambda: os.truncate(broken, 9000),
    }
    ways[how]()
    again = open_store()
    assert again.position == Position(7, 30, 30)  # released: the spool does not have them any more
    assert again.status().dropped == {"damaged": 10}
    again.commit(records(31, 35))
    assert balance(again) == 35
    assert sum(counts(again)) == 35
    assert [path.name for path in segment_files(data)] == ["20260921.duckdb", "20260922-2.duckdb"]
    assert "20260922.duckdb" in again.status().quarantine


def test_a_damaged_sealed_file_is_found_when_read_and_the_others_serve(
    open_store: Opener, clock: FakeClock, data: Path
) -> None:
    store = two_days(open_store, clock)
    damage(data / "segments/20260921.duckdb", 0)
    assert store.payload(f"{25:032x}", 42) is not None
    assert store.payload(f"{5:032x}", 42) is None
    status = store.status()
    assert status.quarantine == ["20260921.duckdb"]
    assert status.dropped == {"damaged": 20}
    assert (status.ledger["stored"], status.segments) == (10, 1)


def test_a_missing_sealed_file_is_counted(open_store: Opener, clock: FakeClock, data: Path) -> None:
    two_days(open_store, clock).close()
    (data / "segments/20260921.duckdb").unlink()
    store = open_store()
    assert store.status().dropped == {"damaged": 20}
    assert sum(counts(store)) == 30


def test_a_wal_without_its_database_is_set_aside(open_store: Opener, clock: FakeClock, data: Path) -> None:
    kill(two_days(open_store, clock))
    (data / "segments/20260922.duckdb").unlink()
    store = open_store()
    assert store.status().quarantine == ["20260922.duckdb.wal"]
    assert store.position == Position(7, 20, 20)
    store.commit(records(21, 31))
    assert (balance(store), store.status().dropped) == (31, {})


def test_a_file_whose_creation_was_cut_short_is_removed(open_store: Opener, data: Path) -> None:
    open_store().close()
    connection = connect(64 << 20, data / "tmp")
    connection.execute(f"ATTACH '{data / 'segments/20270101.duckdb'}' AS blank")
    connection.close()
    store = open_store()
    assert [path.name for path in segment_files(data)] == ["20260921.duckdb"]
    assert store.status().quarantine == []


@pytest.mark.parametrize("how", ["missing", "garbage", "cut"])
def test_state_is_computed_again_from_the_segments(open_store: Opener, clock: FakeClock, data: Path, how: str) -> None:
    store = two_days(open_store, clock)
    before = store._state.rows("SELECT * FROM issues"), store._state.rows("SELECT * FROM hashes"), store.status().ledger
    store.close()
    state = data / "state.sqlite"
    ways = {
        "missing": state.unlink,
        "garbage": lambda: state.write_bytes(os.urandom(40_000)),
        "cut": lambda: os.truncate(state, 20_000),
    }
    ways[how]()
    again = open_store()
    assert (again._state.rows("SELECT * FROM issues"), again._state.rows("SELECT * FROM hashes"),
            again.status().ledger) == before  # fmt: skip
    assert again.commit(records(25, 31)).stored == 1
    assert balance(again) == 31


def test_state_computed_again_keeps_the_balance_when_older_segments_are_gone(
    open_store: Opener, clock: FakeClock, data: Path
) -> None:
    two_days(open_store, clock).close()
    (data / "segments/20260921.duckdb").unlink()
    (data / "state.sqlite").unlink()
    store = open_store()
    assert balance(store) == store.position.total == 30
    assert store.status().ledger["evicted"] == 20
    assert counts(store) == [2] * 5
    assert store.commit(records(31, 31)).new_issues == []


def test_a_file_that_kills_the_process_at_opening_is_set_aside(
    open_store: Opener, clock: FakeClock, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(two_days(open_store, clock))
    monkeypatch.setattr(probe_module, "CHILD", "import os; os.abort()")
    store = open_store()
    assert "20260922.duckdb" in store.status().quarantine
    store.commit(records(21, 30))
    assert sum(counts(store)) == 30


def test_a_newer_format_is_refused_with_a_sentence_and_left_alone(open_store: Opener, data: Path) -> None:
    open_store().close()
    connection = connect(64 << 20, data / "tmp")
    connection.execute(f"ATTACH '{segment_files(data)[0]}' AS s")
    connection.execute("UPDATE s.seg_info SET v = '99' WHERE k = 'format'")
    connection.close()
    with pytest.raises(ConfigError, match="newer collector"):
        open_store()
    assert len(segment_files(data)) == 1


def test_a_newer_state_is_refused_with_a_sentence(open_store: Opener, data: Path) -> None:
    open_store().close()
    connection = sqlite3.connect(data / "state.sqlite")
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigError, match="newer collector"):
        open_store()


def test_files_that_are_not_ours_are_left_alone(open_store: Opener, data: Path) -> None:
    open_store().close()
    (data / "segments/notes.txt").write_text("mine")
    open_store()
    assert (data / "segments/notes.txt").read_text() == "mine"


def test_a_second_store_on_the_same_folder_is_refused(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 3))
    with pytest.raises(Unavailable):
        open_store()
    assert store.commit(records(4, 5)).stored == 2


def test_what_only_a_damaged_state_knew_is_taken_over(open_store: Opener, clock: FakeClock, data: Path) -> None:
    told: list[tuple[int, bool]] = []

    def hear(cursor: sqlite3.Cursor, batch: AppliedBatch) -> None:
        told.append((batch.no, batch.replayed))
        outbox.put(cursor, outbox.Entry("up", "error", b"body", key=f"{batch.no}"))

    store = open_store(on_apply=[hear])
    store.commit(records(1, 30))
    store.commit(records(31, 33))
    with store._state.transaction() as cursor:
        cursor.execute("UPDATE issues SET status = 'resolved' WHERE id = 2")
    store.close()
    state = data / "state.sqlite"
    with sqlite3.connect(state) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'issues_by_last_seen'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    damage(state, (root - 1) * size)
    again = open_store(on_apply=[hear])
    assert "state.sqlite" in again.status().quarantine
    assert (sum(counts(again)), balance(again)) == (33, 33)
    assert again._state.rows("SELECT key FROM outbox ORDER BY key") == [("1",), ("2",)]
    assert again._state.rows("SELECT id FROM issues WHERE status = 'resolved'") == [(2,)]
    assert told == [(1, False), (2, False)]
    again.commit(records(34, 34))
    assert told[2:] == [(3, False)]


def test_rows_that_are_lost_while_it_runs_may_be_kept_again_whatever_the_rate_of_their_issue(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(projects={42: StoredProject("shop", IssueRate(1.0, 5))})
    storm = [record(number, event(number, 1, NOW)) for number in range(1, 21)]
    assert store.commit(storm).stored == 5
    segment = store._segments.active

    def lose_log(commit: Commit) -> None:
        segment.abandon()
        Path(f"{segment.path}.wal").unlink()
        segment.reopen()
        raise Unavailable("the disk failed")

    with monkeypatch.context() as broken:
        broken.setattr(segment, "append", lose_log)
        with pytest.raises(Damaged, match="are gone from its write-ahead log"):
            store.commit([record(21, event(21, 1, NOW))])
    assert store.position.seq == 0
    assert store.commit(storm).stored == 5
    assert balance(store) == 20
