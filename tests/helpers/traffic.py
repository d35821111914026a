"""What applications send, by kind: errors, transactions, sessions, logs and check-ins, each with an id to find it by.

Every shot carries one id. Of an error it is the event id; of anything else it starts with MARK, so that one regular
expression finds it in what was stored, whatever the kind.
"""

import json
import os
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.helpers.corpus import Template, templates

MARK = "a11ce"
PLACE = "0" * 32
PLANTED = "pl4nted-by-the-load"  # a password in every transaction and log: it may be stored nowhere
MIXED = {"error": 50, "transaction": 25, "session": 10, "log": 10, "check_in": 5}

_LETTERS = bytes.maketrans(b"0123456789", b"abcdefabcd")


class Shot(NamedTuple):
    """One request body (gzip), what it is and the id to find it by."""

    kind: str
    id: str
    body: bytes


def marked_id() -> str:
    """Valid as an event id; letters only, so that no scrubbing rule takes a part of it for a number."""
    return MARK + os.urandom(14).hex()[:27].translate(_LETTERS)


def _envelope(kind: str, payload: dict[str, Any], header: dict[str, Any], **item: Any) -> bytes:
    body = json.dumps(payload).encode()
    parts = [json.dumps(header).encode(), json.dumps({"type": kind, "length": len(body), **item}).encode(), body, b""]
    return b"\n".join(parts)


def transaction() -> bytes:
    """A web request with a dozen database spans."""
    spans = [
        {
            "span_id": f"{number:016x}",
            "parent_span_id": "b" * 16,
            "trace_id": "c" * 32,
            "op": "db.sql.query",
            "description": f"SELECT * FROM table_{number} WHERE owner = %s AND state = 'open' ORDER BY created",
            "start_timestamp": 1_790_000_000.0 + number / 100,
            "timestamp": 1_790_000_000.004 + number / 100,
            "data": {"db.system": "postgresql", "db.name": "shop", "rows": number * 7},
        }
        for number in range(12)
    ]
    payload = {
        "type": "transaction",
        "event_id": PLACE,
        "transaction": "/checkout/{order_id}",
        "platform": "python",
        "release": "shop@1.2.3",
        "environment": "production",
        "start_timestamp": 1_790_000_000.0,
        "timestamp": 1_790_000_000.3,
        "contexts": {"trace": {"trace_id": "c" * 32, "span_id": "b" * 16, "op": "http.server", "status": "ok"}},
        "request": {"url": "https://shop.example/checkout/7", "method": "POST", "data": {"password": PLANTED}},
        "spans": spans,
    }
    return _envelope("transaction", payload, {"event_id": PLACE})


def session() -> bytes:
    """The end of one session."""
    payload = {
        "sid": PLACE,
        "init": True,
        "started": "2026-09-21T14:13:20.000Z",
        "timestamp": "2026-09-21T14:20:00.000Z",
        "status": "exited",
        "errors": 0,
        "attrs": {"release": "shop@1.2.3", "environment": "production"},
    }
    return _envelope("session", payload, {"sent_at": "2026-09-21T14:20:00.000Z"})


def logs() -> bytes:
    """One container of ten log records."""
    records = [
        {
            "timestamp": 1_790_000_000.0 + number,
            "trace_id": "c" * 32,
            "level": "info",
            "severity_number": 9,
            "body": f"order step {number} of {PLACE} done",
            "attributes": {
                "sentry.environment": {"value": "production", "type": "string"},
                "password": {"value": PLANTED, "type": "string"},
                "order.total": {"value": 129.5 + number, "type": "double"},
            },
        }
        for number in range(10)
    ]
    kind = {"item_count": len(records), "content_type": "application/vnd.sentry.items.log+json"}
    return _envelope("log", {"items": records}, {}, **kind)


def check_in() -> bytes:
    """A finished run of a job."""
    payload = {
        "check_in_id": PLACE,
        "monitor_slug": "nightly-import",
        "status": "ok",
        "duration": 12.5,
        "environment": "production",
        "monitor_config": {"schedule": {"type": "crontab", "value": "0 * * * *"}},
    }
    return _envelope("check_in", payload, {})


MAKERS: Mapping[str, Callable[[], bytes]] = {
    "transaction": transaction,
    "session": session,
    "log": logs,
    "check_in": check_in,
}


class Traffic:
    """An endless choice of shots. mix: kind -> weight; seed decides the order, ids are new each time."""

    def __init__(self, mix: Mapping[str, int], seed: int = 0, errors: list[Template] | None = None) -> None:
        self._random = random.Random(seed)
        self._kinds = list(mix)
        self._weights = list(mix.values())
        self._errors = errors if errors is not None else (templates() if "error" in mix else [])
        self._others = {kind: Template(MAKERS[kind](), PLACE) for kind in mix if kind != "error"}
        self._next = 0

    def shot(self) -> Shot:
        """The next one."""
        kind = self._random.choices(self._kinds, self._weights)[0] if len(self._kinds) > 1 else self._kinds[0]
        if kind == "error":
            self._next += 7919
            event_id, body = self._errors[self._next % len(self._errors)].fresh()
            return Shot(kind, event_id, body)
        found_by, body = self._others[kind].fresh(event_id=marked_id())
        return Shot(kind, found_by, body)
