"""What upstream told us not to send, per category (protocol C1).

Times are monotonic seconds. Several limits of one category: the longest wins. Told times are capped, because a server
with a broken clock must not silence a collector for years.
"""

import math
from collections.abc import Mapping

MAX_TOLD_SECONDS = 24 * 3600.0
DEFAULT_SECONDS = 60.0  # a 429 that names no time (protocol C1)
ALL = ""


class Limits:
    """Category -> until when nothing of it is sent; the category ALL stands for everything."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def until(self, category: str) -> float:
        """Monotonic time from which `category` may be sent; 0 when it always could."""
        return max(self._until.get(category, 0.0), self._until.get(ALL, 0.0))

    def active(self, now: float) -> dict[str, float]:
        """Category -> remaining seconds, for the status page."""
        return {name or "all": round(until - now, 1) for name, until in self._until.items() if until > now}

    def pause(self, category: str, until: float) -> None:
        """Nothing of `category` before `until`."""
        self._until[category] = max(self._until.get(category, 0.0), until)

    def learn(self, status: int, headers: Mapping[str, str], now: float) -> None:
        """Read the limits of any answer; a 429 without any means everything for Retry-After or 60 s."""
        told = headers.get("x-sentry-rate-limits", "")
        if not told and status != 429:
            return
        for seconds, categories in parse_limits(told):
            for category in categories:
                self.pause(category, now + min(seconds, MAX_TOLD_SECONDS))
        if status == 429 and not told:
            seconds = retry_after(headers) or DEFAULT_SECONDS
            self.pause(ALL, now + min(seconds, MAX_TOLD_SECONDS))


def parse_limits(text: str) -> list[tuple[float, list[str]]]:
    """Entries `seconds:cat;cat:scope:reason` as (seconds, categories); [ALL] for an empty category list.

    An entry without readable seconds is skipped; `default` and `error` are one family; a category this version does
    not know is kept by its own name and never widens to all.
    """
    limits: list[tuple[float, list[str]]] = []
    for entry in text.split(","):
        fields = entry.strip().split(":")
        seconds = _seconds(fields[0])
        if seconds is None:
            continue
        names = fields[1].split(";") if len(fields) > 1 else [""]
        categories = [name.strip().lower() for name in names if name.strip()] or [ALL]
        if "default" in categories:
            categories.append("error")
        limits.append((seconds, categories))
    return limits


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After, None when absent or unreadable (a date is unreadable: clocks differ)."""
    return _seconds(headers.get("retry-after", ""))


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text.strip())
    except ValueError:
        return None
    return float(math.ceil(seconds)) if math.isfinite(seconds) and seconds >= 0 else None
