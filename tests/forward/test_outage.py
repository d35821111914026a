"""Long outages in simulated time: bounded, counted, caught up without telling anything twice."""

import random

import pytest

from collector.machine.net import NetError
from collector.model.settings import Duration, Size
from tests.forward.conftest import MakeEdge
from tests.forward.edge import Edge

DOWN = NetError("refused", False, "127.0.0.1:9 refuses the connection")
DAY = 86400.0


def live(edge: Edge, ticks: int, every_seconds: float, issues: int, padding: int = 2000) -> int:
    """Let time pass with a commit of a few occurrences at each tick; the largest outbox seen on the way."""
    pick = random.Random(ticks)
    largest = 0
    for _ in range(ticks):
        rows = [pick.randrange(1, issues + 1) for _ in range(4)]
        edge.commit([(issue_id, edge.event(issue_id, padding=padding)) for issue_id in rows])
        edge.payloads.clear()
        edge.clock.advance(every_seconds)
        edge.step(2)
        largest = max(largest, edge.queued_bytes())
    return largest


def test_a_week_without_upstream_stays_in_its_budget_and_is_caught_up_exactly(make_edge: MakeEdge) -> None:
    edge = make_edge(max_outbox_bytes=Size("200 KiB"))
    edge.net.behave = lambda request: DOWN
    largest = live(edge, 7 * 144, 600.0, issues=8)
    assert largest <= 200 * 1024
    assert edge.totals()["folded"] > 1000
    attempts = len(edge.net.requests)
    assert attempts < 7 * DAY / 60 * 2
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.finish()
    assert edge.net.counted == edge.ingested == 4032
    assert edge.net.received.duplicates == []
    assert edge.records() == 0
    summarised = edge.ingested - len(edge.net.received.events)
    assert edge.net.reported("collector_summarised") == summarised


def test_folding_keeps_hours_apart_as_long_as_there_is_room(make_edge: MakeEdge) -> None:
    edge = make_edge(max_outbox_bytes=Size("200 KiB"))
    edge.net.behave = lambda request: DOWN
    live(edge, 144, 120.0, issues=1, padding=4000)
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.finish()
    assert 5 <= len(edge.net.received.events) < 100
    assert edge.net.counted == edge.ingested


def test_an_entry_that_upstream_may_have_is_never_folded(make_edge: MakeEdge) -> None:
    edge = make_edge(max_outbox_bytes=Size("60 KiB"))
    edge.ingest(1)
    edge.settle()
    edge.ingest(1, 3)
    edge.clock.advance(61)
    edge.net.behave = lambda request: NetError("timeout", True, "no answer") if edge.net.take(request) else None
    edge.settle()
    assert len(edge.net.received.events) == 2
    edge.net.behave = lambda request: DOWN
    live(edge, 40, 120.0, issues=1, padding=4000)
    assert edge.totals()["folded"] > 0
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.finish()
    assert len(edge.net.received.duplicates) == 1, "the one that upstream had is told again under its own id"
    assert edge.net.counted == edge.ingested


@pytest.mark.parametrize("policy", ["summarise", "drop_oldest", "drop_newest"])
def test_what_does_not_fit_is_dropped_counted_and_reported(make_edge: MakeEdge, policy: str) -> None:
    edge = make_edge(max_outbox_bytes=Size("60 KiB"), when_full=policy)
    edge.net.behave = lambda request: DOWN
    largest = live(edge, 100, 120.0, issues=60, padding=4000)
    assert largest <= 60 * 1024
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.finish()
    dropped = edge.totals().get("dropped:collector_outbox_full", 0)
    assert dropped > 0
    assert edge.net.counted + dropped == edge.ingested
    assert edge.net.reported("collector_outbox_full") == dropped


def test_what_is_too_old_is_dropped_counted_and_reported(make_edge: MakeEdge) -> None:
    edge = make_edge(max_age=Duration("1 d"))
    edge.net.behave = lambda request: DOWN
    edge.ingest(1)
    edge.settle()
    edge.clock.advance(DAY + 20)
    edge.ingest(2)
    edge.settle()
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.finish()
    assert edge.net.counted == 1
    assert edge.net.reported("collector_expired") == 1


def test_a_day_of_outage_is_folded_into_what_there_is_and_nothing_is_dropped(make_edge: MakeEdge) -> None:
    """40 issues with payloads of 6 KB packed, a tenth of a day's windows in an eighth of the default 64 MiB.

    The whole day in the whole budget gives the same result and takes minutes.
    """
    edge = make_edge(max_outbox_bytes=Size("8 MiB"))
    edge.net.behave = lambda request: DOWN
    largest = 0
    for _ in range(144):
        edge.commit([(number % 40 + 1, edge.event(number % 40 + 1, padding=12_000)) for number in range(80)])
        edge.payloads.clear()
        edge.clock.advance(60.5)
        edge.step(2)
        largest = max(largest, edge.forward.status()["outbox"]["bytes"])
    assert largest <= 8 * 2**20
    assert edge.totals()["folded"] > 0
    assert edge.totals().get("dropped:collector_outbox_full", 0) == 0
    assert edge.left() == edge.ingested
