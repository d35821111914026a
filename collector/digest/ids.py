"""Event ids: read from a payload, checked, or made so that digesting a record again makes the same."""

import hashlib
from typing import Any

import msgspec

from collector.model.received import Position


class _Id(msgspec.Struct):
    event_id: Any = None


_ID = msgspec.json.Decoder(_Id)


def id_of(payload: bytes) -> str:
    """The id in an event's payload, "" when there is none or the payload cannot be read."""
    try:
        return hex_id(_ID.decode(payload).event_id)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def hex_id(value: Any) -> str:
    """32 lower-case hex digits, or "" when `value` is no id."""
    if not isinstance(value, str):
        return ""
    digits = value.replace("-", "").lower()
    return digits if len(digits) == 32 and not digits.strip("0123456789abcdef") else ""


def made_id(position: Position, index: int) -> str:
    """The id of an event that has none: the same each time its record is digested, so that it is stored once."""
    return hashlib.blake2b(f"{tuple(position)}/{index}".encode(), digest_size=16).hexdigest()
