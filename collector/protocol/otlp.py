"""OTLP over HTTP: logs and traces, JSON or protobuf, as our log and span containers.

Source: opentelemetry-proto 1.x (logs/v1, trace/v1) and its JSON mapping: ids as hex digits, 64-bit numbers as texts,
enums as numbers. Field names of a span container: develop.sentry.dev "Span v2".
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.model.received import Received
from collector.protocol.limits import LimitSettings
from collector.protocol.logs import attribute, attributes, container, made_trace_id
from collector.protocol.security import media_type
from collector.protocol.wire import Broken, Table, read_message, write_status

JSON_TYPE, PROTOBUF_TYPE = "application/json", "application/x-protobuf"
SPAN_CONTAINER = "application/vnd.sentry.items.span.v2+json"

_VALUE: dict[int, tuple[str, Any]] = {
    1: ("stringValue", "text"), 2: ("boolValue", "bool"), 3: ("intValue", "int"), 4: ("doubleValue", "double"),
    7: ("bytesValue", "bytes"),
}  # fmt: skip
_PAIR: Table = {1: ("key", "text"), 2: ("value", _VALUE)}
_VALUE[5] = ("arrayValue", {1: ("values", [_VALUE])})
_VALUE[6] = ("kvlistValue", {1: ("values", [_PAIR])})
_RESOURCE: Table = {1: ("attributes", [_PAIR])}
_SCOPE: Table = {1: ("name", "text"), 2: ("version", "text"), 3: ("attributes", [_PAIR])}
_LOG: Table = {
    1: ("timeUnixNano", "fixed64"), 2: ("severityNumber", "uint"), 3: ("severityText", "text"), 5: ("body", _VALUE),
    6: ("attributes", [_PAIR]), 9: ("traceId", "hex"), 10: ("spanId", "hex"), 11: ("observedTimeUnixNano", "fixed64"),
}  # fmt: skip
_LINK: Table = {1: ("traceId", "hex"), 2: ("spanId", "hex"), 4: ("attributes", [_PAIR])}
_SPAN: Table = {
    1: ("traceId", "hex"), 2: ("spanId", "hex"), 4: ("parentSpanId", "hex"), 5: ("name", "text"), 6: ("kind", "uint"),
    7: ("startTimeUnixNano", "fixed64"), 8: ("endTimeUnixNano", "fixed64"), 9: ("attributes", [_PAIR]),
    13: ("links", [_LINK]), 15: ("status", {2: ("message", "text"), 3: ("code", "uint")}),
}  # fmt: skip
_SCOPE_LOGS: Table = {1: ("scope", _SCOPE), 2: ("logRecords", [_LOG])}
_LOGS: Table = {1: ("resourceLogs", [{1: ("resource", _RESOURCE), 2: ("scopeLogs", [_SCOPE_LOGS])}])}
_SCOPE_SPANS: Table = {1: ("scope", _SCOPE), 2: ("spans", [_SPAN])}
_TRACES: Table = {1: ("resourceSpans", [{1: ("resource", _RESOURCE), 2: ("scopeSpans", [_SCOPE_SPANS])}])}
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_GRPC = {400: 3, 415: 3, 401: 16, 403: 7, 404: 5, 413: 8, 429: 8, 501: 12, 502: 14, 503: 14, 504: 4}
MAX_VALUE_NESTING = 32

Record = Callable[[dict[str, Any], dict[str, Any], Received], dict[str, Any]]


def parse_logs(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """One log container, none for an empty request. Raises ProtocolError 400 or 415."""
    records = _records(received, body, _LOGS, ("resourceLogs", "scopeLogs", "logRecords"), _log_record)
    return Envelope({}, [container(records)] if records else [])


def parse_traces(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """One span container, none for an empty request. Raises ProtocolError 400 or 415."""
    spans = _records(received, body, _TRACES, ("resourceSpans", "scopeSpans", "spans"), _span)
    headers = {"type": "span", "item_count": len(spans), "content_type": SPAN_CONTAINER}
    payload = msgspec.json.encode({"items": spans})
    return Envelope({}, [Item("span", headers, payload)] if spans else [])


def error_answer(status: int, detail: str, content_type: str) -> tuple[bytes, str]:
    """google.rpc.Status in the request's own format, and its content type; JSON for a format nobody knows."""
    code = _GRPC.get(status, 13 if status >= 500 else 2)
    if media_type(content_type) == PROTOBUF_TYPE:
        return write_status(code, detail), PROTOBUF_TYPE
    return msgspec.json.encode({"code": code, "message": detail}), JSON_TYPE


def success_answer(content_type: str) -> tuple[bytes, str]:
    """An empty response message in the request's own format."""
    return (b"", PROTOBUF_TYPE) if media_type(content_type) == PROTOBUF_TYPE else (b"{}", JSON_TYPE)


def _records(
    received: Received, body: bytes, table: Table, path: tuple[str, str, str], make: Record
) -> list[dict[str, Any]]:
    document = _document(received.content_type, body, table)
    made: list[dict[str, Any]] = []
    for resource in _list(document.get(path[0])):
        about = _prefixed(resource.get("resource"), "resource.")
        for scope in _list(resource.get(path[1])):
            made.extend(
                make(record, about | _scope(scope.get("scope")), received) for record in _list(scope.get(path[2]))
            )
    return made


def _document(content_type: str, body: bytes, table: Table) -> dict[str, Any]:
    kind = media_type(content_type)
    if kind == PROTOBUF_TYPE:
        try:
            return read_message(memoryview(body), table)
        except Broken as error:
            raise ProtocolError(400, "invalid protobuf", "invalid_proto", [str(error)]) from None
    if kind != JSON_TYPE:
        shown = f"{JSON_TYPE} or {PROTOBUF_TYPE}"
        raise ProtocolError(415, "unsupported content type", "content_type", [f"{shown} is understood"])
    try:
        document = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(400, f"invalid JSON data: {error}", "invalid_json") from None
    if not isinstance(document, dict):
        raise ProtocolError(400, "invalid JSON data: it is not an object", "invalid_json")
    return document


def _list(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _log_record(record: dict[str, Any], about: dict[str, Any], received: Received) -> dict[str, Any]:
    at = _seconds(record.get("timeUnixNano")) or _seconds(record.get("observedTimeUnixNano")) or received.received_at
    number = record.get("severityNumber")
    number = number if type(number) is int and 1 <= number <= 24 else 0
    values = _values(record.get("attributes")) | about | {"sentry.origin": "auto.otlp.logs"}
    if record.get("severityText"):
        values["sentry.severity_text"] = record["severityText"]
    body = _plain(record.get("body"))
    made = {
        "timestamp": at,
        "trace_id": _id(record.get("traceId"), 32) or made_trace_id(msgspec.json.encode(record), received),
        "level": ("trace", "debug", "info", "warn", "error", "fatal")[(number - 1) // 4] if number else "info",
        "body": body if isinstance(body, str) else msgspec.json.encode(body).decode() if body is not None else "",
        "attributes": attributes(values),
    }
    span_id = _id(record.get("spanId"), 16)
    return made | ({"span_id": span_id} if span_id else {}) | ({"severity_number": number} if number else {})


def _span(span: dict[str, Any], about: dict[str, Any], received: Received) -> dict[str, Any]:
    status = span.get("status") if isinstance(span.get("status"), dict) else {}
    kind = span.get("kind")
    values = _values(span.get("attributes")) | about | {"sentry.origin": "auto.otlp.spans"}
    if type(kind) is int and 0 < kind < len(_KINDS):
        values["sentry.kind"] = _KINDS[kind]
    if status and status.get("message"):
        values["sentry.status.message"] = status["message"]
    parent = _id(span.get("parentSpanId"), 16)
    start = _seconds(span.get("startTimeUnixNano")) or received.received_at
    made = {
        "trace_id": _id(span.get("traceId"), 32),
        "span_id": _id(span.get("spanId"), 16),
        "name": str(span.get("name", "")),
        "status": "error" if status and status.get("code") == 2 else "ok",
        "is_segment": parent is None,
        "start_timestamp": start,
        "end_timestamp": _seconds(span.get("endTimeUnixNano")) or start,
        "attributes": attributes(values),
    }
    links = [
        {"trace_id": _id(link.get("traceId"), 32), "span_id": _id(link.get("spanId"), 16),
         "attributes": {name: attribute(value) for name, value in _values(link.get("attributes")).items()}}
        for link in _list(span.get("links"))
    ]  # fmt: skip
    return made | ({"parent_span_id": parent} if parent else {}) | ({"links": links} if links else {})


def _seconds(nanoseconds: Any) -> float:
    """A time in seconds; JSON writes 64-bit numbers as texts. 0.0 for none."""
    text = nanoseconds if isinstance(nanoseconds, str) else ""
    if text.isascii() and text.isdigit() and len(text) <= 20:
        nanoseconds = int(text)
    if type(nanoseconds) is int and 0 <= nanoseconds < 2**64:
        return nanoseconds / 1e9
    return 0.0


def _id(value: Any, digits: int) -> str | None:
    """An id of that many hex digits in lower case; None for none, a wrong one or zeros."""
    text = value.lower() if isinstance(value, str) else ""
    good = len(text) == digits and not text.strip("0123456789abcdef") and text.strip("0")
    return text if good else None


def _scope(scope: Any) -> dict[str, Any]:
    if not isinstance(scope, dict):
        return {}
    names = {"instrumentation.name": scope.get("name"), "instrumentation.version": scope.get("version")}
    return {name: value for name, value in names.items() if value} | _prefixed(scope, "instrumentation.")


def _prefixed(owner: Any, prefix: str) -> dict[str, Any]:
    values = _values(owner.get("attributes")) if isinstance(owner, dict) else {}
    return {prefix + name: value for name, value in values.items()}


def _values(pairs: Any) -> dict[str, Any]:
    return {pair["key"]: _plain(pair.get("value")) for pair in _list(pairs) if isinstance(pair.get("key"), str)}


def _plain(value: Any, depth: int = 0) -> Any:
    """An AnyValue as plain JSON."""
    if not isinstance(value, dict) or depth > MAX_VALUE_NESTING:
        return None
    for name, inner in value.items():
        if name == "intValue":
            return _whole(inner)
        if name == "arrayValue":
            return [
                _plain(entry, depth + 1) for entry in _list(inner.get("values") if isinstance(inner, dict) else None)
            ]
        if name == "kvlistValue":
            pairs = _list(inner.get("values") if isinstance(inner, dict) else None)
            return {str(pair.get("key")): _plain(pair.get("value"), depth + 1) for pair in pairs}
        if name in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
            return None if isinstance(inner, float) and not math.isfinite(inner) else inner
    return None


def _whole(value: Any) -> Any:
    text = value if isinstance(value, str) else ""
    return int(text) if text.removeprefix("-").isdigit() and text.isascii() and len(text) <= 20 else value
