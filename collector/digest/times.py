"""Times of an event: ISO 8601 (naive is UTC) or seconds, made floats since the epoch; clock drift."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from collector.digest.about import FUTURE_SECONDS, About
from collector.digest.remarks import Path, Remarks

LATEST = 253402300800.0  # the first second of the year 10000


@lru_cache(maxsize=512)
def _minute(text: str) -> float:
    """Seconds of "YYYY-mm-ddTHH:MM:" as UTC. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:").replace(tzinfo=UTC).timestamp()


def seconds_of(value: Any) -> float | None:
    """Seconds since the epoch, or None when `value` is no time between 1970 and 9999."""
    try:
        if isinstance(value, str):
            if len(value) == 27 and value[26] == "Z" and value[10] == "T" and value[19] == ".":
                # the form of Python SDKs: the minute is memoised, four times cheaper than fromisoformat
                seconds = _minute(value[:17]) + float(value[17:26])
            else:
                when = datetime.fromisoformat(value.strip())
                seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        else:
            seconds = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if 0.0 <= seconds < LATEST else None


def normalise_time(value: Any, about: About, remarks: Remarks, path: Path) -> float | None:
    """A time of the event corrected by the drift; None (with a remark) when it cannot be read."""
    seconds = seconds_of(value)
    if seconds is None:
        remarks.error(path, "invalid_data", value, reason="expected a timestamp")
        return None
    return seconds + about.drift


def event_time(value: Any, about: About, remarks: Remarks) -> float:
    """When the event happened: corrected by the drift, and the time of receipt when it cannot be true."""
    if value is None:
        return about.received_at
    seconds = seconds_of(value)
    if seconds is None:
        remarks.error(("timestamp",), "invalid_data", value, reason="expected a timestamp")
        return about.received_at
    if about.drift:
        remarks.error(("timestamp",), "clock_drift", None, sdk_time=_iso(about.sent_at or 0.0),
                      server_time=_iso(about.received_at))  # fmt: skip
        seconds += about.drift
    if seconds > about.received_at + FUTURE_SECONDS:
        kind = "future_timestamp"
    elif seconds < about.received_at - about.retention_days * 86400.0:
        kind = "past_timestamp"
    else:
        return seconds
    remarks.error(("timestamp",), kind, None, sdk_time=_iso(seconds), server_time=_iso(about.received_at))
    return about.received_at


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
