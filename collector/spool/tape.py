"""One spool file, read through a window: no byte is trusted without its checksum, memory stays bounded."""

from typing import NamedTuple

from isal.isal_zlib import crc32

from collector.machine.disk import Disk
from collector.spool.frame import (
    FILE_HEADER,
    FRAME_BYTES,
    FRAME_MAGIC,
    MAX_HEAD_BYTES,
    RECORD,
    SEAL,
    FileHeader,
    Frame,
    decode_file_header,
    decode_frame,
)

WINDOW_BYTES = 256 * 1024  # some 30 records of 9 KB in one read call
SCAN_BYTES = 1024 * 1024
FIRST_FRAME = FILE_HEADER.size
ALL_KINDS = (RECORD, 2, SEAL)


class Search(NamedTuple):
    """Which frames a search may find: epoch and file number must match, seq must be in after < seq <= upto."""

    after_seq: int = -1
    upto_seq: int = 2**64
    kinds: tuple[int, ...] = ALL_KINDS


class Tape:
    """Frames of the open file `handle`. `epoch` None accepts any epoch (to find out which it is). Raises OSError."""

    def __init__(self, disk: Disk, handle: int, number: int, epoch: int | None) -> None:
        self._disk = disk
        self._handle = handle
        self.number = number
        self.epoch = epoch
        self._window = memoryview(b"")
        self._window_offset = 0
        self._last: Frame | None = None  # often asked for twice: once as what follows, once as what comes

    def refresh(self) -> None:
        """Forget what was read: a writer may have gone on since."""
        self._window = memoryview(b"")
        self._last = None

    def file_header(self) -> FileHeader | None:
        """The header at the start of the file, if intact and of this file number."""
        header = decode_file_header(self._disk.read_at(self._handle, FILE_HEADER.size, 0))
        return header if header and header.number == self.number else None

    def frame_at(self, offset: int) -> Frame | None:
        """The frame whose header starts at `offset`. Only a record is believed from memory: it never changes. The
        place of anything else is read again, because the writer puts the next record there."""
        if self._last and self._last.offset == offset:
            return self._last
        frame = self._decode(self._window, offset - self._window_offset, offset)
        if frame is None or frame.kind == SEAL:
            frame = self._decode(memoryview(self._disk.read_at(self._handle, FRAME_BYTES, offset)), 0, offset)
        self._last = frame if frame and frame.kind != SEAL else None
        return frame

    def payload(self, frame: Frame) -> tuple[bytes, bytes] | None:
        """Head and body of the frame, None when their checksum is wrong (after a second look on the disk)."""
        for _ in range(2):
            data = self._view(frame.payload_offset, frame.payload_bytes)
            if len(data) == frame.payload_bytes and crc32(data) == frame.payload_crc:
                return bytes(data[: frame.head_bytes]), bytes(data[frame.head_bytes :])
            self.refresh()
        return None

    def bytes_at(self, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` from `offset`."""
        return bytes(self._view(offset, size_bytes))

    def is_blank(self, offset: int) -> bool:
        """Whether the place of a frame header holds nothing but zeros, or lies behind the end."""
        return not any(self._disk.read_at(self._handle, FRAME_BYTES, offset))

    def find(self, offset: int, search: Search = Search()) -> Frame | None:  # noqa: B008 - immutable
        """The first frame at or behind `offset` that the search allows."""
        while True:
            chunk = self._disk.read_at(self._handle, SCAN_BYTES, offset)
            index = chunk.find(FRAME_MAGIC)
            while index >= 0 and index + FRAME_BYTES <= len(chunk):
                frame = decode_frame(chunk, index, offset + index)
                if frame and self._is_ours(frame) and self._allows(search, frame):
                    return frame
                index = chunk.find(FRAME_MAGIC, index + 1)
            if len(chunk) < SCAN_BYTES:
                return None
            offset += SCAN_BYTES - FRAME_BYTES + 1  # a header may lie across the border

    def data_end(self, offset: int) -> int:
        """Where the last byte behind `offset` that is not zero ends; `offset` when there is none."""
        end = offset
        while chunk := self._disk.read_at(self._handle, SCAN_BYTES, offset):
            used = len(chunk.rstrip(b"\0"))
            if used:
                end = offset + used
            offset += len(chunk)
        return end

    def _view(self, offset: int, size_bytes: int) -> memoryview:
        """Up to `size_bytes` from `offset`, through the window unless they are larger than it."""
        index = offset - self._window_offset
        if index < 0 or index + size_bytes > len(self._window):
            data = memoryview(self._disk.read_at(self._handle, max(size_bytes, WINDOW_BYTES), offset))
            if size_bytes > WINDOW_BYTES:
                return data[:size_bytes]
            self._window, self._window_offset = data, offset
            index = 0
        return self._window[index : index + size_bytes]

    def _decode(self, data: memoryview, index: int, offset: int) -> Frame | None:
        if index < 0 or index + FRAME_BYTES > len(data):
            return None
        frame = decode_frame(data, index, offset)
        return frame if frame and self._is_ours(frame) else None

    def _is_ours(self, frame: Frame) -> bool:
        return (
            frame.number == self.number
            and (self.epoch is None or frame.epoch == self.epoch)
            and frame.kind in ALL_KINDS
            and frame.head_bytes <= MAX_HEAD_BYTES
        )

    def _allows(self, search: Search, frame: Frame) -> bool:
        return search.after_seq < frame.seq <= search.upto_seq and frame.kind in search.kinds
