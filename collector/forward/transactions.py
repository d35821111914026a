"""Which transactions go upstream: a share chosen by trace id, and every failed or slow one.

The choice is the same for all transactions of a trace and on every collector, so traces stay whole. A chosen one says
by which rate it was (`contexts.trace.client_sample_rate`, times what its SDK wrote there); a failed or slow one is no
sample and stays as it is.
"""

import hashlib
from typing import Any, NamedTuple

import msgspec

from collector.forward.sessions import seconds_of

FINE = ("ok", "cancelled", "unknown", "unknown_error", "", None)
SPACE = float(2**64)

Raw = msgspec.Raw
_decode_top = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


class Choice(NamedTuple):
    """send: goes upstream. sampled: by the rate, which it should then say."""

    send: bool
    sampled: bool = False


def choose(payload: bytes, rate: float, slow_seconds: float) -> Choice:
    """Whether a transaction is sent; one that cannot be read is."""
    try:
        top = _decode_top(payload)
        trace = _trace_of(top)
        start, end = (_value(top.get(name)) for name in ("start_timestamp", "timestamp"))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Choice(True)
    if trace.get("status") not in FINE:
        return Choice(True)
    began, ended = seconds_of(start), seconds_of(end)
    if slow_seconds > 0 and began is not None and ended is not None and ended - began >= slow_seconds:
        return Choice(True)
    return Choice(share_of(str(trace.get("trace_id", ""))) < rate, sampled=rate < 1.0)


def share_of(trace_id: str) -> float:
    """A number in [0, 1) that belongs to a trace: it is sent when the rate is larger."""
    digest = hashlib.blake2b(trace_id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"trace").digest()
    return int.from_bytes(digest, "big") / SPACE


def marked(payload: bytes, rate: float) -> bytes:
    """The transaction with the rate by which it was chosen."""
    top: dict[str, Any] = dict(_decode_top(payload))
    contexts: dict[str, Any] = dict(_decode_top(top.get("contexts", b"{}")))
    trace = _trace_of(top)
    given = trace.get("client_sample_rate")
    known = given if isinstance(given, float | int) and not isinstance(given, bool) and 0 < given <= 1 else 1.0
    contexts["trace"] = {**trace, "client_sample_rate": known * rate}
    return _encode({**top, "contexts": contexts})


def _trace_of(top: dict[str, Any]) -> dict[str, Any]:
    contexts = _decode_top(top.get("contexts", b"{}"))
    return msgspec.json.decode(contexts.get("trace", b"{}"), type=dict[str, Any])


def _value(raw: Raw | None) -> object:
    return msgspec.json.decode(raw) if raw is not None else None
