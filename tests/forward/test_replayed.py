"""After state.sqlite was lost: what has an id is told again within its hour, the rest is counted as untold."""

from typing import Any

import msgspec
import pytest

from collector.machine.net import NetError
from collector.model.event import ItemRow
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge

UNSENT = NetError("refused", False, "nobody there")
MINUTES = 60.0


def item(kind: str, payload: bytes, headers: str = "{}") -> ItemRow:
    return ItemRow(PROJECT, kind, 1.0, "", headers, payload)


def check_in(number: int = 1) -> ItemRow:
    return item("check_in", b'{"check_in_id":"%032x","monitor_slug":"nightly","status":"ok"}' % number)


ROWS = (
    check_in(),
    item("feedback", b'{"event_id":"a"}'),
    item("log", b'{"items":[{"a":1}]}', '{"item_count":1}'),
    item("sessions", b'{"aggregates":[{"started":60,"exited":3}],"attrs":{"release":"1"}}'),
    item("session", b'{"sid":"a","init":true,"status":"exited","started":60,"attrs":{"release":"1"}}'),
)


def again(edge: Edge, *rows: ItemRow, age_seconds: float = 10.0, no: int = 0, **fields: Any) -> None:
    """The store applies a commit again that another state.sqlite knew."""
    number = {"no": no} if no else {}
    batch = msgspec.structs.replace(edge.commit([], rollback=True), items=rows, replayed=True, **number)
    edge.apply(msgspec.structs.replace(batch, committed_at=edge.clock.now() - age_seconds, **fields))


def settled(edge: Edge, rounds: int = 3) -> list[str]:
    for _ in range(rounds):
        edge.settle()
        edge.clock.advance(61)
    return [got.type for got in edge.net.received.items if got.type != "client_report"]


@pytest.mark.parametrize("mode", ["summaries", "events"])
def test_only_what_a_receiver_recognises_is_told_again(make_edge: MakeEdge, mode: str) -> None:
    edge = make_edge(mode=mode)
    again(edge, *ROWS)
    edge.clock.advance(6)
    assert settled(edge) == ["check_in", "feedback"]
    assert edge.totals()["replayed_untold_items"] == 3


def test_what_is_older_than_the_memory_of_a_receiver_is_not_told_again(make_edge: MakeEdge) -> None:
    edge = make_edge()
    again(edge, *ROWS, age_seconds=61 * MINUTES)
    again(edge, check_in(2), age_seconds=59 * MINUTES, no=9)
    edge.clock.advance(6)
    assert settled(edge) == ["check_in"]
    assert edge.totals()["replayed_untold_items"] == 5


def test_commits_applied_again_to_a_state_that_was_kept_are_no_history(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    again(edge, *ROWS)
    assert sorted(settled(edge)) == ["check_in", "feedback", "log", "sessions"]
    assert "replayed_untold_items" not in edge.totals()


def test_history_ends_with_the_first_new_commit(make_edge: MakeEdge) -> None:
    edge = make_edge()
    again(edge, *ROWS[2:])
    edge.ingest_items(*ROWS[2:])
    assert sorted(settled(edge)) == ["log", "sessions"]
    assert edge.totals()["replayed_untold_items"] == 3


def test_a_kill_during_the_replay_changes_nothing(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.net.behave = lambda request: UNSENT
    again(edge, *ROWS, no=1)
    edge.restart()
    again(edge, check_in(2), ROWS[2], no=2)
    edge.net.behave = lambda request: None
    edge.clock.advance(6)
    assert settled(edge) == ["check_in", "check_in", "feedback"]
    assert edge.totals()["replayed_untold_items"] == 4


def test_an_item_that_is_queued_already_is_not_queued_twice(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.net.behave = lambda request: UNSENT
    edge.ingest_items(check_in(), no=7)
    edge.ingest_items(check_in(), no=7)
    assert edge.records() == 1


def test_a_project_that_is_off_has_no_history(make_edge: MakeEdge) -> None:
    edge = make_edge(mode="off")
    again(edge, *ROWS)
    assert settled(edge) == []
    assert "replayed_untold_items" not in edge.totals()
