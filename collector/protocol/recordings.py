"""How large a replay recording is once it is unpacked. It is stored packed; whoever replays it must not be blown up.

A recording is one JSON line and, behind it, the events: plain JSON, or one zlib stream. Source: develop.sentry.dev.
"""

from isal import isal_zlib

from collector.protocol.encodings import INPUT_STEP_BYTES, STEP_BYTES

ZLIB_MAGIC = b"\x78"


def is_oversized(payload: bytes, max_bytes: int) -> bool:
    """Whether the events of a recording unpack to more. What is no stream, or breaks off, is left to its reader."""
    events = payload.partition(b"\n")[2]
    return events.startswith(ZLIB_MAGIC) and unpacked_bytes(events, max_bytes) > max_bytes


def unpacked_bytes(stream: bytes, enough: int) -> int:
    """Bytes that a zlib stream stands for; counting stops above `enough`, one step is in memory at a time."""
    engine, count = isal_zlib.decompressobj(15), 0
    view = memoryview(stream)
    for start in range(0, len(stream), INPUT_STEP_BYTES):
        chunk: bytes | memoryview = view[start : start + INPUT_STEP_BYTES]
        while True:
            try:
                size = len(engine.decompress(chunk, STEP_BYTES))
            except isal_zlib.error:  # type: ignore[misc]  # an exception class, the stubs say object
                return count
            count += size
            if count > enough or engine.eof:
                return count
            chunk = engine.unconsumed_tail
            if not chunk and size < STEP_BYTES:
                break
    return count
