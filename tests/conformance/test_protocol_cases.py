"""The committed protocol cases against real collectors: each passes, or stands by name in the table of differences.

`own_cases.json` holds more of the same form, written from the protocol's rules where the others leave gaps. Cases of
the optional tier that need a collector and an upstream of their own are left to scripts/conformance.
"""

import pytest

from tests.conformance.cases import load
from tests.conformance.differences import BY_DESIGN, OPEN
from tests.conformance.play import Result, play
from tests.conformance.run import CASES

ALL = [*load(CASES), *load(CASES.with_name("own_cases.json"))]
PLAYED = [case for case in ALL if case.tier == "contract" or case.plain]
KNOWN = BY_DESIGN | OPEN


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {result.id: result for result in play(PLAYED)}


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.xdist_group("conformance")
@pytest.mark.parametrize("case_id", [case.id for case in PLAYED])
def test_the_case_passes_unless_its_difference_is_known(results: dict[str, Result], case_id: str) -> None:
    result = results[case_id]
    assert (result.outcome == "passed") is (case_id not in KNOWN), f"{result.outcome}: {result.detail}"


def test_every_known_difference_is_a_case_of_the_optional_tier_with_a_reason() -> None:
    tiers = {case.id: case.tier for case in ALL}
    assert {tiers[case_id] for case_id in KNOWN} == {"relay"}
    assert all(KNOWN.values())
    assert len(tiers) == len(ALL)
