"""The visible contract cases of the areas filters, globs and release parsing."""

from typing import Any

import pytest

from collector.filter.filters import Filters
from collector.filter.globs import GlobError, Globs
from collector.filter.relay import from_relay
from collector.filter.releases import compare_versions, parse_release
from tests.helpers.contract_cases import cases_of, event_of, normalised

ABSENT = "the conformance cases beside the checkout may be absent"


def by_function(name: str, key: str) -> list[Any]:
    cases = cases_of("globs", "release parsing")
    return [case for case in cases if case["request"]["function"] == name and key in case["expect"]] or [
        pytest.param({}, marks=pytest.mark.skip(reason=ABSENT))
    ]


def ids(case: dict[str, Any]) -> str:
    return str(case.get("id", "absent"))


FILTERED = [case for case in cases_of("filters") if "outcomes_contains" in case.get("expect", {})]
KEPT = [case for case in cases_of("filters") if case.get("expect", {}).get("stored") == 1]


def reason_of(case: dict[str, Any]) -> str | None:
    filters = Filters(from_relay(case["config"]["project"]["filterSettings"]))
    sender = case["request"]["headers"].get("X-Forwarded-For", "192.0.2.1")
    return filters.match(normalised(event_of(case)), sender)


@pytest.mark.skipif(not FILTERED, reason=ABSENT)
@pytest.mark.parametrize("case", FILTERED, ids=ids)
def test_what_the_contract_filters_is_filtered_for_that_reason(case: dict[str, Any]) -> None:
    assert reason_of(case) == case["expect"]["outcomes_contains"][0]["reason"]


@pytest.mark.skipif(not KEPT, reason=ABSENT)
@pytest.mark.parametrize("case", KEPT, ids=ids)
def test_what_the_contract_keeps_is_kept(case: dict[str, Any]) -> None:
    assert reason_of(case) is None


@pytest.mark.parametrize("case", by_function("glob_match", "match"), ids=ids)
def test_globs_match_as_in_the_contract(case: dict[str, Any]) -> None:
    pattern, text = case["request"]["pattern"], case["request"]["text"]
    assert Globs([pattern], ignore_case=False).match(text) is case["expect"]["match"]
    assert Globs([pattern]).match(text) is case["expect"]["match_ignoring_case"]


@pytest.mark.parametrize("case", by_function("glob_match", "valid"), ids=ids)
def test_broken_globs_of_the_contract_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(GlobError):
        Globs([case["request"]["pattern"]])


@pytest.mark.parametrize("case", by_function("parse_release", "parsed"), ids=ids)
def test_releases_are_taken_apart_as_in_the_contract(case: dict[str, Any]) -> None:
    release, expected = parse_release(case["request"]["input"]), case["expect"]["parsed"]
    assert (release.package or None, release.version_raw, release.build_hash or None, release.description) == (
        expected["package"],
        expected["version_raw"],
        expected["build_hash"],
        expected["description"],
    )
    assert (release.version is None) is (expected["version_parsed"] is None)


@pytest.mark.parametrize("case", by_function("compare_version", "result"), ids=ids)
def test_versions_compare_as_in_the_contract(case: dict[str, Any]) -> None:
    assert compare_versions(case["request"]["a"], case["request"]["b"]) == case["expect"]["result"]


@pytest.mark.parametrize("case", by_function("compare_version", "valid"), ids=ids)
def test_texts_that_are_no_versions_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a version"):
        compare_versions(case["request"]["a"], case["request"]["b"])
