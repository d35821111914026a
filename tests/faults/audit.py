"""The one audit that must hold after every fault, soak and kill: nothing acknowledged is missing, doubled or bare.

`audit` asks a running collector and looks into its data folder; it collects every complaint and raises one
AssertionError that names all of them. With COLLECTOR_AUDITS=FILE each one that was passed adds a line to FILE: so
scripts/faults knows that a scenario did not end without.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from collector.model.outcome import DAMAGED, SUMMARISED
from tests.helpers.running import Collector, balanced
from tests.helpers.traffic import MARK, PLANTED

AUDITS = "COLLECTOR_AUDITS"
ISSUE_OFF = """
[[project]]
id = 42
slug = "shop"
keys = ["c0ffee00c0ffee00c0ffee00c0ffee00"]
issue_rate = "off"
"""
# Written, synced and renamed under one fixed name each: what a kill leaves is overwritten by the next.
REUSED = {"spool/spare.tmp", "spool/checkpoint.tmp", "admission.state.tmp", "project.toml.tmp"}
FOUND = f"regexp_extract(payload, '{MARK}[a-f]{{27}}')"
# One statement, because each is a process of its own. `ids`: of everything that is stored, event ids, and the marks
# of other items.
STORED = f"""SELECT (SELECT count(*) FROM events) AS rows, (SELECT count(*) FROM items) AS items,
  (SELECT coalesce(sum(count), 0) FROM issues) AS counted,
  (SELECT count(*) FROM events WHERE payload LIKE '%{PLANTED}%') AS bare,
  (SELECT count(*) FROM items WHERE payload LIKE '%{PLANTED}%') AS bare_items,
  (SELECT coalesce(list(id), []) FROM (SELECT event_id AS id FROM events UNION ALL
    SELECT coalesce(nullif({FOUND}, ''), event_id) FROM items WHERE kind <> 'client_report')) AS ids"""
CATALOGUE = "SELECT name, events, items FROM segments WHERE state <> 'quarantined'"


class Verdict(NamedTuple):
    """What the audit saw. `missing`: acknowledged, not stored, counted in the ledger by a reason."""

    acked: int
    stored: int
    counted: int
    ledger: dict[str, Any]
    status: dict[str, Any]

    def __str__(self) -> str:
        more = f", {self.counted} counted in the ledger" if self.counted else ""
        return f"{self.acked} acknowledged, {self.stored} stored{more}, none lost or doubled"


class Complaints:
    """What is wrong, in sentences."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def unless(self, claim: object, sentence: str) -> None:
        """Note the sentence when the claim does not hold."""
        if not claim:
            self.lines.append(sentence)


def acknowledged(folder: Path) -> dict[str, list[str]]:
    """kind -> ids, from the files that load generators left."""
    ids: dict[str, list[str]] = {}
    for path in sorted(folder.glob("ids-*")):
        for line in path.read_text().splitlines():
            kind, _, one = line.rpartition(" ")
            ids.setdefault(kind or "error", []).append(one)
    return ids


def audit(
    running: Collector,
    acked: Iterable[str] | Mapping[str, list[str]],
    may_drop: Mapping[str, int] | None = None,
    restart: bool = True,
    seconds: float = 60.0,
) -> Verdict:
    """Wait until the spool is empty, check everything, restart and check again.

    may_drop: reason, as the ledger's `dropped` names it, or "summarised" -> how many acknowledged ids may be missing
    for it (damaged on purpose, say), as long as the ledger counts as many. What is missing for another one is lost.
    """
    ids = [one for some in acked.values() for one in some] if isinstance(acked, Mapping) else list(acked)
    complaints = Complaints()
    verdict = _look(running, ids, may_drop or {}, complaints, seconds)
    if restart:
        complaints.unless(running.stop(60) == 0, "the collector did not stop with exit code 0")
        look_at_files(running.data, complaints)
        running.start()
        again = _look(running, ids, may_drop or {}, complaints, seconds)
        evicted = evicted_of(again.status) - evicted_of(verdict.status)
        complaints.unless(
            0 <= verdict.stored - again.stored <= evicted,
            f"{verdict.stored} stored, after a clean restart {again.stored} ({evicted} evicted meanwhile)",
        )
        complaints.unless(
            again.status["quarantine"]["files"] == verdict.status["quarantine"]["files"],
            "a clean restart set files aside",
        )
    assert not complaints.lines, "audit: " + "; ".join(complaints.lines)
    if book := os.environ.get(AUDITS):
        with open(book, "a", encoding="utf-8") as lines:
            lines.write(f"{verdict}\n")
    return verdict


def evicted_of(status: Mapping[str, Any]) -> int:
    """How many of the stored retention has removed."""
    return int(status["store"].get("evicted", 0))


def _at_one_instant(running: Collector, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The status of a drained collector and what STORED finds, with no removal by retention between them."""
    status = running.drained(seconds)
    for _ in range(10):
        (found,) = running.query(STORED)
        before, status = status, running.drained(seconds)
        if evicted_of(before) == evicted_of(status):
            break
    return status, found


def _look(
    running: Collector, ids: list[str], may_drop: Mapping[str, int], complaints: Complaints, seconds: float
) -> Verdict:
    status, found = _at_one_instant(running, seconds)
    ledger, dropped = status["ledger"], status["ledger"]["dropped"]
    kept = found["ids"]
    doubled = [one for one, count in Counter(kept).items() if count > 1]
    missing = set(ids) - set(kept)
    evicted = evicted_of(status)
    told = {**dropped, SUMMARISED: ledger["summarised"]}
    excused = sum(min(most, told.get(reason, 0)) for reason, most in may_drop.items())
    complaints.unless(len(set(ids)) == len(ids), "the load used an id twice")
    complaints.unless(not doubled, f"{len(doubled)} ids are stored twice, as {doubled[:3]}")
    complaints.unless(
        len(missing) <= excused + evicted,
        f"{len(missing)} acknowledged ids are missing (expected: {dict(may_drop)}; the ledger: {told}; "
        f"{evicted} evicted), as {sorted(missing)[:3]}",
    )
    complaints.unless(balanced(ledger), f"the ledger does not balance: {ledger}")
    complaints.unless(ledger["received"] >= len(ids), f"{len(ids)} acknowledged, {ledger['received']} received")
    complaints.unless(
        ledger["stored"] == found["rows"] + found["items"] + evicted,
        f"{found['rows']} events, {found['items']} items, {evicted} evicted; the ledger says {ledger['stored']}",
    )
    # An issue goes on counting events whose rows were removed by retention or lost with a damaged segment.
    gone = evicted + dropped.get(DAMAGED, 0)
    complaints.unless(
        0 <= found["counted"] - found["rows"] - ledger["summarised"] <= gone,
        f"{found['rows']} events and {ledger['summarised']} summarised, but issues count {found['counted']}",
    )
    complaints.unless(not found["bare"] and not found["bare_items"], "a planted password is stored unscrubbed")
    return Verdict(len(ids), len(kept), len(missing), ledger, status)


def look_at_files(data: Path, complaints: Complaints) -> None:
    """The data folder of a collector that has stopped: every database opens, rows are what the catalogue says."""
    leftovers = {str(path.relative_to(data)) for path in data.rglob("*.tmp")} - REUSED
    complaints.unless(not leftovers, f"temporary files are left: {sorted(leftovers)}")
    state = sqlite3.connect(f"file:{data / 'state.sqlite'}?mode=ro", uri=True)
    try:
        (health,) = state.execute("PRAGMA integrity_check").fetchone()
        complaints.unless(health == "ok", f"state.sqlite: {health}")
        catalogue = {name: (events, items) for name, events, items in state.execute(CATALOGUE)}
    finally:
        state.close()
    for path in sorted((data / "segments").glob("*.duckdb")):
        if path.stem not in catalogue:
            continue
        with duckdb.connect(str(path), read_only=True) as segment:
            rows = segment.execute("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM items)").fetchone()
        complaints.unless(
            rows == catalogue[path.stem], f"{path.name} holds {rows}, the catalogue says {catalogue[path.stem]}"
        )
