"""Protobuf wire format, read by a table of fields into the same shape that proto3 JSON has.

A message is {field number: (name, kind)}; kinds: another message (a table), "text", "hex" (bytes shown as hex digits,
as OTLP's JSON does for ids), "bytes" (base64), "uint", "int", "bool", "double", "fixed64", "fixed32", and [kind] for a
repeated field. Unknown fields are passed over. Source: protobuf.dev "Encoding".
"""

import base64
import struct
from collections.abc import Callable, Mapping
from typing import Any

Kind = Any  # a name, a table, or a list of one of them
Table = Mapping[int, tuple[str, Kind]]

MAX_NESTING = 64
MAX_FIELDS = 1_000_000  # own choice: 12 MiB of two-byte fields


class Broken(ValueError):
    """The bytes are not a message of that form."""


def read_message(data: memoryview, table: Table, depth: int = 0) -> dict[str, Any]:
    """The message as a dict. Raises Broken."""
    if depth > MAX_NESTING:
        raise Broken("nested too deeply")
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        raw, at = _value(data, at, tag & 7)
        known = table.get(tag >> 3)
        if known is None:
            continue
        name, kind = known
        if isinstance(kind, list):
            _extend(found.setdefault(name, []), raw, kind[0], depth)
        else:
            found[name] = _convert(raw, kind, depth)
    return found


def _extend(values: list[Any], raw: Any, kind: Kind, depth: int) -> None:
    """One more value, or a packed run of numbers."""
    if isinstance(raw, memoryview) and isinstance(kind, str) and kind in _PACKED:
        width, code = _PACKED[kind]
        if len(raw) % width or len(values) + len(raw) // width > MAX_FIELDS:
            raise Broken("a packed field has a wrong length")
        values.extend(struct.unpack(f"<{len(raw) // width}{code}", raw))
    else:
        values.append(_convert(raw, kind, depth))


_PACKED = {"double": (8, "d"), "fixed64": (8, "Q"), "fixed32": (4, "I")}


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
        shift += 7
    raise Broken("a number does not end")


def _value(data: memoryview, at: int, wire: int) -> tuple[Any, int]:
    if wire == 0:
        return _varint(data, at)
    if wire == 2:
        size, at = _varint(data, at)
    else:
        size = {1: 8, 5: 4}.get(wire, -1)
    if size < 0 or at + size > len(data):
        raise Broken("a field is longer than its message")
    return data[at : at + size], at + size


def _convert(raw: Any, kind: Kind, depth: int) -> Any:
    if isinstance(kind, Mapping):
        if not isinstance(raw, memoryview):
            raise Broken("a number where a message should be")
        return read_message(raw, kind, depth + 1)
    try:
        return _CONVERT[kind](raw)
    except (TypeError, UnicodeDecodeError, struct.error, AttributeError) as error:
        raise Broken(f"a field that should be {kind}: {error}") from None


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "text": lambda raw: bytes(raw).decode("utf-8") if isinstance(raw, memoryview) else _wrong(),
    "hex": lambda raw: raw.hex(),
    "bytes": lambda raw: base64.b64encode(raw).decode(),
    "uint": lambda raw: raw if isinstance(raw, int) else _wrong(),
    "int": lambda raw: raw - 2**64 if raw >= 2**63 else raw,
    "bool": lambda raw: bool(raw) if isinstance(raw, int) else _wrong(),
    "double": lambda raw: struct.unpack("<d", raw)[0],
    "fixed64": lambda raw: struct.unpack("<Q", raw)[0],
    "fixed32": lambda raw: struct.unpack("<I", raw)[0],
}


def _wrong() -> Any:
    raise TypeError("another wire type")


def write_status(code: int, message: str) -> bytes:
    """google.rpc.Status: field 1 the code, field 2 the message."""
    text = message.encode()
    return b"\x08" + _write_varint(code) + b"\x12" + _write_varint(len(text)) + text


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
