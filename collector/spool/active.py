"""The one spool file that is being written."""

from collections.abc import Sequence
from typing import NamedTuple

from collector.machine.disk import Disk
from collector.model.received import Position
from collector.spool.frame import FIRST, FRAME_BYTES, RECORD, FileHeader, encode_frame, encode_seal
from collector.spool.tape import FIRST_FRAME

NO_SEAL = bytes(FRAME_BYTES)


class Submission(NamedTuple):
    """One record on its way: encoded head, body as received, ledger quantity."""

    head: bytes
    body: bytes
    quantity: int


class Active:
    """An open spool file whose header is durable. One thread at a time.

    `written` is the last record in the file, `durable` the last one that a sync covers. `capacity_bytes` is where the
    file counts as full, `length_bytes` how far bytes (or zeros written ahead) reach.
    """

    def __init__(self, disk: Disk, handle: int, header: FileHeader, length_bytes: int, capacity_bytes: int) -> None:
        self._disk = disk
        self._handle = handle
        self.header = header
        self.capacity_bytes = capacity_bytes
        self.offset = self._durable_offset = FIRST_FRAME
        self._length_bytes = max(length_bytes, FIRST_FRAME)
        self._kind = FIRST
        # Not header.previous_seq: after a restart the first record comes a gap later.
        self.written = Position(header.epoch, header.first_seq - 1, header.total)
        self.durable = Position(header.epoch, header.previous_seq, header.total)
        self.is_sealed = True

    def has_room(self, size_bytes: int) -> bool:
        """Whether records of this size fit. An empty file takes a record of any size."""
        return self.offset == FIRST_FRAME or self.offset + size_bytes + FRAME_BYTES <= self.capacity_bytes

    def append(self, group: Sequence[Submission]) -> list[Position]:
        """Write the records in one call; where they will stand once settle() returned. Raises OSError."""
        buffers: list[bytes] = []
        positions = []
        epoch, seq, total = self.written
        for head, body, quantity in group:
            seq += 1
            total += quantity
            buffers.append(encode_frame(self._kind, self.header, seq, total, head, body))
            buffers.append(body)
            positions.append(Position(epoch, seq, total))
            self._kind = RECORD
        end = self.offset + sum(map(len, buffers))
        if end + FRAME_BYTES > self._length_bytes:
            buffers.append(NO_SEAL)  # room for the seal is taken now: on a full disk it must not fail after the sync
            self._length_bytes = end + FRAME_BYTES
        self._disk.write_at(self._handle, buffers, self.offset)
        self.offset = end
        self.written = positions[-1]
        return positions

    def settle(self, sync: bool) -> None:
        """Make all written records durable, then tell readers so by a seal. Raises OSError from the sync only."""
        if sync:
            self._disk.sync(self._handle)
        self.durable = self.written
        self._durable_offset = self.offset
        self._kind = FIRST
        self.is_sealed = self._seal()

    def close(self) -> int:
        """Close the file for good; its length. What is durable stays and is sealed, the rest (zeros written ahead, or
        records whose write or sync failed) is cut if the disk lets us."""
        length = self._durable_offset + FRAME_BYTES
        try:
            self._disk.truncate(self._handle, length)
            self._seal()
        except OSError:
            length = self._length_bytes
        self._disk.close(self._handle)
        return length

    def _seal(self) -> bool:
        if self.durable.seq < self.header.first_seq:
            return True
        seal = encode_seal(self.header, self.durable.seq, self.durable.total)
        try:
            self._disk.write_at(self._handle, [seal], self._durable_offset)
        except OSError:
            return False  # the records are durable; readers see them when the next file begins
        return True
