"""open_body: the one way from a request body, or a spooled record, to an Envelope. The front and the worker share it.

The result depends on the record's head and body alone, so item indexes (Received.skip) mean the same on both sides.
"""

from collections.abc import Callable
from typing import NamedTuple

from collector.errors import ProtocolError
from collector.model.envelope import Envelope
from collector.model.received import Received
from collector.protocol import encodings
from collector.protocol.cron import parse_cron
from collector.protocol.envelope import parse_envelope
from collector.protocol.limits import LimitSettings
from collector.protocol.logs import parse_drain, parse_network_errors
from collector.protocol.multipart import parse_attachments, parse_minidump
from collector.protocol.otlp import parse_logs, parse_traces
from collector.protocol.security import parse_security
from collector.protocol.store_body import parse_store

ENVELOPE_TYPE = "application/x-sentry-envelope"


class BodyForm(NamedTuple):
    """How the body of a door becomes an Envelope. max_bytes: name of its limit, before and after decompression."""

    max_bytes: str
    parse: Callable[[Received, bytes, LimitSettings], Envelope]


def _envelope(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    return parse_envelope(body, limits)


def _store(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    if received.content_type.partition(";")[0].strip().lower() == ENVELOPE_TYPE:
        return parse_envelope(body, limits)
    return parse_store(body, limits, received.client)


BODY_FORMS: dict[str, BodyForm] = {
    "envelope": BodyForm("max_envelope_bytes", _envelope),
    "store": BodyForm("max_event_bytes", _store),
    "security": BodyForm("max_event_bytes", parse_security),
    "nel": BodyForm("max_container_bytes", parse_network_errors),
    "minidump": BodyForm("max_attachments_bytes", parse_minidump),
    "attachments": BodyForm("max_attachments_bytes", parse_attachments),
    "cron": BodyForm("max_event_bytes", parse_cron),
    "otlp_logs": BodyForm("max_container_bytes", parse_logs),
    "otlp_traces": BodyForm("max_container_bytes", parse_traces),
    "vercel": BodyForm("max_container_bytes", parse_drain),
}


def max_body_bytes(door: str, limits: LimitSettings) -> int:
    """The largest body that a door takes."""
    limit: int = getattr(limits, BODY_FORMS[door].max_bytes)
    return limit


def open_body(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """Decode and split. `headers["event_id"]` is the id answered to the client whenever there was one.

    Raises ProtocolError with the answer for the client; a spooled record raises only when it is not what was admitted.
    """
    form = BODY_FORMS.get(received.door)
    if form is None:
        raise ProtocolError(400, "unknown door", "internal", [received.door])
    limit = getattr(limits, form.max_bytes)
    decoded = encodings.decode(received.encoding, body, limit, limits.max_decode_ratio, form.max_bytes)
    return parse_body(received, decoded, limits)


def parse_body(received: Received, decoded: bytes, limits: LimitSettings) -> Envelope:
    """Split a body that is already decoded. Raises ProtocolError."""
    envelope = BODY_FORMS[received.door].parse(received, decoded, limits)
    if received.event_id and "event_id" not in envelope.headers:
        envelope.headers["event_id"] = received.event_id
    return envelope
