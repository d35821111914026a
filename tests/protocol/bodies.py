"""Bodies and their encodings, for the tests."""

import gzip
import zlib
from collections.abc import Callable

import brotli
import zstandard

from collector.model.received import Received

EVENT_ID = "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": lambda raw: gzip.compress(raw, 6, mtime=0),
    "deflate": zlib.compress,
    "br": lambda raw: brotli.compress(raw, quality=4),
    "zstd": zstandard.compress,
}


def streamed_zstd(raw: bytes) -> bytes:
    """A frame that does not state its size, as streaming writers make it."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(raw)


def received(door: str = "envelope", **fields: object) -> Received:
    """The head of a record at a door."""
    return Received(door, 42, 1_790_000_000.0, **fields)  # type: ignore[arg-type]


def envelope(*items: tuple[str, bytes], header: str = f'{{"event_id":"{EVENT_ID}"}}') -> bytes:
    """An envelope of (item header, payload) with LF between."""
    lines = [header.encode()]
    for head, payload in items:
        lines += [head.encode(), payload]
    return b"\n".join(lines) + b"\n"
