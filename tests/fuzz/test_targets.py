"""A short run of what scripts/fuzz runs for long."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, WORDS

BODIES = st.lists(st.sampled_from(WORDS) | st.binary(max_size=16), max_size=20).map(b"".join)


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(body=BODIES)
def test_only_a_refusal_escapes(name: str, body: bytes) -> None:
    TARGETS[name](body)
