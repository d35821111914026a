"""An event scrubbed in parts, seen without its frames, makes the same row as the written event.

COLLECTOR_EXAMPLES=5000 looks longer.
"""

import json
import os
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.digest.digester import Digester, Memory
from collector.digest.project import ProjectRules, Stages
from collector.digest.settings import DigestSettings
from collector.model.event import EventRow
from collector.model.received import Position, Received
from collector.protocol.limits import LimitSettings
from collector.scrub.settings import ScrubSettings
from tests.digest import shapes
from tests.helpers.corpus import templates
from tests.scrub.test_property import events, rest

NOW = 1_790_000_000.0
LOOKS = settings(
    max_examples=int(os.environ.get("COLLECTOR_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
RULES = [
    ProjectRules(),
    ProjectRules(scrubbing=ScrubSettings(preset="strict", scrub_ip_addresses=True)),
    ProjectRules(scrubbing=ScrubSettings(sensitive_fields=["release", "mine"])),
    ProjectRules(scrubbing=ScrubSettings(scrub_data=False, scrub_defaults=False)),
]


class Written(Stages):
    """Stages that scrub written events only."""

    def scrub_in_parts(self, normalised: Any) -> bool | None:
        return None


IN_PARTS = [Digester({42: rules}, DigestSettings(), LimitSettings()) for rules in RULES]
BY_BYTES = [Digester({42: rules}, DigestSettings(), LimitSettings()) for rules in RULES]
for made, own in zip(BY_BYTES, RULES, strict=True):
    made._stages[42] = Written(own)


def row(digester: Digester, payload: bytes) -> EventRow | None:
    """The row of one event with its payload decoded, None when none is stored."""
    head = b'{"event_id":"5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"}\n{"type":"event","length":%d}\n'
    digested = digester.digest(Position(1, 1, 1), Received("envelope", 42, NOW), head % len(payload) + payload)
    assert digested.damaged is None, digested.why
    found = digested.events[0] if digested.events else None
    return msgspec.structs.replace(found, payload=json.loads(found.payload)) if found else None


def both(payload: bytes) -> tuple[list[EventRow | None], list[EventRow | None]]:
    """The rows under each of the rules by both ways, each way with a memory that is full of this event."""
    for each in (*IN_PARTS, *BY_BYTES):
        row(each, payload)
    return [row(each, payload) for each in IN_PARTS], [row(each, payload) for each in BY_BYTES]


@LOOKS
@given(events, rest)
def test_secrets_go_and_remarks_come_alike(event: Any, more: Any) -> None:
    in_parts, by_bytes = both(json.dumps({**event, **more}).encode())
    assert in_parts == by_bytes


@pytest.mark.skipif(shapes.load_schema() is None, reason="the shared folder is not beside the checkout")
@LOOKS
@given(st.data())
def test_any_event_makes_the_same_row(data: st.DataObject) -> None:
    in_parts, by_bytes = both(json.dumps(data.draw(shapes.events(mutations=2))).encode())
    assert in_parts == by_bytes


ODD = [
    b'{"csp":{"effective_directive":[1e400]}}',
    b'{"contexts":{"nel":{"error_type":1e400},"feedback":{"message":5}}}',
    b'{"template":{"filename":"\\ud800"},"extra":{"a":"\\udfff"}}',
]


@pytest.mark.parametrize("payload", ODD)
def test_what_only_a_lenient_reader_reads_makes_a_row(payload: bytes) -> None:
    in_parts, by_bytes = both(payload)
    assert in_parts == by_bytes
    assert None not in in_parts


def test_what_only_a_lenient_reader_reads_is_scrubbed_during_a_storm() -> None:
    digester = Digester({42: ProjectRules()}, DigestSettings(), LimitSettings(), memory=Memory(is_over=lambda *_: 7))
    row(digester, b'{"message":"first"}')
    assert not digester.storm(42).calm
    found = row(digester, b'{"message":"second","extra":{"password":"hunter2"},"csp":{"effective_directive":[1e400]}}')
    assert "[Filtered]" in repr(found)
    assert "hunter2" not in repr(found)


def test_events_of_real_clients_go_in_parts_and_make_the_same_rows() -> None:
    bodies = [
        template.fresh(compress=False, event_id="5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960")[1] for template in templates()
    ]
    payloads = [body.split(b"\n", 2)[2] for body in bodies]
    stages = IN_PARTS[0].stages(42)
    calls: list[bool | None] = []
    scrub = stages.scrub_in_parts
    stages.scrub_in_parts = lambda normalised: calls.append(scrub(normalised)) or calls[-1]  # type: ignore[method-assign, func-returns-value]
    rows = [both(payload) for payload in payloads]
    del stages.scrub_in_parts
    assert [in_parts for in_parts, _ in rows] == [by_bytes for _, by_bytes in rows]
    assert {True, False} == set(calls)
