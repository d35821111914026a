"""Browser security reports: the body of the security door, one report or an array of them, as raw_security items.

Source: CSP Level 3 (`report-uri`: {"csp-report": …}) and the Reporting API (array of {type, url, body}). What a report
means is read by the digest; here it is only split, so that each becomes an event of its own.
"""

from urllib.parse import parse_qsl

import msgspec

from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.model.received import Received
from collector.protocol.limits import LimitSettings, too_large

REPORT_TYPES = ("application/json", "application/csp-report", "application/reports+json")
MAX_REPORTS = 100  # own choice: browsers batch a handful
QUERY_FIELDS = ("sentry_release", "sentry_environment")  # what the report-uri of a page may say about it


def media_type(content_type: str) -> str:
    """The type without its parameters, lower case."""
    return content_type.partition(";")[0].strip().lower()


def parse_security(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """One raw_security item a report. Raises ProtocolError 415 or 400."""
    if media_type(received.content_type) not in REPORT_TYPES:
        shown = ", ".join(REPORT_TYPES)
        raise ProtocolError(415, "unsupported content type", "content_type", [f"one of {shown} is understood"])
    headers = {"type": "raw_security", **about_page(received.query)}
    return Envelope({}, [Item("raw_security", headers, report) for report in split_reports(body, limits)])


def about_page(query: str) -> dict[str, str]:
    """Release and environment out of the query, for the item header."""
    return {name: value for name, value in parse_qsl(query, max_num_fields=100) if name in QUERY_FIELDS}


def split_reports(body: bytes, limits: LimitSettings) -> list[bytes]:
    """The reports of a body, each as its JSON. Raises ProtocolError 400 or 413."""
    try:
        if body.lstrip()[:1] == b"[":
            reports = [bytes(report) for report in msgspec.json.decode(body, type=list[msgspec.Raw])]
        else:
            msgspec.json.decode(body)
            reports = [body]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(400, f"invalid JSON data: {error}", "invalid_json") from None
    if len(reports) > MAX_REPORTS:
        raise too_large("raw_security", limits, "max_envelope_items", len(reports))
    return reports
