"""The visible contract cases of the areas pii and pii selectors."""

import json
from typing import Any

import pytest

from collector.scrub.relay import from_relay
from collector.scrub.scrubber import Scrubber
from collector.scrub.selectors import parse_selector
from tests.helpers.contract_cases import cases_of, event_of, normalised

ABSENT = "the conformance cases beside the checkout may be absent"
EVENTS = cases_of("pii")
VALID = [case for case in cases_of("pii selectors") if case["expect"]["valid"]]
INVALID = [case for case in cases_of("pii selectors") if not case["expect"]["valid"]]
MISSING = object()


def ids(case: dict[str, Any]) -> str:
    return str(case.get("id", "absent"))


def at(value: Any, path: list[Any]) -> Any:
    for key in path:
        try:
            value = value[str(key)] if isinstance(value, dict) else value[key]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value


def holds(event: dict[str, Any], check: dict[str, Any]) -> bool:
    found = at(event, check["path"])
    return {"equals": found == check.get("value"), "absent_or_null": found is MISSING or found is None}[check["op"]]


@pytest.mark.skipif(not EVENTS, reason=ABSENT)
@pytest.mark.parametrize("case", EVENTS, ids=ids)
def test_events_are_scrubbed_as_in_the_contract(case: dict[str, Any]) -> None:
    project = case["config"]["project"]
    settings = from_relay(project.get("datascrubbingSettings"), project.get("piiConfig"))
    event = json.loads(Scrubber(settings).event(json.dumps(normalised(event_of(case))).encode()))
    assert [check for check in case["expect"]["event"] if not holds(event, check)] == []


@pytest.mark.skipif(not VALID, reason=ABSENT)
@pytest.mark.parametrize("case", VALID, ids=ids)
def test_selectors_of_the_contract_are_understood(case: dict[str, Any]) -> None:
    assert parse_selector(case["request"]["input"]).op in ("path", "and", "or", "not")


@pytest.mark.skipif(not INVALID, reason=ABSENT)
@pytest.mark.parametrize("case", INVALID, ids=ids)
def test_broken_selectors_of_the_contract_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="column"):
        parse_selector(case["request"]["input"])
