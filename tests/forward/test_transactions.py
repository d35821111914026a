"""Transactions upstream: a share by trace, failed and slow ones always, and the rest reported to the last span."""

import hashlib
import json
from collections import Counter
from typing import Any

import pytest

from collector.forward import transactions
from collector.model.event import ItemRow
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge


def trace_id(number: int) -> str:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


def transaction(number: int, seconds: float = 0.5, spans: int = 2, trace: int | None = None, **context: Any) -> ItemRow:
    event_id = f"{number:032x}"
    body = {
        "event_id": event_id,
        "type": "transaction",
        "start_timestamp": 1000.0,
        "timestamp": 1000.0 + seconds,
        "contexts": {"trace": {"trace_id": trace_id(number if trace is None else trace), **context}, "os": {"a": 1}},
        "spans": [{"span_id": f"{place:016x}"} for place in range(spans)],
    }
    return ItemRow(PROJECT, "transaction", 1.0, event_id, "{}", json.dumps(body).encode())


def told(edge: Edge) -> dict[int, dict[str, Any]]:
    return {int(got.json["event_id"], 16): got.json for got in edge.net.received.items if got.type == "transaction"}


def sampled_away(edge: Edge) -> Counter[str]:
    reported: Counter[str] = Counter()
    for got in edge.net.received.items:
        for entry in got.json["discarded_events"] if got.type == "client_report" else ():
            reported[entry["category"]] += entry["quantity"] if entry["reason"] == "sample_rate" else 0
    return reported


def settled(edge: Edge) -> Edge:
    for _ in range(3):
        edge.settle()
        edge.clock.advance(10)
    return edge


def test_a_tenth_goes_and_the_rest_is_reported_with_its_spans(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest_items(*[transaction(number, spans=number % 4) for number in range(400)])
    settled(edge)
    kept = told(edge)
    away = set(range(400)) - set(kept)
    assert 20 <= len(kept) <= 60
    assert sampled_away(edge) == {"transaction": len(away), "span": sum(1 + number % 4 for number in away)}
    assert edge.totals()["kept:sample_rate:transaction"] == len(away)
    assert {one["contexts"]["trace"]["client_sample_rate"] for one in kept.values()} == {0.1}
    assert all(one["contexts"]["os"] == {"a": 1} and len(one["spans"]) == number % 4 for number, one in kept.items())


def test_a_trace_goes_whole_on_every_collector_and_at_every_higher_rate(make_edge: MakeEdge) -> None:
    rates = (0.1, 0.3, 0.3)
    edges = [make_edge() for _ in rates]
    for edge, rate in zip(edges, rates, strict=True):
        edge.limit(transaction_rate=rate)
        edge.ingest_items(*[transaction(number, trace=number // 3) for number in range(150)])
        settled(edge)
    few, more, again = (set(told(edge)) for edge in edges)
    assert few < more == again
    assert all(number // 3 * 3 + place in more for number in more for place in range(3))


@pytest.mark.parametrize(
    "row",
    [transaction(1, status="internal_error"), transaction(1, status="unauthenticated"), transaction(1, seconds=2.0),
     transaction(1, seconds=60.0, status="ok")],
)  # fmt: skip
def test_failed_and_slow_ones_go_at_any_rate_and_unchanged(make_edge: MakeEdge, row: ItemRow) -> None:
    edge = make_edge()
    edge.limit(transaction_rate=0.0)
    edge.ingest_items(row)
    settled(edge)
    assert [got.payload for got in edge.net.received.items] == [row.payload]


@pytest.mark.parametrize("status", ["ok", "cancelled", "unknown", "unknown_error", "", None])
def test_fine_and_fast_ones_go_by_the_rate(make_edge: MakeEdge, status: str | None) -> None:
    edge = make_edge()
    edge.limit(transaction_rate=0.0)
    edge.ingest_items(transaction(1, seconds=1.999, status=status))
    settled(edge)
    assert told(edge) == {}
    assert sampled_away(edge) == {"transaction": 1, "span": 3}


def test_zero_seconds_make_no_transaction_slow(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.limit(transaction_rate=0.0, slow_transaction=0.0)
    edge.ingest_items(transaction(1, seconds=500.0))
    settled(edge)
    assert told(edge) == {}


def test_rate_one_sends_all_as_they_came(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.limit(transaction_rate=1.0)
    rows = [transaction(number) for number in range(30)]
    edge.ingest_items(*rows)
    settled(edge)
    assert [got.payload for got in edge.net.received.items] == [row.payload for row in rows]


@pytest.mark.parametrize(
    ("given", "said"), [(None, 0.5), (0.25, 0.125), (1, 0.5), (0, 0.5), (7, 0.5), ("x", 0.5), (True, 0.5)]
)
def test_the_rate_is_said_times_that_of_the_sdk(given: object, said: float) -> None:
    marked = json.loads(transactions.marked(bytes(transaction(1, client_sample_rate=given).payload), 0.5))
    assert marked["contexts"]["trace"]["client_sample_rate"] == said


@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"[]", b'{"contexts":null}', b'{"contexts":{"trace":[]}}', b'{"contexts":{"trace":{"status":[1]}}}'],
)
def test_what_cannot_be_read_is_sent(payload: bytes) -> None:
    assert transactions.choose(payload, 0.0, 2.0) == (True, False)


@pytest.mark.parametrize("times", [(1e300, 1e301), (None, 5), ("x", 5), ("2026-01-01T00:00:00Z", 1e300), (9.0, 1.0)])
def test_a_duration_that_cannot_be_read_is_not_slow(times: tuple[object, object]) -> None:
    body = json.dumps({"start_timestamp": times[0], "timestamp": times[1], "contexts": {"trace": {"trace_id": "a"}}})
    assert not transactions.choose(body.encode(), 0.0, 2.0).send


def test_what_the_budget_drops_is_reported_with_its_spans(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.limit(transaction_rate=1.0, max_bytes_per_day=1000)
    edge.ingest_items(*[transaction(number, spans=4) for number in range(5)])
    settled(edge)
    reported: Counter[str] = Counter()
    for got in edge.net.received.items:
        for entry in got.json["discarded_events"] if got.type == "client_report" else ():
            reported[entry["category"]] += entry["quantity"] if entry["reason"] == "collector_budget" else 0
    assert reported == {"transaction": 5 - len(told(edge)), "span": 5 * (5 - len(told(edge)))}
    assert edge.totals()["dropped:collector_budget"] == 5 - len(told(edge)) > 0
