"""kill -9 at random moments under load, with the real command."""

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

from tests.helpers.running import Collector, balanced, wait_for

LOOPS = int(os.environ.get("COLLECTOR_KILL_LOOPS", "20"))
ROOT = Path(__file__).parents[2]


def load(running: Collector, folder: Path, count: int, seconds: float = 0.0) -> subprocess.Popen[str]:
    """A load generator as a process of its own; its acknowledged ids go to a file."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.load", "--dsn", running.dsn, "-n", str(count), "-c", "8"]
        + ["--ids-out", str(folder / f"ids-{time.monotonic_ns()}"), "--seconds", str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=60)
    summary: dict[str, Any] = json.loads(out)
    return summary


def acknowledged(folder: Path) -> list[str]:
    return [line for path in folder.glob("ids-*") for line in path.read_text().split()]


def stored(running: Collector) -> list[str]:
    return [row["event_id"] for row in running.query("SELECT event_id FROM events")]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.xdist_group("heavy")
def test_kill_9_of_front_and_worker_loses_nothing_and_doubles_nothing() -> None:
    """
    1. Start, put load on it.
    2. At a random moment kill -9 the worker, or the front, or both.
    3. Start again where the front was killed; go on.
    Result: every id that got 200 is stored exactly once, the ledger balances, nobody had to help.
    """
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        running = Collector(folder).start()
        try:
            for _ in range(LOOPS):
                sending = load(running, folder, 100_000, seconds=chance.uniform(0.3, 0.9))
                time.sleep(chance.uniform(0.1, 0.8))
                victim = chance.choice(["worker", "front", "both"])
                worker = running.status()["worker"]["pid"] if victim != "front" else None
                if worker:
                    os.kill(worker, signal.SIGKILL)
                if victim != "worker":
                    running.kill()
                finished(sending)
                if victim != "worker":
                    running.start()
            status = running.drained(60)
            acked, kept = acknowledged(folder), stored(running)
            assert len(acked) > LOOPS
            assert len(kept) == len(set(kept)), f"stored twice, seed {seed}"
            assert set(acked) <= set(kept), f"{len(set(acked) - set(kept))} acknowledged ids missing, seed {seed}"
            assert balanced(status["ledger"]), status["ledger"]
            assert running.stop() == 0
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
            sending = load(running, folder, 100_000, seconds=6)
            for _ in range(3):
                pid = wait_for(lambda: running.status()["worker"]["pid"], what="a worker")
                time.sleep(0.7)
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda pid=pid: running.status()["worker"]["pid"] not in (None, pid), what="another worker")
            summary = finished(sending)
            status = running.drained(60)
            assert set(summary["answers"]) == {"200"}
            kept = stored(running)
            assert sorted(kept) == sorted(acknowledged(folder))
            assert balanced(status["ledger"])
            assert status["worker"]["restarts"] == 3
        finally:
            running.close()
