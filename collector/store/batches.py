"""Batches of edge collectors (collector.hub): which were stored, so that each is stored once, and counts per edge.

`hub_batches`: one row a batch. `epoch`, `seq`: the spool record that brought it first; the same record digested again
is no repetition. The oldest beyond KEPT of an edge are forgotten. `hub_edges`: totals since the beginning, by edge and
project here. Both are sums of deltas like everything else in state.sqlite.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from collector.model.event import Digested
from collector.model.outcome import INVALID, Outcome

KEPT = 20_000
PRUNE_EVERY = 256

DUPLICATE = "duplicate"

HUB_DDL = """
CREATE TABLE IF NOT EXISTS hub_batches(
  no INTEGER PRIMARY KEY AUTOINCREMENT, edge TEXT NOT NULL, batch BLOB NOT NULL, epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS hub_batches_by_id ON hub_batches(edge, batch);
CREATE INDEX IF NOT EXISTS hub_batches_by_age ON hub_batches(edge, no);
CREATE TABLE IF NOT EXISTS hub_edges(
  edge TEXT NOT NULL, project_id INTEGER NOT NULL, batches INTEGER NOT NULL, entries INTEGER NOT NULL,
  occurrences INTEGER NOT NULL, repeated INTEGER NOT NULL, last_at REAL NOT NULL,
  PRIMARY KEY(edge, project_id)) WITHOUT ROWID;
"""

Place = tuple[int, int]  # epoch and seq of a spool record
PlaceOf = Callable[[str, bytes], Place | None]


class ToldBatch(msgspec.Struct, frozen=True, array_like=True):
    """One spool record of an edge, in the delta of its commit. occurrences: its ledger quantity; epoch, seq: where it
    stands in the spool; repeated: the batch had been stored before, so nothing of it was stored now."""

    edge: str
    batch_id: bytes
    project_id: int
    entries: int
    occurrences: int
    at: float
    epoch: int
    seq: int
    repeated: bool = False


class Batches:
    """The batches of one commit in the making. `place_of`: which record brought a batch first."""

    def __init__(self, place_of: PlaceOf) -> None:
        self._place_of = place_of
        self._here: dict[tuple[str, bytes], Place] = {}
        self.told: list[ToldBatch] = []

    def once(self, record: Digested) -> Digested:
        """The record, or what is left of one whose batch came before: an outcome for its quantity."""
        told = record.told
        if told is None:
            return record
        here = (record.position.epoch, record.position.seq)
        key = (told.edge, told.batch_id)
        first = self._here.setdefault(key, self._place_of(*key) or here)
        again = first != here
        self.told.append(
            ToldBatch(told.edge, told.batch_id, told.project_id, told.entries, record.quantity, told.received_at,
                      *here, again)
        )  # fmt: skip
        if not again:
            return record
        outcome = Outcome(told.project_id, INVALID, DUPLICATE, "error", record.quantity, told.received_at,
                          items=record.quantity)  # fmt: skip
        return Digested(record.position, record.quantity, outcomes=[outcome])


def place_in(told: Sequence[ToldBatch], edge: str, batch_id: bytes) -> Place | None:
    """The record among these that stored a batch."""
    for one in told:
        if one.batch_id == batch_id and one.edge == edge and not one.repeated:
            return one.epoch, one.seq
    return None


def write_told(cursor: sqlite3.Cursor, told: Sequence[ToldBatch]) -> None:
    """Adds the batches of a delta."""
    for one in told:
        first = not one.repeated
        cursor.execute(
            "INSERT INTO hub_edges VALUES (?,?,?,?,?,?,?) ON CONFLICT(edge, project_id) DO UPDATE SET"
            " batches = batches + excluded.batches, entries = entries + excluded.entries,"
            " occurrences = occurrences + excluded.occurrences, repeated = repeated + excluded.repeated,"
            " last_at = max(last_at, excluded.last_at)",
            (one.edge, one.project_id, int(first), one.entries * first, one.occurrences * first, int(one.repeated),
             one.at),
        )  # fmt: skip
        if first:
            cursor.execute("INSERT OR REPLACE INTO hub_batches(edge, batch, epoch, seq) VALUES (?,?,?,?)",
                           (one.edge, one.batch_id, one.epoch, one.seq))  # fmt: skip
            if cursor.lastrowid and cursor.lastrowid % PRUNE_EVERY == 0:
                _prune(cursor, one.edge)


def _prune(cursor: sqlite3.Cursor, edge: str) -> None:
    cursor.execute(
        "DELETE FROM hub_batches WHERE edge = :edge AND no <="
        " (SELECT no FROM hub_batches WHERE edge = :edge ORDER BY no DESC LIMIT 1 OFFSET :kept)",
        {"edge": edge, "kept": KEPT},
    )


def edge_totals(rows: Sequence[tuple[Any, ...]]) -> dict[str, dict[str, Any]]:
    """Rows of hub_edges as edge -> batches, entries, occurrences, repeated, last_batch_at, projects."""
    totals: dict[str, dict[str, Any]] = {}
    for edge, project_id, batches, entries, occurrences, repeated, last_at in rows:
        one = totals.setdefault(
            edge,
            {"batches": 0, "entries": 0, "occurrences": 0, "repeated": 0, "last_batch_at": 0.0, "projects": {}},
        )
        one["batches"] += batches
        one["entries"] += entries
        one["occurrences"] += occurrences
        one["repeated"] += repeated
        one["last_batch_at"] = max(one["last_batch_at"], last_at)
        one["projects"][str(project_id)] = occurrences
    return totals


def place_of(rows: Sequence[tuple[Any, ...]]) -> Place | None:
    """The first of rows (epoch, seq)."""
    return (rows[0][0], rows[0][1]) if rows else None
