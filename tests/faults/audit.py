"""The one audit that must hold after every fault, soak and kill: nothing acknowledged is missing, doubled or bare.

`audit` asks a running collector over its own command line and looks into its data folder; it collects every complaint
and raises one AssertionError that names all of them.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from tests.helpers.running import Collector, balanced
from tests.helpers.traffic import MARK, PLANTED

ISSUE_OFF = """
[[project]]
id = 42
slug = "shop"
keys = ["c0ffee00c0ffee00c0ffee00c0ffee00"]
issue_rate = "off"
"""
ROWS = "1000000"
# Written, synced and renamed under one fixed name each: what a kill leaves is overwritten by the next.
REUSED = {"spool/spare.tmp", "spool/checkpoint.tmp", "admission.state.tmp", "project.toml.tmp"}
COUNTS = f"""SELECT (SELECT count(*) FROM events) AS rows, (SELECT count(*) FROM items) AS items,
  (SELECT coalesce(sum(count), 0) FROM issues) AS counted,
  (SELECT count(*) FROM events WHERE payload LIKE '%{PLANTED}%') AS bare,
  (SELECT count(*) FROM items WHERE payload LIKE '%{PLANTED}%') AS bare_items"""
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


def stored(running: Collector) -> list[str]:
    """The id of everything that is stored: event ids, and the marks of other items."""
    found = f"regexp_extract(payload, '{MARK}[a-f]{{27}}')"
    sql = (
        "SELECT event_id AS id FROM events UNION ALL "
        f"SELECT coalesce(nullif({found}, ''), event_id) FROM items WHERE kind <> 'client_report'"
    )
    rows = json.loads(running.command("query", "--format", "json", "--limit", ROWS, "--timeout", "120", sql))
    return [row["id"] for row in rows]


def audit(
    running: Collector,
    acked: Iterable[str] | Mapping[str, list[str]],
    may_count: int = 0,
    restart: bool = True,
    seconds: float = 60.0,
) -> Verdict:
    """Wait until the spool is empty, check everything, restart and check again.

    may_count: how many acknowledged ids may be missing when the ledger counts as many as dropped (damaged on purpose).
    """
    ids = [one for some in acked.values() for one in some] if isinstance(acked, Mapping) else list(acked)
    complaints = Complaints()
    verdict = _look(running, ids, may_count, complaints, seconds)
    if restart:
        complaints.unless(running.stop(60) == 0, "the collector did not stop with exit code 0")
        look_at_files(running.data, complaints)
        running.start()
        again = _look(running, ids, may_count, complaints, seconds)
        complaints.unless(
            again.stored == verdict.stored, f"{verdict.stored} stored, after a clean restart {again.stored}"
        )
        complaints.unless(
            again.status["quarantine"]["files"] == verdict.status["quarantine"]["files"],
            "a clean restart set files aside",
        )
    assert not complaints.lines, "audit: " + "; ".join(complaints.lines)
    return verdict


def _look(running: Collector, ids: list[str], may_count: int, complaints: Complaints, seconds: float) -> Verdict:
    status = running.drained(seconds)
    ledger = status["ledger"]
    kept = stored(running)
    doubled = [one for one, count in Counter(kept).items() if count > 1]
    missing = set(ids) - set(kept)
    dropped = sum(ledger["dropped"].values())
    complaints.unless(len(set(ids)) == len(ids), "the load used an id twice")
    complaints.unless(not doubled, f"{len(doubled)} ids are stored twice, as {doubled[:3]}")
    evicted = status["store"].get("evicted", 0)
    complaints.unless(
        len(missing) <= min(may_count, dropped) + evicted,
        f"{len(missing)} acknowledged ids are missing ({dropped} dropped in the ledger, {evicted} evicted), "
        f"as {sorted(missing)[:3]}",
    )
    complaints.unless(balanced(ledger), f"the ledger does not balance: {ledger}")
    complaints.unless(ledger["received"] >= len(ids), f"{len(ids)} acknowledged, {ledger['received']} received")
    counts = running.query(COUNTS)[0]
    complaints.unless(
        ledger["stored"] == counts["rows"] + counts["items"] + evicted,
        f"{counts['rows']} events, {counts['items']} items, {evicted} evicted; the ledger says {ledger['stored']}",
    )
    complaints.unless(
        0 <= counts["counted"] - counts["rows"] - ledger["summarised"] <= evicted,
        f"{counts['rows']} events and {ledger['summarised']} summarised, but issues count {counts['counted']}",
    )
    complaints.unless(not counts["bare"] and not counts["bare_items"], "a planted password is stored unscrubbed")
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
