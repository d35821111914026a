"""The third-party cases of the digest's areas."""

import json
from typing import Any

import pytest

from tests.digest import cases

ALL = cases.load()
pytestmark = pytest.mark.skipif(not ALL, reason="the shared folder with third-party cases is not beside the checkout")


@pytest.mark.parametrize("case", ALL, ids=lambda case: case["id"])
def test_a_third_party_case_holds(case: dict[str, Any]) -> None:
    digested = cases.digest(case)
    expect = case["expect"]
    assert digested.damaged is None, digested.why
    payloads = [row.payload for row in digested.events] + [row.payload for row in digested.items]
    tree = json.loads(payloads[0]) if payloads else None
    assert cases.failures(tree, expect.get("event", [])) == []
    for wanted in expect.get("stored_items", []):
        assert cases.count(digested, wanted["type"]) == wanted["count"]
        if "payload_json" in wanted:
            assert wanted["payload_json"] in [json.loads(row.payload) for row in digested.items]
    if "stored" in expect:
        assert cases.stored(digested) == expect["stored"]
    found = cases.outcomes(digested)
    for outcome in expect.get("outcomes_contains", []):
        assert outcome in found
    if "outcomes" in expect:
        assert found == expect["outcomes"]
