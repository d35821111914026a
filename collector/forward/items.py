"""What else an envelope holds, each kind by its own rule.

Check-ins, feedback and user reports pass at once in every mode but `off`. In `events` mode everything else passes too.
In `summaries` mode sessions are added up (sessions.py); logs, spans and metrics are put together in containers
(containers.py) or switched off; transactions go by rate, failed and slow ones always (transactions.py); attachments go
with events that leave in full, when that is chosen; what remains stays here. What does not go is counted and reported.

Kinds that carry an id a receiver recognises are sent until an answer comes; the others (sessions, logs, attachments)
would be counted twice, so they are not sent again once the receiver may have them (`collector_unknown_fate`).
"""

import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from collector.forward import containers, transactions
from collector.forward.bounds import Bounds
from collector.forward.budgets import NEW_SHARE, REASON, REST_SHARE, Budgets
from collector.forward.containers import Container
from collector.forward.parcel import VERSION, Parcel, Press, pack
from collector.forward.relearn import UNTOLD_ITEMS, Relearning
from collector.forward.rollup import BULK, ITEM, NOT_REPORTED
from collector.forward.sessions import Sessions
from collector.forward.settings import ForwardSettings
from collector.model.envelope import Item
from collector.model.event import ItemRow
from collector.protocol.kinds import counts_of
from collector.store import spending, windows
from collector.store.delta import NEW, REGRESSED, AppliedBatch
from collector.store.outbox import Entry, Outbox, put

ITEM_KEY = "i:"  # outbox keys of items: i:<kind>:<commit>:<number in it>
SAMPLED_AWAY, SWITCHED_OFF, KEPT_HERE = "sample_rate", "collector_switched_off", "collector_kept_here"
OUTBOX_FULL = "collector_outbox_full"


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
BATCHED = {PASSING[kind].category for kind in containers.KINDS}
BATCH_SETTING = {"log": "logs", "span": "spans", "trace_metric": "metrics"}


class Settled(NamedTuple):
    """What becomes of an item. send: False to keep it here for `reason`; payload: as it should leave."""

    send: bool
    reason: str = ""
    payload: bytes = b""


class Items:
    """Queues the items of a commit, in the digest thread; `close` in the sender's."""

    def __init__(
        self,
        settings_of: Callable[[int], ForwardSettings],
        bounds: Bounds,
        sessions: Sessions,
        budgets: Budgets,
        history: Relearning,
    ) -> None:
        self._settings_of = settings_of
        self._bounds = bounds
        self._sessions = sessions
        self._budgets = budgets
        self._history = history
        self._press = Press()
        self._closing_press = Press()

    def on_applied(self, cursor: sqlite3.Cursor, batch: AppliedBatch) -> bool:
        """Inside the commit's SQLite transaction, after Rollup's. Returns True when something can be sent at once."""
        if not len(batch.items):
            return False
        is_history = self._history.look(cursor, batch)
        urgent = False
        in_full = {one.event_id.hex() for one in batch.delta.occurrences if one.flags & (NEW | REGRESSED)}
        waiting: list[tuple[int, Container, ItemRow]] = []
        for number, row in enumerate(batch.items):
            settings = self._settings_of(row.project_id)
            rule = PASSING.get(row.kind, OTHER)
            if settings.mode == "off":
                continue
            if is_history and not (rule.told_apart and self._history.is_told(batch)):
                windows.count(cursor, UNTOLD_ITEMS, 1)
                continue
            settled = self._settle(cursor, batch, row, settings, in_full)
            if not settled.send:
                self._keep(cursor, row, settled.reason)
                continue
            headers = row.headers.encode()
            if container := containers.read(row.kind, row.project_id, headers, settled.payload):
                waiting.append((number, container, row))
                continue
            self._put(cursor, batch, number, row, settled.payload)
            urgent = urgent or rule.always
        self._put_containers(cursor, batch, waiting)
        return urgent

    def _settle(
        self, cursor: sqlite3.Cursor, batch: AppliedBatch, row: ItemRow, settings: ForwardSettings, in_full: set[str]
    ) -> Settled:
        payload = bytes(row.payload)
        if settings.mode == "events" or PASSING.get(row.kind, OTHER).always:
            return Settled(True, payload=payload)
        if row.kind in ("session", "sessions"):
            if settings.sessions == "off":
                return Settled(False, SWITCHED_OFF)
            added = self._sessions.add(cursor, row.kind, row.project_id, payload, batch.committed_at)
            return Settled(not added, payload=payload)
        if row.kind in BATCH_SETTING:
            goes = getattr(settings, BATCH_SETTING[row.kind]) == "batch"
            return Settled(goes, SWITCHED_OFF, payload)
        if row.kind == "transaction":
            choice = transactions.choose(payload, settings.transaction_rate, settings.slow_transaction)
            if choice.sampled and choice.send:
                payload = transactions.marked(payload, settings.transaction_rate)
            return Settled(choice.send, SAMPLED_AWAY, payload)
        if row.kind == "attachment" and settings.attachments and row.event_id in in_full:
            return Settled(True, payload=payload)
        return Settled(False, KEPT_HERE)

    def _keep(self, cursor: sqlite3.Cursor, row: ItemRow, reason: str) -> None:
        """An item that stays here: counted, and reported so that upstream's statistics stay truthful."""
        if not reason:
            return  # a session that was added up
        for category, quantity in quantities(row):
            windows.count(cursor, f"kept:{reason}:{category}", quantity)
            if category not in NOT_REPORTED:
                windows.add_report(cursor, reason, category, quantity)

    def _put_containers(
        self, cursor: sqlite3.Cursor, batch: AppliedBatch, waiting: list[tuple[int, Container, ItemRow]]
    ) -> None:
        """The containers of a commit, as few as they fit into; one that stays alone is left as it came."""
        rows = {number: row for number, _, row in waiting}
        for group in containers.groups((number, container) for number, container, _ in waiting):
            number = group[0][0]
            row, payload = rows[number], bytes(rows[number].payload)
            if len(group) > 1:
                headers, payload = containers.join([one for _, one in group])
                row = ItemRow(row.project_id, row.kind, row.received_at, "", headers.decode(), payload)
            self._put(cursor, batch, number, row, payload, sum(one.count for _, one in group))

    def _put(
        self, cursor: sqlite3.Cursor, batch: AppliedBatch, number: int, row: ItemRow, payload: bytes, quantity: int = 1
    ) -> None:
        rule = PASSING.get(row.kind, OTHER)
        packed = self._press.pack(payload)
        share = NEW_SHARE if rule.always else REST_SHARE
        reason = ""
        if not self._budgets.take(cursor, row.project_id, len(packed), share, events=0):
            reason = REASON
        elif not self._bounds.reserve(len(packed)):
            reason = OUTBOX_FULL
        if reason:
            windows.count(cursor, f"dropped:{reason}", quantity)
            for category, lost in quantities(row):
                if category not in NOT_REPORTED:
                    windows.add_report(cursor, reason, category, lost)
            return
        at = row.received_at
        parcel = Parcel(
            VERSION, row.kind, row.project_id, 0, row.event_id, quantity, at, at, 0.0, b"", 0, "", packed,
            row.headers.encode(),
        )  # fmt: skip
        key = f"{ITEM_KEY}{row.kind.replace(':', '_')}:{batch.no}:{number}"
        priority = ITEM if rule.always else BULK
        put(cursor, Entry(rule.category, rule.category, pack(parcel), priority, quantity, key, batch.committed_at))

    def close(self, outbox: Outbox, now: float) -> int:
        """Queue the sessions that are due; returns how many items. Raises Unavailable."""
        with outbox.read() as cursor:
            if not self._sessions.is_due(cursor, now) or not self._bounds.reserve(0):
                return 0
        with outbox.transaction() as cursor:
            may = {number for number in self._budgets.limited if not self._budgets.may(cursor, number, REST_SHARE)}
            made = self._sessions.close(cursor, now, may)
            first = int(spending.fact(cursor, "session_items") or 0)
            spending.note(cursor, "session_items", first + len(made))
            for number, (kind, project_id, quantity, payload) in enumerate(made, first):
                packed = self._closing_press.pack(payload)
                self._budgets.charge(cursor, project_id, len(packed))
                parcel = Parcel(
                    VERSION, kind, project_id, 0, "", quantity, now, now, 0.0, b"", 0, "", packed, b"{}"
                )  # fmt: skip
                key = f"{ITEM_KEY}{kind}:closed:{number}"
                put(cursor, Entry("session", "session", pack(parcel), ITEM, quantity, key, now))
        return len(made)


def quantities(row: ItemRow) -> list[tuple[str, int]]:
    """What an item counts as, in the protocol's units, without the categories that only indexing has."""
    try:
        headers: dict[str, Any] = msgspec.json.decode(row.headers or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        headers = {}
    counts = counts_of(Item(row.kind, headers, row.payload))
    return [(category, quantity) for category, quantity in counts if not category.endswith("_indexed")]


def kind_of(key: str) -> str:
    """The item type in an outbox key, "" for an event."""
    return key.split(":")[1] if key.startswith(ITEM_KEY) else ""


def is_told_apart(key: str) -> bool:
    """True when the entry with this outbox key may be sent again although the receiver may have it."""
    return not key.startswith(ITEM_KEY) or PASSING.get(kind_of(key), OTHER).told_apart
