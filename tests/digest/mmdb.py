"""A tiny writer of MaxMind-format files, enough for tests. Format: the published MaxMind DB specification."""

import ipaddress
import struct
from pathlib import Path
from typing import Any, NamedTuple

MARKER = b"\xab\xcd\xefMaxMind.com"


class Wide(NamedTuple):
    """A number of another type than uint16: uint32 is kind 6, uint64 is kind 9."""

    kind: int
    number: int


def control(kind: int, size: int) -> bytes:
    """The control byte (and its extensions) of a value."""
    low = size if size < 29 else 29
    rest = b"" if size < 29 else bytes([size - 29])
    return bytes([kind << 5 | low]) + rest if kind < 8 else bytes([low, kind - 7]) + rest


def encode(value: Any) -> bytes:
    """One value of the data section."""
    if isinstance(value, str):
        data = value.encode()
        return control(2, len(data)) + data
    if isinstance(value, int):
        data = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return control(5, len(data)) + data
    if isinstance(value, Wide):
        data = value.number.to_bytes((value.number.bit_length() + 7) // 8, "big")
        return control(value.kind, len(data)) + data
    if isinstance(value, list):
        return control(11, len(value)) + b"".join(map(encode, value))
    return control(7, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())


def write(path: Path, records: dict[str, Any]) -> None:
    """A database of IPv4 addresses, each with its record."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for address, record in records.items():
        bits = f"{int(ipaddress.IPv4Address(address)):032b}"
        place = 0
        for bit in bits[:-1]:
            if nodes[place][int(bit)] is None:
                nodes.append([None, None])
                nodes[place][int(bit)] = len(nodes) - 1
            place = nodes[place][int(bit)]
        nodes[place][int(bits[-1])] = ("data", len(data))
        data += encode(record)
    count = len(nodes)

    def number(child: Any) -> int:
        if child is None:
            return count
        return count + 16 + child[1] if isinstance(child, tuple) else int(child)

    tree = b"".join(struct.pack(">I", number(child))[1:] for node in nodes for child in node)
    about = {"binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": Wide(9, 1),
             "ip_version": 4, "database_type": "Test-City", "node_count": Wide(6, count), "record_size": 24,
             "languages": ["en"], "description": {"en": "test"}}  # fmt: skip
    path.write_bytes(tree + bytes(16) + data + MARKER + encode(about))
