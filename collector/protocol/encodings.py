"""Bounded decoders: one content encoding, a hard cap on the output, on its growth and on the window.

Every decoder works in steps and asks a Gate before it keeps a step, so a bomb costs at most FREE_BYTES, one step and
one window (brotli: 16 MiB), below 32 MiB in all. Traps that shaped this (measured): zstd's one-shot call believes the
size stated in the frame, its decompressobj turns one 64 KiB chunk into a gigabyte, brotli's limit is soft, zlib in one
call peaks at twice the cap.
"""

import struct
from collections.abc import Callable
from typing import Any

import brotli
import deflate
import zstandard
from isal import isal_zlib

from collector.errors import ProtocolError
from collector.protocol.limits import limit_sentence

STEP_BYTES = 256 * 1024
INPUT_STEP_BYTES = 64 * 1024
FREE_BYTES = 8 * 2**20  # output that may grow at any ratio
MAX_WINDOW_BYTES = 8 * 2**20  # RFC 8878 3.1.1.1.2 recommends at least 8 MiB; libzstd's -19 uses 8 MiB
_TRAILER = struct.Struct("<II")  # what a gzip stream ends with: CRC-32 and size of its output
ZSTD_INPUT_STEP_BYTES = 256  # a block of 4 bytes may stand for 128 KiB: 256 bytes give 8 MiB at most


class Gate:
    """Counts output. `take` raises ProtocolError 413 past `max_bytes` or past `max_ratio` times the input."""

    __slots__ = ("_allowed", "_limit", "_ratio", "taken_bytes")

    def __init__(self, max_bytes: int, name: str, input_bytes: int, max_ratio: int) -> None:
        self.taken_bytes = 0
        self._limit = (name, max_bytes)
        self._ratio = max_ratio
        self._allowed = min(max_bytes, max(FREE_BYTES, max_ratio * input_bytes))

    def take(self, size_bytes: int) -> None:
        """Account for `size_bytes` more of output."""
        self.taken_bytes += size_bytes
        if self.taken_bytes > self._allowed:
            name, limit = self._limit
            cause = limit_sentence(name, limit)
            if self._allowed < limit:
                cause = limit_sentence("max_decode_ratio", self._ratio)
            raise ProtocolError(413, "request body too large after decompression", "too_large:request", [cause])


class _Past(Exception):
    """The inline gate is full."""


class _InlineGate(Gate):
    def take(self, size_bytes: int) -> None:
        self.taken_bytes += size_bytes
        if self.taken_bytes > self._allowed:
            raise _Past


Decoder = Callable[[bytes, Gate], bytes]


def canonical(header: bytes) -> str:
    """The name in DECODERS for a Content-Encoding header, "" for none. Raises ProtocolError 415."""
    name = header.strip().lower()
    if name in _NONE:
        return ""
    text = name.decode("latin-1")
    if text not in DECODERS:
        shown = ", ".join(DECODERS)
        raise ProtocolError(415, "unsupported content encoding", "content_encoding", [f"one of {shown} is understood"])
    return text


def decode(encoding: str, body: bytes, max_bytes: int, max_ratio: int, name: str = "max_envelope_bytes") -> bytes:
    """The decoded body. Raises ProtocolError 413 (`name` is the limit that `max_bytes` stands for) or 400."""
    if not encoding:
        if len(body) > max_bytes:
            raise body_too_large(name, max_bytes, len(body))
        return body
    return DECODERS[encoding](body, Gate(max_bytes, name, len(body), max_ratio))


def decode_inline(encoding: str, body: bytes, inline_bytes: int) -> bytes | None:
    """Like decode, but None as soon as the output passes `inline_bytes`: then it belongs off the event loop."""
    if not encoding:
        return body if len(body) <= inline_bytes else None
    if len(body) > inline_bytes:
        return None
    if encoding == "gzip" and (whole := _gunzip_once(body)) is not None:
        return whole if len(whole) <= inline_bytes else None
    try:
        return DECODERS[encoding](body, _InlineGate(inline_bytes, "", FREE_BYTES, 1))
    except _Past:
        return None


def body_too_large(name: str, max_bytes: int, found: int | None = None) -> ProtocolError:
    """The refusal of a whole request body."""
    return ProtocolError(413, "request body too large", "too_large:request", [limit_sentence(name, max_bytes, found)])


def _broken(encoding: str) -> ProtocolError:
    return ProtocolError(
        400, "invalid compressed body", "invalid_compression", [f"it is not one whole {encoding} stream"]
    )


def _gunzip(body: bytes, gate: Gate) -> bytes:
    whole = _gunzip_once(body)
    if whole is None:
        return _gunzip_steps(body, gate)
    gate.take(len(whole))
    return whole


def _gunzip_once(body: bytes) -> bytes | None:
    """Nearly every body is one small stream whose trailer tells its size: decoded at once into exactly that much.
    None: it is anything else, which goes the way that looks at each step."""
    trailer = body[-_TRAILER.size :]
    size_bytes = int.from_bytes(trailer[4:], "little")
    if size_bytes > STEP_BYTES or len(body) > INPUT_STEP_BYTES:
        return None
    try:
        whole = bytes(deflate.gzip_decompress(body, size_bytes))
    except (deflate.DeflateError, ValueError):
        return None
    # It passes over bytes behind the stream, which are refused: the last ones are not the stream's trailer then, or
    # that stands further ahead as well.
    if trailer != _TRAILER.pack(isal_zlib.crc32(whole), len(whole)) or body.rfind(trailer, 0, -1) >= 0:
        return None
    return whole


def _inflate(encoding: str, window_bits: int) -> Decoder:
    def decode_stream(body: bytes, gate: Gate) -> bytes:
        try:
            engine = isal_zlib.decompressobj(window_bits)
            if len(body) <= INPUT_STEP_BYTES:
                piece: bytes = engine.decompress(body, STEP_BYTES)
                if engine.eof and not engine.unused_data:
                    gate.take(len(piece))
                    return piece
                engine = isal_zlib.decompressobj(window_bits)
            return _inflate_steps(engine, body, gate, encoding)
        except isal_zlib.error:  # type: ignore[misc]  # an exception class, the stubs say object
            raise _broken(encoding) from None

    return decode_stream


def _inflate_steps(engine: Any, body: bytes, gate: Gate, encoding: str) -> bytes:
    pieces: list[bytes] = []
    view = memoryview(body)
    for start in range(0, len(body), INPUT_STEP_BYTES):
        chunk: bytes | memoryview = view[start : start + INPUT_STEP_BYTES]
        while True:
            piece = engine.decompress(chunk, STEP_BYTES)
            if piece:
                gate.take(len(piece))
                pieces.append(piece)
            chunk = engine.unconsumed_tail
            if engine.eof:
                if chunk or engine.unused_data or start + INPUT_STEP_BYTES < len(body):
                    raise _broken(encoding)  # a second member: one encoding, one stream
                return b"".join(pieces)
            if not chunk and len(piece) < STEP_BYTES:
                break
    raise _broken(encoding)


def _unbrotli(body: bytes, gate: Gate) -> bytes:
    pieces: list[bytes] = []
    engine = brotli.Decompressor()
    try:
        for start in range(0, len(body), INPUT_STEP_BYTES):
            if engine.is_finished():
                raise _broken("br")
            piece = engine.process(body[start : start + INPUT_STEP_BYTES], output_buffer_limit=STEP_BYTES)
            while piece:  # until dry: can_accept_more_data() is True while output is pending (seen in 1.2.1)
                gate.take(len(piece))
                pieces.append(piece)
                piece = engine.process(b"", output_buffer_limit=STEP_BYTES)
    except brotli.error:
        raise _broken("br") from None
    if not engine.is_finished():
        raise _broken("br")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _unzstd(body: bytes, gate: Gate) -> bytes:
    try:
        frame = zstandard.get_frame_parameters(body)
        engine = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        if frame.content_size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            gate.take(frame.content_size)
            return engine.decompress(body, allow_extra_data=False)
        return _unzstd_steps(engine, body, gate)
    except zstandard.ZstdError:
        raise _broken("zstd") from None


def _unzstd_steps(engine: zstandard.ZstdDecompressor, body: bytes, gate: Gate) -> bytes:
    stream = engine.decompressobj()
    pieces: list[bytes] = []
    for start in range(0, len(body), ZSTD_INPUT_STEP_BYTES):
        piece = stream.decompress(body[start : start + ZSTD_INPUT_STEP_BYTES])
        if piece:
            gate.take(len(piece))
            pieces.append(piece)
        if stream.eof:
            if stream.unused_data or start + ZSTD_INPUT_STEP_BYTES < len(body):
                raise _broken("zstd")
            return b"".join(pieces)
    raise _broken("zstd")


_gunzip_steps = _inflate("gzip", 31)

_NONE = (b"", b"identity", b"utf-8")  # the last is what some old SDKs put there

DECODERS: dict[str, Decoder] = {
    "gzip": _gunzip,
    "deflate": _inflate("deflate", 15),
    "br": _unbrotli,
    "zstd": _unzstd,
}
