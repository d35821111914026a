"""Browser security reports become events; what is none is counted."""

from typing import Any

import msgspec
import pytest

from collector.digest.about import Invalid
from collector.digest.security import event_of_report
from collector.model.received import Received

RECEIVED = Received(
    "security", 42, 1_800_000_000.0, remote_addr="192.0.2.7", user_agent="UA/1", origin="https://a.example"
)
PAGE = {"sentry_release": "app@1", "sentry_environment": "prod"}
REPORT = {
    "document-uri": "https://a.example/cart",
    "violated-directive": "script-src 'self'",
    "blocked-uri": "http://evil.example/a.js",
    "status-code": 200,
    "line-number": 7,
    "invented": "x",
}


def event(document: Any, headers: dict[str, Any] = PAGE) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(event_of_report(msgspec.json.encode(document), headers, RECEIVED))
    return made


def test_a_report_uri_report_has_everything_an_issue_needs() -> None:
    made = event({"csp-report": REPORT})
    assert made["logentry"]["formatted"] == "Blocked 'script-src' from 'evil.example'"
    assert made["culprit"] == "script-src 'self'"
    assert (made["type"], made["logger"]) == ("csp", "csp")
    assert (made["release"], made["environment"]) == ("app@1", "prod")
    assert made["csp"]["effective_directive"] == "script-src"
    assert made["csp"]["line_number"] == 7
    assert "invented" not in made["csp"]
    assert made["tags"]["blocked-host"] == "evil.example"
    assert made["user"] == {"ip_address": "192.0.2.7"}
    assert made["request"]["url"] == "https://a.example/cart"


def test_a_reporting_api_report_means_the_same() -> None:
    body = {"documentURL": "https://a.example/cart", "effectiveDirective": "script-src", "statusCode": 200,
            "violatedDirective": "script-src 'self'", "blockedURL": "http://evil.example/a.js",
            "lineNumber": 7}  # fmt: skip
    assert event({"type": "csp-violation", "body": body}) == event({"csp-report": REPORT})


@pytest.mark.parametrize(
    ("blocked", "message"),
    [
        ("inline", "Blocked unsafe (eval or inline) 'script-src'"),
        ("eval", "Blocked unsafe (eval or inline) 'script-src'"),
        ("data:text/plain,x", "Blocked 'script-src' from 'data:'"),
        ("https://a.example/x.js", "Blocked 'script-src' from 'self'"),
        ("http://[broken", "Blocked 'script-src' from 'a.example'"),
    ],
)
def test_the_message_names_what_was_blocked(blocked: str, message: str) -> None:
    assert event({"csp-report": {**REPORT, "blocked-uri": blocked}})["logentry"]["formatted"] == message


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"expect-ct-report":{}}', "security_report_type"),
        (b'{"type":"deprecation","body":{}}', "security_report_type"),
        (b'{"csp-report":"text"}', "security_report_type"),
        (b"[]", "security_report_type"),
        (b'{"csp-report":{"blocked-uri":"x"}}', "security_report"),
        (b"\xff", "security_report"),
        (b"{", "security_report"),
    ],
)
def test_other_reports_are_counted_by_what_is_wrong(payload: bytes, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        event_of_report(payload, {}, RECEIVED)
    assert caught.value.reason == reason


def test_wrong_types_inside_a_report_are_left_out() -> None:
    made = event(
        {"csp-report": {**REPORT, "status-code": {}, "referrer": 3, "sourceFile": None}}, {"sentry_release": 3}
    )
    assert "status_code" not in made["csp"]
    assert made["csp"]["referrer"] == "3"
