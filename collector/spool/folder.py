"""Names and files of the spool folder, and what can be known without reading records.

    000000000007.spool   records; numbers only grow, a writer begins a new file at every start
    000000000008.tmp     a file being made; a leftover is removed at start
    spare.tmp            zeros, the next file made ahead
    checkpoint           see checkpoint.py; checkpoint.tmp while it is made

Anything else is not ours: it is left alone and reported.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from collector.errors import ConfigError
from collector.machine.disk import Disk
from collector.spool.checkpoint import CHECKPOINT, Mark, load_checkpoint
from collector.spool.frame import PROOFS, SEAL, VERSION, FileHeader, Frame
from collector.spool.tape import FIRST_FRAME, Search, Tape

SPARE = "spare.tmp"
_RECORDS = re.compile(r"(\d{12})\.spool")
_TEMPORARY = re.compile(r"\d{12}\.tmp|spare\.tmp|checkpoint\.tmp")


class SpoolFile(NamedTuple):
    """One file of records. `header` is None when it is not intact. `size_bytes` includes zeros written ahead."""

    number: int
    header: FileHeader | None
    size_bytes: int


class Extent(NamedTuple):
    """Up to where a file holds records: the last seq (-1: none) and its total; where bytes that matter end."""

    seq: int
    total: int
    end: int


class Survey(NamedTuple):
    """The folder at one moment. `epoch` is None when there are no files, or nothing intact that tells one."""

    files: list[SpoolFile]
    epoch: int | None
    saved: Mark | None  # what the checkpoint says
    last_number: int  # of all files, also those of another epoch; 0 without any
    foreign: list[str]
    temporary: list[str]


def file_name(number: int) -> str:
    """The name of the file with this number."""
    return f"{number:012d}.spool"


def temporary_name(number: int) -> str:
    """Its name while it is made."""
    return f"{number:012d}.tmp"


def list_numbers(disk: Disk, folder: Path) -> list[int]:
    """Numbers of the record files, ascending. Raises OSError."""
    return _numbers(disk.list_names(folder))


def survey(disk: Disk, folder: Path) -> Survey:
    """Read the folder and the headers. Raises OSError; ConfigError when a later version wrote a file."""
    names = disk.list_names(folder)
    looks = {number: look_at(disk, folder, number) for number in _numbers(names)}
    files = [file for file in looks.values() if file]
    saved = load_checkpoint(disk, folder)
    epoch = find_epoch(disk, folder, files, saved)
    foreign = [name for name in names if not _is_ours(name)]
    foreign += [file_name(number) for number, file in looks.items() if file is None]
    foreign += [file_name(each.number) for each in files if each.header and each.header.epoch != epoch]
    files = [each for each in files if each.header is None or each.header.epoch == epoch]
    temporary = [name for name in names if _TEMPORARY.fullmatch(name)]
    return Survey(files, epoch, saved, max(looks, default=0), foreign, temporary)


def look_at(disk: Disk, folder: Path, number: int) -> SpoolFile | None:
    """Header and size of one file, None when it is gone or a folder. Raises OSError, ConfigError."""
    try:
        handle = disk.open(folder / file_name(number))
    except FileNotFoundError:
        return None
    try:
        size_bytes = disk.length(handle)
        header = Tape(disk, handle, number, None).file_header() if size_bytes else None
    except IsADirectoryError:
        return None
    finally:
        disk.close(handle)
    if header and header.version > VERSION:
        name = file_name(number)
        raise ConfigError([f"data.dir: spool/{name} has format {header.version}; this version reads up to {VERSION}"])
    return SpoolFile(number, header, size_bytes)


def find_epoch(disk: Disk, folder: Path, files: Sequence[SpoolFile], saved: Mark | None) -> int | None:
    """The epoch of the checkpoint, unless all files agree that it is another; without it that of the newest file that
    tells one, by its header or else by its first intact frame. Raises OSError."""
    told = [file.header.epoch for file in files if file.header]
    if saved and files and (not told or saved.released.epoch in told):
        return saved.released.epoch
    if told:
        return told[-1]
    frames = (first_frame(disk, folder, file.number, None) for file in reversed(files))
    return next((frame.epoch for frame in frames if frame), None)


def first_frame(disk: Disk, folder: Path, number: int, epoch: int | None) -> Frame | None:
    """The first intact frame of the file, wherever it is. Raises OSError."""
    handle = disk.open(folder / file_name(number))
    try:
        return Tape(disk, handle, number, epoch).find(FIRST_FRAME)
    finally:
        disk.close(handle)


def extent(tape: Tape) -> Extent:
    """Read the whole file for its last record. Raises OSError.

    Behind the first frame that is not intact, records count only if a seal or the start of a later commit shows that
    more was durable here once. Else this is the torn end of the last commit, which nobody was told of: when the power
    goes, any of its sectors may have been written.
    """
    seq = total = -1
    offset = end = FIRST_FRAME
    while True:
        frame = tape.frame_at(offset)
        if frame and (frame.kind == SEAL or tape.payload(frame)):
            seq, total = max((seq, total), (frame.seq, frame.total))
            offset = end = frame.end
            continue
        behind = frame.end if frame else offset
        if tape.find(behind, Search(seq, kinds=PROOFS)) is None:
            return Extent(seq, total, tape.data_end(end))
        following = tape.find(behind, Search(seq))
        assert following is not None
        offset = following.offset


def _numbers(names: Sequence[str]) -> list[int]:
    return sorted(int(match[1]) for name in names if (match := _RECORDS.fullmatch(name)))


def _is_ours(name: str) -> bool:
    return bool(_RECORDS.fullmatch(name) or _TEMPORARY.fullmatch(name) or name == CHECKPOINT)
