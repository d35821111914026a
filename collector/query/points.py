"""Point access for people: one event, one issue, as documents of named queries, in the locked-down process.

What names an event: its id in any spelling, the beginning of it (six hex digits or more) when only one event has it,
or an issue (short id or number), which stands for its newest event. From there one may step: `latest`, `oldest`,
`next`, `previous` event of the same issue.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import duckdb
import msgspec

from collector.errors import Damaged, Unavailable
from collector.query.job import Job, Verdict
from collector.query.named import Readable, ask, event, event_id_of, issue
from collector.query.sandbox import attach, connect, lock, state_damaged
from collector.query.unpacking import stand_in_for_numpy
from collector.store.reads import Reads
from collector.store.segments import Sealed, Segments
from collector.store.state import State

STEPS = ("", "latest", "oldest", "next", "previous")
SHORTEST_PREFIX = 6
SHOWN_IDS = 5
SHOWN_VALUES = 10
DAY_SECONDS = 86_400


class Unknown(Exception):
    """Nothing is named so, or too much is; the sentence for the user."""


def event_document(store: Readable, key: str, step: str = "") -> dict[str, Any]:
    """Columns, `payload`, `issue` and the ids of the events beside it (`previous`, `next`, `oldest`, `newest`; None at
    the ends). Raises Unknown, Unavailable, Damaged."""
    if step not in STEPS:
        raise Unknown(f"{step!r} is no step; there are {', '.join(STEPS[1:])}")
    found = _event_of(store, key, step)
    around = _around(store, found)
    if step in ("next", "previous"):
        beside = around[step]
        if beside is None:
            raise Unknown(f"there is no {step} event of this issue: {found['event_id']} is the last in that direction")
        found = _event(store, beside)
        around = _around(store, found)
    about = issue(store, str(found["issue_id"])) or {}
    return {**_shown(store, found), "issue": {key: about.get(key) for key in ("id", "short_id", "status", "count")},
            **around}  # fmt: skip


def issue_document(store: Readable, key: str, now: float) -> dict[str, Any]:
    """State of the issue, `hours` ([start of hour, count] of the last 24), `tags` (values by count), ids of its
    `oldest` and `newest` event, and `stored`: how many of them are still kept. Raises as event_document."""
    found = issue(store, key)
    if found is None:
        raise Unknown(f"there is no issue {key!r}")
    ends = _ends(store, found["id"])
    first_hour = (int(now) // 3600 - 23) * 3600
    counts = {row["hour"]: row["count"] for row in ask(store, "issue_hours", issue_id=found["id"], since=first_hour)}
    tags: dict[str, dict[str, int]] = {}
    for row in ask(store, "issue_tags", issue_id=found["id"], limit=SHOWN_VALUES) if ends["stored"] else []:
        tags.setdefault(row["key"], {})[row["value"]] = row["count"]
    hours = [[first_hour + 3600 * number, counts.get(first_hour + 3600 * number, 0)] for number in range(24)]
    return {**found, "project": _slug(store, found["project_id"]), **ends, "hours": hours, "tags": tags}


def _event_of(store: Readable, key: str, step: str) -> dict[str, Any]:
    about = None if event_id_of(key) else issue(store, key.strip())
    if about is not None:
        ends = _ends(store, about["id"])
        wanted = ends["oldest" if step == "oldest" else "newest"]
        if wanted is None:
            raise Unknown(f"no event of {about['short_id']} is kept any more; it was seen {about['count']} times")
        return _event(store, wanted)
    found = _event(store, event_id_of(key) or _completed(store, key))
    if step in ("latest", "oldest"):
        return _event(store, _ends(store, found["issue_id"])["oldest" if step == "oldest" else "newest"])
    return found


def _completed(store: Readable, key: str) -> str:
    """The one event id that begins so."""
    start = key.strip().replace("-", "").lower()
    is_hex = bool(start) and all(sign in "0123456789abcdef" for sign in start)
    if not is_hex or not SHORTEST_PREFIX <= len(start) < 32:
        raise Unknown(f"{key!r} is neither an event id, nor {SHORTEST_PREFIX} or more digits of one, nor an issue")
    ids = [row["event_id"] for row in ask(store, "event_ids", low=start.ljust(32, "0"), high=start.ljust(32, "f"),
                                          limit=SHOWN_IDS + 1)]  # fmt: skip
    if not ids:
        raise Unknown(f"there is no event whose id begins with {start}")
    if len(ids) > 1:
        more = ", ..." if len(ids) > SHOWN_IDS else ""
        raise Unknown(f"several events begin with {start}: {', '.join(ids[:SHOWN_IDS])}{more}")
    return str(ids[0])


def _event(store: Readable, event_id: str) -> dict[str, Any]:
    found = event(store, event_id)
    if found is None:
        raise Unknown(f"there is no stored event {event_id}")
    return found


def _ends(store: Readable, issue_id: int) -> dict[str, Any]:
    found = ask(store, "issue_ends", issue_id=issue_id)
    return found[0] if found else {"oldest": None, "newest": None, "stored": 0}


def _around(store: Readable, found: dict[str, Any]) -> dict[str, Any]:
    [beside] = ask(store, "issue_neighbours", issue_id=found["issue_id"], timestamp=found["timestamp"],
                   event_id=found["event_id"])  # fmt: skip
    ends = _ends(store, found["issue_id"])
    return {**beside, "oldest": ends["oldest"], "newest": ends["newest"]}


def _slug(store: Readable, project_id: int) -> str:
    found = ask(store, "project_by_id", project_id=project_id)
    return str(found[0]["slug"]) if found else str(project_id)


def _shown(store: Readable, found: dict[str, Any]) -> dict[str, Any]:
    """The columns as the view `events` names them; the payload as JSON in JSON."""
    payload = found.pop("payload")
    return {"event_id": found.pop("event_id"), "project": _slug(store, found["project_id"]), **found,
            "payload": None if payload is None else msgspec.Raw(payload)}  # fmt: skip


# -- in the process of its own ----------------------------------------------------------------------------------------

DOCUMENTS: dict[str, Callable[[Readable, dict[str, Any]], dict[str, Any]]] = {
    "event": lambda store, values: event_document(store, values["key"], values.get("step", "")),
    "issue": lambda store, values: issue_document(store, values["key"], values.get("now") or time.time()),
}


class _Files:
    """What Reads needs of Segments, over files that are attached already."""

    def __init__(self, aliases: dict[str, str]) -> None:
        self._aliases = aliases
        self.active = SimpleNamespace(name="", codec=None)

    def catalogue(self, *states: str) -> list[Sealed]:
        return [Sealed(name, number, "open", 0, 0, 0, 0, 0, 0, 0) for number, name in enumerate(self._aliases)]

    @contextmanager
    def reading(self, name: str) -> Iterator[str]:
        yield self._aliases[name]

    def doubt(self, name: str) -> None:
        """A file that is damaged is not ours to set aside here."""


class _Rows:
    """What Reads needs of State."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def dicts(self, statement: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        cursor = self._connection.execute(statement, dict(values))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def answer_named(job: Job, out: BinaryIO) -> tuple[Verdict, list[str]]:
    """One document as JSON; and the segments that could not be opened."""
    stand_in_for_numpy()
    connection = connect(job)
    aliases, skipped = attach(connection, job.segments)
    names = [Path(path).stem for path in job.segments if Path(path).name not in skipped]
    lock(connection, job.timeout_seconds)
    with closing(
        sqlite3.connect(f"file:{job.state}?mode=ro" if job.state else ":memory:", uri=True, timeout=5)
    ) as state:
        reads = Reads(
            connection, cast(Segments, _Files(dict(zip(names, aliases, strict=True)))), cast(State, _Rows(state))
        )
        try:
            document = DOCUMENTS[job.named](cast(Readable, SimpleNamespace(reads=reads)), job.values)
        except (Unknown, Unavailable, Damaged) as error:
            return Verdict(error=str(error)), skipped
        except sqlite3.DatabaseError as error:
            if job.state and "no such table" not in str(error):
                return Verdict(error=state_damaged(error)), skipped
            return Verdict(error=f"there is no {job.named} {job.values['key']!r}: nothing is stored yet"), skipped
        except duckdb.InterruptException:
            return Verdict(error=f"the query ran longer than its time limit of {job.timeout_seconds:g} s"), skipped
    out.write(msgspec.json.encode(document) + b"\n")
    out.flush()
    return Verdict(1), skipped
