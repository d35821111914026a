"""What the commands print for people: aligned plain text, the same on a terminal and in a pipe."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collector.web.page import human_bytes, human_seconds

MARKS = {"added": "+", "removed": "-", "changed": "~"}
MAX_SIDE_CHARS = 60  # a text of rules would fill the screen

Row = tuple[str, Any, str]


def status_text(document: dict[str, Any]) -> str:
    """The status document in a screenful."""
    ledger, spool, store, outbox = (document[key] for key in ("ledger", "spool", "store", "outbox"))
    state = "ready" if document["ready"] else "not ready"
    rows: list[Row] = [
        ("received", ledger["received"], "items"),
        ("stored", ledger["stored"], f"{human_bytes(store['bytes'])} in {store['segments']} segments"),
        *((("evicted", store["evicted"], "of the stored, removed by retention"),) if store.get("evicted") else ()),
        ("summarised", ledger["summarised"], "counted, payload not kept"),
        ("in spool", ledger["in_spool"], human_bytes(spool["bytes"])),
        *((f"dropped {reason}", quantity, "") for reason, quantity in sorted(ledger["dropped"].items())),
        ("outbox", outbox["records"], f"{human_bytes(outbox['bytes'])}, {outbox['state']}"),
    ]
    for name, edge in ((document.get("hub") or {}).get("edges") or {}).items():
        rows.append((f"edge {name}", edge["occurrences"], f"in {edge['batches']} batches"))
    lines = [f"collector {document['version']}  {state}, up {human_seconds(document['uptime_seconds'])}"]
    lines += [f"  ! {problem}" for problem in document["problems"]]
    return "\n".join(lines + _table(rows))


def plan_text(plan: dict[str, Any]) -> str:
    """What a file would change, a line a setting."""
    found = plan["changes"]
    if not found:
        return f"{plan['path']}: nothing differs from the running configuration"
    notes = [f"{_some(len(found), 'setting differs', 'settings differ')} from the running configuration"]
    notes += ["the worker would be replaced"] if plan["is_worker_replaced"] else []
    return "\n".join([*_change_lines(found), f"{plan['path']}: {'; '.join(notes)}"])


def reload_text(outcome: dict[str, Any]) -> str:
    """What came of a reload."""
    how = "the worker was replaced" if outcome["is_worker_replaced"] else "the worker went on"
    if outcome["outcome"] == "applied":
        last = f"{outcome['path']}: applied in {outcome['seconds']:.2f} s; {how}"
    else:
        last = f"{outcome['path']}: nothing to apply"
    waiting = outcome["needs_restart"]
    notes = [f"waiting for a restart: {', '.join(waiting)}"] if waiting else []
    return "\n".join([*_change_lines(outcome["changes"]), last, *notes])


def _change_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    wide = max((len(change["path"]) for change in found), default=0)
    return [f"{MARKS[change['kind']]} {change['path']:<{wide}}  {_change_text(change)}" for change in found]


def _change_text(change: dict[str, Any]) -> str:
    sides = [_short(side) for side in (change["before"], change["after"]) if side is not None]
    return " -> ".join(sides) + ("  (needs a restart)" if change["needs_restart"] else "")


def _short(text: str) -> str:
    return text if len(text) <= MAX_SIDE_CHARS else text[: MAX_SIDE_CHARS - 3] + "..."


def _table(rows: Sequence[Row]) -> list[str]:
    wide = max((len(name) for name, _, _ in rows), default=0)
    return [f"  {name:<{wide}}  {quantity:>10}  {note}".rstrip() for name, quantity, note in rows]


def forward_text(found: dict[str, Any], names: Mapping[str, str]) -> str:
    """The forward room's status in a screenful. names: project id -> slug."""
    outbox, windows, held = found["outbox"], found["windows"], found["sessions"]
    oldest = outbox["oldest_age_seconds"]
    waits = "" if oldest is None else f", the oldest for {human_seconds(oldest)}"
    again = f", next attempt in {human_seconds(found['retry_in_seconds'])}" if found["breaker"] == "open" else ""
    modes = ", ".join(f"{names.get(number, number)} {mode}" for number, mode in found["modes"].items())
    room = f"{human_bytes(outbox['bytes'])} of {human_bytes(outbox['max_bytes'])}{waits}"
    rows: list[Row] = [
        ("outbox", outbox["records"], room),
        ("windows", windows["open"], f"open, with {windows['occurrences']} occurrences"),
        ("sessions", held["open"], f"open, {held['counted']} counted and not told yet"),
        ("failures", found["failures"], f"in a row, breaker {found['breaker']}{again}"),
        *((f"limit {name}", f"{seconds:.0f} s", "until it is over") for name, seconds in found["limits"].items()),
        *_budgets(found["budgets"], names),
        *_totals(found["totals"]),
    ]
    lines = [f"upstream {found['upstream']}  {found['state'].replace('_', ' ')}"]
    lines += [f"  ! {found['last_error']}"] if found["last_error"] else []
    lines += [f"  projects: {modes}"] if modes else []
    return "\n".join(lines + _table(rows))


def _budgets(budgets: dict[str, dict[str, Any]], names: Mapping[str, str]) -> Iterator[Row]:
    for number, spent in budgets.items():
        name = f"budget {names.get(number, number)}"
        if limit := spent["max_events_per_hour"]:
            yield name, spent["events_last_hour"], f"of {limit} events an hour"
        if limit := spent["max_bytes_per_day"]:
            yield name, human_bytes(spent["bytes_last_day"]), f"of {human_bytes(limit)} a day"
        if windows := spent["withheld_windows"]:
            yield name, windows, f"summaries wait for it, with {spent['withheld_occurrences']} occurrences"


def _totals(totals: dict[str, int]) -> Iterator[Row]:
    yield "sent events", totals.get("sent_events", 0), f"for {totals.get('sent_occurrences', 0)} occurrences"
    for name, quantity in sorted(totals.items()):
        kind, _, rest = name.partition(":")
        if kind == "kept" and rest:
            reason, _, category = rest.partition(":")
            yield f"kept here {category}", quantity, reason
        elif name not in ("sent_events", "sent_occurrences"):
            yield f"{kind} {rest}".strip().replace("_", " "), quantity, ""


def preview_text(shown: dict[str, list[dict[str, Any]]], names: Mapping[str, str]) -> str:
    """What `forward --dry-run` shows people. names: project id -> slug."""
    entries, windows = shown["entries"], shown["windows"]
    if not entries and not windows:
        return "nothing would be sent now"
    lines = []
    if entries:
        events = sum(entry["count"] for entry in entries)
        lines.append(f"{_some(len(entries), 'entry', 'entries')} would be sent now, standing for {events}:")
        lines += [_entry_line(entry, names) for entry in entries]
    if windows:
        lines.append(f"{_some(len(windows), 'window', 'windows')} ended, each would become one summary:")
        lines += [
            f"  {names.get(str(one['project']), one['project']):<12} {one['count']:>8} times,"
            f" {_some(one['users'], 'user', 'users')}, {one['first_seen']} to {one['last_seen']}: {one['title']}"
            f"{' (waits for the budget)' if one['waits_for_budget'] else ''}"
            for one in windows
        ]
    return "\n".join(lines)


def _some(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _entry_line(entry: dict[str, Any], names: Mapping[str, str]) -> str:
    project = str(entry.get("project", ""))
    tried = f", tried {entry['attempts']} times" if entry["attempts"] else ""
    which = f" {entry['event_id']}" if entry.get("event_id") else ""
    return (
        f"  {names.get(project, project):<12} {entry['count']:>8} {entry['category']:<12} {entry.get('kind', 'batch')}"
        f"{which}, {human_bytes(entry['bytes'])}, waits since {entry['waiting_since']}{tried}"
    )
