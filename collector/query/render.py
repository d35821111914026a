"""Rows as text: json (one array of objects), ndjson, csv, table.

Values: times are ISO-8601 with Z (all times are UTC), UUIDs and blobs 32 hex digits and hex, JSON columns stay JSON,
NaN and infinities are null. Control characters never reach a terminal.
"""

import csv
import datetime
import decimal
import io
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

MAX_CELL_CHARS = 120


class Head(NamedTuple):
    """Column names and their DuckDB type names."""

    names: list[str]
    types: list[str]


Rows = Iterator[list[tuple[Any, ...]]]


def plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, datetime.datetime):
        return (
            value if value.tzinfo is None else value.astimezone(datetime.UTC).replace(tzinfo=None)
        ).isoformat() + "Z"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(plain(key)): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, float) else str(value)


def _raw_json(value: Any) -> Any:
    return None if value is None else msgspec.Raw(value.encode("utf-8"))


def _converters(head: Head) -> list[Callable[[Any], Any]]:
    return [_raw_json if kind == "JSON" else plain for kind in head.types]


def _objects(head: Head, rows: Rows) -> Iterator[bytes]:
    converters = _converters(head)
    encode = msgspec.json.Encoder().encode
    for page in rows:
        for row in page:
            yield encode(
                {name: convert(value) for name, convert, value in zip(head.names, converters, row, strict=True)}
            )


def as_json(head: Head, rows: Rows) -> Iterator[bytes]:
    """One array of objects."""
    before = b"["
    for one in _objects(head, rows):
        yield before + one
        before = b",\n"
    yield b"]\n" if before != b"[" else b"[]\n"


def as_ndjson(head: Head, rows: Rows) -> Iterator[bytes]:
    """One object a line."""
    for one in _objects(head, rows):
        yield one + b"\n"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = plain(value)
    return shown if isinstance(shown, str) else msgspec.json.encode(shown).decode()


def as_csv(head: Head, rows: Rows) -> Iterator[bytes]:
    """RFC 4180 with a header line; NULL is an empty field."""
    for page in [[tuple(head.names)]]:
        yield _csv(page)
    for page in rows:
        yield _csv([tuple(_text(value) for value in row) for row in page])


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def printable(text: str) -> str:
    """For a terminal: control and format characters escaped, long texts cut."""
    if len(text) > MAX_CELL_CHARS:
        text = text[: MAX_CELL_CHARS - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def as_table(head: Head, rows: Rows) -> Iterator[bytes]:
    """Aligned columns for a terminal; numbers to the right."""
    lines = [[printable(name) for name in head.names]]
    lines += [["NULL" if value is None else printable(_text(value)) for value in row] for page in rows for row in page]
    widths = [max(_width(line[number]) for line in lines) for number in range(len(head.names))]
    right = [any(kind.startswith(sign) for sign in NUMBERS) for kind in head.types]
    yield _line(lines[0], widths, right)
    yield ("  ".join("-" * width for width in widths) + "\n").encode()
    for line in lines[1:]:
        yield _line(line, widths, right)
    yield f"({len(lines) - 1} {'row' if len(lines) == 2 else 'rows'})\n".encode()


NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINY", "USMALL", "UINT", "UBIG", "UHUGE", "FLOAT",
           "DOUBLE", "DECIMAL")  # fmt: skip


def _line(cells: list[str], widths: list[int], right: list[bool]) -> bytes:
    parts = [
        " " * (width - _width(cell)) + cell if to_right else cell + " " * (width - _width(cell))
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return ("  ".join(parts).rstrip() + "\n").encode("utf-8", "replace")


RENDERERS: dict[str, Callable[[Head, Rows], Iterator[bytes]]] = {
    "table": as_table, "json": as_json, "ndjson": as_ndjson, "csv": as_csv,
}  # fmt: skip
