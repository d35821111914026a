"""What a collector kept and counted, read from a snapshot of the running one: payloads too, which SQL does not show."""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb

from collector.config import Config, load
from collector.machine.disk import RealDisk
from collector.machine.link import ask_front
from collector.offline import query_sources
from collector.query.adhoc import Sources
from collector.store.attachments import Attachments
from collector.store.payload import PayloadCodec, read_dictionaries
from tests.conformance.client import Answer
from tests.conformance.judge import Evidence, Stored
from tests.helpers.running import Collector

EVENTS_SQL = "SELECT project_id, 'event', NULL, enc, payload FROM events ORDER BY received_at"
ITEMS_SQL = "SELECT project_id, kind, headers, enc, payload FROM items ORDER BY received_at"
OUTCOMES_SQL = "SELECT project_id, outcome, reason, category, quantity FROM outcomes WHERE outcome <> 'accepted'"
REFUSED_SQL = "SELECT coalesce(sum(items), 0) FROM outcomes WHERE outcome <> 'accepted'"
SNAPSHOT_SECONDS = 30.0
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.2


def collect(running: Collector, drain_seconds: float) -> dict[int, Evidence]:
    """Evidence by project, once nothing is on its way any more. Raises AssertionError when that does not come."""
    config = load(running.config, os.environ)
    folder = Path(config.data.dir)
    found: dict[int, Evidence] = {}

    def of(project_id: int) -> Evidence:
        return found.setdefault(project_id, Evidence(Answer(None)))

    if running.process is not None:
        # Refusals go to the ledger once a second; the status counts them before that, SQL does not.
        refused = sum(_ledger(folder)["dropped"].values())
        _wait(lambda: _written(config) >= refused, drain_seconds, "refusals in SQL")
        _wait(lambda: _ledger(folder)["in_spool"] == 0, drain_seconds, "an empty spool")
    with _snapshot(config) as sources:
        for segment in sources.segments:
            for project_id, stored in _kept(segment, folder):
                of(project_id).kept.append(stored)
        for project_id, outcome in _outcomes(sources.state):
            of(project_id).outcomes.append(outcome)
    return found


def wait_ready(running: Collector, seconds: float) -> None:
    """Until the worker has reported: steps are about a collector at work, not about one that starts."""
    folder = Path(load(running.config, os.environ).data.dir)
    _wait(lambda: _age(folder) is not None, seconds, "a working collector")


def _age(folder: Path) -> float | None:
    age: float | None = ask_front(folder, "status", None, ANSWER_SECONDS)["worker"]["heartbeat_age_seconds"]
    return age


def _wait(claim: Callable[[], bool], seconds: float, what: str) -> None:
    """Each question costs the collector something, so they are asked less often than a test's own."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(POLL_SECONDS)


def _ledger(folder: Path) -> dict[str, Any]:
    ledger: dict[str, Any] = ask_front(folder, "status", None, ANSWER_SECONDS)["ledger"]
    return ledger


def _snapshot(config: Config) -> AbstractContextManager[Sources]:
    folder = Path(config.data.dir)
    return query_sources(config, lambda body: ask_front(folder, "snapshot", body, SNAPSHOT_SECONDS))


def _written(config: Config) -> int:
    """Items whose fate is not that they were accepted."""
    with _snapshot(config) as sources:
        if sources.state is None:
            return 0
        with contextlib.closing(sqlite3.connect(f"file:{sources.state}?mode=ro", uri=True)) as connection:
            return int(connection.execute(REFUSED_SQL).fetchone()[0])


def _kept(segment: Path, data: Path) -> Iterator[tuple[int, Stored]]:
    with duckdb.connect(str(segment), read_only=True) as connection:
        facts = dict(connection.execute("SELECT k, v FROM seg_info").fetchall())
        codec = PayloadCodec(read_dictionaries(facts), Attachments(RealDisk(), data).get)
        for sql in (EVENTS_SQL, ITEMS_SQL):
            for project_id, kind, headers, enc, payload in connection.execute(sql).fetchall():
                yield project_id, Stored(kind, json.loads(headers or "{}"), codec.decode(enc, payload) or b"")


def _outcomes(state: Path | None) -> Iterator[tuple[int, dict[str, Any]]]:
    if state is None:
        return
    with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as connection:
        for project_id, outcome, reason, category, quantity in connection.execute(OUTCOMES_SQL):
            yield project_id, {"outcome": outcome, "reason": reason, "category": category, "quantity": quantity}
