"""Every answer an upstream can give, and what becomes of the entry."""

import itertools

import msgspec
import pytest
import sentry_sdk.envelope

from collector.machine.net import Answer, NetError, Request
from tests.forward.conftest import MakeEdge
from tests.forward.edge import Edge

UNSENT = NetError("refused", False, "127.0.0.1:9 refuses the connection")
UNKNOWN = NetError("timeout", True, "127.0.0.1:9 did not answer within 8 s")


def answer(status: int, body: bytes = b'{"detail":"no"}', **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def loaded(edge: Edge, issues: int = 3) -> Edge:
    for issue_id in range(1, issues + 1):
        edge.ingest(issue_id)
    return edge


def test_every_envelope_is_read_by_the_real_sdk(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge())
    edge.ingest(1, 5)
    edge.finish()
    assert len(edge.net.received.bodies) == 5
    for body in edge.net.received.bodies:
        envelope = sentry_sdk.envelope.Envelope.deserialize(body)
        (item,) = envelope.items
        assert item.headers["type"] in ("event", "client_report")
        assert (envelope.get_event() or {}).get("event_id") == envelope.headers.get("event_id")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity"])
def test_each_encoding_is_understood(make_edge: MakeEdge, encoding: str) -> None:
    edge = loaded(make_edge(encoding=encoding))
    edge.settle()
    assert edge.net.counted == 3


def test_new_issue_overtakes_waiting_summaries(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge(), 2)
    edge.settle()
    edge.ingest(1, 5)
    edge.net.behave = lambda request: UNSENT
    edge.clock.advance(61)
    edge.settle()
    edge.ingest(9)
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.settle()
    order = list(edge.net.received.events.values())
    assert [event["exception"]["values"][0]["value"] for event in order[2:]] == ["issue 9", "issue 1"]


@pytest.mark.parametrize(
    "failure",
    [UNSENT, UNKNOWN, answer(500), answer(502), answer(503), answer(504), answer(401), answer(403), answer(404),
     answer(302, location="http://elsewhere/"), answer(200, b"<html>"), answer(200, b"OK"), answer(200, b""),
     answer(408)],
    ids=lambda f: str(getattr(f, "status", "")) or f.kind,
)  # fmt: skip
def test_failure_keeps_everything_names_itself_and_is_caught_up(
    make_edge: MakeEdge, failure: Answer | NetError
) -> None:
    edge = loaded(make_edge())
    edge.net.behave = lambda request: failure
    edge.settle()
    status = edge.status()
    assert status["state"] == "backing_off"
    assert status["last_error"]
    assert edge.records() == 3
    assert len(edge.net.requests) == 1, "one probe, not one failure per entry"
    edge.net.behave = lambda request: None
    edge.clock.advance(60)
    edge.settle()
    assert edge.net.counted == 3
    assert edge.status()["state"] == "sending"
    assert edge.status()["last_error"] == ""


def test_back_off_doubles_to_a_minute(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge())
    edge.net.behave = lambda request: UNSENT
    tried_at = []
    for _ in range(3000):
        before = len(edge.net.requests)
        edge.step()
        tried_at += [edge.clock.monotonic()] * (len(edge.net.requests) - before)
        edge.clock.advance(0.25)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried_at)]
    assert pauses[:4] == [0.75, 1.5, 3.0, 6.0]
    assert max(pauses) <= 60 and pauses[-1] == 45.0


def test_retry_after_of_a_503_is_honoured(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge())
    edge.net.behave = lambda request: answer(503, retry_after="30")
    edge.settle()
    edge.clock.advance(29)
    edge.settle()
    assert len(edge.net.requests) == 1
    edge.clock.advance(2)
    edge.settle()
    assert len(edge.net.requests) == 2


def test_400_is_counted_reported_and_never_retried(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge())
    bad = iter([answer(400)])
    edge.net.behave = lambda request: next(bad, None)
    edge.settle()
    assert len(edge.net.received.events) == 2
    assert edge.records() == 0
    assert edge.totals()["dropped:collector_refused"] == 1
    assert edge.net.reported("collector_refused") == 1


def test_upstream_that_refuses_everything_does_not_empty_the_outbox(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge(), 40)
    edge.net.behave = lambda request: answer(400)
    edge.settle()
    assert edge.records() == 30
    assert "were all refused" in edge.status()["last_error"]


def test_429_pauses_its_categories_only_until_their_time(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge())
    edge.net.behave = lambda request: answer(429, x_sentry_rate_limits="20:error:organization:quota", retry_after="20")
    edge.settle()
    assert len(edge.net.requests) == 1
    assert edge.status()["state"] == "limited"
    assert edge.status()["limits"] == {"error": 20.0}
    edge.net.behave = lambda request: None
    edge.clock.advance(19)
    edge.settle()
    assert edge.net.counted == 0
    edge.clock.advance(1.5)
    edge.settle()
    assert edge.net.counted == 3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 60), ({"retry_after": "7"}, 7), ({"x_sentry_rate_limits": "5::key"}, 5),
     ({"x_sentry_rate_limits": "garbage", "retry_after": "7"}, 7),
     ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 60), ({"retry_after": "1e300"}, 86400)],
)  # fmt: skip
def test_429_in_any_form_pauses_for_the_right_time(make_edge: MakeEdge, headers: dict[str, str], seconds: int) -> None:
    edge = loaded(make_edge())
    edge.net.behave = lambda request: answer(429, **headers)
    edge.settle()
    edge.net.behave = lambda request: None
    edge.clock.advance(seconds - 0.5)
    edge.settle()
    assert edge.net.counted == 0
    edge.clock.advance(1)
    edge.settle()
    assert edge.net.counted == 3


def test_limit_in_a_good_answer_is_learnt(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge())
    edge.net.behave = lambda request: answer(200, b"{}", x_sentry_rate_limits="30:default;error:key")
    edge.step()
    assert len(edge.net.requests) == 3, "a batch in progress is finished"
    edge.ingest(7)
    edge.settle()
    assert len(edge.net.requests) == 3


def test_413_is_sent_again_without_its_bulk_and_then_dropped(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1, padding=5000)
    edge.ingest(2)
    edge.net.behave = lambda request: answer(413) if len(request.body) > 1000 else None
    edge.settle()
    (slim, small) = edge.net.received.events.values()
    assert "extra" not in slim and slim["exception"]["values"][0]["value"] == "issue 1"
    assert "extra" in small
    edge.net.behave = lambda request: answer(413)
    edge.ingest(3)
    edge.settle()
    assert edge.totals()["dropped:collector_too_large"] == 1


def test_415_falls_back_to_gzip_and_stays_there(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge(encoding="zstd"))
    edge.net.behave = lambda request: answer(415) if request.headers.get("Content-Encoding") == "zstd" else None
    edge.settle()
    assert edge.net.counted == 3
    assert [request.headers["Content-Encoding"] for request in edge.net.requests] == ["zstd", "gzip", "gzip", "gzip"]


def test_one_poisonous_event_neither_blocks_the_queue_nor_stays_for_ever(make_edge: MakeEdge) -> None:
    edge = make_edge()
    (poison,) = edge.ingest(1)

    def fails_on_poison(request: Request) -> Answer | None:
        return answer(500) if poison.encode() in edge_body(request) else None

    edge.net.behave = fails_on_poison
    for issue_id in range(2, 12):
        edge.ingest(issue_id)
        edge.settle()
        edge.clock.advance(60)
        edge.settle()
    assert edge.net.counted == 10
    assert edge.records() == 0
    assert edge.totals()["dropped:collector_undeliverable"] == 1


def edge_body(request: Request) -> bytes:
    from tests.helpers.mini_upstream import decompress

    return decompress(request.body, request.headers.get("Content-Encoding", ""))


def test_long_outage_with_one_entry_never_gives_it_up(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge(), 1)
    edge.net.behave = lambda request: answer(500)
    for _ in range(100):
        edge.settle()
        edge.clock.advance(61)
    edge.net.behave = lambda request: None
    edge.settle()
    assert edge.net.counted == 1


def test_answer_lost_after_taking_is_repeated_under_the_same_id(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge(), 2)

    def take_then_reset(request: Request) -> NetError:
        edge.net.take(request)
        return UNKNOWN

    edge.net.behave = take_then_reset
    edge.settle()
    edge.net.behave = lambda request: None
    edge.clock.advance(60)
    edge.settle()
    assert edge.net.counted == 2
    assert len(edge.net.received.duplicates) == 1


def test_client_report_of_unknown_fate_is_not_repeated(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.ingest(1, 10)
    edge.net.behave = lambda request: UNKNOWN if b"discarded_events" in edge_body(request) else None
    edge.finish()
    edge.net.behave = lambda request: None
    edge.clock.advance(60)
    edge.settle()
    edge.settle()
    assert edge.net.reported("collector_summarised") == 0
    assert edge.totals()["reports_unknown"] == 9


def test_client_report_that_cannot_have_arrived_is_repeated(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.ingest(1, 10)
    edge.net.behave = lambda request: UNSENT if b"discarded_events" in edge_body(request) else None
    edge.finish(3)
    edge.net.behave = lambda request: None
    edge.clock.advance(60)
    edge.settle()
    edge.settle()
    assert edge.net.reported("collector_summarised") == 9


def test_damaged_entry_is_dropped_counted_and_blocks_nothing(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge())
    edge.state.execute("UPDATE outbox SET body = x'00ff' WHERE id = 1")
    edge.settle()
    assert edge.net.counted == 2
    assert edge.totals()["dropped:collector_damaged"] == 1


def test_pin_sends_our_hash_as_fingerprint(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge(fingerprint="pin"), 1)
    edge.ingest(1, 2)
    edge.finish()
    assert [event["fingerprint"] for event in edge.net.received.events.values()] == [[f"{1:032x}"]] * 2


def test_request_carries_the_key_in_the_auth_header_and_nowhere_else(make_edge: MakeEdge) -> None:
    edge = loaded(make_edge(), 1)
    edge.settle()
    request = edge.net.requests[0]
    assert request.url == "http://127.0.0.1:9/api/7/envelope/"
    assert "sentry_version=7" in request.headers["X-Sentry-Auth"]
    shown = msgspec.json.encode(edge.status()).decode()
    assert request.headers["X-Sentry-Auth"].rpartition("=")[2] not in shown
