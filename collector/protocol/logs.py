"""Log records made of foreign reports (network errors, log drains, OTLP), in one container item.

A record: timestamp (seconds), trace_id (32 hex digits), level, body, attributes {name: {value, type}}. Source:
develop.sentry.dev "Logs"; Network Error Logging (W3C) and Vercel's log drain format for the two small doors.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.model.received import Received
from collector.protocol.limits import LimitSettings
from collector.protocol.security import split_reports

LOG_CONTAINER = "application/vnd.sentry.items.log+json"
LEVELS = {"trace", "debug", "info", "warn", "error", "fatal"}
_LEVEL_NAMES = {
    "warning": "warn",
    "err": "error",
    "critical": "fatal",
    "log": "info",
    "stdout": "info",
    "stderr": "error",
}
_NETWORK = {
    "type": "nel.type", "phase": "nel.phase", "elapsed_time": "nel.elapsed_time", "referrer": "nel.referrer",
    "sampling_fraction": "nel.sampling_fraction", "protocol": "network.protocol.name",
    "method": "http.request.method", "status_code": "http.response.status_code", "server_ip": "server.address",
}  # fmt: skip
_DRAIN = (
    "id",
    "deploymentId",
    "source",
    "host",
    "projectId",
    "path",
    "statusCode",
    "requestId",
    "environment",
    "branch",
)
MAX_LINES = 10_000


def container(records: list[dict[str, Any]]) -> Item:
    """The records as one item."""
    headers = {"type": "log", "item_count": len(records), "content_type": LOG_CONTAINER}
    return Item("log", headers, msgspec.json.encode({"items": records}))


def attribute(value: Any) -> dict[str, Any] | None:
    """{value, type}; None for what has no place in an attribute; lists and objects as JSON text."""
    if isinstance(value, bool):
        return {"value": value, "type": "boolean"}
    if isinstance(value, int):
        return {"value": value, "type": "integer"}
    if isinstance(value, float):
        return {"value": value, "type": "double"}
    if value is None:
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return {"value": text, "type": "string"}


def attributes(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Those with a value."""
    made = {name: attribute(value) for name, value in values.items()}
    return {name: value for name, value in made.items() if value is not None}


def level_of(name: object) -> str:
    """One of LEVELS; info for what nobody knows."""
    text = name.lower() if isinstance(name, str) else ""
    text = _LEVEL_NAMES.get(text, text)
    return text if text in LEVELS else "info"


def parse_network_errors(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """Network Error Logging: each report of type network-error is one log record. Raises ProtocolError 400."""
    reports = [msgspec.json.decode(report) for report in split_reports(body, limits)]
    records = [
        _network_error(report, received)
        for report in reports
        if isinstance(report, dict) and report.get("type") == "network-error" and isinstance(report.get("body"), dict)
    ]
    return Envelope({}, [container(records)] if records else [])


def _network_error(report: dict[str, Any], received: Received) -> dict[str, Any]:
    body, age = report["body"], report.get("age")
    seconds = age / 1000 if isinstance(age, int | float) and 0 <= age < 2**53 else 0.0
    kind = str(body.get("type", "unknown"))
    values = {ours: body.get(theirs) for theirs, ours in _NETWORK.items()}
    values |= {"url.full": report.get("url"), "user_agent.original": report.get("user_agent")}
    values |= {"sentry.origin": "auto.http.browser_report.nel"}
    return {
        "timestamp": received.received_at - seconds,
        "trace_id": made_trace_id(msgspec.json.encode(report), received),
        "level": "info" if kind == "ok" else "warn",
        "body": f"{kind} at {report.get('url', '')}"[:2048],
        "attributes": attributes(values),
    }


def parse_drain(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """Vercel's log drain: a JSON array or one object a line. Raises ProtocolError 400."""
    records = [_drained(line, received) for line in _lines(body) if isinstance(line, dict)]
    return Envelope({}, [container(records)] if records else [])


def _lines(body: bytes) -> list[Any]:
    try:
        if body.lstrip()[:1] == b"[":
            return list(msgspec.json.decode(body, type=list[Any]))
        return [msgspec.json.decode(line) for line in body.split(b"\n")[:MAX_LINES] if line.strip()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(400, f"invalid JSON data: {error}", "invalid_json") from None


def _drained(line: dict[str, Any], received: Received) -> dict[str, Any]:
    at, trace_id = line.get("timestamp"), line.get("traceId")
    known = isinstance(trace_id, str) and len(trace_id) == 32
    values = {f"vercel.{name}": line.get(name) for name in _DRAIN}
    return {
        "timestamp": at / 1000 if isinstance(at, int | float) and 0 < at < 2**53 else received.received_at,
        "trace_id": trace_id if known else made_trace_id(msgspec.json.encode(line), received),
        "level": level_of(line.get("level") or line.get("type")),
        "body": str(line.get("message", "")),
        "attributes": attributes({**values, "sentry.origin": "auto.log_drain.vercel"}),
    }


def made_trace_id(content: bytes, received: Received) -> str:
    """A trace id for a record without one; the same each time the spooled record is opened."""
    seed = f"{received.project_id}/{received.received_at}/".encode()
    return hashlib.blake2b(seed + content, digest_size=16).hexdigest()
