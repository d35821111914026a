"""Client reports: what an SDK dropped before sending.

Source: develop.sentry.dev "Client reports". A broken or too old report is dropped without a word, as the protocol asks.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from collector.model.outcome import CLIENT_DISCARD, FILTERED, RATE_LIMITED, Outcome
from collector.protocol.envelope import is_time

MAX_REASON_CHARS = 200
MAX_AGE_SECONDS = 90 * 86400.0
MAX_AHEAD_SECONDS = 60.0
MAX_QUANTITY = 2**48  # own choice: sums of hostile quantities stay inside 64 bits
MAX_ENTRIES = 1000
_LISTS = (
    ("discarded_events", CLIENT_DISCARD),
    ("rate_limited_events", RATE_LIMITED),
    ("filtered_events", FILTERED),
    ("filtered_sampling_events", FILTERED),
)


def read_report(payload: bytes | memoryview, project_id: int, public_key: str, received_at: float) -> list[Outcome]:
    """The outcomes of a client_report payload, each with items=0: they never were items here. [] when unusable."""
    try:
        report = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if not isinstance(report, dict):
        return []
    at = _report_time(report.get("timestamp"), received_at)
    if at is None:
        return []
    found: list[Outcome] = []
    for name, outcome in _LISTS:
        entries = report.get(name)
        if isinstance(entries, list):
            found.extend(_outcomes(entries[:MAX_ENTRIES], outcome, project_id, public_key, at))
    return found


def _report_time(value: object, received_at: float) -> float | None:
    """Seconds since the epoch; the time of receipt when none is given; None when out of range or unreadable."""
    if value is None:
        return received_at
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        at = float(value) if -(2**53) < value < 2**53 else math.inf
    elif isinstance(value, str) and is_time(value):
        text = value[:10] + "T" + value[11:].upper().replace("Z", "+00:00")
        try:
            at = datetime.fromisoformat(_micros(text)).timestamp()
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return at if received_at - MAX_AGE_SECONDS <= at <= received_at + MAX_AHEAD_SECONDS else None


def _micros(text: str) -> str:
    """Cut a fraction of more than six digits, which datetime does not read."""
    whole, dot, rest = text.partition(".")
    if not dot:
        return text
    digits = rest[: len(rest) - 6]
    return f"{whole}.{digits[:6]:0<6}{rest[-6:]}"


def _outcomes(entries: list[Any], outcome: str, project_id: int, public_key: str, at: float) -> Iterable[Outcome]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        reason, category, quantity = entry.get("reason"), entry.get("category"), entry.get("quantity")
        if not isinstance(category, str) or type(quantity) is not int or not 0 < quantity <= MAX_QUANTITY:
            continue
        text = reason[:MAX_REASON_CHARS] if isinstance(reason, str) else ""
        yield Outcome(project_id, outcome, text, category[:64], quantity, at, items=0, public_key=public_key)
