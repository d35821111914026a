"""The envelope grammar: bytes -> Envelope. Source: develop.sentry.dev "Envelopes", Relay's parser where it is silent.

    envelope = header LF *( item-header LF payload [LF] )

Headers are JSON objects; an item without `length` runs to the next LF. Kinder than Relay where it does no harm: CR
before LF after a header or a counted payload, and blank lines at the very end. One bad item refuses the whole envelope.
Unknown header keys are kept. Payloads are slices of the body, never parsed here.
"""

import json
import re
from datetime import datetime
from typing import Any

import msgspec

from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.protocol.dsn import parse_dsn
from collector.protocol.limits import LimitSettings, limit_sentence

_LF = 10
_LOWER_HEX = "0123456789abcdef"
_CR = 13
_BLANK = b" \t\r\n"
_BLANKS = re.compile(rb"[ \t\r\n]*")
_ID_FORM = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME_FORM = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,18})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WHOLE_JSON = json.JSONDecoder()
_decode_json = msgspec.json.Decoder().decode


def bad_envelope(cause: str) -> ProtocolError:
    """The one refusal of the grammar; `cause` tells why."""
    return ProtocolError(400, "invalid event envelope", "invalid_envelope", [cause])


def event_id_of(value: object) -> str | None:
    """32 lower-case hex digits of an id with or without dashes; None when `value` is not one."""
    if not isinstance(value, str):
        return None
    if len(value) == 32 and not value.strip(_LOWER_HEX):  # as nearly all SDKs write it
        return value
    if _ID_FORM.fullmatch(value):
        return value.replace("-", "").lower()
    return None


def parse_envelope(body: bytes, limits: LimitSettings) -> Envelope:
    """Split `body`. Raises ProtocolError 400 with the cause, 413 never (sizes are judged by sizes.check)."""
    if not body:
        raise ProtocolError(400, "empty request body", "empty_body")
    headers, at = parse_header(body, limits)
    view = memoryview(body)
    items: list[Item] = []
    end = len(body)
    while at < end:
        if body[at] in _BLANK:
            at = _skip_blanks(body, at)
            if at >= end:
                break
        if len(items) >= limits.max_envelope_items:
            sentence = limit_sentence("max_envelope_items", limits.max_envelope_items)
            raise bad_envelope(f"too many individual items, {sentence}")
        item, at = _item(body, view, at, limits)
        items.append(item)
    return Envelope(headers, items)


def parse_header(body: bytes, limits: LimitSettings) -> tuple[dict[str, Any], int]:
    """The checked envelope header and where the items start. Raises ProtocolError 400."""
    headers, at = _json_object(body, 0, limits.max_header_bytes, "invalid envelope header")
    _check_header(headers)
    return headers, at


def first_line(body: bytes, limits: LimitSettings) -> dict[str, Any]:
    """The JSON object on the first line, for auth by dsn; {} when there is none."""
    line = body[: limits.max_header_bytes].split(b"\n", 1)[0]
    try:
        headers = _decode_json(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return headers if isinstance(headers, dict) else {}


def _check_header(headers: dict[str, Any]) -> None:
    given = headers.get("event_id")
    if given is not None:
        event_id = event_id_of(given)
        if event_id is None:
            raise bad_envelope("invalid envelope header, event_id is not a UUID")
        headers["event_id"] = event_id
    sent_at = headers.get("sent_at")
    if sent_at is not None and not is_time(sent_at):
        raise bad_envelope("invalid envelope header, sent_at is not an RFC 3339 time")
    dsn = headers.get("dsn")
    if dsn is not None:
        try:
            parse_dsn(dsn if isinstance(dsn, str) else "")
        except ProtocolError:
            raise bad_envelope("invalid envelope header, dsn is not a DSN") from None


def is_time(value: object) -> bool:
    """Whether `value` is an RFC 3339 time with a zone."""
    if not isinstance(value, str) or not _TIME_FORM.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


def _item(body: bytes, view: memoryview, at: int, limits: LimitSettings) -> tuple[Item, int]:
    headers, at = _json_object(body, at, limits.max_header_bytes, "invalid item header")
    kind = headers.get("type")
    if not isinstance(kind, str):
        raise bad_envelope("invalid item header, type is missing or not a text")
    if "length" not in headers:
        stop = body.find(b"\n", at)
        if stop < 0:
            stop = len(body)
        return Item(kind, headers, view[at:stop]), stop + 1
    length = headers["length"]
    if type(length) is not int or length < 0:  # bool is an int too
        raise bad_envelope("invalid item header, length is not a whole number of bytes")
    stop = at + length
    if stop > len(body):
        raise bad_envelope("unexpected end of file, length is longer than the rest")
    return Item(kind, headers, view[at:stop]), _line_end(body, stop)


def _json_object(body: bytes, at: int, max_bytes: int, wrong: str) -> tuple[dict[str, Any], int]:
    """One JSON object and the line end behind it, from `at`."""
    stop = body.find(b"\n", at, at + max_bytes + 1)
    if stop < 0:
        stop = min(len(body), at + max_bytes + 1)
    if stop - at > max_bytes:
        raise bad_envelope(f"{wrong}, {limit_sentence('max_header_bytes', max_bytes)}")
    try:
        value = _decode_json(body[at:stop])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value, stop = _json_over_lines(body, at, max_bytes, wrong)
    if not isinstance(value, dict):
        raise bad_envelope(f"{wrong}, not a JSON object")
    if body[stop - 1] in b" \t":
        raise bad_envelope("missing newline after header or payload")
    if stop < len(body) and body[stop] == _LF:
        return value, stop + 1
    return value, _line_end(body, stop)


def _json_over_lines(body: bytes, at: int, max_bytes: int, wrong: str) -> tuple[Any, int]:
    """The slow way, for a header printed over several lines or followed by something else than LF."""
    chunk = body[at : at + max_bytes]
    try:
        text = chunk.decode("utf-8")
    except UnicodeDecodeError as error:
        text = chunk[: error.start].decode("utf-8")
    try:
        length = _WHOLE_JSON.raw_decode(text)[1]
        size = len(text[:length].encode("utf-8"))
        value = _decode_json(chunk[:size])  # stricter: no NaN, no lone surrogate
    except (ValueError, RecursionError):  # ValueError: not JSON, or an integer over 4,300 digits
        raise bad_envelope(f"{wrong}, not a JSON object") from None
    stop = at + size
    if stop < len(body) and body[stop] not in (_LF, _CR):
        raise bad_envelope("missing newline after header or payload")
    return value, stop


def _line_end(body: bytes, at: int) -> int:
    """The place after LF, CR LF or the end at `at`."""
    if at >= len(body):
        return at
    if body[at] == _LF:
        return at + 1
    if body[at] == _CR and (at + 1 == len(body) or body[at + 1] == _LF):
        return at + 2
    raise bad_envelope("missing newline after header or payload")


def _skip_blanks(body: bytes, at: int) -> int:
    match = _BLANKS.match(body, at)
    return match.end() if match else at
