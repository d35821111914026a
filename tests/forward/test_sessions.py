"""Sessions upstream: every session is told as begun once and as ended once, over crashes, outages and users."""

import json
import random
from collections import Counter
from typing import Any

import pytest

from collector.forward import sessions as forward_sessions
from collector.forward.event import utc
from collector.machine.net import NetError
from collector.model.event import ItemRow
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge

UNKNOWN = NetError("timeout", True, "no answer")
UNSENT = NetError("refused", False, "nobody there")
STATUSES = ("exited", "errored", "abnormal", "crashed", "unhandled")
MINUTE = 1_790_000_040  # a whole minute


def item(kind: str, payload: Any) -> ItemRow:
    return ItemRow(PROJECT, kind, 1.0, "", "{}", json.dumps(payload).encode())


def attributes(release: str = "1.0", environment: str = "production") -> dict[str, str]:
    return {"release": release, "environment": environment}


def counted(minute: int = MINUTE, did: str = "", attrs: dict[str, str] | None = None, **counts: int) -> ItemRow:
    bucket = {"started": utc(minute), **({"did": did} if did else {}), **counts}
    return item("sessions", {"aggregates": [bucket], "attrs": attrs or attributes()})


def update(sid: str, status: str = "ok", init: bool = False, at: float = MINUTE + 5.0, **fields: Any) -> ItemRow:
    return item(
        "session",
        {"sid": sid, "status": status, "started": utc(at), "attrs": attributes()} | ({"init": True} if init else {})
        | fields,
    )  # fmt: skip


def told(edge: Edge) -> Counter[tuple[str, str, str, str, str]]:
    """(release, environment, minute, did, status) -> how many, of all `sessions` items that upstream took."""
    sums: Counter[tuple[str, str, str, str, str]] = Counter()
    for got in edge.net.received.items:
        for bucket in got.json["aggregates"] if got.type == "sessions" else ():
            attrs = got.json["attrs"]
            place = (attrs["release"], attrs.get("environment", ""), bucket["started"], bucket.get("did", ""))
            sums.update({(*place, name): bucket[name] for name in STATUSES if name in bucket})
    return sums


def singles(edge: Edge) -> list[dict[str, Any]]:
    return [got.json for got in edge.net.received.items if got.type == "session"]


def drained(edge: Edge, rounds: int = 4, seconds: float = 61.0) -> Edge:
    for _ in range(rounds):
        edge.clock.advance(seconds)
        edge.settle()
    return edge


def test_sums_are_exact_over_minutes_releases_environments_users_crashes_and_outages(make_edge: MakeEdge) -> None:
    edge, pick = make_edge(), random.Random(7)
    expected: Counter[tuple[str, str, str, str, str]] = Counter()
    answers = (lambda request: None, lambda request: UNSENT)
    for _ in range(120):
        minute, did = MINUTE + 60 * pick.randrange(3), pick.choice(["", "ann", "bob"])
        attrs = attributes(pick.choice(["1.0", "2.0"]), pick.choice(["production", "test"]))
        counts = {name: pick.randrange(4) for name in STATUSES}
        edge.ingest_items(counted(minute + pick.randrange(60), did, attrs, **counts), rollback=True)
        edge.ingest_items(counted(minute + pick.randrange(60), did, attrs, **counts))
        place = (attrs["release"], attrs["environment"], utc(minute), did)
        expected.update({(*place, name): count for name, count in counts.items() if count})
        edge.net.behave = pick.choice(answers)
        pick.choice([edge.restart, edge.step, lambda: edge.clock.advance(20)])()
    edge.net.behave = answers[0]
    drained(edge)
    assert told(edge) == expected
    assert edge.totals()["sent:session"] == sum(expected.values())
    assert len([got for got in edge.net.received.items if got.type == "sessions"]) < 60


def test_a_session_of_several_updates_is_one_count_as_it_ended(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest_items(update("a", init=True, did="ann"), update("b", init=True), update("c", init=True))
    edge.restart()
    edge.ingest_items(update("a", errors=2, did="ann"), update("b", "crashed", errors=1), update("c", "exited"))
    edge.ingest_items(update("a", "exited", did="ann"), update("d", "abnormal", init=True))
    drained(edge, 8)
    place = ("1.0", "production", utc(MINUTE))
    assert told(edge) == {
        (*place, "ann", "errored"): 1, (*place, "", "crashed"): 1, (*place, "", "exited"): 1,
        (*place, "", "abnormal"): 1,
    }  # fmt: skip
    assert singles(edge) == []


def test_a_session_that_stays_open_is_told_as_begun_and_its_end_passes(make_edge: MakeEdge) -> None:
    edge = make_edge(session_hold=120.0)
    edge.ingest_items(update("a", init=True), update("b", init=True))
    edge.ingest_items(update("a", errors=3), update("a"))
    drained(edge, 3)
    edge.ingest_items(update("a", "exited", errors=3))
    drained(edge)
    heard = [(one["sid"], one.get("init", False), one["status"], one.get("errors", 0)) for one in singles(edge)]
    assert sorted(heard) == [("a", False, "exited", 3), ("a", True, "ok", 1), ("b", True, "ok", 0)]
    assert told(edge) == {}


def test_an_update_of_a_session_that_began_elsewhere_passes_as_it_came(make_edge: MakeEdge) -> None:
    edge = make_edge()
    row = update("x", "crashed", errors=1)
    edge.ingest_items(row)
    drained(edge)
    assert [got.payload for got in edge.net.received.items] == [row.payload]


@pytest.mark.parametrize(
    "payload",
    [
        {"sid": "a", "init": True, "started": 1e300, "status": "exited", "attrs": {"release": "1"}},
        {"sid": "a", "init": True, "started": -1e18, "status": "exited", "attrs": {"release": "1"}},
        {"sid": "a" * 300, "init": True, "started": 5, "status": "exited", "attrs": {"release": "1"}},
        {"init": True, "started": 5, "status": "ok", "attrs": {"release": "1"}},
        {"sid": 7, "init": True, "started": 5, "status": [1], "attrs": {"release": "1"}},
        {"sid": "a", "init": True, "started": "yesterday", "attrs": {"release": "1"}},
        {"sid": "a", "init": True, "started": 5, "attrs": {"release": None}},
        {"sid": "a", "init": True, "started": 5, "attrs": []},
        ["no object"],
    ],
)
def test_a_session_that_cannot_be_counted_passes_as_it_came(make_edge: MakeEdge, payload: object) -> None:
    edge = make_edge()
    edge.ingest_items(item("session", payload))
    drained(edge)
    assert [got.json for got in edge.net.received.items] == [payload]


@pytest.mark.parametrize("aggregates", [5, None, {}, "x", [5], [{"started": 1e300}], [{"started": 5}, {}]])
def test_counts_that_cannot_be_read_pass_as_they_came(make_edge: MakeEdge, aggregates: object) -> None:
    edge = make_edge()
    edge.ingest_items(item("sessions", {"aggregates": aggregates, "attrs": attributes()}))
    drained(edge)
    assert [got.json["aggregates"] for got in edge.net.received.items] == [aggregates]


def test_what_is_counted_in_odd_ways_counts_as_nothing(make_edge: MakeEdge) -> None:
    edge = make_edge()
    bucket = {"started": utc(MINUTE), "exited": 2, "errored": -5, "crashed": True, "abnormal": "9", "unhandled": 1.5}
    edge.ingest_items(item("sessions", {"aggregates": [bucket], "attrs": attributes()}))
    drained(edge)
    assert told(edge) == {("1.0", "production", utc(MINUTE), "", "exited"): 2}


def test_items_of_unknown_fate_are_not_told_twice_and_counted(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.net.behave = lambda request: UNKNOWN if edge.net.take(request) else None
    edge.ingest_items(counted(exited=5))
    drained(edge)
    edge.restart()
    edge.net.behave = lambda request: None
    drained(edge)
    assert sum(told(edge).values()) == 5
    assert edge.totals()["dropped:collector_unknown_fate"] == 5


def test_sessions_closed_at_one_moment_do_not_replace_each_other(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.net.behave = lambda request: UNSENT
    for _ in range(3):
        edge.ingest_items(counted(exited=1), committed_at=edge.clock.now() - 100)
        edge.step()
    edge.net.behave = lambda request: None
    drained(edge)
    assert sum(told(edge).values()) == 3


def test_more_users_than_rows_are_added_up(make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_sessions, "MAX_ROWS", 10)
    edge = make_edge()
    edge.ingest_items(*[counted(did=f"user{number}", exited=1) for number in range(50)])
    drained(edge)
    assert sum(told(edge).values()) == 50
    assert len(told(edge)) == 11


def test_the_same_users_again_and_again_stay_users(make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_sessions, "MAX_ROWS", 10)
    edge = make_edge()
    for _ in range(8):
        edge.ingest_items(*[counted(did=did, exited=1) for did in ("ann", "bob", "cyd")])
        edge.clock.advance(1)
    drained(edge)
    assert {(place[3], count) for place, count in told(edge).items()} == {("ann", 8), ("bob", 8), ("cyd", 8)}


def test_open_sessions_are_bounded_over_restarts(make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_sessions, "MAX_HELD", 3)
    edge = make_edge()
    edge.ingest_items(*[update(sid, init=True) for sid in "abc"])
    edge.restart()
    edge.ingest_items(update("d", init=True), update("a", "exited"), update("e", init=True))
    edge.settle()
    assert [one["sid"] for one in singles(edge)] == ["d"]
    drained(edge, 8)
    assert sorted(one["sid"] for one in singles(edge)) == ["b", "c", "d", "e"]
    assert sum(told(edge).values()) == 1


def test_clock_set_back_holds_no_session_for_longer(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest_items(counted(exited=1), update("a", init=True))
    edge.clock.jump(-86400)
    drained(edge, 1)
    assert sum(told(edge).values()) == 1
    assert [one["sid"] for one in singles(edge)] == ["a"]


def test_sessions_switched_off_are_counted_here_and_go_nowhere(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.limit(sessions="off")
    edge.ingest_items(counted(exited=4), update("a", init=True))
    drained(edge)
    assert edge.net.received.items == []
    assert sum(n for name, n in edge.totals().items() if name.startswith("kept:collector_switched_off")) >= 2


def test_sessions_wait_while_the_budget_of_bytes_is_spent(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.limit(max_bytes_per_day=1500)
    edge.ingest_items(counted(exited=1))
    drained(edge)
    edge.ingest_items(counted(exited=2))
    edge.ingest_items(counted(exited=4))
    drained(edge)
    assert sum(told(edge).values()) == 1
    edge.clock.advance(90_000)
    drained(edge)
    assert sum(told(edge).values()) == 7
