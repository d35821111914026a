"""Bodies of the doors beside envelope and store, each opened as the front and the worker do."""

import struct
from typing import Any

import msgspec
import pytest

from collector.errors import ProtocolError
from collector.model.envelope import Envelope
from collector.model.received import Received
from collector.protocol.limits import LimitSettings
from collector.protocol.otlp import error_answer, success_answer
from collector.protocol.records import open_body
from collector.protocol.wire import Broken, read_message, write_status

LIMITS = LimitSettings()
PROTOBUF = "application/x-protobuf"
EVENT_ID = "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CSP = b'{"csp-report":{"document-uri":"https://a.example/"}}'


def opened(door: str, body: bytes, **fields: Any) -> Envelope:
    return open_body(Received(door, 42, 1_800_000_000.0, **fields), body, LIMITS)


def refusal(door: str, body: bytes, **fields: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        opened(door, body, **fields)
    return caught.value


def items_of(envelope: Envelope) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = msgspec.json.decode(envelope.items[0].payload)["items"]
    return items


@pytest.mark.parametrize(
    "kind", ["application/json", "application/csp-report; charset=utf-8", "application/reports+json"]
)
def test_a_security_report_is_one_item_that_knows_the_page(kind: str) -> None:
    envelope = opened(
        "security", CSP, content_type=kind, query="sentry_key=k&sentry_release=app%401&sentry_environment=p"
    )
    (item,) = envelope.items
    assert item.headers == {"type": "raw_security", "sentry_release": "app@1", "sentry_environment": "p"}
    assert bytes(item.payload) == CSP


def test_each_report_of_an_array_is_an_item() -> None:
    envelope = opened("security", b'[{"type":"a"}, {"type":"b"}]', content_type="application/reports+json")
    assert [bytes(item.payload) for item in envelope.items] == [b'{"type":"a"}', b'{"type":"b"}']


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (CSP, "application/expect-ct-report", 415),
        (CSP, "", 415),
        (b"{", "application/json", 400),
        (b'"\xff"', "application/json", 400),
        (b"[" + b"{}," * 200 + b"{}]", "application/json", 413),
    ],
)
def test_what_is_no_security_report_is_refused(body: bytes, kind: str, status: int) -> None:
    assert refusal("security", body, content_type=kind).status == status


def test_a_check_in_is_told_by_the_query() -> None:
    envelope = opened("cron", b"", slug="nightly", query="sentry_key=k&status=ok&duration=1.5&environment=prod")
    assert msgspec.json.decode(envelope.items[0].payload) == {
        "check_in_id": "0" * 32,
        "monitor_slug": "nightly",
        "status": "ok",
        "duration": 1.5,
        "environment": "prod",
    }


def test_a_check_in_is_told_by_a_body_and_its_slug_by_the_path() -> None:
    body = b'{"status":"in_progress","monitor_slug":"other","monitor_config":{"timezone":"UTC"}}'
    report = msgspec.json.decode(opened("cron", body, slug="nightly").items[0].payload)
    assert (report["monitor_slug"], report["status"]) == ("nightly", "in_progress")
    assert report["monitor_config"] == {"timezone": "UTC"}


@pytest.mark.parametrize(("body", "query"), [(b"", ""), (b"[]", ""), (b"{", ""), (b"", "status=ok&duration=long")])
def test_a_check_in_without_sense_is_refused(body: bytes, query: str) -> None:
    assert refusal("cron", body, slug="nightly", query=query).status == 400


def form(*parts: tuple[str, bytes], boundary: bytes = b"B-1") -> bytes:
    pieces = [b"--" + boundary + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(pieces) + b"--" + boundary + b"--\r\n"


FILE = 'Content-Disposition: form-data; name="a"; filename="a \\"x\\".bin"\r\nContent-Type: text/plain'
DUMP = 'Content-Disposition: form-data; name="upload_file_minidump"; filename="m.dmp"'
FIELD = 'Content-Disposition: form-data; name="sentry[event_id]"'
FORM = {"content_type": 'multipart/form-data; boundary="B-1"'}


def test_files_of_a_form_become_attachments_byte_for_byte() -> None:
    envelope = opened("attachments", form((FILE, b"\r\n--B\r\n\0"), (FIELD, b"x")), event_id=EVENT_ID, **FORM)
    (item,) = envelope.items
    assert bytes(item.payload) == b"\r\n--B\r\n\0"
    assert item.headers["filename"] == 'a "x".bin'
    assert item.headers["content_type"] == "text/plain"
    assert envelope.headers["event_id"] == EVENT_ID


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B-1",
        b"--B-1\r\n",
        form((FILE, b"x"))[:-8],
        form((FIELD, b"x")),
        b"nothing",
        form((FILE, b"x"), boundary=b"C"),
    ],
)
def test_a_broken_form_is_refused(body: bytes) -> None:
    assert refusal("attachments", body, **FORM).status == 400


def test_a_minidump_keeps_its_fields_and_takes_the_id_of_the_form() -> None:
    field = 'Content-Disposition: form-data; name="note"'
    body = form((FILE, b"log"), (DUMP, b"MDMP\0\1"), (FIELD, EVENT_ID.encode()), (field, b"hello"))
    envelope = opened("minidump", body, **FORM)
    assert [item.headers.get("attachment_type", item.type) for item in envelope.items] == [
        "event.minidump",
        "event.attachment",
        "form_data",
    ]
    assert envelope.headers["event_id"] == EVENT_ID
    assert msgspec.json.decode(envelope.items[2].payload) == [["note", "hello"]]


def test_a_raw_minidump_needs_its_magic() -> None:
    assert bytes(opened("minidump", b"MDMP1").items[0].payload) == b"MDMP1"
    assert refusal("minidump", b"GARBAGE").reason == "invalid_minidump"
    assert refusal("minidump", form((FILE, b"x")), **FORM).reason == "missing_minidump_upload"


def test_a_network_error_becomes_a_log_record_of_its_own_time() -> None:
    report = {
        "type": "network-error",
        "age": 60_000,
        "url": "https://a.example/",
        "body": {"type": "dns.failed", "status_code": 0},
    }
    other = {"type": "deprecation", "body": {}}
    (log,) = items_of(opened("nel", msgspec.json.encode([report, other])))
    assert log["timestamp"] == 1_800_000_000.0 - 60
    assert log["level"] == "warn"
    assert log["attributes"]["nel.type"] == {"value": "dns.failed", "type": "string"}
    assert log["attributes"]["http.response.status_code"] == {"value": 0, "type": "integer"}
    assert len(log["trace_id"]) == 32


@pytest.mark.parametrize("body", [b'[{"message":"one","timestamp":1000}]', b'{"message":"one","timestamp":1000}\n\n'])
def test_a_log_drain_is_an_array_or_lines(body: bytes) -> None:
    (log,) = items_of(opened("vercel", body))
    assert (log["body"], log["timestamp"]) == ("one", 1.0)


def field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2, len(payload)]) + payload


def fixed64(number: int, value: int) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<Q", value)


ATTRIBUTE = field(1, b"n") + field(2, b"\x18\x85\x01")  # intValue 133
BINARY_LOG = (
    fixed64(1, 1_700_000_000_500_000_000) + b"\x10\x11" + field(5, field(1, b"hello")) + field(6, ATTRIBUTE)
    + field(9, bytes.fromhex(TRACE_ID)) + field(200 % 16, b"unknown")
)  # fmt: skip
JSON_LOG = {
    "timeUnixNano": "1700000000500000000", "severityNumber": 17, "body": {"stringValue": "hello"},
    "attributes": [{"key": "n", "value": {"intValue": "133"}}], "traceId": TRACE_ID,
}  # fmt: skip


def test_otlp_logs_read_the_same_from_both_formats() -> None:
    binary = field(1, field(2, field(2, BINARY_LOG)))
    text = msgspec.json.encode({"resourceLogs": [{"scopeLogs": [{"logRecords": [JSON_LOG]}]}]})
    (one,) = items_of(opened("otlp_logs", binary, content_type=PROTOBUF))
    (two,) = items_of(opened("otlp_logs", text, content_type="application/json"))
    assert one == two
    assert (one["timestamp"], one["level"], one["body"], one["trace_id"]) == (
        1_700_000_000.5,
        "error",
        "hello",
        TRACE_ID,
    )
    assert one["attributes"]["n"] == {"value": 133, "type": "integer"}


def test_otlp_spans_know_their_parent_status_and_resource() -> None:
    span = {
        "traceId": TRACE_ID, "spanId": "b7ad6b7169203331", "parentSpanId": "00f067aa0ba902b7", "name": "GET /",
        "kind": 2, "startTimeUnixNano": "1000000000", "endTimeUnixNano": "2000000000", "status": {"code": 2},
    }  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    body = msgspec.json.encode({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]})
    (made,) = items_of(opened("otlp_traces", body, content_type="application/json"))
    assert made["parent_span_id"] == "00f067aa0ba902b7"
    assert (made["is_segment"], made["status"]) == (False, "error")
    assert (made["start_timestamp"], made["end_timestamp"]) == (1.0, 2.0)
    assert made["attributes"]["resource.service.name"]["value"] == "shop"
    assert made["attributes"]["sentry.kind"]["value"] == "server"


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_an_empty_otlp_request_holds_nothing(body: bytes) -> None:
    assert opened("otlp_logs", body, content_type="application/json").items == []


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05abc", b"\xff" * 20, b"\x0b\x00", b"\x08\x01"])
def test_broken_protobuf_is_refused(body: bytes) -> None:
    assert refusal("otlp_traces", body, content_type=PROTOBUF).reason == "invalid_proto"


def test_protobuf_nested_without_end_is_refused() -> None:
    table: dict[int, tuple[str, Any]] = {}
    table[1] = ("inner", table)
    body = b""
    for _ in range(70):
        body = b"\x0a" + bytes([len(body)]) + body if len(body) < 128 else body
    with pytest.raises(Broken):
        read_message(memoryview(b"\x0a\x7e" + body[:126]), table)


def test_an_otlp_refusal_has_the_format_of_the_request() -> None:
    assert error_answer(401, "no", PROTOBUF) == (write_status(16, "no"), PROTOBUF)
    assert error_answer(413, "no", "application/json") == (b'{"code":8,"message":"no"}', "application/json")
    assert error_answer(415, "no", "text/plain")[1] == "application/json"
    assert success_answer(PROTOBUF) == (b"", PROTOBUF)


@pytest.mark.parametrize(
    "door", ["security", "nel", "cron", "vercel", "otlp_logs", "otlp_traces", "attachments", "minidump"]
)
@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"null", b'{"a":"\\ud800"}', b"\0" * 64])
def test_hostile_bytes_end_in_a_refusal_or_nothing_but_never_elsewhere(door: str, body: bytes) -> None:
    kinds = {"attachments": "multipart/form-data; boundary=x", "minidump": "multipart/form-data; boundary=x"}
    received = Received(door, 42, 1.0, content_type=kinds.get(door, "application/json"), slug="s")
    try:
        found: object = open_body(received, body, LIMITS).items
    except ProtocolError as error:
        found = error.status
    assert found in ([], 400, 413) or isinstance(found, list)
