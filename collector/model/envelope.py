"""Envelope and Item: what an SDK sends, split but not interpreted."""

from typing import Any

import msgspec


class Item(msgspec.Struct, frozen=True):
    """One envelope item. `payload` is a slice of the decoded body; `headers` is the item header as sent."""

    type: str
    headers: dict[str, Any]
    payload: bytes | memoryview


class Envelope(msgspec.Struct, frozen=True):
    """A parsed envelope. `headers` is the envelope header as sent."""

    headers: dict[str, Any]
    items: list[Item]
