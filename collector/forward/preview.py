"""What would be sent now: a look into outbox and windows that changes nothing (`collector forward --dry-run`)."""

from pathlib import Path
from typing import Any

from collector.errors import Damaged
from collector.forward.event import utc
from collector.forward.hub_packing import REPORTS, TARGET
from collector.forward.hub_sender import fields_of, is_batch
from collector.forward.items import QUEUES
from collector.forward.parcel import unpack
from collector.forward.users import distinct
from collector.store import windows
from collector.store.outbox import Entry, Outbox

MAX_SHOWN = 100


def preview(state_path: Path, window_seconds: float, now: float) -> dict[str, list[dict[str, Any]]]:
    """entries: what waits, in the order it would leave, at most MAX_SHOWN a queue; windows: what has ended and would
    become a summary. Raises Unavailable when state.sqlite cannot be read."""
    outbox = Outbox.open(state_path)
    try:
        names = (*QUEUES, *(TARGET + name for name in (*QUEUES, REPORTS)))
        entries = [_shown(entry) for name in names for entry in outbox.next_batch(name, now, MAX_SHOWN)]
        with outbox.read() as cursor:
            ended = windows.due_windows(cursor, now - window_seconds, now + window_seconds, MAX_SHOWN)
            lines = [windows.issue_line(cursor, window.issue_id) for window in ended]
            withheld = [windows.is_withheld(cursor, window) for window in ended]
    finally:
        outbox.close()
    shown = [
        {
            "issue": window.issue_id,
            "title": line[1] if line else "",
            "project": window.project_id,
            "count": window.events,
            "users": distinct(window.users),
            "first_seen": utc(window.first_at),
            "last_seen": utc(window.last_at),
            "waits_for_budget": waits,
        }
        for window, line, waits in zip(ended, lines, withheld, strict=True)
    ]
    return {"entries": entries, "windows": shown}


def _shown(entry: Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "category": entry.category,
        "count": entry.quantity,
        "bytes": len(entry.body),
        "attempts": entry.attempts,
        "waiting_since": utc(entry.created_at),
    }
    try:
        if is_batch(entry.key):
            return {**dict(fields_of(entry)), **facts}
        parcel = unpack(entry.body)
    except Damaged:
        return {"kind": "damaged", **facts}
    return {"kind": parcel.kind, "event_id": parcel.event_id, "project": parcel.project_id,
            "issue": parcel.issue_id or None, **facts}  # fmt: skip
