"""Sessions added up: per minute of their start, release, environment and user, as upstream takes a `sessions` item.

A session that begins and ends here is one count. One that is still open after `session_hold` is told as a `session`
item of its own (init, with what is known), and an update of a session that was told or began elsewhere passes as it
came: so each session is told as begun once and as ended once, and upstream's sums are exact. Users stay distinct as far
as the protocol allows: counts are kept by `did`, until there are MAX_ROWS of them; then users are added up.
Neither form has an id that a receiver recognises, so both are sent at most once.
"""

import datetime
import sqlite3
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from collector.forward.event import utc
from collector.store import sessions
from collector.store.sessions import Held, Tally

MAX_HELD = 20_000  # open sessions beyond it are told at once
MAX_ROWS = 20_000
MAX_COUNTS_PER_ITEM = 4000  # about 400 KB of JSON; all session items of an envelope may have 10 MiB (protocol B2)
MAX_GROUPS = 1000  # releases and environments, or open sessions, told in one go
MAX_TEXT = 250  # of a user; a longer one is nobody's, and a session with a longer sid passes as it came
MAX_AT = 250_000_000_000.0  # year 9892: a later time has no four digits to be written with

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Made(NamedTuple):
    """An item that stands for so many sessions."""

    kind: str
    project_id: int
    sessions: int
    payload: bytes


class Sessions:
    """Counts in the digest thread (`add`), makes items in the sender's (`close`)."""

    def __init__(self, window_seconds: float, hold_seconds: float) -> None:
        self._window = float(window_seconds)
        self._hold = float(hold_seconds)
        self._open = self._rows = 0
        self._measured_at: float | None = None  # commit time

    def measure(self, cursor: sqlite3.Cursor) -> None:
        """Take the true sizes."""
        self._open, _, self._rows = sessions.waiting(cursor)

    def add(self, cursor: sqlite3.Cursor, kind: str, project_id: int, payload: bytes, at: float) -> bool:
        """Takes one session or sessions item; False when it has to pass as it came."""
        is_full = self._rows >= MAX_ROWS or self._open >= MAX_HELD  # as counted here, which may be too much
        if self._measured_at is None or (is_full and at != self._measured_at):
            self._measured_at = at
            self.measure(cursor)
        try:
            update = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        attributes = update.get("attrs") if isinstance(update, dict) else None
        if not isinstance(attributes, dict) or not isinstance(attributes.get("release"), str):
            return False
        if kind == "sessions":
            return self._add_counts(cursor, project_id, update, at)
        return self._add_update(cursor, project_id, update, at)

    def _add_counts(self, cursor: sqlite3.Cursor, project_id: int, update: dict[str, Any], at: float) -> bool:
        tallies = []
        buckets = update.get("aggregates")
        if not isinstance(buckets, list):
            return False
        for bucket in buckets:
            started = seconds_of(bucket.get("started")) if isinstance(bucket, dict) else None
            if started is None:
                return False
            tally = self._tally(project_id, update["attrs"], started, bucket.get("did"))
            tallies.append(Tally(*tally[:5], *(_quantity(bucket.get(name)) for name in sessions.STATUSES)))
        for tally in tallies:
            self._count(cursor, tally, at)
        return True

    def _add_update(self, cursor: sqlite3.Cursor, project_id: int, update: dict[str, Any], at: float) -> bool:
        sid, status = update.get("sid"), update.get("status", "ok")
        started = seconds_of(update.get("started"))
        if not isinstance(sid, str) or not 0 < len(sid) <= MAX_TEXT:
            return False
        known = sessions.held(cursor, project_id, sid)
        if started is None or (known is None and update.get("init") is not True):
            return False
        errored = int(_quantity(update.get("errors")) > 0 or bool(known and known.errored))
        if status == "ok":
            if known is None and self._open >= MAX_HELD:
                return False
            seen_at = known.seen_at if known else at
            self._open += 0 if known else 1
            sessions.hold(cursor, Held(project_id, sid, seen_at, errored, _encode(update)))
            return True
        if known is not None:
            self._open -= 1
            sessions.release_held(cursor, project_id, sid)
        ended_as = status if status in sessions.STATUSES and status != "exited" else "errored" if errored else "exited"
        tally = self._tally(project_id, update["attrs"], started, update.get("did"))
        self._count(cursor, Tally(*tally[:5], *(int(name == ended_as) for name in sessions.STATUSES)), at)
        return True

    def _tally(self, project_id: int, attributes: dict[str, Any], started: float, did: object) -> Tally:
        user = did if isinstance(did, str) and len(did) <= MAX_TEXT and self._rows < MAX_ROWS else ""
        environment = attributes.get("environment")
        return Tally(
            project_id,
            attributes["release"],
            environment if isinstance(environment, str) else "",
            int(started) // 60 * 60,
            user,
        )

    def _count(self, cursor: sqlite3.Cursor, tally: Tally, at: float) -> None:
        self._rows += 1
        sessions.count(cursor, tally, at)

    def is_due(self, cursor: sqlite3.Cursor, now: float) -> bool:
        """True when `close` would have something to do."""
        return bool(
            sessions.due_groups(cursor, now - self._window, now + self._window, 1)
            or sessions.held_longer(cursor, now - self._hold, now + self._hold, 1)
        )

    def close(self, cursor: sqlite3.Cursor, now: float, but_of: Collection[int] = ()) -> list[Made]:
        """What is due, removed from the tables, to be queued at once; nothing of the projects `but_of`."""
        made = []
        for group in sessions.due_groups(cursor, now - self._window, now + self._window, MAX_GROUPS):
            while group[0] not in but_of and (tallies := sessions.take(cursor, group, MAX_COUNTS_PER_ITEM)):
                made.append(Made("sessions", group[0], sum(one.sessions for one in tallies), _item(group, tallies)))
        for one in sessions.held_longer(cursor, now - self._hold, now + self._hold, MAX_GROUPS):
            if one.project_id not in but_of:
                sessions.release_held(cursor, one.project_id, one.sid)
                made.append(Made("session", one.project_id, 1, _begun(one)))
        self.measure(cursor)
        return made


def _item(group: tuple[int, str, str], tallies: list[Tally]) -> bytes:
    _, release, environment = group
    attributes = {"release": release} | ({"environment": environment} if environment else {})
    return _encode({"aggregates": [_bucket(one) for one in tallies], "attrs": attributes})


def _bucket(tally: Tally) -> dict[str, object]:
    bucket: dict[str, object] = {"started": utc(tally.minute)}
    if tally.did:
        bucket["did"] = tally.did
    return bucket | {name: count for name in sessions.STATUSES if (count := getattr(tally, name))}


def _begun(session: Held) -> bytes:
    """The newest update, as the one that begins the session."""
    update = _decode(session.body)
    update["init"] = True
    if session.errored:
        update["errors"] = max(1, _quantity(update.get("errors")))
    return _encode(update)


def _quantity(value: object) -> int:
    whole = value if isinstance(value, int) and not isinstance(value, bool) else 0
    return min(max(0, whole), 2**31)


def seconds_of(value: object) -> float | None:
    """Seconds since the epoch of a number or an ISO 8601 text; None when it is neither, before 1970 or after 9891."""
    if isinstance(value, str):
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_AT:
        return float(value)
    return None
