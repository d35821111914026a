"""The cases that lie beside the checkout, asked through the same functions as the commands."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.group import console
from collector.group.grouping import GROUPING_CONFIGS, outline
from collector.group.rules import StackRules

CASES = Path(__file__).parents[2].parent / "shared" / "conformance" / "grouping_cases.jsonl"

pytestmark = pytest.mark.skipif(not CASES.exists(), reason=f"third-party cases are not at {CASES}")

# The expectation is of 2024: then numbers of any length were <int>; now nine digits are <hex> (reference, section 16).
EXPLAINED = {"variants/newstyle:2023-01-11/message_with_key_pair_values"}


def cases(kind: str) -> Iterator[dict[str, Any]]:
    with CASES.open(encoding="utf-8") as lines:
        yield from (case for case in map(json.loads, lines) if case["kind"] == kind)


def one(answers: Iterator[str]) -> Any:
    return json.loads(next(answers))


def grouped(case: dict[str, Any], event: str = "normalized_event") -> Any:
    line = {
        "id": case["id"],
        "event": case["input"][event],
        "stack_trace_rules": case["input"].get("stack_trace_rules"),
        "fingerprint_rules": case["input"].get("fingerprint_rules"),
        "config": case.get("config"),
    }
    return one(console.group_lines([json.dumps(line)], console.Options(), as_json=True))


def missed(kind: str, holds: Callable[[dict[str, Any]], bool]) -> list[str]:
    return [case["id"] for case in cases(kind) if not holds(case)]


def same_variants(case: dict[str, Any]) -> bool:
    answer, expected = grouped(case), case["expected"]
    wanted = {
        name: {"hash": variant["hash"], "contributes": variant["contributes"]}
        for name, variant in expected["variants"].items()
    }
    # Names of variants have changed since the older configuration was recorded: there only the hashes compare.
    names_too = "2023" not in case["config"]
    return set(answer["hashes"]) == set(expected["distinct_hashes"]) and (not names_too or answer["variants"] == wanted)


def test_variants_have_the_hashes_that_sentry_computes():
    assert set(missed("variants", same_variants)) <= EXPLAINED


def test_fingerprints_and_their_titles_are_those_that_sentry_chooses():
    def holds(case: dict[str, Any]) -> bool:
        answer, expected = grouped(case), case["expected"]
        return answer["fingerprint"] == expected["fingerprint"] and answer["title"] == expected["title"]

    assert missed("fingerprint", holds) == []


def test_fingerprint_variables_resolve_as_in_sentry():
    def holds(case: dict[str, Any]) -> bool:
        line = {**case["input"], "event": case["input"]["normalized_event"], "config": case["config"]}
        found = console.case_of(line, console.Options())
        resolved = outline(found.view, GROUPING_CONFIGS[found.config], found.rules, found.fingerprints).resolved
        return all(values == resolved for values in case["expected"]["resolved_values"].values())

    assert missed("fingerprint", holds) == []


def test_rules_place_and_weigh_frames_as_the_published_engine_does():
    def holds(case: dict[str, Any]) -> bool:
        question = {"parse": case["input"]["rules"]} if "valid" in case["expected"] else case["input"]
        answer = one(console.eval_lines([json.dumps(question)]))
        return {key: answer[key] for key in case["expected"]} == case["expected"]

    assert missed("enhancer", holds) == []


def test_messages_lose_what_varies_in_them():
    def holds(case: dict[str, Any]) -> bool:
        return one(console.parameterize_lines([json.dumps(case["input"]["text"])])) == case["expected"]["output"]

    assert missed("parameterize", holds) == []


def test_titles_and_culprits_are_sentrys():
    def holds(case: dict[str, Any]) -> bool:
        answer = grouped(case, "event")
        return {key: answer[key] for key in case["expected"]} == case["expected"]

    assert missed("title", holds) == []


def test_every_case_can_be_explained_to_a_person():
    for case in cases("variants"):
        line = json.dumps({**case["input"], "event": case["input"]["normalized_event"], "config": case["config"]})
        lines = list(console.group_lines([line], console.Options(), as_json=False))
        assert lines[0].startswith("title ")
        assert any(line.startswith("+ ") for line in lines) or "fallback" in "".join(lines)


def test_a_second_grouping_of_the_same_event_says_the_same():
    rules = StackRules()
    for case in cases("variants"):
        found = console.case_of({**case["input"], "event": case["input"]["normalized_event"]}, console.Options())
        results = [console.group(found.view, found.config, rules, found.fingerprints) for _ in range(2)]
        assert results[0] == results[1]
