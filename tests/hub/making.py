"""Batches made by hand."""

import json
import struct
from typing import Any

import msgspec

from collector.hub.batch import VERSION, Batch, Entry
from collector.hub.settings import EdgeSettings
from collector.model.settings import Secret

NOW = 1_790_000_000.0
BERLIN, OSLO = "berlin-token-0123456789", "oslo-token-0123456789"
EDGES = (
    EdgeSettings(name="berlin", token=Secret(BERLIN)),
    EdgeSettings(name="oslo", token=Secret(OSLO), projects={"1": 42}),
)
BATCH_ID = bytes(range(16))


def event_id(number: int) -> str:
    return f"{number:032x}"


def event(number: int = 1, kind: str = "Oops", **fields: Any) -> bytes:
    """The payload of an event as an edge has stored it."""
    frame = {"module": "app", "function": kind.lower(), "filename": "app.py", "lineno": 1, "in_app": True}
    value = {"type": kind, "value": "bad", "stacktrace": {"frames": [frame]}}
    return json.dumps(
        {"event_id": event_id(number), "platform": "python", "timestamp": NOW - 5, "level": "error",
         "exception": {"values": [value]}, **fields}
    ).encode()  # fmt: skip


def users(*hashes: int) -> bytes:
    return struct.pack(f">{len(hashes)}Q", *sorted(hashes))


def entry(number: int = 1, count: int = 1, kind: str = "", **fields: Any) -> Entry:
    """An event, or a summary when it stands for more."""
    made = Entry(
        kind=kind or ("summary" if count > 1 else "event"), event_id=event_id(number), count=count,
        first_at=NOW - 60, last_at=NOW - 5, users=b"", headers=b"", payload=event(number),
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def batch(*entries: Entry, **fields: Any) -> Batch:
    made = Batch(VERSION, "berlin", BATCH_ID, NOW, 42, list(entries) or [entry()])
    return msgspec.structs.replace(made, **fields)
