"""The documents of collector.query.points for a terminal: everything at a glance, in plain text.

What stands in events is hostile: every text goes through `printable`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from collector.query.render import printable

BARS = " ▁▂▃▄▅▆▇█"
MAX_FRAMES = 12


def event_card(one: dict[str, Any]) -> str:
    """An event: what, where, when, its stack, its tags, and where to go from it."""
    payload = one["payload"] if isinstance(one["payload"], dict) else {}
    lines = [printable(one["title"] or one["event_id"]), f"  {printable(one['culprit'] or '')}".rstrip()]
    lines += _facts(
        ("event", one["event_id"]), ("issue", _issue_line(one["issue"])), ("when", _time(one["timestamp"])),
        ("project", one["project"]), ("level", one["level"]), ("release", one["release"]),
        ("environment", one["environment"]), ("transaction", one["transaction"]), ("server", one["server_name"]),
        ("user", one["user_id"]), ("message", one["message"]), ("sdk", one["sdk"]),
    )  # fmt: skip
    for exception in _values(payload.get("exception")):
        lines += ["", f"{printable(str(exception.get('type')))}: {printable(str(exception.get('value')))}"]
        lines += _stack(exception.get("stacktrace"))
    if one["tags"]:
        lines += ["", "tags"] + [
            f"  {printable(str(key))} = {printable(str(value))}" for key, value in one["tags"].items()
        ]
    if one["payload"] is None:
        lines += ["", "the whole event was not kept: its issue was over its rate"]
    beside = [f"{name} {one[name]}" for name in ("previous", "next", "oldest", "newest") if one[name]]
    return "\n".join(line for line in [*lines, "", *(f"  {line}" for line in beside)]).strip("\n") + "\n"


def issue_card(one: dict[str, Any]) -> str:
    """An issue: state, counts, the last 24 hours, its tags, its first and last event."""
    kept = one["stored"] or 0
    seen = f"{one['count']} times by {one['users']} users, {_time(one['first_seen'])} to {_time(one['last_seen'])}"
    hours = [count for _, count in one["hours"]]
    lines = [f"{one['short_id']}  {printable(one['title'])}", f"  {printable(one['culprit'])}".rstrip()]
    lines += _facts(
        ("status", one["status"]), ("level", one["level"]), ("project", one["project"]), ("seen", seen),
        ("last 24 h", f"{sparkline(hours)} {sum(hours)}"),
        ("kept", f"{kept} of its events" if kept else "none of its events any more"),
        ("newest", one["newest"]), ("oldest", one["oldest"]), ("hash", one["hash"]),
    )  # fmt: skip
    for key, values in one["tags"].items():
        shown = ", ".join(f"{printable(str(value))} ({count})" for value, count in values.items())
        lines.append(f"  {printable(key):<12} {shown}")
    return "\n".join(lines) + "\n"


def sparkline(counts: list[int]) -> str:
    """One sign a number, as high as it is beside the largest; what is not nothing is seen."""
    top = max(counts, default=0) or 1
    return "".join(BARS[0 if not count else max(1, round(count / top * 8))] for count in counts)


def _facts(*pairs: tuple[str, Any]) -> Iterator[str]:
    for name, value in pairs:
        if value not in (None, ""):
            yield f"  {name:<12} {printable(str(value))}"


def _issue_line(issue: dict[str, Any]) -> str:
    return f"{issue['short_id']} ({issue['status']}, seen {issue['count']} times)" if issue.get("short_id") else ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _values(interface: Any) -> list[dict[str, Any]]:
    values = interface.get("values") if isinstance(interface, dict) else None
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _stack(stacktrace: Any) -> Iterator[str]:
    frames = stacktrace.get("frames") if isinstance(stacktrace, dict) else None
    whole = [frame for frame in frames if isinstance(frame, dict)] if isinstance(frames, list) else []
    if len(whole) > MAX_FRAMES:
        yield f"    ... {len(whole) - MAX_FRAMES} outer frames"
    for frame in whole[-MAX_FRAMES:]:
        mark = ">" if frame.get("in_app") else " "
        place = f"{frame.get('filename') or frame.get('module') or '?'}:{frame.get('lineno') or '?'}"
        yield f"  {mark} {printable(place)} in {printable(str(frame.get('function') or '?'))}"
        if isinstance(frame.get("context_line"), str):
            yield f"        {printable(frame['context_line'].strip())}"
