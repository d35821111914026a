"""The body of the legacy store door: JSON, base64(JSON) or base64(zlib(JSON)), and JSON that only Python can write."""

import base64
import binascii
import json
from typing import Any

import msgspec

from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.protocol.encodings import decode
from collector.protocol.envelope import event_id_of
from collector.protocol.limits import LimitSettings

NAN_CLIENTS = ("raven-python/", "sentry-python/")  # they wrote NaN and Infinity as bare words
_TYPES = {
    "transaction": "transaction", "feedback": "feedback",
    "csp": "security", "hpkp": "security", "expectct": "security", "expectstaple": "security",
}  # fmt: skip


class _Peek(msgspec.Struct):
    event_id: Any = None
    type: Any = None


_decode_peek = msgspec.json.Decoder(_Peek).decode


def parse_store(body: bytes, limits: LimitSettings, client: str = "") -> Envelope:
    """One event as an Envelope of one item. Raises ProtocolError 400 or 413."""
    text = body.strip()
    if not text:
        raise ProtocolError(400, "empty request body", "empty_body")
    if text[:1] != b"{":
        text = _unpack(text, limits)
    event, text = _peek(text, client)
    headers: dict[str, Any] = {}
    event_id = event_id_of(event.event_id)
    if event_id is not None:
        headers["event_id"] = event_id
    kind = _TYPES.get(event.type, "event") if isinstance(event.type, str) else "event"
    return Envelope(headers, [Item(kind, {"type": kind}, text)])


def peek_event_id(payload: bytes | memoryview) -> str | None:
    """The event_id inside an event payload, when it is JSON and has a usable one."""
    try:
        return event_id_of(_decode_peek(payload).event_id)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _unpack(text: bytes, limits: LimitSettings) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(400, "invalid request body", "invalid_body", ["it is neither JSON nor base64"]) from None
    if data[:1] == b"{":
        return data
    try:
        return decode("deflate", data, limits.max_event_bytes, limits.max_decode_ratio, "max_event_bytes")
    except ProtocolError as error:
        if error.status == 413:
            raise
        raise ProtocolError(400, "invalid request body", "invalid_body", ["it is not base64 of zlib"]) from None


def _peek(text: bytes, client: str) -> tuple[_Peek, bytes]:
    try:
        return _decode_peek(text), text
    except msgspec.ValidationError:
        raise _not_json("it is not an object") from None
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _repair(text, client, str(error))


def _repair(text: bytes, client: str, why: str) -> tuple[_Peek, bytes]:
    """NaN of the two clients that write it becomes null; lone surrogates, of any client, become question marks."""

    accept_nan = client.lower().startswith(NAN_CLIENTS)
    try:
        value = json.loads(text.decode("utf-8"), parse_constant=_null if accept_nan else _refuse)
        clean = _encode(value)
    except (ValueError, RecursionError):  # ValueError: also integers over 4,300 digits
        raise _not_json(why) from None
    try:
        return _decode_peek(clean), clean
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _not_json(why) from None


def _null(_: str) -> None:
    return None


def _refuse(_: str) -> None:
    raise ValueError


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _not_json(why: str) -> ProtocolError:
    return ProtocolError(400, f"invalid JSON data: {why}", "invalid_json")
