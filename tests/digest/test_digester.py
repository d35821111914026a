"""One record in, everything accounted for."""

import gzip
import json
from typing import Any

import msgspec
import pytest

from collector.digest.console import is_refusal, normalise_lines, scrub_lines
from collector.digest.digester import Digester, Memory
from collector.digest.project import ProjectRules
from collector.digest.settings import DigestSettings
from collector.filter.settings import FilterSettings
from collector.model.event import Digested, EventRow
from collector.model.outcome import Outcome
from collector.model.received import Position, Received
from collector.model.settings import Size
from collector.protocol.limits import LimitSettings
from collector.scrub.settings import ScrubSettings
from tests.helpers.clock import FakeClock

NOW = 1795219200.0
EVENT_ID = "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"
AT = Position(1, 1, 1)


def digest(*items: tuple[dict[str, Any], bytes], header: dict[str, Any] | None = None, **received: Any) -> Digested:
    """An envelope of items, digested."""
    lines = [json.dumps({"event_id": EVENT_ID} if header is None else header).encode()]
    for head, payload in items:
        lines += [json.dumps({**head, "length": len(payload)}).encode(), payload]
    rules = received.pop("rules", ProjectRules())
    head = Received("envelope", 42, NOW, **{"quantity": len(items), **received})
    return Digester({42: rules}, DigestSettings(), LimitSettings()).digest(AT, head, b"\n".join(lines))


def event(**fields: Any) -> tuple[dict[str, Any], bytes]:
    """An event item."""
    return {"type": "event"}, json.dumps(fields).encode()


def reasons(digested: Digested) -> list[str]:
    """The ledger keys of the outcomes that stand for an item."""
    return [outcome.ledger_key for outcome in digested.outcomes if outcome.items]


def test_an_event_becomes_a_row_with_its_columns() -> None:
    stack = {"frames": [{"filename": "a.py", "function": "f", "lineno": 3, "in_app": True}]}
    digested = digest(event(
        exception=[{"type": "ValueError", "value": "bad", "stacktrace": stack}], tags={"tier": "gold"},
        release="app@1.0", environment="prod", user={"id": 7}, server_name="web-1", level="fatal",
        platform="python", logger="shop", sdk={"name": "s", "version": "2"}, transaction="checkout",
        timestamp=NOW - 5, dist="12",
    ))  # fmt: skip
    row = digested.events[0]
    assert (row.event_id, row.project_id, row.timestamp, row.received_at) == (EVENT_ID, 42, NOW - 5, NOW)
    assert (row.type, row.level, row.platform, row.release, row.dist) == ("error", "fatal", "python", "app@1.0", "12")
    assert (row.environment, row.user_id, row.server_name, row.logger) == ("prod", "7", "web-1", "shop")
    assert (row.exception_type, row.exception_value, row.sdk) == ("ValueError", "bad", "s/2")
    assert row.tags == [("tier", "gold"), ("server_name", "web-1")]
    assert row.title == "ValueError: bad" and row.hashes[0]
    assert json.loads(row.frames) == [{"function": "f", "filename": "a.py", "lineno": 3, "in_app": True}]


def test_columns_come_from_scrubbed_data() -> None:
    secret = "4111111111111111"
    digested = digest(event(message=f"paid with {secret}", user={"id": "7", "password": "hunter2"}))
    row = digested.events[0]
    assert secret not in row.message + row.title + str(row.tags)
    assert secret.encode() not in row.payload and b"hunter2" not in row.payload


def test_a_second_event_of_an_envelope_is_counted() -> None:
    digested = digest(event(message="a"), event(message="b"))
    assert len(digested.events) == 1
    assert reasons(digested) == ["invalid:duplicate_item"]


def test_items_refused_by_admission_are_passed_over() -> None:
    digested = digest(event(message="a"), ({"type": "attachment"}, b"x"), quantity=1, skip=(1,))
    assert len(digested.events) == 1 and digested.items == []


def test_garbage_is_counted_and_does_not_harm_its_neighbours() -> None:
    raw = {"type": "attachment"}, b"\x00\xff"
    digested = digest(({"type": "event"}, b"{nope"), raw, ({"type": "user_report"}, b"-"))
    assert [item.payload for item in digested.items] == [b"\x00\xff"]
    assert reasons(digested) == ["invalid:invalid_json", "invalid:invalid_json"]


def test_a_dropped_transaction_counts_under_all_its_categories_but_once_in_the_ledger() -> None:
    digested = digest(({"type": "transaction"}, b"{}"))
    assert [(o.category, o.items) for o in digested.outcomes] == [
        ("transaction", 1), ("transaction_indexed", 0), ("span", 0), ("span_indexed", 0),
    ]  # fmt: skip


def test_an_unknown_item_is_kept() -> None:
    digested = digest(({"type": "shiny_new"}, b'{"a":1}'), ({"type": "other"}, b"\x00raw"))
    assert [(item.kind, item.payload) for item in digested.items] == [("shiny_new", b'{"a":1}'), ("other", b"\x00raw")]


def test_a_client_report_is_one_item_and_its_entries_are_outcomes_beside_it() -> None:
    report = {"discarded_events": [{"reason": "queue_overflow", "category": "error", "quantity": 17}]}
    digested = digest(({"type": "client_report"}, json.dumps(report).encode()))
    assert [item.kind for item in digested.items] == ["client_report"]
    assert [(o.ledger_key, o.quantity, o.items) for o in digested.outcomes] == [
        ("client_discard:queue_overflow", 17, 0)
    ]


def test_a_ledger_record_gives_its_outcomes_back() -> None:
    outcome = Outcome(42, "rate_limited", "quota", "error", 3, NOW, 3, "key")
    body = msgspec.msgpack.encode([outcome])
    digester = Digester({}, DigestSettings(), LimitSettings())
    assert digester.digest(AT, Received("ledger", 0, NOW, 3), body).outcomes == [outcome]


@pytest.mark.parametrize(
    ("door", "body", "quantity"),
    [
        ("ledger", b"\xc1", 3),
        ("ledger", b"\x90", 3),
        ("envelope", b"{", 2),
        ("nowhere", b"", 1),
        ("envelope", b"{}", 5),
    ],
)
def test_a_record_that_cannot_be_digested_is_set_aside_and_counted_once(door: str, body: bytes, quantity: int) -> None:
    digester = Digester({}, DigestSettings(), LimitSettings())
    digested = digester.digest(AT, Received(door, 42, NOW, quantity), body)
    assert digested.damaged == body
    assert digested.why
    assert sum(outcome.items for outcome in digested.outcomes) == quantity


def test_what_was_admitted_is_digested_under_lower_limits_too() -> None:
    one = Size("1 B")
    limits = LimitSettings(
        max_envelope_bytes=one, max_envelope_items=1, max_header_bytes=one, max_event_bytes=one, max_decode_ratio=1
    )
    digester = Digester({}, DigestSettings(), limits)
    payload = json.dumps({"message": "x" * 2000}).encode()
    body = b'{"event_id":"%s"}\n' % EVENT_ID.encode() + b'{"type":"event","length":%d}\n%s\n' % (len(payload), payload)
    for encoding, sent in (("", body), ("gzip", gzip.compress(body))):
        digested = digester.digest(AT, Received("envelope", 42, NOW, 1, encoding=encoding), sent)
        assert (digested.damaged, digested.outcomes, len(digested.events)) == (None, [], 1)
    two = body + b'{"type":"client_report","length":2}\n{}\n'
    assert digester.digest(AT, Received("envelope", 42, NOW, 2), two).damaged is None


def test_a_record_digested_twice_gives_the_same_ids() -> None:
    first, second = digest(event(message="a"), header={}), digest(event(message="a"), header={})
    assert first.events[0].event_id == second.events[0].event_id
    assert len(first.events[0].event_id) == 32


def test_an_id_in_the_payload_is_kept_when_the_envelope_has_none() -> None:
    assert digest(event(event_id=EVENT_ID, message="a"), header={}).events[0].event_id == EVENT_ID


def test_a_filtered_event_is_counted_with_the_filters_name() -> None:
    rules = ProjectRules(filters=FilterSettings(error_messages=["*boom*"]))
    digester = Digester({42: rules}, DigestSettings(), LimitSettings())
    payload = json.dumps({"message": "big boom"}).encode()
    body = b'{"event_id":"%s"}\n{"type":"event","length":%d}\n%s' % (EVENT_ID.encode(), len(payload), payload)
    digested = digester.digest(AT, Received("envelope", 42, NOW), body)
    assert [(o.ledger_key, o.category) for o in digested.outcomes] == [("filtered:error-message", "error")]


def test_a_filtered_replay_takes_its_recording_along() -> None:
    replay = {"type": "replay_event"}, json.dumps({"request": {"url": "http://localhost:1200"}}).encode()
    recording = {"type": "replay_recording"}, b'{"segment_id":0}\n[]'
    rules = ProjectRules(filters=FilterSettings(localhost=True))
    digested = digest(replay, recording, rules=rules)
    assert reasons(digested) == ["filtered:localhost", "filtered:localhost"]
    assert digest(({"type": "replay_event"}, b"-")).outcomes[0].ledger_key == "invalid:invalid_replay"


def test_a_security_report_becomes_an_event_of_its_own() -> None:
    report = {"csp-report": {"document-uri": "https://h.example/", "effective-directive": "script-src",
                             "blocked-uri": "http://evil.example/a.js"}}  # fmt: skip
    digested = digest(({"type": "raw_security", "sentry_release": "a@1"}, json.dumps(report).encode()))
    row = digested.events[0]
    assert (row.type, row.release, row.logger) == ("csp", "a@1", "csp")


def test_the_commands_show_what_would_be_stored() -> None:
    lines = ['{"message":"x","user":{"id":1,"password":"hunter2"}}', "[1]"]
    shown = [json.loads(line) for line in scrub_lines(lines, ScrubSettings(), FakeClock())]
    assert shown[0]["user"]["data"]["password"] in (None, "[Filtered]")
    assert shown[1]["error"].startswith("invalid_json")
    assert json.loads(next(normalise_lines(lines[:1], FakeClock())))["user"]["data"]["password"] == "hunter2"
    assert "not JSON" in json.loads(next(normalise_lines(["{nope"])))["error"]


def test_older_hashes_are_computed_only_for_what_the_store_does_not_know() -> None:
    head, payload = event(platform="python", exception=[{"type": "ValueError", "value": "bad", "stacktrace": STACK}])
    body = b"{}\n" + json.dumps({**head, "length": len(payload)}).encode() + b"\n" + payload
    rules = {42: ProjectRules(), 43: ProjectRules()}

    def rows(*known: tuple[int, str]) -> list[EventRow]:
        memory = Memory(knows=lambda number, hashes: any((number, one) in known for one in hashes))
        digester = Digester(rules, DigestSettings(), LimitSettings(), memory=memory)
        return [digester.digest(AT, Received("envelope", number, NOW, quantity=1), body).events[0] for number in rules]

    first = rows()[0]
    assert first.secondary_hashes and first.secondary_hashes != first.hashes
    later, other = rows((42, first.hashes[0]))
    assert (later.hashes, later.secondary_hashes) == (first.hashes, [])
    assert other.secondary_hashes == first.secondary_hashes


STACK = {"frames": [{"filename": "a.py", "function": "f", "module": "a", "in_app": True}]}


def test_answers_for_what_is_no_event_are_told_apart() -> None:
    lines = list(normalise_lines(["[1]\n", '{"message": "m"}\n', '{"type": "transaction"}\n']))
    assert [is_refusal(line) for line in lines] == [True, False, True]


INVALID_SECRETS = [
    {"tags": {"k": {"password": "SECRET"}}},
    {"level": "password=SECRET"},
    {"user": {"ip_address": "Bearer SECRET"}},
    {"exception": "SECRET password"},
    {"errors": [{"type": "x", "value": {"password": "SECRET"}}]},
    {"contexts": {"a": "password=SECRET"}},
    {"breadcrumbs": [{"timestamp": "Bearer SECRET"}]},
    {"release": "Bearer SECRET/x"},
]


@pytest.mark.parametrize("fields", INVALID_SECRETS)
def test_secrets_in_fields_of_a_wrong_form_are_not_stored_as_their_originals(fields: dict[str, Any]) -> None:
    (row,) = digest(event(**fields)).events
    assert b"SECRET" not in row.payload


def test_other_items_are_shown_as_they_would_be_stored_too() -> None:
    log = '{"timestamp": 1, "trace_id": "' + "d" * 32 + '", "body": "mail a@b.com", "attributes": {}}\n'
    kept = json.loads(next(scrub_lines([log], ScrubSettings(), FakeClock(), "log")))
    refused = next(normalise_lines(['{"timestamp": 1, "body": "x"}\n'], FakeClock(), "log"))
    check_in = '{"check_in_id": "' + "0" * 32 + '", "monitor_slug": "' + "x" * 60 + '", "status": "missed"}\n'
    cut = json.loads(next(normalise_lines([check_in], FakeClock(), "check_in")))
    assert kept["body"] == "mail [email]"
    assert is_refusal(refused) and "invalid_log" in refused
    assert (len(cut["monitor_slug"]), cut["status"]) == (50, "unknown")


def test_a_star_that_was_sent_is_no_replaced_identifier() -> None:
    trace = {"trace": {"trace_id": "a" * 32, "span_id": "b" * 16}}
    name = {"transaction": "/a/*/b/123456/c/654321", "transaction_info": {"source": "url"}}
    sent = {"type": "transaction", "start_timestamp": 1, "timestamp": 2, "contexts": trace, **name}
    stored = json.loads(next(normalise_lines([json.dumps(sent)], FakeClock())))
    assert stored["transaction"] == "/a/*/b/*/c/*"
    assert stored["_meta"]["transaction"][""]["rem"] == [["int", "s", 7, 8], ["int", "s", 11, 12]]
