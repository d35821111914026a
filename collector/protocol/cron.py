"""The cron door: a check-in told by the path and the query, or by a small JSON body. Source: Sentry's docs, "HTTP"."""

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.model.received import Received
from collector.protocol.limits import LimitSettings

CLIENT = "relay-http"  # what Sentry records for check-ins without an SDK
NIL_ID = "0" * 32
FIELDS = ("status", "check_in_id", "environment")


def parse_cron(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """One check_in item. Raises ProtocolError 400."""
    report: dict[str, Any] = {"check_in_id": NIL_ID, "monitor_slug": received.slug}
    if body.strip():
        report |= _object(body)
        report["monitor_slug"] = received.slug
    else:
        query = dict(parse_qsl(received.query, max_num_fields=100))
        report |= {name: query[name] for name in FIELDS if name in query}
        if "duration" in query:
            report["duration"] = _seconds(query["duration"])
    if not isinstance(report.get("status"), str):
        raise ProtocolError(400, "missing query parameters", "invalid_check_in", ["status is missing or not a text"])
    return Envelope({}, [Item("check_in", {"type": "check_in"}, msgspec.json.encode(report))])


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(400, f"invalid JSON data: {error}", "invalid_json") from None
    if not isinstance(value, dict):
        raise ProtocolError(400, "invalid JSON data: it is not an object", "invalid_json")
    return value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 2**53:
        raise ProtocolError(400, "bad duration", "invalid_check_in", ["duration should be a number of seconds"])
    return seconds
