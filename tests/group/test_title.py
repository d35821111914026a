"""Titles, culprits, locations, metadata and types."""

import hashlib
from typing import Any

import pytest

from collector.group.fingerprint import FingerprintRules
from collector.group.grouping import group
from collector.group.view import lenient
from collector.model.event import GroupingResult
from tests.group.events import exception_event, frame


def grouped(event: dict[str, Any]) -> GroupingResult:
    return group(lenient(event))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("event", "kind", "title"),
    [
        ({}, "default", "<unlabeled event>"),
        ({"logentry": {"formatted": "\n first\nsecond"}}, "default", "first"),
        ({"logentry": {"message": "user %s", "formatted": "user 7"}}, "default", "user 7"),
        ({"exception": {"values": [{"type": "E", "value": "a\nb"}]}}, "error", "E: a"),
        ({"exception": {"values": [{"type": "E"}]}}, "error", "E"),
        ({"exception": {"values": [{"value": "no type"}]}}, "error", "Error: no type"),
        ({"exception": {"values": [{"type": "A"}, {"type": "B"}]}}, "error", "B"),
        ({"exception": {"values": [{"type": "E", "mechanism": {"synthetic": True}}]}}, "error", "<unknown>"),
        ({"exception": {"values": [{"type": "E", "value": "x" * 300}]}}, "error", "E: " + "x" * 250 + "..."),
        ({"csp": {"blocked_uri": "http://a.example/x"}, "logentry": {"formatted": "Blocked"}}, "csp", "Blocked"),
        ({"hpkp": {"hostname": "a.example"}, "logentry": {"formatted": "Pin"}}, "hpkp", "Pin"),
    ],
)
def test_an_event_has_a_type_and_a_title(event, kind, title):
    result = grouped(event)
    assert (result.type, result.title) == (kind, title)


def test_an_error_is_located_at_its_crash_frame():
    event = exception_event(frame("main", filename="cart.py"), frame("lib", filename="lib.py", in_app=False))
    result = grouped(event)
    assert result.location == "cart.py"
    assert result.metadata == {"type": "ValueError", "value": "boom", "filename": "cart.py", "function": "main"}


def test_a_synthetic_error_is_called_by_its_function():
    event = exception_event(frame("main", filename="cart.py"))
    event["exception"]["values"][0]["mechanism"] = {"synthetic": True}
    assert grouped(event).title == "main"


def test_a_report_is_located_at_whom_it_stopped():
    result = grouped({"csp": {"blocked_uri": "http://a.example/x", "effective_directive": "img-src"}})
    assert (result.location, result.metadata["directive"]) == ("a.example", "img-src")
    assert grouped({"hpkp": {"hostname": "b.example"}}).location == "b.example"


@pytest.mark.parametrize(
    ("event", "culprit"),
    [
        ({"transaction": "/cart"}, "/cart"),
        ({"request": {"url": "https://shop.example/"}}, "https://shop.example/"),
        ({"contexts": {"nel": {"error_type": "tcp.timed_out"}}}, "tcp.timed_out"),
        (exception_event(frame("f")), "shop.cart in f"),
        (exception_event(frame("f", module=None, filename="a.js"), platform="javascript"), "f(a.js)"),
        (exception_event({"function": "f", "filename": "a.c"}, platform="native"), "f"),
        (exception_event({"module": "a.b"}), "a.b in ?"),
        (exception_event(frame("app"), frame("lib", in_app=False)), "shop.cart in app"),
        (exception_event(frame("one", in_app=False), frame("two", in_app=False)), "shop.cart in two"),
        ({"stacktrace": {"frames": [frame("top")]}}, "shop.cart in top"),
        ({"transaction": "/" + "x" * 300}, "/" + "x" * 196 + "..."),
    ],
)
def test_the_culprit_is_the_place_to_blame(event, culprit):
    assert grouped(event).culprit == culprit


def test_the_exception_that_a_framework_wrapped_gives_the_title():
    message = (
        "There was an error while hydrating but React was able to recover by instead client rendering from the "
        "nearest Suspense boundary."
    )
    values = [
        {"type": "Error", "value": message, "mechanism": {"exception_id": 0, "type": "generic"}},
        {"type": "TypeError", "value": "x", "mechanism": {"exception_id": 1, "parent_id": 0, "source": "cause"}},
    ]
    assert grouped({"platform": "javascript", "exception": {"values": values}}).title == "TypeError: x"


def feedback(number: int, **sent: str) -> dict[str, Any]:
    return {"type": "feedback", "event_id": f"{number:032x}", "contexts": {"feedback": sent}}


def test_each_feedback_is_an_issue_of_its_own_whatever_it_says():
    one, other = (grouped(feedback(number, message="too slow")) for number in (1, 2))
    assert one.hashes == [md5(f"{1:032x}")] != other.hashes
    assert one.variants == {"built_in_fingerprint": (one.hashes[0], True)}
    assert grouped({**feedback(1, message="too slow"), "fingerprint": ["mine"]}).hashes == one.hashes
    assert group(lenient(feedback(1)), fingerprints=FingerprintRules('message:"*" -> mine')).hashes == one.hashes


def test_a_feedback_is_titled_by_its_first_words():
    sent = {"message": "The button\ndoes nothing when it is pressed twice in a row", "name": "Ada", "source": "widget"}
    result = grouped(feedback(1, **sent, url="https://shop.example/", contact_email="a@b.example"))
    assert (result.type, result.culprit, result.location) == ("feedback", "user", "https://shop.example/")
    assert result.title == "User Feedback: The button does nothing when it is pressed twice in..."
    assert result.metadata == {**sent, "value": sent["message"], "title": result.title, "contact_email": "a@b.example"}


@pytest.mark.parametrize(
    ("event", "title"),
    [
        (feedback(1, message="too slow"), "User Feedback: too slow"),
        (feedback(1, message="x" * 300), "User Feedback: " + "x" * 182 + "..."),
        ({"type": "feedback", "logentry": {"formatted": "an older form"}}, "User Feedback: an older form"),
        ({"type": "feedback"}, "User Feedback"),
    ],
)
def test_a_feedback_has_a_title_in_any_case(event, title):
    assert grouped(event).title == title
