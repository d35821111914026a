"""Each scenario names tests that exist; a short soak; the shim's own honesty."""

import re
from pathlib import Path

import pytest

from tests.faults.run_scenarios import chosen
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.soak import soak

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name for one in SCENARIOS])
def test_a_scenario_names_tests_that_exist(scenario: Scenario) -> None:
    for test in scenario.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), test
        assert not name or re.search(rf"def {name}\(", (ROOT / path).read_text()), test


def test_all_25_scenarios_and_the_extra_row_are_there_once() -> None:
    numbers = [one.number for one in SCENARIOS]
    assert numbers[:26] == [*map(str, range(1, 26)), "+"]
    assert len({one.name for one in SCENARIOS}) == len(SCENARIOS)
    assert [one.number for one in chosen(["KILL-9", "+"])] == ["1", "+"]
    with pytest.raises(SystemExit, match="no scenario nonsense"):
        chosen(["nonsense"])


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.xdist_group("soak")
def test_twenty_seconds_of_load_and_faults_end_with_a_clean_audit(tmp_path: Path) -> None:
    figures = soak(tmp_path, minutes=1 / 3, seed=4, rate=40)
    assert figures["complaints"] == []
    assert figures["acknowledged"]["error"] > 50
    assert sum(figures["faults"].values()) >= 2  # one that waits for a reload takes long on a busy machine
