"""Looking at a spool folder without serving it: read only, beside a running collector or without one."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from collector.errors import Unavailable
from collector.machine.disk import Disk
from collector.model.received import START, Position
from collector.spool.checkpoint import load_checkpoint
from collector.spool.reader import SpoolReader, SpoolRecord

READ_RECORDS = 256
READ_BYTES = 4 * 2**20


class Inspection(NamedTuple):
    """What lies behind a position. position: the last record there; lost: ledger quantity that cannot be read any
    more; damages: one sentence a place; foreign: names that are not ours."""

    position: Position
    records: int
    quantity: int
    body_bytes: int
    lost: int
    damages: list[str]
    foreign: list[str]


def records(disk: Disk, folder: Path, after: Position = START) -> Iterator[SpoolRecord]:
    """All records behind `after`, also those of a last commit that nothing proves yet. Raises Unavailable."""
    reader = SpoolReader(disk, folder, after, is_tool=True)
    try:
        while batch := reader.read(READ_RECORDS, READ_BYTES):
            yield from batch
    finally:
        reader.close()


def released(disk: Disk, folder: Path) -> Position:
    """Up to where the spool may be forgotten, START when nothing tells. Raises Unavailable."""
    try:
        saved = load_checkpoint(disk, folder)
    except OSError as error:
        raise Unavailable(f"the spool cannot be read: {error.strerror or error}") from error
    return saved.released if saved else START


def inspect(disk: Disk, folder: Path, after: Position | None = None) -> Inspection:
    """Read every record behind `after` (default: the released position) and check it. Raises Unavailable."""
    position = released(disk, folder) if after is None else after
    count = quantity = body_bytes = lost = 0
    damages: list[str] = []
    reader = SpoolReader(disk, folder, position, is_tool=True)
    try:
        while batch := reader.read(READ_RECORDS, READ_BYTES):
            for record in batch:
                lost += record.lost
                if record.damaged is None:
                    count += 1
                    quantity += record.received.quantity
                    body_bytes += len(record.body)
                else:
                    damages.append(record.why)
            position = batch[-1].position
    finally:
        reader.close()
    return Inspection(position, count, quantity, body_bytes, lost, damages, reader.foreign)
