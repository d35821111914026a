"""Looking at a spool folder without serving it: read only, beside a running collector or without one."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from collector.errors import Unavailable
from collector.machine.disk import Disk
from collector.model.received import START, Position
from collector.spool.checkpoint import CHECKPOINT, load_checkpoint
from collector.spool.folder import SpoolFile, file_name, survey
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


class FileReport(NamedTuple):
    """One file of the folder. `wrong`: a sentence, "" when every frame, checksum and number in it is as it should be.
    is_lost: nothing in it can be read."""

    name: str
    wrong: str
    records: int = 0
    bytes: int = 0
    is_lost: bool = False


def look_over(disk: Disk, folder: Path) -> list[FileReport]:
    """Every file: its header, each frame, its checksums, the order of the numbers, also across files. Beside a running
    writer what is released meanwhile is no damage. Raises Unavailable, ConfigError (a later format)."""
    try:
        seen = survey(disk, folder)
    except OSError as error:
        raise Unavailable(f"the spool cannot be read: {error.strerror or error}") from error
    reports = [_checkpoint_report(disk, folder, bool(seen.files))]
    told = [file.header for file in seen.files if file.header]
    after = Position(seen.epoch or 0, told[0].previous_seq, told[0].total) if told else START
    damages, counts = _read_all(disk, folder, after)
    upto = released(disk, folder)
    for file in seen.files:
        name = file_name(file.number)
        wrong = _header_report(file) + [why for position, why in damages if name in why and position.seq > upto.seq]
        count = counts.get(name, 0)
        reports.append(FileReport(name, "; ".join(wrong), count, file.size_bytes, bool(wrong) and not count))
    loose = [why for position, why in damages if ".spool" not in why and position.seq > upto.seq]
    return reports + [FileReport("spool", why) for why in loose]


def _header_report(file: SpoolFile) -> list[str]:
    if file.header is not None or not file.size_bytes:
        return []
    return ["its header is damaged"]


def _checkpoint_report(disk: Disk, folder: Path, has_files: bool) -> FileReport:
    try:
        if not disk.exists(folder / CHECKPOINT):
            return FileReport(CHECKPOINT, "")
        wrong = "" if load_checkpoint(disk, folder) or not has_files else "both of its slots are damaged"
        return FileReport(CHECKPOINT, wrong, bytes=disk.size(folder / CHECKPOINT))
    except OSError as error:
        return FileReport(CHECKPOINT, f"it cannot be read: {error.strerror or error}")


def _read_all(disk: Disk, folder: Path, after: Position) -> tuple[list[tuple[Position, str]], dict[str, int]]:
    """Damaged places with the position behind them; intact records by file name."""
    damages: list[tuple[Position, str]] = []
    counts: dict[str, int] = {}
    reader = SpoolReader(disk, folder, after, is_tool=True)
    try:
        while batch := reader.read(1, READ_BYTES):
            for record in batch:
                if record.damaged is None:
                    name = file_name(reader.file_number)
                    counts[name] = counts.get(name, 0) + 1
                else:
                    damages.append((record.position, record.why))
    finally:
        reader.close()
    return damages, counts


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
