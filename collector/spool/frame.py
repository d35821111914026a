"""The bytes of a spool file: its header, its frames, its seal. Numbers are little-endian.

File header, 64 bytes at offset 0:

     0  8s  magic  C3 "SPOOL" 0D 0A
     8  u32 format version (1)
    12  u32 file number (also in the file name)
    16  u64 epoch: identity of the spool
    24  u64 previous seq: the last acknowledged record before this file
    32  u64 first seq: of the first record in this file (previous + 1, or more after a restart)
    40  u64 total: ledger quantity up to and including the previous record
    48  12 zero bytes
    60  u32 CRC-32 of bytes 0..59

Frame, 52 bytes, then head and body without padding:

     0  4s  magic  CB "REC"
     4  u8  kind: 1 record, 2 record and first of its commit, 3 seal
     5  3 zero bytes
     8  u32 file number
    12  u64 epoch
    20  u64 seq
    28  u64 total: ledger quantity up to and including this record
    36  u32 head length: msgpack map of model.Received
    40  u32 body length: as received
    44  u32 CRC-32 of head and body
    48  u32 CRC-32 of bytes 0..47

A frame is complete without the file header. Epoch and number in it make the frames of any other file, or a frame that
a client put into a body (it cannot know the epoch), unreadable here.
"""

import struct
from typing import NamedTuple

import msgspec
from isal.isal_zlib import crc32

from collector.model.received import Received

VERSION = 1
FILE_MAGIC = b"\xc3SPOOL\r\n"
FILE_HEADER = struct.Struct("<8sIIQQQQ12xI")
FRAME_MAGIC = b"\xcbREC"
FRAME_HEADER = struct.Struct("<4sB3xIQQQIIII")
FRAME_BYTES = FRAME_HEADER.size
CRC = struct.Struct("<I")
RECORD, FIRST, SEAL = 1, 2, 3
PROOFS = (FIRST, SEAL)  # kinds that are written only after a sync of all before them

MAX_HEAD_BYTES = 1024 * 1024  # the front takes 32 KB of request headers, and some numbers of refused items

encode_head = msgspec.msgpack.Encoder().encode
decode_head = msgspec.msgpack.Decoder(Received).decode


class FileHeader(NamedTuple):
    """What a spool file says about itself; see the module's docstring."""

    number: int
    epoch: int
    previous_seq: int
    first_seq: int
    total: int
    version: int = VERSION


class Frame(NamedTuple):
    """A verified frame header at `offset` of its file."""

    offset: int
    kind: int
    number: int
    epoch: int
    seq: int
    total: int
    head_bytes: int
    body_bytes: int
    payload_crc: int

    @property
    def payload_offset(self) -> int:
        """Where head and body start."""
        return self.offset + FRAME_BYTES

    @property
    def payload_bytes(self) -> int:
        """Length of head and body."""
        return self.head_bytes + self.body_bytes

    @property
    def end(self) -> int:
        """Where the next frame starts."""
        return self.offset + FRAME_BYTES + self.head_bytes + self.body_bytes


def encode_file_header(header: FileHeader) -> bytes:
    """64 bytes."""
    data = FILE_HEADER.pack(FILE_MAGIC, header.version, *header[:5], 0)[:-4]
    return data + CRC.pack(crc32(data))


def decode_file_header(data: bytes) -> FileHeader | None:
    """The header, or None when these are not 64 intact bytes of one. The version may be a later one than ours."""
    if len(data) < FILE_HEADER.size:
        return None
    magic, version, number, epoch, previous_seq, first_seq, total, crc = FILE_HEADER.unpack_from(data)
    if magic != FILE_MAGIC or crc != crc32(data[: FILE_HEADER.size - 4]):
        return None
    return FileHeader(number, epoch, previous_seq, first_seq, total, version)


def encode_frame(kind: int, file: FileHeader, seq: int, total: int, head: bytes, body: bytes) -> bytes:
    """The frame header and the head; the body follows it in the file."""
    crc = crc32(body, crc32(head))
    data = FRAME_HEADER.pack(
        FRAME_MAGIC, kind, file.number, file.epoch, seq, total, len(head), len(body), crc, 0
    )[:-4]  # fmt: skip
    return data + CRC.pack(crc32(data)) + head


def encode_seal(file: FileHeader, seq: int, total: int) -> bytes:
    """52 bytes: all records of this file up to `seq` are durable."""
    return encode_frame(SEAL, file, seq, total, b"", b"")


def decode_frame(data: bytes | memoryview, index: int, offset: int) -> Frame | None:
    """The frame header at `index` of `data` (which is `offset` of the file), or None when it is not an intact one."""
    if len(data) - index < FRAME_BYTES:
        return None
    fields = FRAME_HEADER.unpack_from(data, index)
    if fields[0] != FRAME_MAGIC or fields[-1] != crc32(data[index : index + FRAME_BYTES - 4]):
        return None
    return Frame(offset, *fields[1:-1])
