"""The checkpoint: up to where the spool may be forgotten, durable before anything is removed.

File `checkpoint`, 8192 bytes: two slots at 0 and 4096, written in turn; the intact one with the higher generation
holds. A slot: 8s magic C3 "MARK" 00 0D 0A, u64 generation, u64 epoch, u64 released seq, u64 released total, u64 noted
seq, u64 noted total, u32 CRC-32 of these 56 bytes. Released: may be forgotten. Noted: the last durable record when the
slot was written, so that numbers do not go back when the headers of all files are damaged.

Two slots in place instead of a new file each time: a torn write spoils only the slot it writes, no name changes (one
sync instead of three), and it works on a full disk, where releasing the spool is what makes room again.
"""

import errno
import struct
from pathlib import Path
from typing import NamedTuple

from isal.isal_zlib import crc32

from collector.machine.disk import Disk
from collector.model.received import Position

CHECKPOINT = "checkpoint"
SLOT = struct.Struct("<8sQQQQQQI")
SLOT_OFFSETS = (0, 4096)
FILE_BYTES = 8192
MAGIC = b"\xc3MARK\x00\r\n"


class Mark(NamedTuple):
    """What a slot says; both positions are of the same epoch."""

    released: Position
    noted: Position


def load_checkpoint(disk: Disk, folder: Path) -> Mark | None:
    """What the checkpoint says, None when the file is missing or both slots are damaged. Raises OSError."""
    return _load(disk, folder)[1]


class Checkpoint:
    """Writes the checkpoint. One thread at a time."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._generation = _load(disk, folder)[0]
        self._handle: int | None = None

    def save(self, mark: Mark) -> None:
        """Return when the mark is durable. Raises OSError; the one before it then still holds, or this one does."""
        generation = self._generation + 1
        slot = _encode(generation, mark)
        try:
            self._overwrite(slot, SLOT_OFFSETS[generation % 2])
        except OSError:  # missing, cut short, or its sync failed, which is never repeated on the same descriptor
            self.close()
            self._make(slot, SLOT_OFFSETS[generation % 2])
        self._generation = generation

    def close(self) -> None:
        """Give the file back."""
        if self._handle is not None:
            self._disk.close(self._handle)
            self._handle = None

    def _overwrite(self, slot: bytes, offset: int) -> None:
        if self._handle is None:
            self._handle = self._disk.open(self._folder / CHECKPOINT, writable=True)
            if self._disk.length(self._handle) != FILE_BYTES:
                raise OSError(errno.EINVAL, "the checkpoint is cut short")
        self._disk.write_at(self._handle, [slot], offset)
        self._disk.sync(self._handle)

    def _make(self, slot: bytes, offset: int) -> None:
        content = bytearray(FILE_BYTES)
        content[offset : offset + SLOT.size] = slot
        self._disk.write_whole(self._folder / CHECKPOINT, bytes(content))


def _encode(generation: int, mark: Mark) -> bytes:
    data = SLOT.pack(MAGIC, generation, *mark.released, *mark.noted[1:], 0)[:-4]
    return data + struct.pack("<I", crc32(data))


def _load(disk: Disk, folder: Path) -> tuple[int, Mark | None]:
    try:
        data = disk.read_whole(folder / CHECKPOINT, FILE_BYTES)
    except FileNotFoundError:
        return 0, None
    slots = [slot for offset in SLOT_OFFSETS if (slot := _decode(data[offset : offset + SLOT.size]))]
    return max(slots, default=(0, None))


def _decode(data: bytes) -> tuple[int, Mark] | None:
    if len(data) < SLOT.size:
        return None
    magic, generation, epoch, seq, total, noted_seq, noted_total, crc = SLOT.unpack(data)
    if magic != MAGIC or crc != crc32(data[:-4]):
        return None
    return generation, Mark(Position(epoch, seq, total), Position(epoch, noted_seq, noted_total))
