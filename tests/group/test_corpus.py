"""The recorded corpus: the issues that its scenarios become."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from collector.group.grouping import group
from collector.group.rules import StackRules
from collector.group.view import decode

CORPUS = Path(__file__).parents[2].parent / "shared" / "bench" / "corpus"

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=f"the recorded corpus is not at {CORPUS}")

# The recording calls each function through a random number of layers and one of them to a random depth: what a project
# would say about that is that layers do not count and that recursion counts once.
PROJECT_RULES = "stack.module:shopapp.layers -group\nstack.function:recurse max-frames=1"


def scenarios(rules: str = "") -> dict[str, set[str]]:
    """Scenario -> primary hashes."""
    compiled, found = StackRules(rules), defaultdict(set)
    for path in sorted(CORPUS.glob("*.envelope")):
        payload = path.read_bytes().split(b"\n", 2)[2].split(b"\n")[0]
        name = re.sub(r"^\d+-", "", path.stem)
        found[name].add(group(decode(payload), rules=compiled).hashes[0])
    return found


def test_no_issue_holds_events_of_two_scenarios():
    found = scenarios()
    hashes = [each for primary in found.values() for each in primary]
    assert len(found) == 37
    assert len(hashes) == len(set(hashes))


def test_with_two_project_rules_each_scenario_is_one_issue():
    found = scenarios(PROJECT_RULES)
    several = {name for name, primary in found.items() if len(primary) > 1}
    assert several == {"msg-fp"}  # its fingerprint names the warehouse


def test_an_event_of_unbounded_recursion_groups():
    payload = (CORPUS / "large" / "recursion.envelope").read_bytes().split(b"\n", 2)[2].split(b"\n")[0]
    assert json.loads(payload)["exception"]
    assert group(decode(payload)).title.startswith("RecursionError")
