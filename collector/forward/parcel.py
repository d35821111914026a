"""Parcel: what one outbox entry holds, and how two of them become one.

Format of `outbox.body`: one msgpack array in the field order of Parcel; `packed` is the scrubbed JSON payload as one
zstd frame. A parcel of version VERSION is read by all later versions.
"""

import msgspec
import zstandard

from collector.errors import Damaged
from collector.forward.users import join_packed

VERSION = 1
MAX_PAYLOAD_BYTES = 64 * 2**20  # a zstd frame of ours never says more


class Parcel(msgspec.Struct, array_like=True):
    """One event to send.

    event_id: 32 hex, as the receiver will know it. count: occurrences it stands for, itself included. first_at,
    last_at: timestamps of the first and last of them, seconds since the epoch. span_seconds: the window's length, 0
    for an event that stands for itself. users: packed distinct users. rank: how informative the payload is.
    hash: primary grouping hash, "" when unknown.
    """

    version: int
    kind: str  # "event", "summary", or an item type
    project_id: int
    issue_id: int
    event_id: str
    count: int
    first_at: float
    last_at: float
    span_seconds: float
    users: bytes
    rank: int
    hash: str
    packed: bytes
    headers: bytes = b""  # item headers as JSON, for items


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parcel).decode


def pack(parcel: Parcel) -> bytes:
    """The bytes of `outbox.body`."""
    return _encode(parcel)


def unpack(body: bytes) -> Parcel:
    """The inverse of pack. Raises Damaged."""
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise Damaged("state.sqlite: outbox", f"an entry cannot be read: {error}") from error


class Press:
    """zstd both ways; one object a thread, because a compressor is not shared."""

    def __init__(self) -> None:
        # Level 1 costs two thirds of level 3 for 3 % more bytes; it is half of what queueing an event costs.
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._decompressor = zstandard.ZstdDecompressor()

    def pack(self, payload: bytes) -> bytes:
        """A payload as one zstd frame."""
        return self._compressor.compress(payload)

    def unpack(self, packed: bytes) -> bytes:
        """The payload. Raises Damaged."""
        if not packed:
            return b""
        try:
            return self._decompressor.decompress(packed, max_output_size=MAX_PAYLOAD_BYTES)
        except zstandard.ZstdError as error:
            raise Damaged("state.sqlite: outbox", f"a payload cannot be read: {error}") from error


def fold(older: Parcel, newer: Parcel) -> Parcel:
    """One parcel that stands for both: the newer's identity, the better payload, the sums."""
    best = older if older.rank > newer.rank else newer
    return Parcel(
        version=VERSION,
        kind="summary",
        project_id=newer.project_id,
        issue_id=newer.issue_id,
        event_id=newer.event_id,
        count=older.count + newer.count,
        first_at=min(older.first_at, newer.first_at),
        last_at=max(older.last_at, newer.last_at),
        span_seconds=older.span_seconds + newer.span_seconds,
        users=join_packed(older.users, newer.users),
        rank=best.rank,
        hash=newer.hash,
        packed=best.packed,
    )
