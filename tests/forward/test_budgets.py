"""Budgets: never more than was allowed in any hour or day, what matters most first, and counts that are exact later."""

import itertools
from collections.abc import Callable

import pytest

from collector.machine.net import Request
from collector.store import spending
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge, FakeNet

HOUR, DAY = 3600.0, 86400.0


class MeteredNet(FakeNet):
    """Notes when how much came: (monotonic seconds, events, bytes)."""

    clock: Callable[[], float] = staticmethod(lambda: 0.0)

    def send(self, request: Request):  # type: ignore[no-untyped-def]
        before = len(self.received.events)
        answer = super().send(request)
        self.meter.append((self.clock(), len(self.received.events) - before, len(request.body)))
        return answer

    def __init__(self) -> None:
        super().__init__()
        self.meter: list[tuple[float, int, int]] = []

    def most(self, span_seconds: float, column: int) -> int:
        """The most that came in any stretch of that length."""
        return max(
            sum(row[column] for row in self.meter if since <= row[0] < since + span_seconds) for since, *_ in self.meter
        )


@pytest.fixture
def metered(make_edge: MakeEdge) -> Callable[..., Edge]:
    def make(**limits: object) -> Edge:
        edge = make_edge(net=MeteredNet())
        edge.net.clock = edge.clock.monotonic
        edge.limit(**limits)
        return edge

    return make


Metered = Callable[..., Edge]


def busy(edge: Edge, minutes: int, issues: int = 4, count: int = 2) -> None:
    for _ in range(minutes):
        for issue_id in range(1, issues + 1):
            edge.ingest(issue_id, count)
        edge.clock.advance(60)
        edge.settle()


def idle(edge: Edge, rounds: int, seconds: float) -> None:
    for _ in range(rounds):
        edge.clock.advance(seconds)
        edge.settle()


def titles(edge: Edge) -> list[str]:
    return [event["exception"]["values"][0]["value"] for event in edge.net.received.events.values()]


def test_no_hour_has_more_events_than_allowed_and_counts_are_exact_later(metered: Metered) -> None:
    edge = metered(max_events_per_hour=12)
    busy(edge, 66, issues=3)
    assert edge.net.most(HOUR, 1) <= 12
    assert len(edge.net.received.events) >= 10, "the budget is used"
    assert edge.status()["budgets"]["42"]["withheld_occurrences"] > 0
    assert edge.net.counted + edge.left() == edge.ingested
    idle(edge, 5, HOUR)
    assert edge.net.counted == edge.ingested == 66 * 6
    assert edge.left() == 0


def test_what_waited_for_the_budget_is_reported_as_such(metered: Metered) -> None:
    edge = metered(max_events_per_hour=8)
    busy(edge, 20, count=5)
    idle(edge, 5, HOUR)
    held, told = edge.net.reported("collector_budget"), edge.net.reported("collector_summarised")
    assert held > told > 0
    assert held + told + len(edge.net.received.events) == edge.ingested


def test_the_last_of_a_budget_is_for_new_issues_then_for_regressions(metered: Metered) -> None:
    edge = metered(max_events_per_hour=10)
    for issue_id in range(1, 8):
        edge.ingest(issue_id)
    edge.clock.advance(61)
    edge.ingest(1, 3)
    edge.regressing = {2, 3, 4}
    for issue_id in (2, 3, 4, 8, 9):
        edge.ingest(issue_id)
    edge.settle()
    assert titles(edge)[7:] == ["issue 8", "issue 2", "issue 3"]
    edge.clock.advance(30)
    edge.ingest(5, level="fatal")
    edge.clock.advance(HOUR + 60)
    edge.settle()
    assert titles(edge)[10:] == ["issue 9", "issue 4", "issue 5", "issue 1"]
    assert edge.net.counted == edge.ingested


def test_a_new_issue_comes_through_at_once_while_summaries_wait(metered: Metered) -> None:
    edge = metered(max_events_per_hour=12)
    busy(edge, 30)
    waiting = edge.status()["budgets"]["42"]["withheld_windows"]
    edge.ingest(99)
    edge.settle()
    assert 4 <= waiting <= 8
    assert titles(edge)[-1] == "issue 99"


@pytest.mark.parametrize("jump", [DAY * 40, -DAY * 40, HOUR])
@pytest.mark.parametrize("reboot", [False, True])
def test_neither_a_restart_nor_a_clock_that_is_set_refills_a_budget(
    metered: Metered, jump: float, reboot: bool
) -> None:
    edge = metered(max_events_per_hour=8)
    busy(edge, 10)
    spent = len(edge.net.received.events)
    edge.clock.jump(jump)
    edge.clock.mono = 3.0 if reboot else edge.clock.mono
    edge.restart()
    busy(edge, 3)
    assert len(edge.net.received.events) == spent
    assert edge.status()["budgets"]["42"]["events_last_hour"] == spent
    edge.clock.jump(-jump)
    edge.restart()
    idle(edge, 4, HOUR)
    assert edge.net.counted == edge.ingested


def test_no_day_has_more_bytes_than_allowed_and_counts_are_exact_later(metered: Metered) -> None:
    edge = metered(max_bytes_per_day=40_000)
    for turn in itertools.chain.from_iterable(itertools.repeat(range(1, 6), 25)):
        edge.ingest(turn, 2, padding=2000)
        edge.clock.advance(120)
        edge.settle()
    events = sum(size for _, count, size in edge.net.meter if count)
    assert 15_000 < events <= 40_000
    assert edge.net.counted + edge.left() == edge.ingested
    idle(edge, 40, DAY / 8)
    assert edge.net.most(DAY, 2) <= 41_000, "client reports are beside it"
    assert edge.net.counted == edge.ingested
    assert edge.left() == 0


def test_an_event_larger_than_the_whole_budget_is_told_without_its_bulk(metered: Metered) -> None:
    edge = metered(max_bytes_per_day=5000)
    edge.ingest(1, 3, padding=40_000)
    idle(edge, 3, 61)
    (event,) = edge.net.received.events.values()
    assert edge.net.counted == 3
    assert "extra" not in event
    assert titles(edge) == ["issue 1"]
    assert edge.left() == 0


def test_projects_without_a_budget_are_not_held_up(metered: Metered) -> None:
    edge = metered(max_events_per_hour=1)
    edge.ingest(1, 5)
    for issue_id in range(20, 40):
        edge.ingest(issue_id, 3, project_id=PROJECT + 1)
    idle(edge, 2, 61)
    assert len(edge.net.received.events) == 1 + 40
    assert edge.left() == 4


def test_items_that_do_not_fit_are_dropped_and_counted_and_check_ins_have_the_whole_budget(metered: Metered) -> None:
    from tests.forward.test_items import item

    edge = metered(max_bytes_per_day=2000, mode="events")
    for number in range(6):
        edge.ingest_items(item("log", b'{"body":"%d"}' % number), item("check_in", b'{"check_in_id":"%d"}' % number))
    idle(edge, 3, 10)
    kinds = [got.type for got in edge.net.received.items if got.type != "client_report"]
    assert (kinds.count("log"), kinds.count("check_in")) == (1, 2)
    assert edge.totals()["dropped:collector_budget"] == 12 - 3
    assert edge.net.reported("collector_budget") >= 12 - 3


def test_what_was_spent_is_forgotten_when_its_span_is_over(make_edge: MakeEdge) -> None:
    cursor = make_edge().state.cursor()
    cursor.execute("BEGIN")
    for minute in range(200):
        spending.spend(cursor, PROJECT, spending.EVENTS, minute * 60.0, 2)
    rows = cursor.execute("SELECT count(*) FROM forward_spent").fetchone()[0]
    assert rows == spending.SLOTS_KEPT[spending.EVENTS]
    assert spending.spent(cursor, PROJECT, spending.EVENTS, 199 * 60.0) == 2 * rows
    assert spending.spent(cursor, PROJECT, spending.EVENTS, 199 * 60.0 + HOUR + 60) == 0


def test_a_budget_taken_away_lets_everything_out(metered: Metered) -> None:
    edge = metered(max_events_per_hour=8)
    busy(edge, 10)
    edge.limit()
    idle(edge, 2, 61)
    assert edge.net.counted == edge.ingested
    assert edge.state.execute("SELECT count(*) FROM forward_withheld").fetchone()[0] == 0
