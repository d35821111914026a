"""Every reader of foreign bytes, fed with anything: the result is a noun or a ProtocolError, nothing else escapes."""

import contextlib
import gzip
import json
import zlib

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import ProtocolError
from collector.model.outcome import Outcome
from collector.model.received import Received
from collector.protocol.auth import read_auth
from collector.protocol.dsn import parse_dsn
from collector.protocol.encodings import DECODERS, canonical, decode, decode_inline
from collector.protocol.envelope import parse_envelope
from collector.protocol.limits import LimitSettings
from collector.protocol.ratelimits import RateLimit, limits_of_answer, read_limits, write_limits
from collector.protocol.records import BODY_FORMS, open_body
from collector.protocol.reports import read_report
from collector.protocol.store_body import peek_event_id

LIMITS = LimitSettings()
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

SNIPPETS = st.sampled_from(
    [b"{}", b"\n", b"\r\n", b" ", b'{"type":"event"}', b'{"type":"event","length":3}', b'{"length":-1,"type":"x"}',
     b'{"length":9223372036854775808,"type":"x"}', b'{"event_id":"5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"}',
     b'{"dsn":"http://c0ffee00c0ffee00c0ffee00c0ffee00@h/42"}', b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b'"\\ud800"',
     b"NaN", b"[" * 2000, b'{"a":' * 1500, b"9" * 5000, b'{"type":["x"]}',
     b'{"type":"attachment","attachment_type":[]}',
     b"--BB\r\n", b"--BB--", b"\r\n\r\n", b'Content-Disposition: form-data; name="a"; filename="b"', b"MDMP",
     b"1e999", b'{"sent_at":"2026-99-99T00:00:00Z"}', b'{"item_count":1e9}', b"abc", b'{"timestamp":1e400}']
)  # fmt: skip
NOISE = st.lists(st.one_of(SNIPPETS, st.binary(max_size=12)), max_size=12).map(b"".join)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def received(door: str, content_type: str, encoding: str = "") -> Received:
    return Received(door, 42, 1.79e9, content_type=content_type, encoding=encoding, slug="nightly", query="status=ok")


@FUZZ
@given(NOISE)
def test_an_envelope_of_anything_is_split_or_refused(body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        envelope = parse_envelope(body, LIMITS)
        assert all(bytes(item.payload) in body for item in envelope.items)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/reports+json", "multipart/form-data; boundary=BB", "application/x-protobuf", ""],
)
@pytest.mark.parametrize("door", sorted(BODY_FORMS))
@settings(FUZZ, max_examples=25)
@given(body=NOISE)
def test_a_body_of_anything_at_any_door_is_opened_or_refused(door: str, content_type: str, body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        open_body(received(door, content_type), body, LIMITS)


@pytest.mark.parametrize("door", ["store", "security", "nel", "cron", "otlp_logs", "otlp_traces", "vercel"])
@settings(FUZZ, max_examples=40)
@given(value=JSON_VALUES)
def test_any_json_at_a_json_door_is_opened_or_refused(door: str, value: object) -> None:
    with contextlib.suppress(ProtocolError):
        open_body(received(door, "application/json"), json.dumps(value).encode(), LIMITS)


OTLP_KEYS = ["resourceLogs", "scopeLogs", "logRecords", "resourceSpans", "scopeSpans", "spans", "attributes", "key",
             "value", "stringValue", "intValue", "arrayValue", "kvlistValue", "values", "body", "status", "links",
             "timeUnixNano", "traceId", "severityNumber", "resource", "scope", "name"]  # fmt: skip
OTLP_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1", "x", "-5", "9" * 30, "ab" * 16]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(OTLP_KEYS), inner, max_size=4),
    max_leaves=16,
)


@pytest.mark.parametrize("door", ["otlp_logs", "otlp_traces"])
@settings(FUZZ, max_examples=80)
@given(inner=OTLP_VALUES)
def test_otlp_of_a_twisted_shape_is_opened_or_refused(door: str, inner: object) -> None:
    record = {"resource": inner, "scopeLogs": [{"logRecords": [inner], "scope": inner}],
              "scopeSpans": [{"spans": [inner], "scope": inner}]}  # fmt: skip
    body = json.dumps({"resourceLogs": [record], "resourceSpans": [record]}).encode()
    with contextlib.suppress(ProtocolError):
        open_body(received(door, "application/json"), body, LIMITS)


NETWORK = st.fixed_dictionaries(
    {"type": st.just("network-error"), "age": JSON_VALUES, "url": JSON_VALUES, "user_agent": JSON_VALUES},
    optional={"body": st.dictionaries(st.sampled_from(["type", "status_code", "referrer", "phase"]), JSON_VALUES)},
)


@FUZZ
@given(st.lists(NETWORK, max_size=3))
def test_network_errors_of_a_twisted_shape_are_opened_or_refused(reports: list[object]) -> None:
    with contextlib.suppress(ProtocolError):
        open_body(received("nel", "application/reports+json"), json.dumps(reports).encode(), LIMITS)


@FUZZ
@given(st.binary(max_size=200), st.sampled_from(sorted(DECODERS)))
def test_a_stream_of_anything_is_decoded_or_refused(body: bytes, encoding: str) -> None:
    with contextlib.suppress(ProtocolError):
        decode(encoding, body, 10**6, 100)
    with contextlib.suppress(ProtocolError):
        decode_inline(encoding, body, 1000)


ENCODE = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}


@FUZZ
@given(st.binary(max_size=500), st.sampled_from(sorted(ENCODE)), st.data())
def test_a_stream_with_one_byte_changed_is_decoded_or_refused(raw: bytes, encoding: str, data: st.DataObject) -> None:
    stream = bytearray(ENCODE[encoding](raw))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ProtocolError):
        decode(encoding, bytes(stream), 10**6, 100)


@FUZZ
@given(st.binary(max_size=100))
def test_an_auth_header_of_anything_is_read_or_refused(value: bytes) -> None:
    for header in (value, b"Sentry " + value, b"Basic " + value, b"sentry sentry_key=" + value):
        with contextlib.suppress(ProtocolError):
            read_auth([header], [])
        with contextlib.suppress(ProtocolError):
            read_auth([], [header])
    with contextlib.suppress(ProtocolError):
        read_auth([], [], b"sentry_key=" + value)
    with contextlib.suppress(ProtocolError):
        canonical(value)


@FUZZ
@given(st.text(max_size=80) | st.from_regex(r"https?://[a-f0-9]{1,40}(:x)?@[a-z.:\[\]0-9]{1,30}/[a-z/0-9]{0,30}"))
def test_a_dsn_of_anything_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        dsn = parse_dsn(text)
        assert 0 <= dsn.project_id < 2**63
        assert 0 <= dsn.port <= 65535


@FUZZ
@given(st.text(max_size=120) | st.from_regex(r"([0-9.]{1,6}:[a-z;]{0,12}:[a-z]{0,12}(:[a-z]{0,5})?,? ?){0,4}"))
def test_a_rate_limit_header_of_anything_is_read_and_written_again(text: str) -> None:
    limits = read_limits(text)
    assert all(limit.seconds >= 0 for limit in limits)
    again = read_limits(write_limits(limits))
    assert [(limit.seconds, limit.scope) for limit in again] == [(limit.seconds, limit.scope) for limit in limits]
    assert all(isinstance(limit, RateLimit) for limit in limits_of_answer(429, None, text))


@FUZZ
@given(NOISE | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_a_client_report_of_anything_gives_outcomes_or_nothing(payload: bytes) -> None:
    assert all(isinstance(outcome, Outcome) for outcome in read_report(payload, 42, KEY, 1.79e9))
    assert peek_event_id(payload) is None or len(peek_event_id(payload) or "") == 32
