"""Whatever an event looks like: it is stored in a known shape or counted, and both paths agree."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.digest.about import About, Invalid
from collector.digest.digester import Digester
from collector.digest.enrich import Enrichment
from collector.digest.normalise import Normaliser
from collector.digest.normalised import Normalised
from collector.digest.settings import DigestSettings
from collector.model.event import Digested
from collector.model.received import Position, Received
from collector.protocol.limits import LimitSettings
from tests.digest import cases, shapes

SCHEMA = shapes.load_schema()
pytestmark = pytest.mark.skipif(SCHEMA is None, reason="the shared folder is not beside the checkout")
PLENTY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
DIGESTER = Digester({}, DigestSettings(), LimitSettings())
ABOUT = About("5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960", 42, cases.NOW, client_ip="198.51.100.23")


def digest(payload: bytes) -> Digested:
    """One event, digested by the one digester of these tests: what it remembers must not matter."""
    head = b'{"event_id":"5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"}\n{"type":"event","length":%d}\n'
    return DIGESTER.digest(Position(1, 1, 1), Received("envelope", 42, cases.NOW), head % len(payload) + payload)


def reasons(digested: Digested) -> set[str]:
    """Why nothing was stored."""
    return {outcome.ledger_key for outcome in digested.outcomes}


@PLENTY
@given(shapes.events(mutations=4))
def test_an_event_with_wrong_types_anywhere_is_stored(event: Any) -> None:
    digested = digest(json.dumps(event).encode())
    assert digested.damaged is None, digested.why
    assert [row.event_id for row in digested.events] == ["5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"]
    json.loads(digested.events[0].payload)


@PLENTY
@given(shapes.odd_bytes())
def test_odd_bytes_are_stored_or_counted_invalid(payload: bytes) -> None:
    digested = digest(payload)
    assert digested.damaged is None, digested.why
    assert len(digested.events) + len(digested.outcomes) == 1
    assert reasons(digested) <= {"invalid:invalid_json", "invalid:nesting_too_deep"}
    for row in digested.events:
        json.loads(row.payload)
        assert b"\\ud800" not in row.payload


@PLENTY
@given(st.binary(max_size=200))
def test_garbage_is_counted_invalid(payload: bytes) -> None:
    digested = digest(payload)
    assert digested.damaged is None
    assert len(digested.events) + len(digested.outcomes) == 1


WARM = Normaliser(Enrichment())  # what it remembers of other events must not matter


def leaves(payload: bytes, way: Callable[[bytes, About], Normalised]) -> Any:
    """The event that one way makes of a payload, or why it makes none."""
    try:
        return json.loads(way(payload, ABOUT).payload)
    except Invalid as invalid:
        return invalid.reason


def ways(payload: bytes) -> list[Any]:
    """What the fast path, the same with its memory full of this event, and the slow path make of a payload."""
    return [
        leaves(payload, Normaliser(Enrichment()).normalise),
        leaves(payload, WARM.normalise),
        leaves(payload, WARM.normalise),
        leaves(payload, Normaliser(Enrichment()).normalise_slowly),
    ]


@PLENTY
@given(shapes.events(mutations=3), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_the_fast_path_gives_what_the_slow_path_gives(event: Any, separators: tuple[str, str]) -> None:
    cold, warm, warmer, slow = ways(json.dumps(event, separators=separators).encode())
    assert cold == slow
    assert warm == slow
    assert warmer == slow


@PLENTY
@given(shapes.events(mutations=1), st.data())
def test_keys_given_twice_are_one_key_in_both_paths(event: Any, data: st.DataObject) -> None:
    payload = json.dumps(event, separators=(",", ":")).replace("{", "{@@")
    twins = ['"level":"info",', '"in_app":true,', '"vars":{"a":{}},', '"trace_id":"x",', '"values":[],', "", "", ""]
    for _ in range(payload.count("@@")):
        payload = payload.replace("@@", data.draw(st.sampled_from(twins)), 1)
    cold, warm, warmer, slow = ways(payload.replace(",}", "}").encode())
    assert (cold, warm, warmer) == (slow, slow, slow)


@PLENTY
@given(shapes.events(mutations=2))
def test_a_normalised_event_stays_as_it_is(event: Any) -> None:
    normaliser = Normaliser(Enrichment())
    once = normaliser.normalise(json.dumps(event).encode(), ABOUT).payload
    again = normaliser.normalise(once, ABOUT).payload
    first, second = json.loads(once), json.loads(again)
    assert without_remarks(first) == without_remarks(second)


def without_remarks(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what was said about it."""
    return {key: value for key, value in event.items() if key not in ("_meta", "errors")}


@PLENTY
@given(shapes.events(mutations=3))
def test_what_is_stored_validates_against_the_published_schema(event: Any) -> None:
    assert SCHEMA is not None
    stored = Normaliser(Enrichment()).normalise(json.dumps(event).encode(), ABOUT).payload
    tree = {key: value for key, value in json.loads(stored).items() if key not in ("_meta", "project")}
    assert [complaint(error) for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(tree)] == []


def complaint(error: jsonschema.ValidationError) -> str:
    """The innermost reason why an event is not valid."""
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
