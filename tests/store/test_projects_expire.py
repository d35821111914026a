"""A project that keeps its events for a shorter time than the others leaves the segments they share."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.model.event import Digested, ItemRow
from collector.store.buckets import StoredProject
from collector.store.care import of_folder_at_rest, verify
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import event, record
from tests.store.conftest import Opener, kill, read

DAY = 86_400.0
PROJECTS = {42: StoredProject("shop"), 43: StoredProject("blog", max_age_seconds=2 * DAY)}


def mixed(first: int, last: int, at: float) -> list[Digested]:
    """Every third event and one item are of the project that expires; its events are issues of their own."""
    made = []
    for n in range(first, last + 1):
        project = 43 if n % 3 == 0 else 42
        made.append(record(n, event(n, n % 5, at, project, payload=b'{"n":"%s"}' % (b"%d," % n * 200))))
    item = ItemRow(43, "session", at, "", "{}", b'{"sid":"1"}')
    made[-1].items.append(item)
    made[-1].quantity += 1
    made[-1].position = made[-1].position._replace(total=made[-1].position.total + 1)
    return made


def ledger(store: Store) -> tuple[int, int, int]:
    status = store.status()
    return status.ledger["stored"], status.ledger["evicted"], sum(status.dropped.values())


def rewritten(store: Store, clock: FakeClock) -> None:
    """Maintains until the child is done and its file in place."""
    clock.advance(61.0)
    store.maintain()
    assert store._upkeep._rewrite is not None
    store._upkeep._rewrite._child.wait()
    store.maintain()
    assert store._upkeep._rewrite is None


@pytest.fixture
def expired(open_store: Opener, clock: FakeClock) -> Store:
    """40 events, 13 of them and an item of the short-lived project, sealed two and a half days ago; 2 more since."""
    store = open_store(projects=PROJECTS)
    store.commit(mixed(1, 20, clock.now()))
    store.commit(mixed(21, 40, clock.now())[:-1] + [record(40, event(40), before=40)])
    clock.advance(DAY)
    store.maintain()
    store.commit([record(41, event(41, at=clock.now()), before=41)])
    clock.advance(1.5 * DAY)
    store.maintain()
    return store


def test_its_rows_go_and_the_ledger_says_how_many(expired: Store, clock: FakeClock, tmp_path: Path) -> None:
    before = expired._segments.path("20260921").stat().st_ino
    rewritten(expired, clock)
    assert expired._segments.path("20260921").stat().st_ino != before
    assert ledger(expired) == (42, 14, 0)
    assert expired.payload(f"{3:032x}", 43) is None
    assert expired.payload(f"{4:032x}", 42) is not None
    rows = expired._state.rows(
        "SELECT project_id, sum(count), sum(kept), max(kept_since) IS NULL FROM issues GROUP BY 1"
    )
    assert rows == [(42, 28, 28, 1), (43, 13, 0, 0)]
    clock.advance(61.0)
    expired.maintain()
    assert expired._upkeep._rewrite is None
    expired.close()
    (tmp_path / "copies").mkdir()
    found = verify(of_folder_at_rest(tmp_path / "data", tmp_path / "copies"), tmp_path, deep=True)
    assert [one.wrong for one in found if one.wrong] == []


def test_commits_keep_their_place_among_the_rows_that_are_left(expired: Store, clock: FakeClock) -> None:
    rewritten(expired, clock)
    path = expired._segments.path("20260921")
    expired.close()
    assert read(path, "SELECT no, events, items, stored FROM progress ORDER BY rowid") == [
        (0, 0, 0, 0), (1, 14, 0, 14), (2, 27, 0, 27)]  # fmt: skip
    assert read(path, "SELECT v::VARCHAR FROM seg_info WHERE k = 'removed'") == [("14",)]


def test_a_state_computed_again_afterwards_agrees(expired: Store, clock: FakeClock, open_store: Opener) -> None:
    rewritten(expired, clock)
    question = "SELECT id, count, kept FROM issues ORDER BY id"
    before = (ledger(expired), expired._state.rows(question))
    expired.close()
    expired.state_path.unlink()
    again = open_store(projects=PROJECTS)
    again.maintain()
    assert (ledger(again), again._state.rows(question)) == before


def test_a_rewrite_that_failed_is_tried_again_after_an_hour(expired: Store, clock: FakeClock) -> None:
    clock.advance(61.0)
    expired.maintain()
    assert expired._upkeep._rewrite is not None
    expired._upkeep._rewrite._child.kill()
    expired._upkeep._rewrite._child.wait()
    expired.maintain()
    clock.advance(61.0)
    expired.maintain()
    assert expired._upkeep._rewrite is None
    assert expired.payload(f"{3:032x}", 43) is not None
    clock.advance(3600.0)
    rewritten(expired, clock)
    assert ledger(expired) == (42, 14, 0)
    assert expired.payload(f"{3:032x}", 43) is None


def in_the_middle(store: Store) -> None:
    """The child is at work."""


def after_the_intention(store: Store) -> None:
    with store._state.transaction() as cursor:
        cursor.execute("UPDATE segments SET why = 'rewriting' WHERE name = '20260921'")


def after_the_rename(store: Store) -> None:
    after_the_intention(store)
    rewrite = store._upkeep._rewrite
    assert rewrite is not None
    rewrite.result()
    store._segments.let_go("20260921")
    rewrite.target.replace(store._segments.path("20260921"))


@pytest.mark.parametrize("moment", [in_the_middle, after_the_intention, after_the_rename])
def test_a_crash_in_the_middle_loses_nothing_and_counts_nothing_twice(
    expired: Store, clock: FakeClock, open_store: Opener, moment: Callable[[Store], None]
) -> None:
    clock.advance(61.0)
    expired.maintain()
    moment(expired)
    kill(expired)
    expired._upkeep.close()
    again = open_store(projects=PROJECTS)
    assert again.payload(f"{4:032x}", 42) is not None
    for _ in range(2):
        clock.advance(61.0)
        again.maintain()
        rewrite = again._upkeep._rewrite
        None if rewrite is None else rewrite._child.wait()
        again.maintain()
    assert ledger(again) == (42, 14, 0)
    assert again.payload(f"{3:032x}", 43) is None
    assert json.loads(again.payload(f"{4:032x}", 42) or b"{}")["n"].startswith("4,4,")
    rows = again._state.rows("SELECT project_id, sum(kept) FROM issues GROUP BY 1")
    assert rows == [(42, 28), (43, 0)]
    assert not list((again.state_path.parent / "tmp").glob("rewrite-*"))


def test_a_clock_that_jumped_removes_nothing(open_store: Opener, clock: FakeClock) -> None:
    store = open_store(projects=PROJECTS)
    store.commit(mixed(1, 20, clock.now()))
    clock.advance(DAY)
    store.maintain()
    clock.jump(10 * DAY)
    store.maintain()
    clock.advance(61.0)
    store.maintain()
    assert store._upkeep._rewrite is None
    assert ledger(store)[1] == 0
