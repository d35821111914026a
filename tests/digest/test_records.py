"""Logs and spans: each record of a container is checked, completed and filtered for itself."""

import json
from typing import Any

import pytest

from collector.digest.project import ProjectRules
from collector.filter.settings import FilterRule, FilterSettings
from collector.model.event import Digested
from collector.scrub.settings import ScrubSettings
from tests.digest.test_digester import digest, reasons

TRACE, SPAN = "a" * 32, "b" * 16
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"


def log(**fields: Any) -> dict[str, Any]:
    return {"timestamp": 1795219199.0, "trace_id": TRACE, "level": "info", "body": "hello", **fields}


def span(**fields: Any) -> dict[str, Any]:
    return {"trace_id": TRACE, "span_id": SPAN, "start_timestamp": 1.0, "timestamp": 2.0, "op": "db", **fields}


def sent(kind: str, *records: Any, **received: Any) -> Digested:
    """The records in a container, digested."""
    return digest(({"type": kind, "item_count": len(records)}, json.dumps({"items": records}).encode()), **received)


def kept(digested: Digested) -> list[Any]:
    """The records of the one item that is left."""
    (row,) = digested.items
    return list(json.loads(row.payload)["items"])


def rules(*conditions: str, **settings: Any) -> ProjectRules:
    made = [FilterRule(id=f"rule-{index}", when=text) for index, text in enumerate(conditions)]
    return ProjectRules(filters=FilterSettings(rules=made, **settings))


def counted(digested: Digested) -> list[tuple[str, str, int, int]]:
    return [(o.ledger_key, o.category, o.quantity, o.items) for o in digested.outcomes]


@pytest.mark.parametrize("record", [log(trace_id=None), log(trace_id="0" * 32), log(trace_id="xyz"), "text", None, 5])
def test_a_log_record_without_a_trace_is_invalid_and_the_others_stay(record: Any) -> None:
    digested = sent("log", record, log(body="kept"))
    assert [one["body"] for one in kept(digested)] == ["kept"]
    assert json.loads(digested.items[0].headers)["item_count"] == 1
    size = len(json.dumps(record, separators=(",", ":")))
    assert counted(digested) == [
        ("invalid:invalid_log", "log_item", 1, 0),
        ("invalid:invalid_log", "log_byte", size, 0),
    ]


def test_a_container_without_a_good_record_is_one_dropped_item() -> None:
    digested = sent("log", log(trace_id=1), log(body="noise"), rules=rules('log.body == "noise"'))
    assert not digested.items
    assert reasons(digested) == ["invalid:invalid_log"]
    assert [entry[:3] for entry in counted(digested) if entry[1] == "log_item"] == [
        ("invalid:invalid_log", "log_item", 1),
        ("filtered:rule-0", "log_item", 1),
    ]


@pytest.mark.parametrize(
    ("settings", "attributes", "reason"),
    [
        ({"releases": ["shop@1.*"]}, {"sentry.release": {"value": "shop@1.2", "type": "string"}}, "release-version"),
        ({"web_crawlers": True}, {"user_agent.original": {"value": "Googlebot/2.1", "type": "string"}}, "web-crawlers"),
        ({"client_ips": ["203.0.113.0/24"]}, {}, "ip-address"),
    ],
)
@pytest.mark.parametrize(("kind", "make"), [("log", log), ("span", span)])
def test_inbound_filters_look_at_each_record(
    kind: str, make: Any, settings: dict[str, Any], attributes: dict[str, Any], reason: str
) -> None:
    digested = sent(kind, make(attributes=attributes), rules=rules(**settings), remote_addr="203.0.113.9")
    assert not digested.items
    assert reasons(digested) == [f"filtered:{reason}"]


def test_attributes_get_types_an_address_and_a_browser() -> None:
    attributes = {
        "plain": 5,
        "lie": {"value": 7, "type": "string"},
        "flag": {"value": True, "type": "boolean"},
        "nothing": None,
        "tomorrow": {"value": [1], "type": "array"},
        "client.address": {"value": "{{auto}}", "type": "string"},
        "user_agent.original": {"value": FIREFOX, "type": "string"},
    }
    (record,) = kept(sent("log", log(attributes=attributes), remote_addr="203.0.113.9"))
    assert record["attributes"] == {
        "plain": {"value": 5, "type": "integer"},
        "lie": {"value": 7, "type": "integer"},
        "flag": {"value": True, "type": "boolean"},
        "tomorrow": {"value": [1], "type": "array"},
        "client.address": {"value": "203.0.113.9", "type": "string"},
        "user_agent.original": {"value": FIREFOX, "type": "string"},
        "browser.name": {"value": "Firefox", "type": "string"},
        "browser.version": {"value": "120.0", "type": "string"},
    }


def test_no_address_is_inferred_where_addresses_are_scrubbed() -> None:
    scrubbing = ProjectRules(scrubbing=ScrubSettings(scrub_ip_addresses=True))
    record = log(attributes={"client.address": {"value": "{{auto}}", "type": "string"}})
    digested = sent("log", record, rules=scrubbing, remote_addr="203.0.113.9")
    assert b"203.0.113.9" not in digested.items[0].payload


@pytest.mark.parametrize("broken", [{"span_id": ""}, {"trace_id": 5}, {"timestamp": 0.5}, {"start_timestamp": "soon"}])
def test_a_span_needs_ids_and_times_in_order(broken: dict[str, Any]) -> None:
    digested = digest(({"type": "span"}, json.dumps(span(**broken)).encode()))
    assert not digested.items
    assert counted(digested) == [
        ("invalid:invalid_span", "span", 1, 1),
        ("invalid:invalid_span", "span_indexed", 1, 0),
    ]


def test_single_spans_and_logs_are_kept_as_they_are() -> None:
    for kind, record in (("span", span(measurements={"inp": {"value": 5}})), ("log", log())):
        (row,) = digest(({"type": kind}, json.dumps(record).encode())).items
        assert json.loads(row.payload) == record


@pytest.mark.parametrize("payload", [b"", b"[", b"[]", b"5", b"\xff", b'{"items": 5}'])
@pytest.mark.parametrize("kind", ["log", "span"])
def test_what_is_no_container_is_invalid(kind: str, payload: bytes) -> None:
    digested = digest(({"type": kind}, payload))
    assert not digested.items
    assert len(reasons(digested)) == 1


def test_measurements_stay_on_transactions_only() -> None:
    trace = {"contexts": {"trace": {"trace_id": TRACE, "span_id": SPAN}}, "measurements": {"lcp": {"value": 3.0}}}
    transaction = {**trace, "type": "transaction", "start_timestamp": 1795219198.0, "timestamp": 1795219199.0}
    digested = digest(({"type": "transaction"}, json.dumps(transaction).encode()))
    assert json.loads(digested.items[0].payload)["measurements"] == {"lcp": {"value": 3.0}}
    digested = digest(({"type": "event"}, json.dumps({**trace, "message": "m"}).encode()))
    assert "measurements" not in json.loads(digested.events[0].payload)
