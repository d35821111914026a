"""kill -9 at random moments under load, with the real command.

COLLECTOR_KILL_LOOPS says how often, COLLECTOR_KILL_SEED repeats a run.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.audit import ISSUE_OFF, acknowledged, audit
from tests.helpers.running import Collector, balanced, wait_for

LOOPS = int(os.environ.get("COLLECTOR_KILL_LOOPS", "15"))
SEED = int(os.environ.get("COLLECTOR_KILL_SEED") or random.randrange(1, 10**9))
LOOK_EVERY = 25  # loops between two audits of a long run
DRAIN_SECONDS = 300.0
RATE = 800.0 if LOOPS <= LOOK_EVERY else 0.0  # per second; a long run takes what it can get, and minutes to digest it
ROOT = Path(__file__).parents[2]


def load(
    running: Collector, folder: Path, seconds: float, mix: str = "mixed", rate: float = 0.0
) -> subprocess.Popen[str]:
    """A load generator as a process of its own, as fast as it is answered or at a rate; its acknowledged ids go to a
    file."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.load", "--dsn", running.dsn, "-n", "100000", "-c", "8", "--mix", mix]
        + ["--ids-out", str(folder / f"ids-{time.monotonic_ns()}"), "--seconds", str(seconds), "--rate", str(rate)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=60)
    summary: dict[str, Any] = json.loads(out)
    return summary


def acknowledgements(running: Collector) -> int:
    """How often the front that runs now has answered 200."""
    return int(running.status()["status"]["answers"].get("200", 0))


def kill(running: Collector, victim: str) -> None:
    """kill -9 of the worker, the front or both at the same moment."""
    worker = running.status()["worker"]["pid"] if victim != "front" else None
    if worker:
        os.kill(worker, signal.SIGKILL)
    if victim != "worker":
        running.kill()


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.xdist_group("heavy")
def test_kill_9_of_front_and_worker_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """
    1. Start, put load of all kinds on it.
    2. At a random moment kill -9 the worker, or the front, or both.
    3. Start again where the front was killed; go on. Now and then, and at the end: the audit.
    Result: every id that got 200 is stored exactly once, the ledger balances, nobody had to help.
    """
    chance = random.Random(SEED)
    print(f"COLLECTOR_KILL_SEED={SEED} COLLECTOR_KILL_LOOPS={LOOPS}")
    running = Collector(tmp_path, ISSUE_OFF).start()
    try:
        for loop in range(1, LOOPS + 1):
            before = acknowledgements(running)
            sending = load(running, tmp_path, seconds=chance.uniform(0.4, 1.0), rate=RATE)
            wait_for(lambda before=before: acknowledgements(running) > before, what="the load")
            time.sleep(chance.uniform(0.0, 0.8))
            victim = chance.choice(["worker", "front", "both"])
            kill(running, victim)
            finished(sending)
            if victim != "worker":
                running.start()
            if loop % LOOK_EVERY == 0 or loop == LOOPS:
                verdict = audit(running, acknowledged(tmp_path), restart=loop == LOOPS, seconds=DRAIN_SECONDS)
                print(f"after {loop} kills: {verdict}", flush=True)
        assert verdict.acked > LOOPS
        assert verdict.status["quarantine"]["files"] == 0
    finally:
        running.close()


@pytest.mark.process
@pytest.mark.xdist_group("heavy")
def test_kill_9_of_the_worker_alone_never_fails_an_acknowledgement() -> None:
    """
    1. Steady load. 2. kill -9 the worker three times. Result: every request got 200, everything is stored once.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        running = Collector(folder).start()
        try:
            sending = load(running, folder, seconds=6, mix="error=1", rate=300)
            for _ in range(3):
                pid = wait_for(lambda: running.status()["worker"]["pid"], what="a worker")
                time.sleep(0.7)
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda pid=pid: running.status()["worker"]["pid"] not in (None, pid), what="another worker")
            summary = finished(sending)
            status = running.drained(60)
            assert set(summary["answers"]) == {"200"}
            assert balanced(status["ledger"])
            assert status["worker"]["restarts"] == 3
            audit(running, acknowledged(folder))
        finally:
            running.close()
