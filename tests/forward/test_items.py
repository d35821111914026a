"""What else envelopes hold: passed on as it came, or left out, by kind and mode."""

import msgspec
import pytest
import sentry_sdk.envelope

from collector.machine.net import NetError
from collector.model.event import ItemRow
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge

UNKNOWN = NetError("timeout", True, "no answer")
CHECK_IN = b'{"check_in_id":"83a7c03ed0a04e1b97e2e3b18d38f244","monitor_slug":"nightly","status":"ok"}'


def item(kind: str, payload: bytes = b"{}", headers: str = "{}", event_id: str = "") -> ItemRow:
    return ItemRow(PROJECT, kind, 1.0, event_id, headers, payload)


def ingest(edge: Edge, *rows: ItemRow) -> None:
    edge.apply(msgspec.structs.replace(edge.commit([], rollback=True), items=rows, no=len(edge.net.requests) + 1))


def test_check_ins_and_feedback_pass_at_once_in_summaries_mode(make_edge: MakeEdge) -> None:
    edge = make_edge()
    ingest(edge, item("check_in", CHECK_IN), item("feedback", b'{"a":1}', event_id="a" * 32), item("profile"))
    edge.settle()
    passed = [one for one in edge.net.received.items if one.type != "client_report"]
    assert edge.net.reported("collector_kept_here") == 1
    assert [(one.type, one.payload) for one in passed] == [
        ("check_in", CHECK_IN),
        ("feedback", b'{"a":1}'),
    ]
    assert edge.totals()["sent_items"] == 2


def test_everything_passes_in_events_mode_with_its_own_headers(make_edge: MakeEdge) -> None:
    edge = make_edge(mode="events")
    logs = b'{"items":[{"body":"x"}]}'
    headers = '{"type":"log","length":9,"item_count":1,"content_type":"application/vnd.sentry.items.log+json"}'
    ingest(edge, item("log", logs, headers), item("sessions"), item("x_of_tomorrow", b"\x00\xff", '{"odd":[1]}'))
    edge.settle()
    got = {one.type: one for one in edge.net.received.items}
    assert got["log"].payload == logs
    assert got["log"].headers["content_type"] == "application/vnd.sentry.items.log+json"
    assert (got["x_of_tomorrow"].payload, got["x_of_tomorrow"].headers["odd"]) == (b"\x00\xff", [1])
    assert "sessions" in got
    for body in edge.net.received.bodies:
        assert len(sentry_sdk.envelope.Envelope.deserialize(body).items) == 1


def test_nothing_passes_when_a_project_is_off(make_edge: MakeEdge) -> None:
    edge = make_edge(mode="off")
    ingest(edge, item("check_in", CHECK_IN))
    edge.settle()
    assert edge.net.requests == []


@pytest.mark.parametrize(("kind", "sent"), [("check_in", 2), ("sessions", 1)])
def test_only_what_a_receiver_tells_apart_is_sent_again_after_an_unknown_fate(
    make_edge: MakeEdge, kind: str, sent: int
) -> None:
    edge = make_edge(mode="events")
    ingest(edge, item(kind))
    edge.net.behave = lambda request: UNKNOWN if edge.net.take(request) else None
    edge.settle()
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.settle()
    assert [one.type for one in edge.net.received.items] == [kind] * sent
    assert edge.records() == 0


def test_limit_of_one_category_lets_the_others_pass(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.sender.limits.pause("error", edge.clock.monotonic() + 60)
    edge.ingest(1)
    ingest(edge, item("check_in", CHECK_IN))
    edge.settle()
    assert [one.type for one in edge.net.received.items] == ["check_in"]
    assert edge.net.counted == 0
