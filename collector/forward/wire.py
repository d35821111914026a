"""Envelopes as upstream reads them (protocol B1): every item with its length, one event an envelope, compressed."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import zstandard
from isal import igzip

from collector.forward.event import utc

_encode = msgspec.json.Encoder().encode
_zstd = zstandard.ZstdCompressor(level=1)  # only the sender's thread uses it

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    # Level 2 of ISA-L costs a tenth of zlib's level 6 for 10 % more bytes.
    "gzip": lambda data: bytes(igzip.compress(data, 2)),
    "zstd": lambda data: _zstd.compress(data),
    "identity": lambda data: data,
}
# What to try when the receiver answers 415 to an encoding.
FALLBACK = {"zstd": "gzip", "gzip": "identity", "identity": "identity"}


def envelope(header: dict[str, Any], items: Sequence[tuple[dict[str, Any], bytes]]) -> bytes:
    """Header line, then each item as header line with `length`, payload, newline."""
    lines = [_encode(header)]
    for headers, payload in items:
        lines += [_encode({**headers, "length": len(payload)}), payload]
    return b"\n".join(lines) + b"\n"


def event_envelope(event_id: str, payload: bytes, sent_at: float) -> bytes:
    """One event."""
    header = {"event_id": event_id, "sent_at": utc(sent_at)}
    return envelope(header, [({"type": "event", "content_type": "application/json"}, payload)])


def item_envelope(kind: str, event_id: str, headers: bytes, payload: bytes, sent_at: float) -> bytes:
    """One item as it came. `headers`: its own headers as JSON text; unreadable ones (a damaged row) are left out."""
    try:
        given = msgspec.json.decode(headers, type=dict[str, Any])
    except msgspec.DecodeError:
        given = {}
    header = {"sent_at": utc(sent_at)} | ({"event_id": event_id} if event_id else {})
    return envelope(header, [({**given, "type": kind}, payload)])


def report_envelope(reports: Sequence[tuple[str, str, int]], at: float) -> bytes:
    """One client report of (reason, category, quantity); it needs no event id."""
    discarded = [{"reason": reason, "category": category, "quantity": count} for reason, category, count in reports]
    payload = _encode({"timestamp": utc(at), "discarded_events": discarded})
    return envelope({"sent_at": utc(at)}, [({"type": "client_report"}, payload)])
