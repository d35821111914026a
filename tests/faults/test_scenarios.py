"""Each scenario names tests that exist; what scripts/faults refuses, and that it ends what it started; a short soak."""

import contextlib
import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import judging, run_scenarios
from tests.faults.run_scenarios import chosen, judged, parsed
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.soak import soak
from tests.faults.stopping import Stopping
from tests.helpers.running import wait_for

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
    with pytest.raises(ValueError, match="no scenario nonsense"):
        chosen(["nonsense"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--loops 0", "--loops: '0' should be a whole number, 1 or more"),
        ("--loops -1", "--loops: '-1' should be a whole number, 1 or more"),
        ("--loops two", "--loops: 'two' should be a whole number, 1 or more"),
        ("--seed -1", "--seed: '-1' should be a whole number, 0 or more"),
        ("--loops 2 15", "--loops is for scenario 1 (kill-9); there are none in 15 (abort-at-open)"),
        ("--loops 2 1 15", "--loops is for scenario 1 (kill-9); there are none in 15 (abort-at-open)"),
        ("--seed 2 15", "--seed is for scenario 1 (kill-9); there is none in 15 (abort-at-open)"),
        ("16 nonsense", "no scenario nonsense"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error_that_says_so(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(arguments.split())
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_loops_play_scenario_1_alone_and_zero_is_a_seed() -> None:
    args, scenarios = parsed(["--loops", "3", "--seed", "0"])
    assert (args.loops, args.seed, [one.name for one in scenarios]) == (3, 0, ["kill-9"])
    assert parsed([])[1] == list(SCENARIOS)


def test_a_scenario_with_processes_that_ended_without_the_audit_has_failed() -> None:
    passed, partly = Counter({"passed": 2}), Counter({"passed": 1, "skipped": 1})
    assert judged(passed, [], 1, True) == judged(passed, [], 0, False) == judged(partly, [], 0, True) == "ok"
    assert judged(passed, [], 0, True) == judged(passed, ["boom"], 1, True) == "FAILED"
    assert judged(Counter({"skipped": 3}), [], 0, True) == "skipped"


def test_a_signal_ends_what_runs_and_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_scenarios, "END_SECONDS", 0.5)
    before = signal.signal(signal.SIGALRM, run_scenarios.ends)
    try:
        with pytest.raises(run_scenarios.Ended) as ended:
            run_scenarios.run(
                ["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; sleep 3; kill -ALRM $PPID; wait"],
                {**os.environ},
                None,
            )
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended.value.code == 128 + signal.SIGALRM
    command = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/cmdline")

    def has_ended() -> bool:
        with contextlib.suppress(OSError):
            return command.read_bytes() == b""
        return True

    wait_for(has_ended, what="the end of what was started")


def test_a_signal_waits_until_what_is_being_started_has_a_name() -> None:
    reached: list[str] = []

    def start() -> None:
        with run_scenarios.held():
            signal.raise_signal(signal.SIGTERM)
            reached.append("started")

    before = signal.signal(signal.SIGTERM, run_scenarios.ends)
    try:
        with pytest.raises(run_scenarios.Ended) as ended:
            start()
        assert signal.getsignal(signal.SIGTERM) is run_scenarios.ends
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (reached, ended.value.code) == (["started"], 128 + signal.SIGTERM)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.xdist_group("soak")
def test_twenty_seconds_of_load_and_faults_end_with_a_clean_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LATE_LOOKS", 6)  # of six or so: other tests run beside it
    figures = soak(tmp_path, minutes=1 / 3, seed=4, rate=40, stopping=Stopping())
    assert figures["complaints"] == []
    assert figures["acknowledged"]["error"] > 50
    assert sum(figures["faults"].values()) >= 2  # one that waits for a reload takes long on a busy machine
