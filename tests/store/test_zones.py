"""What is known of sealed segments without looking into them never hides an event."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.query.named import ask, event
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, SHOP, record
from tests.helpers.digested import event as row

DAYS, A_DAY = 4, 24


def number_of(day: int, place: int) -> int:
    return random.Random(f"{day}/{place}").getrandbits(127)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Five days; on each one an event in eight was sent a day late, so that segments overlap in time."""
    clock = FakeClock(NOW)
    store = Store.open(tmp_path, StoreSettings(), RetentionSettings(), clock, projects=SHOP)
    for day in range(DAYS):
        at = clock.now()
        rows = [row(number_of(day, n), 1 + n % 4, at + n - (86_400 if n % 8 == 7 else 0)) for n in range(A_DAY)]
        store.commit([record(1 + day * A_DAY + n, one) for n, one in enumerate(rows)])
        clock.advance(86_400)
        store.maintain()
    yield store
    store.close()


def test_every_event_is_found_before_and_after_the_filters_are_made(store: Store) -> None:
    wanted = [f"{number_of(day, n):032x}" for day in range(DAYS) for n in range(A_DAY)]
    for _ in range(2):
        found = [event(store, event_id) for event_id in wanted]
        assert [one and one["event_id"] for one in found] == wanted
    assert all(store.reads._zones.filter(one.name) for one in store._segments.catalogue("sealed"))


def test_a_filter_rules_out_nearly_all_that_is_not_there(store: Store) -> None:
    for number in range(8):
        assert event(store, f"{number:032x}") is None
    known = [store.reads._zones.filter(one.name) for one in store._segments.catalogue("sealed")]
    tries = [
        filter.may_hold((random.getrandbits(64), random.getrandbits(64)))
        for filter in known
        if filter
        for _ in range(400)
    ]
    assert len(tries) == 400 * DAYS
    assert sum(tries) < 100


def test_the_newest_events_are_the_newest_wherever_they_lie(store: Store) -> None:
    everything = sorted(
        ((NOW + 86_400 * day + n - (86_400 if n % 8 == 7 else 0), number_of(day, n))
         for day in range(DAYS) for n in range(A_DAY) if n % 4 == 3),
        reverse=True,
    )  # fmt: skip
    for limit in (1, 7, 25, 1000):
        found = ask(store, "issue_events", issue_id=4, before=NOW + 1e7, level=None, limit=limit)
        assert [one["event_id"] for one in found] == [f"{number:032x}" for _, number in everything[:limit]]


def test_a_page_continues_where_the_last_one_ended(store: Store) -> None:
    before, seen = NOW + 1e7, []
    while page := ask(store, "issue_events", issue_id=1, before=before, level="error", limit=6):
        seen += [one["event_id"] for one in page]
        before = page[-1]["timestamp"]
    assert len(seen) == len(set(seen)) == DAYS * A_DAY // 4


def test_a_segment_that_went_away_is_forgotten(store: Store) -> None:
    gone = f"{number_of(0, 3):032x}"
    for _ in range(4):
        assert event(store, gone)
    store._segments.evict_oldest("age")
    assert event(store, gone) is None
    assert event(store, f"{number_of(1, 3):032x}")
    assert set(store.reads._zones._filters) <= {one.name for one in store._segments.catalogue()}
