"""Items that are not events: what makes one invalid, and the small repairs the protocol asks for. Rules: protocol E6.

Each function takes the payload and what is known about it, and returns the payload to keep. It raises Invalid when the
item must not be kept.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from collector.digest.about import About, Invalid
from collector.digest.fields import is_environment, is_release
from collector.digest.people import AUTO
from collector.digest.repair import read_lenient
from collector.digest.times import seconds_of

MAX_SESSION_AGE_SECONDS, MAX_SESSION_AHEAD_SECONDS = 5 * 86400.0, 60.0
MAX_SLUG_CHARS, MAX_ENVIRONMENT_CHARS = 50, 64
NIL_ID = "0" * 32
CHECK_IN_STATUSES = frozenset(("ok", "error", "in_progress", "missed", "timeout", "unknown"))
SESSION_STATUSES = frozenset(("ok", "exited", "crashed", "abnormal", "errored", "unhandled"))


def json_object(payload: bytes, reason: str = "invalid_json") -> dict[str, Any]:
    """The JSON object in a payload. Raises Invalid with `reason`."""
    try:
        value = read_lenient(payload)
    except (ValueError, RecursionError):
        raise Invalid(reason, "the item is not JSON") from None
    if not isinstance(value, dict):
        raise Invalid(reason, "the item is no JSON object")
    return value


def _attributes(session: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a session, with a usable release and environment. Raises Invalid without a release."""
    attributes = session.get("attrs")
    if not isinstance(attributes, dict):
        raise Invalid("payload", "the session has no attributes")
    release = attributes.get("release")
    if not isinstance(release, str) or not is_release(release.strip()):
        raise Invalid("payload", "the session has no usable release")
    environment = attributes.get("environment")
    if environment is not None and not (isinstance(environment, str) and is_environment(environment.strip())):
        attributes["environment"] = None
    return attributes


def _session_time(value: Any, about: About) -> float:
    seconds = seconds_of(value)
    if seconds is None:
        raise Invalid("payload", "the session has an unreadable time")
    seconds += about.drift
    if not about.received_at - MAX_SESSION_AGE_SECONDS <= seconds <= about.received_at + MAX_SESSION_AHEAD_SECONDS:
        raise Invalid("timestamp", "the session is too old or in the future")
    return seconds


def session(payload: bytes, about: About) -> bytes:
    """One update of one session."""
    update = json_object(payload)
    attributes = _attributes(update)
    if not isinstance(update.get("sid"), str):
        raise Invalid("payload", "the session has no id")
    started = _session_time(update.get("started"), about)
    at = _session_time(update.get("timestamp", about.received_at - about.drift), about)
    if at < started:
        raise Invalid("timestamp", "the session ends before it starts")
    if update.get("status", "ok") not in SESSION_STATUSES:
        update["status"] = "ok"
    if attributes.get("ip_address") == AUTO:
        attributes["ip_address"] = about.client_ip or None
    return msgspec.json.encode(update)


def sessions(payload: bytes, about: About) -> bytes:
    """Pre-aggregated sessions; buckets of another time are removed."""
    update = json_object(payload)
    _attributes(update)
    buckets = update.get("aggregates")
    if not isinstance(buckets, list):
        raise Invalid("payload", "the sessions hold no aggregates")
    kept = [bucket for bucket in buckets if isinstance(bucket, dict) and _in_time(bucket, about)]
    if not kept:
        raise Invalid("timestamp", "the sessions are too old or in the future")
    update["aggregates"] = kept
    return msgspec.json.encode(update)


def _in_time(bucket: dict[str, Any], about: About) -> bool:
    try:
        _session_time(bucket.get("started"), about)
    except Invalid:
        return False
    return True


def check_in(payload: bytes, about: About) -> bytes:
    """One report of a monitored job."""
    report = json_object(payload)
    slug = report.get("monitor_slug")
    if not isinstance(slug, str) or not slug:
        raise Invalid("invalid_check_in", "the check-in names no monitor")
    report["monitor_slug"] = slug[:MAX_SLUG_CHARS]
    check_in_id = report.get("check_in_id")
    if check_in_id is None:
        report["check_in_id"] = NIL_ID
    elif not isinstance(check_in_id, str) or not _is_id(check_in_id):
        raise Invalid("invalid_check_in", "the check-in has a malformed id")
    else:
        report["check_in_id"] = check_in_id.replace("-", "").lower()
    status = report.get("status")
    if not isinstance(status, str):
        raise Invalid("invalid_check_in", "the check-in has no status")
    if status == "missed" or status not in CHECK_IN_STATUSES:
        report["status"] = "unknown"
    environment = report.get("environment")
    if environment is not None and not (isinstance(environment, str) and len(environment) <= MAX_ENVIRONMENT_CHARS):
        raise Invalid("invalid_check_in", "the check-in has an environment that is too long")
    return msgspec.json.encode(report)


def _is_id(text: str) -> bool:
    digits = text.replace("-", "")
    return len(digits) == 32 and all(char in "0123456789abcdefABCDEF" for char in digits)


def user_report(payload: bytes, about: About) -> bytes:
    """What a user wrote about an event; blanks at both ends are removed."""
    report = json_object(payload)
    for name in ("name", "email", "comments"):
        if isinstance(report.get(name), str):
            report[name] = report[name].strip()
    return msgspec.json.encode(report)


ITEM_RULES: dict[str, Callable[[bytes, About], bytes]] = {
    "session": session,
    "sessions": sessions,
    "check_in": check_in,
    "user_report": user_report,
}
