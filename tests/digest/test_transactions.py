"""Measurements, breakdowns and spans of transactions; the context of a feedback."""

import json
from typing import Any

import pytest

from collector.digest.about import About
from collector.digest.enrich import Enrichment
from collector.digest.normalise import Normaliser

NOW = 1795240019.0
TRACE = {"trace_id": "a" * 32, "span_id": "b" * 16}
SPAN = {**TRACE, "start_timestamp": NOW - 7201, "timestamp": NOW - 7200}


def normalised(item: str, sent_at: float | None = None, **fields: Any) -> Any:
    """What is made of an item with these fields."""
    about = About("5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960", 42, NOW, item=item, sent_at=sent_at)
    return json.loads(Normaliser(Enrichment()).normalise(json.dumps(fields).encode(), about).payload)


def transaction(sent_at: float | None = None, **fields: Any) -> Any:
    """A transaction that took a second, with other fields."""
    base = {"transaction": "checkout", "contexts": {"trace": TRACE}, "start_timestamp": NOW - 7201,
            "timestamp": NOW - 7200}  # fmt: skip
    return normalised("transaction", sent_at, **base, **fields)


def reported(event: Any) -> list[str]:
    """Names in `errors`."""
    return [error["name"] for error in event.get("errors", ())]


def test_measurements_are_numbers_under_plain_names() -> None:
    found = transaction(measurements={"fcp": {"value": 1.5, "unit": "millisecond"}, "cls": {"value": 0, "x": 1},
                                      "bad name!": {"value": 1}, "none": None, "five": 5, "lcp": {"value": "9"},
                                      "yes": {"value": True}, "empty": {}})  # fmt: skip
    assert found["measurements"] == {"fcp": {"value": 1.5, "unit": "millisecond"}, "cls": {"value": 0}}
    assert reported(found) == ["measurements.bad name!", "measurements.five", "measurements.lcp.value",
                               "measurements.yes.value", "measurements.empty.value"]  # fmt: skip


def test_a_unit_that_is_no_text_is_reported() -> None:
    found = transaction(measurements={"fcp": {"value": 1.5, "unit": 5}})
    assert found["measurements"] == {"fcp": {"value": 1.5}}
    assert reported(found) == ["measurements.fcp.unit"]


@pytest.mark.parametrize("name", ["measurements", "breakdowns"])
def test_what_is_no_object_of_measurements_is_dropped_with_an_error(name: str) -> None:
    found = transaction(**{name: [1]})
    assert name not in found
    assert reported(found) == [name]


def test_breakdowns_are_groups_of_measurements() -> None:
    found = transaction(breakdowns={"span_ops": {"ops.http": {"value": 2.5}, "ops.db": {"value": []}}, "bad": 5})
    assert found["breakdowns"] == {"span_ops": {"ops.http": {"value": 2.5}}}
    assert reported(found) == ["breakdowns.span_ops.ops.db.value", "breakdowns.bad"]


def test_error_events_have_no_measurements() -> None:
    assert "measurements" not in normalised("event", message="x", measurements={"fcp": {"value": 1}})


def test_clock_drift_moves_the_times_of_spans_too() -> None:
    found = transaction(sent_at=NOW - 7200, spans=[{**SPAN, "timestamp": "2026-11-21T03:46:59Z", "op": "db"}])
    assert found["timestamp"] == NOW
    assert found["spans"] == [{**SPAN, "start_timestamp": NOW - 1, "timestamp": NOW, "op": "db"}]


def test_spans_beyond_their_bytes_go_from_the_end() -> None:
    found = transaction(
        spans=[{**SPAN, "span_id": f"{number:016}", "description": "d" * 9000} for number in range(100)]
    )
    assert 80 < len(found["spans"]) < 92
    assert found["spans"][0]["span_id"] == "0" * 16
    assert found["_meta"]["spans"][""]["len"] == 100


def test_the_context_of_a_feedback_holds_texts() -> None:
    context = {"message": "m" * 5000, "contact_email": ["a@b.example"], "url": "https://a.example/", "more": {"a": 1}}
    found = normalised("feedback", contexts={"feedback": context})
    feedback = found["contexts"]["feedback"]
    assert found["type"] == "feedback"
    assert (len(feedback["message"]), feedback["url"], feedback["more"]) == (4096, "https://a.example/", {"a": 1})
    assert "contact_email" not in feedback
    assert reported(found) == ["contexts.feedback.contact_email"]
