"""The envelope grammar: what is split how, and what is refused why."""

import pytest

from collector.errors import ProtocolError
from collector.protocol.envelope import event_id_of, first_line, parse_envelope
from collector.protocol.limits import LimitSettings
from tests.protocol.bodies import EVENT_ID

LIMITS = LimitSettings()
HEAD = b'{"event_id":"%s"}\n' % EVENT_ID.encode()

SPLIT = {
    "header only": (b"{}", []),
    "header and newline": (b"{}\n", []),
    "implicit length": (HEAD + b'{"type":"event"}\n{"a":1}\n', [("event", b'{"a":1}')]),
    "no final newline": (HEAD + b'{"type":"event"}\n{"a":1}', [("event", b'{"a":1}')]),
    "length counts bytes": (HEAD + '{"type":"a","length":6}\nééé\n'.encode(), [("a", "ééé".encode())]),
    "payload with newlines": (HEAD + b'{"type":"a","length":3}\n\n\n\n\n', [("a", b"\n\n\n")]),
    "CR stays in an implicit payload": (HEAD + b'{"type":"a"}\nx\r\n', [("a", b"x\r")]),
    "empty at the end": (HEAD + b'{"type":"a"}', [("a", b"")]),
    "empty, length 0, between": (HEAD + b'{"type":"a","length":0}\n\n{"type":"b"}\ny', [("a", b""), ("b", b"y")]),
    "blank lines before an item": (HEAD + b'\n \t\n{"type":"a"}\nx\n', [("a", b"x")]),
    "printed over lines": (b'{\n "sdk":\n{}\n}\n{"type":\n"a"}\nx\n', [("a", b"x")]),
    "CR LF everywhere": (b'{}\r\n{"type":"a","length":1}\r\nx\r\n', [("a", b"x")]),
    "blank lines at the end": (HEAD + b'{"type":"a"}\nx\n\n\n', [("a", b"x")]),
}


@pytest.mark.parametrize("name", SPLIT)
def test_an_envelope_is_split_into_its_items(name: str) -> None:
    body, items = SPLIT[name]
    assert [(item.type, bytes(item.payload)) for item in parse_envelope(body, LIMITS).items] == items


REFUSED = {
    "not JSON": (b'hello\n{"type":"a"}\nx', "invalid envelope header"),
    "not an object": (b"[]\n", "invalid envelope header"),
    "BOM": (b"\xef\xbb\xbf{}\n", "invalid envelope header"),
    "invalid UTF-8": (b'{"event_id":"\xff\xfe"}\n{}\n', "invalid envelope header"),
    "NaN in a header": (b'{"a":NaN}\n', "invalid envelope header"),
    "lone surrogate in a header": (b'{"a":"\\ud800"}\n', "invalid envelope header"),
    "deep header": (b'{"a":' + b"[" * 30_000 + b"\n", "invalid envelope header"),
    "integer of 5000 digits": (b'{"a":' + b"9" * 5000 + b"}\n", "invalid envelope header"),
    "header line of 1 MB": (b'{"a":"' + b"x" * 10**6 + b'"}\n', "max_header_bytes is 64 KiB"),
    "bad event id": (b'{"event_id":"nope"}\n', "event_id is not a UUID"),
    "event id in braces": (b'{"event_id":"{%s}"}\n' % EVENT_ID.encode(), "event_id is not a UUID"),
    "event id as a path": (b'{"event_id":"../../etc/passwd"}\n', "event_id is not a UUID"),
    "bad sent_at": (b'{"sent_at":"yesterday"}\n', "sent_at is not an RFC 3339 time"),
    "sent_at on the 99th": (b'{"sent_at":"2026-01-99T00:00:00Z"}\n', "sent_at is not an RFC 3339 time"),
    "bad dsn": (b'{"dsn":"http://nope"}\n', "dsn is not a DSN"),
    "blank after the header": (b'{} \n{"type":"a"}\nx', "missing newline after header or payload"),
    "two headers on a line": (b'{}{"type":"a"}\nx', "missing newline after header or payload"),
    "no type": (b'{}\n{"length":1}\nx', "invalid item header"),
    "type is a number": (b'{}\n{"type":1}\nx', "invalid item header"),
    "length -1": (b'{}\n{"type":"a","length":-1}\nx', "invalid item header"),
    "length null": (b'{}\n{"type":"a","length":null}\nx', "invalid item header"),
    "length true": (b'{}\n{"type":"a","length":true}\nx', "invalid item header"),
    "length 1.0": (b'{}\n{"type":"a","length":1.0}\nx', "invalid item header"),
    "length as text": (b'{}\n{"type":"a","length":"1"}\nx', "invalid item header"),
    "length too long": (b'{}\n{"type":"a","length":2}\nx', "unexpected end of file"),
    "length 2^63": (b'{}\n{"type":"a","length":9223372036854775808}\nx', "unexpected end of file"),
    "length 2^64 - 1": (b'{}\n{"type":"a","length":18446744073709551615}\nx', "unexpected end of file"),
    "length too short": (b'{}\n{"type":"a","length":1}\nxy\n', "missing newline after header or payload"),
    "100,000 items": (b"{}\n" + b'{"type":"a","length":0}\n\n' * 100_000, "too many individual items"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_envelope_is_400_and_the_cause_tells_why(name: str) -> None:
    body, cause = REFUSED[name]
    with pytest.raises(ProtocolError) as caught:
        parse_envelope(body, LIMITS)
    assert (caught.value.status, caught.value.detail) == (400, "invalid event envelope")
    assert cause in caught.value.causes[0]


def test_an_empty_body_is_400() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_envelope(b"", LIMITS)
    assert caught.value.detail == "empty request body"


def test_500_items_are_taken_and_501_are_not() -> None:
    item = b'{"type":"a","length":0}\n\n'
    assert len(parse_envelope(b"{}\n" + item * 500, LIMITS).items) == 500
    with pytest.raises(ProtocolError):
        parse_envelope(b"{}\n" + item * 501, LIMITS)


def test_unknown_header_keys_are_kept_and_null_times_and_ids_are_none() -> None:
    body = b'{"foo":[1],"sent_at":null,"event_id":null,"trace":"broken"}\n{"type":"event","bar":{"a":1}}\n{}\n'
    envelope = parse_envelope(body, LIMITS)
    assert envelope.headers["foo"] == [1]
    assert envelope.items[0].headers == {"type": "event", "bar": {"a": 1}}


def test_an_event_id_with_dashes_and_capitals_is_written_in_one_form() -> None:
    assert event_id_of("5F3C9A1E-0B7D-4C2E-8A6F-1D2C3B4A5960") == EVENT_ID
    assert event_id_of(EVENT_ID + "0") is None
    assert event_id_of(5) is None


def test_the_first_line_is_read_for_auth_only_when_it_is_an_object() -> None:
    assert first_line(b'{"dsn":"x"}\n{"type":"a"}', LIMITS) == {"dsn": "x"}
    assert first_line(b'{\n"dsn":"x"}\n', LIMITS) == {}
    assert first_line(b"[1]\n", LIMITS) == {}


@pytest.mark.parametrize("value", ["0" * 31, "0" * 33, "g" * 32, "0" * 15 + "-" + "0" * 16, " " + "0" * 31, None, 5])
def test_what_is_no_id_is_none(value: object) -> None:
    assert event_id_of(value) is None


def test_an_id_is_lower_case_without_dashes() -> None:
    dashed = "5F3C9A1E-0b7d-4c2e-8a6f-1d2c3b4a5960"
    assert event_id_of(dashed) == event_id_of(dashed.replace("-", "").lower()) == "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"
