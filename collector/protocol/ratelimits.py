"""The X-Sentry-Rate-Limits header, written for SDKs and read from upstream. Source: develop.sentry.dev "Rate limiting".

limit *("," limit)          limit = seconds ":" [category *(";" category)] ":" scope [":" [reason] [":" ns *(";" ns)]]
"""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

SCOPES = ("organization", "project", "key")
UNKNOWN_CATEGORY = "<unknown>"
DEFAULT_SECONDS = 60  # what SDKs assume for a 429 without any figure
MAX_SECONDS = 7 * 86400  # own choice: no upstream silences us for longer than a week
MAX_LIMITS = 100  # own choice: entries read from one header

CATEGORIES = frozenset((
    "default", "error", "transaction", "security", "attachment", "session", "profile", "replay",
    "transaction_processed", "transaction_indexed", "monitor", "profile_indexed", "span", "monitor_seat",
    "feedback", "metric_bucket", "span_indexed", "profile_duration", "profile_chunk", "metric_second",
    "replay_video", "uptime", "attachment_item", "log_item", "log_byte", "profile_duration_ui", "profile_chunk_ui",
    "seer_autofix", "seer_scanner", "prevent_user", "prevent_review", "size_analysis", "installable_build",
    "trace_metric", "seer_user", "profile_backend", "profile_ui", "trace_metric_byte", "snapshot_image",
))  # fmt: skip
_SECONDS = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]+")


class RateLimit(NamedTuple):
    """One limit. seconds: from now, whole, rounded up. categories: empty = all. reason: "" = none given."""

    seconds: int
    categories: tuple[str, ...] = ()
    scope: str = "organization"
    reason: str = ""
    namespaces: tuple[str, ...] = ()


def write_limits(limits: Iterable[RateLimit]) -> str:
    """The header value; texts are cut to the characters a header may hold."""
    return ", ".join(_write(limit) for limit in limits)


def retry_after(limits: Iterable[RateLimit]) -> int:
    """Seconds for Retry-After: the longest of the limits, 0 without any."""
    return max((limit.seconds for limit in limits), default=0)


def read_limits(value: str) -> list[RateLimit]:
    """The limits of a header value. An entry that cannot be read is skipped; an unknown category never widens it."""
    found = (_read(entry.strip()) for entry in value.split(",")[:MAX_LIMITS])
    return [limit for limit in found if limit is not None]


def limits_of_answer(status: int, rate_limits: str | None, retry: str | None) -> list[RateLimit]:
    """What an upstream answer tells: its X-Sentry-Rate-Limits, or for a 429 without them one limit over everything."""
    if rate_limits:
        return read_limits(rate_limits)
    if status != 429:
        return []
    seconds = _seconds(retry.strip()) if retry else None
    return [RateLimit(DEFAULT_SECONDS if seconds is None else seconds, (), "key", "generic")]


def _write(limit: RateLimit) -> str:
    text = f"{limit.seconds}:{';'.join(limit.categories)}:{limit.scope}"
    reason = _UNSAFE.sub("_", limit.reason)
    if reason or limit.namespaces:
        text += f":{reason}"
    if limit.namespaces:
        text += f":{';'.join(limit.namespaces)}"
    return text


def _seconds(text: str) -> int | None:
    if not _SECONDS.fullmatch(text):
        return None
    return min(math.ceil(float(text)), MAX_SECONDS)


def _read(entry: str) -> RateLimit | None:
    parts = [part.strip() for part in entry.split(":")]
    seconds = _seconds(parts[0])
    if seconds is None or len(parts) < 2:
        return None
    categories = tuple(name if name in CATEGORIES else UNKNOWN_CATEGORY for name in _names(parts[1]))
    scope = parts[2].lower() if len(parts) > 2 else ""
    reason = parts[3] if len(parts) > 3 else ""
    namespaces = _names(parts[4]) if len(parts) > 4 else ()
    return RateLimit(seconds, categories, scope if scope in SCOPES else "key", reason, namespaces)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(";") if name.strip())
