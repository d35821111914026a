"""What else an envelope holds: passed on as it came, each kind by its own rule.

Check-ins, feedback and user reports pass at once in every mode but `off`; everything else in `events` mode only. Kinds
that carry an id a receiver recognises are sent until an answer comes; the others (sessions, logs, attachments, ...)
would be counted twice, so they are not sent again once the receiver may have them (`collector_unknown_fate`).
"""

import sqlite3
from typing import NamedTuple

from collector.forward.bounds import Bounds
from collector.forward.parcel import VERSION, Parcel, Press, pack
from collector.forward.rollup import BULK, ITEM, Mode
from collector.store import windows
from collector.store.delta import AppliedBatch
from collector.store.outbox import Entry, put

ITEM_KEY = "i:"  # outbox keys of items: i:<kind>:<commit>:<number in it>


class Passing(NamedTuple):
    """category: whose limits count. always: in `summaries` mode too. told_apart: a repetition does no harm."""

    category: str
    always: bool = False
    told_apart: bool = False


PASSING = {
    "check_in": Passing("monitor", always=True, told_apart=True),
    "feedback": Passing("feedback", always=True, told_apart=True),
    "user_report": Passing("feedback", always=True, told_apart=True),
    "transaction": Passing("transaction", told_apart=True),
    "session": Passing("session"),
    "sessions": Passing("session"),
    "attachment": Passing("attachment"),
    "log": Passing("log_item"),
    "span": Passing("span"),
    "trace_metric": Passing("trace_metric"),
    "profile": Passing("profile", told_apart=True),
    "profile_chunk": Passing("profile_chunk", told_apart=True),
    "replay_event": Passing("replay", told_apart=True),
    "replay_recording": Passing("replay", told_apart=True),
    "replay_video": Passing("replay", told_apart=True),
}
OTHER = Passing("default")
QUEUES = ("error", *dict.fromkeys(rule.category for rule in PASSING.values()), OTHER.category)


def is_told_apart(key: str) -> bool:
    """True when the entry with this outbox key may be sent again although the receiver may have it."""
    return not key.startswith(ITEM_KEY) or PASSING.get(key.split(":")[1], OTHER).told_apart


class Items:
    """Queues the items of a commit; in the digest thread."""

    def __init__(self, mode: Mode, bounds: Bounds) -> None:
        self._mode = mode
        self._bounds = bounds
        self._press = Press()

    def on_applied(self, cursor: sqlite3.Cursor, batch: AppliedBatch) -> bool:
        """Inside the commit's SQLite transaction. Returns True when something can be sent at once."""
        urgent = False
        for number, row in enumerate(batch.items):
            rule = PASSING.get(row.kind, OTHER)
            mode = self._mode(row.project_id)
            if mode == "off" or not (rule.always or mode == "events"):
                continue
            packed = self._press.pack(bytes(row.payload))
            if not self._bounds.reserve(len(packed)):
                windows.count(cursor, "dropped:collector_outbox_full", 1)
                windows.add_report(cursor, "collector_outbox_full", rule.category, 1)
                continue
            at = row.received_at
            parcel = Parcel(
                VERSION, row.kind, row.project_id, 0, row.event_id, 1, at, at, 0.0, b"", 0, "", packed,
                row.headers.encode(),
            )  # fmt: skip
            key = f"{ITEM_KEY}{row.kind.replace(':', '_')}:{batch.no}:{number}"
            priority = ITEM if rule.always else BULK
            put(cursor, Entry(rule.category, rule.category, pack(parcel), priority, 1, key, batch.committed_at))
            urgent = urgent or rule.always
        return urgent
