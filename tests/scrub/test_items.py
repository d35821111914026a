"""Logs, spans, sessions, plain text and attachments."""

import json
from typing import Any

import pytest

from collector.errors import ProtocolError
from collector.scrub.scrubber import Scrubber
from collector.scrub.settings import ScrubSettings

DEFAULT = Scrubber(ScrubSettings())


def scrubbed(item: Any, kind: str, scrubber: Scrubber = DEFAULT) -> Any:
    return json.loads(scrubber.text(json.dumps(item).encode(), kind))


def test_log_bodies_keep_their_words_and_attributes_are_scrubbed() -> None:
    log = {
        "body": "password of bob@example.com",
        "trace_id": "password",
        "attributes": {
            "password": {"type": "string", "value": "x"},
            "note": {"type": "string", "value": "my secret"},
            "plain": {"type": "string", "value": "abc"},
            "http.request.header.cookie.session": {"type": "string", "value": "x"},
        },
    }
    after = scrubbed({"items": [log]}, "log")["items"][0]
    assert after["body"] == "password of [email]"
    assert after["trace_id"] == "password"
    values = {key: attribute["value"] for key, attribute in after["attributes"].items()}
    assert values == {
        "password": "[Filtered]",
        "note": "[Filtered]",
        "plain": "abc",
        "http.request.header.cookie.session": "[Filtered]",
    }


def test_selectors_reach_into_attributes() -> None:
    rules = Scrubber(ScrubSettings(scrub_data=False, applications={"$log.attributes.mail.value": ["@email"]}))
    log = {"body": "b", "attributes": {"mail": {"type": "string", "value": "bob@x.de"}}}
    assert scrubbed(log, "log", rules)["attributes"]["mail"]["value"] == "[email]"


def test_spans_are_scrubbed_with_remarks() -> None:
    after = scrubbed({"description": "SELECT secret", "data": {"token": "x"}}, "span")
    assert after["description"] == "SELECT secret"
    assert after["data"]["token"] == "[Filtered]"
    assert after["_meta"]["data"]["token"][""]["len"] == 1


def test_addresses_leave_sessions_when_asked() -> None:
    with_ips = Scrubber(ScrubSettings(scrub_ip_addresses=True))
    session = {"sid": "1.2.3.4", "attrs": {"ip_address": "1.2.3.4", "release": "1.0"}}
    assert scrubbed(session, "session") == session
    assert scrubbed(session, "session", with_ips)["attrs"] == {"ip_address": None, "release": "1.0"}


def test_reports_of_users_keep_their_words() -> None:
    report = {"event_id": "x", "name": "Bob", "email": "bob@x.de", "comments": "forgot password, bob@x.de"}
    assert scrubbed(report, "user_report") == {**report, "comments": "forgot password, [email]"}


def test_check_ins_and_client_reports_hold_names_and_figures_only() -> None:
    check_in = {"check_in_id": "a" * 32, "monitor_slug": "refresh-auth-token", "status": "ok"}
    assert scrubbed(check_in, "check_in") == check_in
    report = {"discarded_events": [{"reason": "auth", "category": "error", "quantity": 2}]}
    assert scrubbed(report, "client_report") == report


def test_unknown_json_items_are_scrubbed_everywhere() -> None:
    assert scrubbed([{"a": {"password": "x"}}], "something_new") == [{"a": {"password": "[Filtered]"}}]


def test_plain_text_loses_lines_with_secrets_and_keys_of_several_lines() -> None:
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n\xff end"
    text = b"one\nmy password is x\ncard 4111111111111111 ok\n" + begin + b"ab\ncd" + end
    expected = b"one\n[Filtered]\ncard [Filtered] ok\n" + begin + b"[Filtered]" + end
    assert DEFAULT.text(text, "text") == expected


def test_items_that_are_not_json_are_refused() -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        DEFAULT.text(b"{", "log")
    with pytest.raises(ProtocolError, match="not JSON"):
        DEFAULT.event(b'{"password": "x"')


def test_attachments_are_left_alone_unless_asked() -> None:
    data = b"my password\ncard 4111111111111111"
    assert DEFAULT.attachment(data, "log.txt") == data
    asked = Scrubber(ScrubSettings(attachments=True))
    assert asked.attachment(data, "log.txt") == b"[Filtered]\ncard [Filtered]"
    assert asked.attachment(b"\x00my password", "dump.bin") == b"\x00my password"


def test_rules_that_name_an_attachment_keep_its_length() -> None:
    applications = {"$attachments.'a.log'": ["@email", "@ip:remove"]}
    rules = Scrubber(ScrubSettings(scrub_data=False, applications=applications))
    wide, fresh = "wide: eve@x.de".encode("utf-16-le"), "wide: [email]*".encode("utf-16-le")
    data = b"bob@example.com 1.2.3.4 " + wide
    assert rules.attachment(data, "a.log") == b"[email]******** ******* " + fresh
    assert rules.attachment(data, "b.log") == data


def test_values_too_deep_to_look_into_are_removed() -> None:
    value: Any = "password"
    for _ in range(300):
        value = {"a": value}
    after = json.dumps(scrubbed({"extra": value}, "event"))
    assert "password" not in after.replace("@password", "")
    assert "!limit" in after
