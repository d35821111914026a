"""Envelopes for load: recorded ones when the shared corpus is there, else ones that the real SDK makes on the spot."""

import gzip
import json
import os
import re
import struct
import zlib
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
TIME_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"
ID_SLOT, TIME_SLOT = b"\x00id\x00", b"\x00time\x00"  # no JSON holds a NUL
SLOT = re.compile(b"(" + ID_SLOT + b"|" + TIME_SLOT + b")")
SHARED = Path(__file__).parents[2].parent / "shared" / "bench" / "corpus"


class Template:
    """One envelope with its id and the times of its sending cut out; `fresh()` fills in another id and the present."""

    def __init__(self, raw: bytes, place: str = "") -> None:
        """place: what stands for the id; the event id of the envelope when not told."""
        place = place or json.loads(raw[: raw.index(b"\n")])["event_id"]
        cut = raw.replace(place.encode(), ID_SLOT)
        for stamp in _stamps(raw):
            cut = cut.replace(b'"%s"' % stamp, TIME_SLOT)
        pieces = SLOT.split(cut)
        # Deflating whole envelopes anew per send would cost the client more than the server: each part is deflated
        # once, and what goes between them are stored blocks of one valid gzip member.
        self._parts = pieces[::2]
        self._slots = pieces[1::2]
        self._packed = [_deflate(part) for part in self._parts]
        self.raw_bytes = len(raw)

    def fresh(self, compress: bool = True, event_id: str = "") -> tuple[str, bytes]:
        """(event id, body)"""
        event_id = event_id or os.urandom(16).hex()
        now = datetime.now(UTC).strftime(TIME_FORM).encode()
        filled = [event_id.encode() if slot == ID_SLOT else b'"%s"' % now for slot in self._slots]
        if compress:
            return event_id, _member(self._parts, self._packed, filled)
        return event_id, b"".join(chain.from_iterable(zip_longest(self._parts, filled, fillvalue=b"")))


def _stamps(raw: bytes) -> set[bytes]:
    """When the envelope was sent and when its event happened, as written there."""
    head, _, payload = raw.split(b"\n", 2)
    told = json.loads(head).get("sent_at"), json.JSONDecoder().raw_decode(payload.decode())[0].get("timestamp")
    return {stamp.encode() for stamp in told if isinstance(stamp, str) and ISO.match(stamp)}


def _deflate(part: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)


def _member(parts: list[bytes], packed: list[bytes], filled: list[bytes]) -> bytes:
    """A gzip member of the parts with what is filled in between them."""
    crc, size = 0, 0
    pieces = [b"\x1f\x8b\x08\x00\0\0\0\0\x00\xff"]
    for part, deflated, value in zip_longest(parts, packed, filled, fillvalue=b""):
        pieces.append(deflated)
        crc = zlib.crc32(value, zlib.crc32(part, crc))
        size += len(part) + len(value)
        if value:
            pieces += (struct.pack("<BHH", 0, len(value), len(value) ^ 0xFFFF), value)
    pieces.append(b"\x03\x00" + struct.pack("<II", crc, size & 0xFFFFFFFF))
    return b"".join(pieces)


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
