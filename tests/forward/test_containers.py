"""Logs, spans and metrics upstream: in few containers, every record once, whatever a receiver says in between."""

import itertools
import json
from collections import Counter
from collections.abc import Callable

import pytest

from collector.forward import containers
from collector.machine.net import Answer, NetError, Request
from collector.model.event import ItemRow
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge

UNKNOWN = NetError("timeout", True, "no answer")
UNSENT = NetError("refused", False, "nobody there")
CATEGORIES = {"log": "log_item", "span": "span", "trace_metric": "trace_metric"}
Reply = Answer | NetError | None


def container(first: int, count: int, kind: str = "log", **more: str) -> ItemRow:
    records = [{"body": f"record {number}", "number": number} for number in range(first, first + count)]
    headers = {"type": kind, "item_count": count, "content_type": f"application/vnd.sentry.items.{kind}+json"}
    payload = json.dumps({"items": records, **more}).encode()
    return ItemRow(PROJECT, kind, 1.0, "", json.dumps(headers), payload)


def numbers(edge: Edge) -> list[int]:
    """The records that upstream has, in the order in which they came."""
    told = [got for got in edge.net.received.items if got.type in CATEGORIES]
    assert all(got.headers["item_count"] == len(got.json["items"]) for got in told)
    return [record["number"] for got in told for record in got.json["items"]]


def sizes(edge: Edge) -> list[int]:
    return [got.headers["item_count"] for got in edge.net.received.items if got.type in CATEGORIES]


def settled(edge: Edge, rounds: int = 4) -> Edge:
    for _ in range(rounds):
        edge.settle()
        edge.clock.advance(61)
    return edge


@pytest.mark.parametrize("kind", ["log", "span", "trace_metric"])
def test_containers_of_many_commits_are_put_together(make_edge: MakeEdge, kind: str) -> None:
    edge = make_edge()
    for number in range(0, 300, 10):
        edge.ingest_items(container(number, 4, kind), container(number + 4, 6, kind))
    settled(edge)
    assert numbers(edge) == list(range(300))
    assert len(sizes(edge)) <= 2
    assert edge.totals()[f"sent:{CATEGORIES[kind]}"] == 300
    assert edge.records() == 0


def test_only_containers_that_are_alike_are_joined(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest_items(
        container(0, 2), container(2, 2, version="2"), container(4, 2, "span"), container(6, 2), container(8, 2, "span")
    )
    settled(edge)
    assert sorted(sizes(edge)) == [2, 4, 4]
    assert sorted(numbers(edge)) == list(range(10))
    assert [got.json.get("version") for got in edge.net.received.items if "version" in got.json] == ["2"]


def test_a_container_never_grows_beyond_its_limits(make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_RECORDS", 25)
    edge = make_edge()
    edge.ingest_items(*[container(number, 10) for number in range(0, 100, 10)])
    settled(edge)
    assert sizes(edge) == [20] * 5
    assert numbers(edge) == list(range(100))


def test_containers_linger_so_that_many_become_one(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest_items(container(0, 1))
    edge.settle()
    for number in range(1, 5):
        edge.ingest_items(container(number, 1))
        edge.clock.advance(1)
        edge.settle()
    assert sizes(edge) == [1]
    edge.clock.advance(1.1)
    edge.settle()
    assert sizes(edge) == [1, 4]


def large(edge: Edge, most: int, then: Callable[[int], Reply] = lambda number: None) -> Callable[[Request], Reply]:
    """An upstream that answers 413 to containers of more than `most` records, and `then(nth)` to the others."""
    taken = itertools.count(1)

    def behave(request: Request) -> Reply:
        before = len(edge.net.received.items)
        edge.net.take(request)
        (got,) = edge.net.received.items[before:]
        del edge.net.received.items[before:]
        if got.type in CATEGORIES and got.headers["item_count"] > most:
            return Answer(413, {}, b"{}")
        reply = then(next(taken)) if got.type in CATEGORIES else None
        if reply is UNKNOWN or reply is None:
            edge.net.received.items.append(got)
        return reply or Answer(200, {}, b"{}")

    return behave


def ingest_in(edge: Edge, split: list[int]) -> None:
    """Containers of so many records each, numbered through."""
    for first, count in zip(itertools.accumulate(split, initial=0), split, strict=False):
        edge.ingest_items(container(first, count))


@pytest.mark.parametrize("split", [[64], [8] * 8, [50, 14]])
def test_413_takes_containers_apart_and_nothing_is_lost_or_told_twice(make_edge: MakeEdge, split: list[int]) -> None:
    edge = make_edge()
    ingest_in(edge, split)
    edge.net.behave = large(edge, 5)
    settled(edge)
    assert numbers(edge) == list(range(64))
    assert max(sizes(edge)) <= 5
    assert edge.totals()["sent:log_item"] == 64
    assert edge.records() == 0


@pytest.mark.parametrize("split", [[64], [8] * 8])
@pytest.mark.parametrize("reply", [UNSENT, Answer(429, {"retry-after": "7"}, b"{}")])
@pytest.mark.parametrize("nth", [1, 7])
def test_what_is_left_of_a_split_container_waits_when_upstream_cannot_go_on(
    make_edge: MakeEdge, split: list[int], reply: Reply, nth: int
) -> None:
    edge = make_edge()
    ingest_in(edge, split)
    edge.net.behave = large(edge, 4, lambda number: reply if number == nth else None)
    edge.settle()
    edge.restart()
    settled(edge, 6)
    assert sorted(numbers(edge)) == list(range(64))
    assert edge.totals()["sent:log_item"] == 64
    assert edge.records() == 0


@pytest.mark.parametrize("split", [[64], [8] * 8])
@pytest.mark.parametrize("most", [4, 8])
@pytest.mark.parametrize("nth", [1, 7])
def test_a_part_of_unknown_fate_is_the_only_one_given_up(
    make_edge: MakeEdge, split: list[int], most: int, nth: int
) -> None:
    edge = make_edge()
    ingest_in(edge, split)
    edge.net.behave = large(edge, most, lambda number: UNKNOWN if number == nth else None)
    settled(edge, 6)
    told = Counter(numbers(edge))
    totals = edge.totals()
    assert max(told.values()) == 1
    assert totals["dropped:collector_unknown_fate"] == most
    assert totals["sent:log_item"] + totals["dropped:collector_unknown_fate"] == 64
    assert len(told) >= totals["sent:log_item"]
    assert edge.records() == 0


def test_one_record_that_is_refused_is_dropped_alone(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest_items(container(0, 3))
    edge.ingest_items(container(3, 3))
    edge.ingest_items(container(6, 3))
    inner = large(edge, 100)

    def behave(request: Request) -> Reply:
        reply = inner(request)
        told = edge.net.received.items[-1:]
        bad = [got for got in told if got.type == "log" and any(one["number"] == 4 for one in got.json["items"])]
        del edge.net.received.items[len(edge.net.received.items) - len(bad) :]
        return Answer(400, {}, b"{}") if bad else reply

    edge.net.behave = behave
    settled(edge)
    assert sorted(numbers(edge)) == [0, 1, 2, 6, 7, 8]
    assert edge.totals()["dropped:collector_refused"] == 3
    assert edge.net.reported("collector_refused") == 3


def test_containers_of_unknown_fate_are_not_told_twice_even_after_a_kill(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest_items(container(0, 5))
    edge.net.behave = lambda request: UNKNOWN if edge.net.take(request) else None
    edge.settle()
    edge.restart()
    edge.net.behave = lambda request: None
    settled(edge)
    assert numbers(edge) == list(range(5))
    assert edge.totals()["dropped:collector_unknown_fate"] == 5


@pytest.mark.parametrize(("kind", "setting"), [("log", "logs"), ("span", "spans"), ("trace_metric", "metrics")])
def test_a_kind_that_is_switched_off_is_counted_and_reported(make_edge: MakeEdge, kind: str, setting: str) -> None:
    edge = make_edge()
    edge.limit(**{setting: "off"})
    edge.ingest_items(container(0, 7, kind))
    edge.ingest_items(container(0, 5, "span" if kind == "log" else "log"))
    settled(edge)
    assert len(numbers(edge)) == 5
    reported = Counter()
    for got in edge.net.received.items:
        for entry in got.json["discarded_events"] if got.type == "client_report" else ():
            reported[entry["category"], entry["reason"]] += entry["quantity"]
    assert reported[CATEGORIES[kind], "collector_switched_off"] == 7
    assert edge.totals()[f"kept:collector_switched_off:{CATEGORIES[kind]}"] == 7


@pytest.mark.parametrize(
    ("headers", "payload"),
    [('{"item_count":2}', b"{}"), ('{"item_count":true}', b'{"items":[1]}'), ("[]", b'{"items":[1]}'),
     ("{}", b"\xff"), ('{"item_count":1}', b'{"items":{}}')],
)  # fmt: skip
def test_what_is_no_container_passes_as_it_came(make_edge: MakeEdge, headers: str, payload: bytes) -> None:
    edge = make_edge()
    edge.ingest_items(ItemRow(PROJECT, "log", 1.0, "", headers, payload), container(0, 2))
    settled(edge)
    assert payload in [got.payload for got in edge.net.received.items]
    assert [0, 1] in [[one["number"] for one in got.json["items"]] for got in edge.net.received.items[-1:]]
