"""What was dropped at the edge is told upstream in client reports; limits of other categories do not silence errors."""

from typing import Any

import msgspec
import pytest

from collector.machine.net import Answer
from collector.model.outcome import EVICTED, FILTERED, INVALID, RATE_LIMITED, SUMMARISED
from collector.store.delta import Delta, OutcomeRow
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge


def dropped(edge: Edge, outcome: str, reason: str, category: str = "error", quantity: int = 2, **fields: Any) -> None:
    """One commit that stored nothing but this outcome."""
    row = OutcomeRow(0, PROJECT, "", category, outcome, reason, quantity, quantity)
    batch = edge.commit([], rollback=True)
    edge.apply(msgspec.structs.replace(batch, delta=Delta(outcomes=[row]), **fields))


@pytest.mark.parametrize(
    ("outcome", "reason", "category", "told"),
    [
        (FILTERED, "release-version", "error", 2),
        (RATE_LIMITED, "", "attachment", 2),
        (INVALID, "too_large:event", "error", 2),
        (INVALID, "duplicate", "error", 0),
        (RATE_LIMITED, "quota", "session", 0),
        (SUMMARISED, "", "error", 0),
        (EVICTED, "age", "error", 0),
    ],
)
def test_what_was_dropped_is_told_once_unless_upstream_hears_of_it_otherwise(
    make_edge: MakeEdge, outcome: str, reason: str, category: str, told: int
) -> None:
    edge = make_edge()
    dropped(edge, outcome, reason, category)
    edge.settle()
    edge.settle()
    assert edge.net.reported(reason or outcome) == told


def test_equal_drops_of_two_commits_are_one_entry(make_edge: MakeEdge) -> None:
    edge = make_edge()
    dropped(edge, FILTERED, "localhost")
    dropped(edge, FILTERED, "localhost", quantity=3)
    edge.settle()
    (report,) = [item.json for item in edge.net.received.items if item.type == "client_report"]
    assert report["discarded_events"] == [{"reason": "localhost", "category": "error", "quantity": 5}]


def test_a_project_that_is_off_tells_nothing(make_edge: MakeEdge) -> None:
    edge = make_edge(mode="off")
    dropped(edge, FILTERED, "localhost")
    edge.settle()
    assert edge.net.reported("localhost") == 0


@pytest.mark.parametrize(("known", "age_seconds", "told"), [(1, 10, 2), (1, 7200, 2), (0, 10, 0)])
def test_commits_applied_again_tell_theirs_after_a_crash_and_not_after_a_lost_state(
    make_edge: MakeEdge, known: int, age_seconds: float, told: int
) -> None:
    edge = make_edge()
    [edge.ingest(1) for _ in range(known)]
    dropped(edge, FILTERED, "localhost", replayed=True, committed_at=edge.clock.now() - age_seconds)
    edge.settle()
    assert edge.net.reported("localhost") == told


def test_a_429_that_names_other_categories_only_delays_errors_by_the_back_off(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    headers = {"x-sentry-rate-limits": "60:transaction;attachment:organization:quota", "retry-after": "60"}
    edge.net.behave = lambda request: Answer(429, headers, b"{}")
    edge.settle()
    edge.net.behave = lambda request: None
    edge.clock.advance(1.5)
    edge.settle()
    assert edge.net.counted == 1
    assert set(edge.status()["limits"]) == {"transaction", "attachment"}
