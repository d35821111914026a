"""Commit, position, issues, ledger, restart."""

import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from collector.model.event import Digested, ItemRow
from collector.model.outcome import FILTERED, Outcome
from collector.model.received import START, Position
from collector.store.buckets import IssueRate, StoredProject
from collector.store.delta import NEW, AppliedBatch
from collector.store.settings import StoreSettings
from collector.store.store import Store
from tests.helpers.digested import NOW, SHOP_AND_BLOG, event, record, records
from tests.store.conftest import Opener, kill


def issues(store: Store) -> list[tuple[object, ...]]:
    return store._state.rows("SELECT short_id, count, users, title, status FROM issues ORDER BY id")


def balance(store: Store) -> int:
    status = store.status()
    return status.ledger["stored"] + status.ledger["summarised"] + sum(status.dropped.values())


def test_a_commit_moves_the_position_and_returns_what_was_new(open_store: Opener) -> None:
    store = open_store()
    assert store.position == START
    done = store.commit(records(1, 20, issues=3))
    assert (done.position, done.stored, done.duplicates) == (Position(7, 20, 20), 20, 0)
    assert [one.short_no for one in done.new_issues] == [1, 2, 3]
    assert store.position == Position(7, 20, 20)


def test_issue_state_is_exact(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 20, issues=2))
    assert issues(store) == [
        ("SHOP-1", 10, 7, "ValueError: bug 2", "unresolved"),
        ("SHOP-2", 10, 7, "ValueError: bug 1", "unresolved"),
    ]


def test_the_payload_comes_back_byte_for_byte(open_store: Opener) -> None:
    store = open_store()
    rows = [event(1), event(2, payload=b"{}"), event(3, payload=bytes(range(256)) * 400)]
    store.commit([record(n, row) for n, row in enumerate(rows, 1)])
    assert [store.payload(row.event_id, 42) for row in rows] == [row.payload for row in rows]
    assert store.payload(rows[0].event_id, 43) is None
    assert store.payload(f"{99:032x}", 42) is None


def test_everything_is_there_after_a_crash(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 30))
    before = (issues(store), store.status().ledger, store.position)
    kill(store)
    again = open_store()
    assert (issues(again), again.status().ledger, again.position) == before
    assert again.payload(f"{17:032x}", 42) is not None


def test_a_batch_sent_again_is_passed_over(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 10))
    done = store.commit(records(5, 15))
    assert (done.stored, done.duplicates, done.position) == (5, 0, Position(7, 15, 15))
    assert balance(store) == 15


def test_an_event_id_sent_twice_is_stored_once_and_counted(open_store: Opener) -> None:
    store = open_store()
    store.commit([record(1, event(1), before=0)])
    done = store.commit([record(2, event(1), event(2), event(2), before=1)])
    assert (done.stored, done.duplicates) == (1, 2)
    assert store.status().dropped == {"invalid:duplicate": 2}
    assert balance(store) == store.position.total == 4


def test_a_duplicate_is_recognised_after_a_restart(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 10))
    store.close()
    again = open_store()
    assert again.commit([record(11, event(4), before=10)]).duplicates == 1


def test_the_same_event_id_of_two_projects_is_two_events(open_store: Opener) -> None:
    store = open_store(projects=SHOP_AND_BLOG)
    done = store.commit([record(1, event(1), event(1, project_id=43), before=0)])
    assert (done.stored, done.duplicates) == (2, 0)
    assert [row[0] for row in issues(store)] == ["SHOP-1", "BLOG-1"]


def test_outcomes_and_items_reach_ledger_and_tables(open_store: Opener) -> None:
    store = open_store()
    item = ItemRow(42, "session", NOW, f"{1:032x}", '{"type":"session"}', b'{"sid":"1"}')
    outcome = Outcome(42, FILTERED, "browser-extensions", "error", 1, NOW)
    bytes_of_one = Outcome(42, FILTERED, "browser-extensions", "attachment", 900, NOW, items=0)
    store.commit([record(1, event(1), items=(item,), outcomes=(outcome, bytes_of_one), before=0)])
    status = store.status()
    assert status.ledger["stored"] == 2
    assert status.dropped == {"filtered:browser-extensions": 1}
    assert balance(store) == store.position.total == 3
    filtered = store._state.rows("SELECT category, quantity, items FROM outcomes WHERE outcome = 'filtered' ORDER BY 1")
    assert filtered == [
        ("attachment", 900, 0),
        ("error", 1, 1),
    ]


def test_a_record_whose_parts_do_not_add_up_still_balances(open_store: Opener) -> None:
    store = open_store()
    store.commit([Digested(Position(7, 1, 3), 3, events=[event(1)])])
    assert store.status().dropped == {"invalid:internal": 2}
    assert balance(store) == 3


def test_the_first_known_hash_decides_and_all_hashes_are_attached(open_store: Opener) -> None:
    store = open_store()
    a, b, c, d = (f"{n:032x}" for n in (1, 2, 3, 4))
    store.commit([record(1, event(1, hashes=[a])), record(2, event(2, hashes=[b]))])
    store.commit([record(3, event(3, hashes=[c, b, a])), record(4, event(4, hashes=[c]))])
    store.commit([record(5, event(5, hashes=[d], secondary_hashes=[a])), record(6, event(6, hashes=[d]))])
    assert store._state.rows("SELECT hash, issue_id FROM hashes ORDER BY hash") == [(a, 1), (b, 2), (c, 2), (d, 1)]
    assert [row[:2] for row in issues(store)] == [("SHOP-1", 3), ("SHOP-2", 3)]


def test_secondary_hashes_are_looked_up_only_when_no_primary_one_is_known(open_store: Opener) -> None:
    store = open_store()
    a, b, c, d = (f"{n:032x}" for n in (1, 2, 3, 4))
    store.commit([record(1, event(1, hashes=[a])), record(2, event(2, hashes=[b]))])
    store.commit([record(3, event(3, hashes=[c, b], secondary_hashes=[a, d]))])
    assert store._state.rows("SELECT hash, issue_id FROM hashes ORDER BY hash") == [(a, 1), (b, 2), (c, 2)]


def test_the_store_tells_which_hashes_it_knows_also_after_a_restart(open_store: Opener) -> None:
    store = open_store()
    a, b = f"{1:032x}", f"{2:032x}"
    assert not store.knows(42, [a])
    store.commit([record(1, event(1, hashes=[a]))])
    kill(store)
    again = open_store()
    assert again.knows(42, [b, a])
    assert not again.knows(42, [b])
    assert not again.knows(43, [a])


def test_a_hash_moved_by_hand_brings_its_events_to_the_other_issue(open_store: Opener) -> None:
    store = open_store()
    a, b = f"{1:032x}", f"{2:032x}"
    store.commit([record(1, event(1, hashes=[a])), record(2, event(2, hashes=[b]))])
    assert store.move_hashes(42, [b], 1)
    store.commit([record(3, event(3, hashes=[b]))])
    assert [row[:2] for row in issues(store)] == [("SHOP-1", 2), ("SHOP-2", 1)]
    assert store.move_hashes(42, [b], 2)
    store.commit([record(4, event(4, hashes=[b]))])
    assert [row[:2] for row in issues(store)] == [("SHOP-1", 2), ("SHOP-2", 2)]
    assert balance(store) == store.position.total == 4


def test_a_hash_can_only_move_to_an_issue_of_its_project(open_store: Opener) -> None:
    store = open_store(projects=SHOP_AND_BLOG)
    store.commit([record(1, event(1)), record(2, event(2, project_id=43))])
    before = store._state.mark
    assert [store.move_hashes(42, [f"{1:032x}"], number) for number in (2, 99)] == [False, False]
    assert store._state.mark == before


def test_a_moved_hash_survives_a_crash_and_the_loss_of_the_state(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    a, b, new = (f"{n:032x}" for n in (1, 2, 3))
    store.commit([record(1, event(1, hashes=[a])), record(2, event(2, hashes=[b]))])
    assert store.move_hashes(42, [b], 1)
    assert store.move_hashes(42, [new], 2)
    store.commit([record(3, event(3, hashes=[b, a]))])
    expected = [(a, 1), (b, 1), (new, 2)]
    found = "SELECT hash, issue_id FROM hashes ORDER BY hash"
    assert store._state.rows(found) == expected
    kill(store)
    again = open_store()
    assert (again._state.rows(found), again.position) == (expected, Position(7, 3, 3))
    kill(again)
    (tmp_path / "data" / "state.sqlite").write_bytes(b"x" * 8192)
    rebuilt = open_store()
    assert (rebuilt._state.rows(found), rebuilt.position) == (expected, Position(7, 3, 3))
    assert [row[1] for row in issues(rebuilt)] == [2, 1]
    rebuilt.commit([record(4, event(4, hashes=[new]))])
    assert [row[1] for row in issues(rebuilt)] == [2, 2]
    assert balance(rebuilt) == rebuilt.position.total == 4


def test_the_title_is_that_of_the_newest_event(open_store: Opener) -> None:
    store = open_store()
    store.commit([record(1, event(1, title="old")), record(2, event(2, title="new"))])
    assert issues(store)[0][3] == "new"
    store.commit([record(3, event(3, title="newer", level="fatal"))])
    assert store._state.rows("SELECT title, level FROM issues") == [("newer", "fatal")]


def test_a_resolved_issue_that_comes_back_is_reopened_once(open_store: Opener) -> None:
    seen: list[list[int]] = []
    store = open_store(on_apply=[lambda _, batch: seen.append([one.flags for one in batch.delta.occurrences])])
    store.commit([record(1, event(1))])
    with store._state.transaction() as cursor:
        cursor.execute("UPDATE issues SET status = 'resolved'")
    store.close()
    again = open_store(on_apply=[lambda _, batch: seen.append([one.flags for one in batch.delta.occurrences])])
    again.commit([record(2, event(2)), record(3, event(3))])
    assert seen == [[NEW], [2, 0]]
    assert issues(again)[0][4] == "unresolved"


def test_users_are_exact_up_to_the_bound_and_estimated_beyond(open_store: Opener) -> None:
    store = open_store(StoreSettings(max_users_per_issue=256))
    for first in range(0, 5000, 500):
        store.commit([record(n + 1, event(n + 1, user_id=f"u{n}")) for n in range(first, first + 500)])
    users = store._state.rows("SELECT users FROM issues")[0][0]
    assert abs(users - 5000) < 5000 * 0.25  # four standard errors of 256 minimum values
    assert store._state.rows("SELECT count(*) FROM issue_users") == [(256,)]


def test_callbacks_run_in_the_transaction_and_again_for_what_sqlite_missed(open_store: Opener) -> None:
    def count(cursor: sqlite3.Cursor, batch: AppliedBatch) -> None:
        cursor.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"seen {batch.no}", batch.replayed))
        bodies.extend(batch.payload(one) for one in batch.delta.occurrences)

    bodies: list[bytes | None] = []
    store = open_store(on_apply=[count])
    store.commit(records(1, 2))
    with store._state.transaction() as cursor:  # as if the second transaction had never happened
        cursor.execute("DELETE FROM meta WHERE key LIKE 'seen %'")
        for table in ("issues", "hashes", "ledger", "commits", "issue_hours", "issue_users"):
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("DELETE FROM meta WHERE key LIKE 'mark_%'")
    kill(store)
    again = open_store(on_apply=[count])
    assert again._state.rows("SELECT key, value FROM meta WHERE key LIKE 'seen %'") == [("seen 1", 1)]
    assert bodies == [event(1, 2, NOW + 0.001).payload, event(2, 3, NOW + 0.002).payload] * 2
    assert balance(again) == 2


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError])
def test_a_failing_callback_leaves_the_delta_for_later(open_store: Opener, error: type[Exception]) -> None:
    def fail(cursor: sqlite3.Cursor, batch: AppliedBatch) -> None:
        raise error("planted")

    store = open_store(on_apply=[fail])
    with pytest.raises(error, match="planted"):
        store.commit(records(1, 3))
    kill(store)
    again = open_store()
    assert balance(again) == 3
    assert again.position == Position(7, 3, 3)


STORM = {42: StoredProject("shop", IssueRate(1.0, 5))}


def test_beyond_its_rate_an_issue_is_counted_without_a_row(open_store: Opener) -> None:
    seen: list[int] = []
    store = open_store(projects=STORM, on_apply=[lambda _, batch: seen.append(len(batch.delta.occurrences))])
    storm = [record(n, event(n, 1, NOW + n / 1000)) for n in range(1, 101)]
    done = store.commit([*storm, record(101, event(101, 2, NOW), before=100)])
    assert (done.stored, done.summarised) == (6, 95)
    assert [row[1] for row in issues(store)] == [100, 1]
    assert store.payload(f"{5:032x}", 42) is not None
    assert store.payload(f"{6:032x}", 42) is None
    assert store.payload(f"{101:032x}", 42) is not None
    assert balance(store) == 101
    assert seen == [6 + 7]  # those that are kept, and one a user of the rest
    assert store._state.rows("SELECT first_seen, last_seen FROM issues WHERE id = 1") == [(NOW + 0.001, NOW + 0.1)]
    assert sum(row[0] for row in store._state.rows("SELECT count FROM issue_hours")) == 101


def test_exemplars_of_a_storm_are_the_burst_and_then_spread_by_rate(open_store: Opener) -> None:
    store = open_store(projects=STORM)
    storm = [record(n, event(n, 1, NOW + n / 10)) for n in range(1, 101)]  # ten a second, ten seconds
    for at in range(0, 100, 7):
        store.commit(storm[at : at + 7])
    assert [row[1] for row in issues(store)] == [100]
    numbers = [n for n in range(1, 101) if store.payload(f"{n:032x}", 42) is not None]
    assert numbers[:5] == [1, 2, 3, 4, 5]
    later = numbers[6:]
    assert len(numbers) == 14
    assert {after - before for before, after in pairwise(later)} <= {10, 11}


def test_the_fill_of_an_issue_survives_a_restart_and_a_crash(open_store: Opener) -> None:
    store = open_store(projects=STORM)
    assert store.commit([record(n, event(n, 1, NOW)) for n in range(1, 21)]).summarised == 15
    kill(store)
    again = open_store(projects=STORM)
    done = again.commit([record(n, event(n, 1, NOW + 2.0)) for n in range(21, 31)])
    assert (done.stored, done.summarised) == (2, 8)
    assert balance(again) == 30


def test_a_commit_that_is_tried_again_takes_its_tokens_once(open_store: Opener) -> None:
    store = open_store(projects=STORM)
    storm = [record(n, event(n, 1, NOW)) for n in range(1, 5)]
    codec = store._segments.active.codec
    assert store._planner.plan(storm, codec).delta.stored == 4
    assert store._planner.plan(storm, codec).delta.stored == 4
    assert store.commit(storm).stored == 4


def test_a_text_that_cannot_be_written_does_not_take_its_neighbours_along(open_store: Opener) -> None:
    store = open_store()
    done = store.commit(
        [record(1, event(1)), record(2, event(2, message="lone \ud800 surrogate")), record(3, event(3))]
    )
    assert done.stored == 3
    assert store.position.seq == 3


@pytest.mark.parametrize(
    "wrong",
    [{"project_id": -5}, {"hashes": []}, {"event_id": "../x"}, {"timestamp": float("inf")}, {"frames": "{not json"}],
    ids=str,
)
def test_a_record_that_cannot_be_stored_is_set_aside_and_counted(open_store: Opener, wrong: dict[str, Any]) -> None:
    store = open_store()
    done = store.commit([record(1, event(1)), record(2, event(2, **wrong)), record(3, event(3))])
    assert (done.stored, len(done.new_issues)) == (2, 1)
    status = store.status()
    assert status.ledger["stored"] == 2
    assert status.dropped == {"invalid:internal": 1}
    assert status.quarantine == ["record-7-2.bin", "record-7-2.txt"]
    assert store.position.seq == 3


def test_a_record_that_could_not_be_digested_is_kept_with_its_reason(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    outcome = Outcome(42, "invalid", "internal", "error", 1, NOW)
    store.commit([Digested(Position(7, 1, 1), 1, outcomes=[outcome], damaged=b"\x00raw", why="too deep")])
    assert (tmp_path / "data/quarantine/record-7-1.bin").read_bytes() == b"\x00raw"
    assert (tmp_path / "data/quarantine/record-7-1.txt").read_text() == "too deep\n"
    assert balance(store) == 1


def test_released_follows_only_a_checkpoint(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 10))
    assert store.released == START
    assert store.checkpoint() == Position(7, 10, 10)
    store.commit(records(11, 12))
    assert store.released == Position(7, 10, 10)


def test_a_new_spool_starts_a_new_epoch_and_the_base_keeps_the_ledger_balanced(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 10))
    store.commit([record(1, event(100), epoch=8, before=0)])
    assert store.position == Position(8, 1, 1)
    assert store.status().epoch_base == 10
    assert balance(store) == 10 + store.position.total


def test_the_newest_issues_of_all_projects_come_newest_first(open_store: Opener) -> None:
    store = open_store(projects=SHOP_AND_BLOG)
    seen = [(42, 1), (43, 9), (42, 3), (42, 4), (43, 2), (42, 7)]
    store.commit([record(n, event(n, n, NOW + at, project)) for n, (project, at) in enumerate(seen, 1)])
    assert [one["short_id"] for one in store.recent_issues(4)] == ["BLOG-1", "SHOP-4", "SHOP-3", "SHOP-2"]
    assert len(store.recent_issues(100)) == len(seen)
