"""Browser security reports become events. Both forms of a CSP report: `report-uri` (dashed names) and Reporting API.

Source: CSP Level 3, the Reporting API, and what Sentry makes of them (reference page on the protocol, E6).
"""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from collector.digest.about import Invalid
from collector.model.received import Received

UNUSABLE = "security_report_type"
NAMES = {
    "documentURL": "document_uri", "blockedURL": "blocked_uri", "effectiveDirective": "effective_directive",
    "violatedDirective": "violated_directive", "originalPolicy": "original_policy", "statusCode": "status_code",
    "sourceFile": "source_file", "lineNumber": "line_number", "columnNumber": "column_number",
    "sample": "script_sample",
}  # fmt: skip
FIELDS = (
    "document_uri", "referrer", "blocked_uri", "effective_directive", "violated_directive", "original_policy",
    "status_code", "source_file", "line_number", "column_number", "script_sample", "disposition",
)  # fmt: skip
LOCAL = {"", "self", "'self'", "inline"}
SCHEMES = {"data", "blob", "filesystem", "about", "chrome-extension", "moz-extension", "safari-extension"}
SCRIPTS = ("script-src", "style-src", "default-src")


def event_of_report(payload: bytes, headers: dict[str, Any], received: Received) -> bytes:
    """The event of one raw report. Raises Invalid for reports of another kind."""
    report = _csp(payload)
    directive = _directive(report)
    blocked = report.get("blocked_uri") or ""
    document = report.get("document_uri") or ""
    host = _host(blocked) or _host(document)
    tags = {"effective-directive": directive, "blocked-uri": blocked, "blocked-host": _host(blocked)}
    event = {
        "type": "csp",
        "logger": "csp",
        "platform": "other",
        "logentry": {"formatted": _message(directive, blocked, report, host)},
        "culprit": report.get("violated_directive") or directive,
        "csp": {**report, "effective_directive": directive},
        "tags": {name: value for name, value in tags.items() if value},
        "request": _request(document, report, received),
        "user": {"ip_address": received.remote_addr or None},
        "release": headers.get("sentry_release"),
        "environment": headers.get("sentry_environment"),
    }
    return msgspec.json.encode({name: value for name, value in event.items() if value})


def _csp(payload: bytes) -> dict[str, Any]:
    """The report under our names, only fields that we know and that have the right form."""
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("security_report", "the report is not JSON") from None
    body: Any = None
    if isinstance(document, dict):
        body = document.get("body") if document.get("type") == "csp-violation" else document.get("csp-report")
    if not isinstance(body, dict):
        raise Invalid(UNUSABLE, "only CSP reports become events")
    report = {}
    for name, value in body.items():
        ours = NAMES.get(name, name.replace("-", "_"))
        if ours in FIELDS and isinstance(value, str | int | float):
            report[ours] = value if isinstance(value, str) or ours.endswith(("code", "number")) else str(value)
    return report


def _directive(report: dict[str, Any]) -> str:
    """The effective directive; browsers without one say it as the first word of the violated one."""
    named = report.get("effective_directive") or report.get("violated_directive")
    words = str(named or "").split()
    if not words:
        raise Invalid("security_report", "the report names no directive")
    return words[0]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _message(directive: str, blocked: str, report: dict[str, Any], host: str) -> str:
    """One sentence for the issue list."""
    scheme = blocked.partition(":")[0].lower()
    if blocked == "eval" or (blocked in LOCAL and directive.startswith(SCRIPTS)):
        return f"Blocked unsafe (eval or inline) '{directive}'"
    if blocked in LOCAL or (_host(blocked) and _host(blocked) == _host(report.get("document_uri") or "")):
        return f"Blocked '{directive}' from 'self'"
    if scheme in SCHEMES:
        return f"Blocked '{directive}' from '{scheme}:'"
    return f"Blocked '{directive}' from '{host or blocked}'"


def _request(document: str, report: dict[str, Any], received: Received) -> dict[str, Any]:
    headers = {"User-Agent": received.user_agent, "Origin": received.origin, "Referer": report.get("referrer") or ""}
    return {"url": document, "headers": [[name, value] for name, value in headers.items() if value]}
