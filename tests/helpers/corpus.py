"""Envelopes for load: recorded ones when the shared corpus is there, else ones that the real SDK makes on the spot."""

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[2].parent / "shared" / "bench" / "corpus"


class Template:
    """One envelope with its id cut out; `fresh()` gives it another id and the present time of sending."""

    def __init__(self, raw: bytes, place: str = "") -> None:
        """place: what stands for the id; the event id of the envelope when not told."""
        place = place or json.loads(raw[: raw.index(b"\n")])["event_id"]
        self._parts = raw.split(place.encode())
        self.raw_bytes = len(raw)
        # Deflating whole envelopes anew per send would cost the client more than the server: each part is deflated
        # once, and ids go between them as stored blocks of one valid gzip member.
        self._packed = [_deflate(part) for part in self._parts]

    def fresh(self, compress: bool = True, event_id: str = "") -> tuple[str, bytes]:
        """(event id, body)"""
        event_id = event_id or os.urandom(16).hex()
        if not compress:
            return event_id, event_id.encode().join(self._parts)
        return event_id, _member(self._parts, self._packed, event_id.encode())


def _deflate(part: bytes) -> bytes:
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)


def _member(parts: list[bytes], packed: list[bytes], event_id: bytes) -> bytes:
    import struct
    import zlib

    stored = struct.pack("<BHH", 0, len(event_id), len(event_id) ^ 0xFFFF) + event_id
    crc, size = 0, 0
    for index, part in enumerate(parts):
        for piece in (part,) if index == len(parts) - 1 else (part, event_id):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
    middle = stored.join(packed)
    return b"\x1f\x8b\x08\x00\0\0\0\0\x00\xff" + middle + b"\x03\x00" + struct.pack("<II", crc, size & 0xFFFFFFFF)


def templates(folder: Path | None = None) -> list[Template]:
    """The shared corpus, or a sample of our own."""
    folder = folder or SHARED
    files = sorted(folder.glob("*.envelope")) if folder.is_dir() else []
    if files:
        return [Template(path.read_bytes()) for path in files]
    return [Template(raw) for raw in sdk_sample()]


def sdk_sample() -> list[bytes]:
    """A dozen kinds of real exceptions captured by the real SDK, as uncompressed envelopes."""
    import sentry_sdk
    from sentry_sdk.envelope import Envelope
    from sentry_sdk.transport import Transport

    class Keep(Transport):
        taken: list[bytes] = []

        def capture_envelope(self, envelope: Envelope) -> None:
            if envelope.get_event() is not None:
                self.taken.append(envelope.serialize())

    client = sentry_sdk.Client(
        dsn="http://0123456789abcdef0123456789abcdef@127.0.0.1:1/42",
        transport=Keep({"dsn": None}),
        release="sample@1.0.0",
        default_integrations=False,
    )
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        for depth in range(3, 15):
            _capture(depth)
    client.close()
    return Keep.taken


def _capture(depth: int) -> None:
    import sentry_sdk

    try:
        _fall(depth, {"depth": depth, "customer": {"name": "Ada", "note": "n" * 200}})
    except Exception as error:  # whatever the sample raised is the sample
        sentry_sdk.capture_exception(error)


def _fall(depth: int, context: dict[str, Any]) -> Any:
    kinds = [lambda: 1 / 0, lambda: [][depth], lambda: {}["missing"], lambda: int("x"), lambda: None.attr]  # type: ignore[attr-defined]
    if depth > 0:
        return _fall_again(depth - 1, {**context, "at": depth})
    return kinds[len(context["customer"]["name"] * context["depth"]) % len(kinds)]()


def _fall_again(depth: int, context: dict[str, Any]) -> Any:
    return _fall(depth, context)


def unpacked(body: bytes) -> bytes:
    """What a gzip body says."""
    return gzip.decompress(body)


ID = re.compile(r"^[0-9a-f]{32}$")
