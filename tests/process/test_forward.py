"""The real command, killed at random moments, and an upstream of our own that counts."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.audit import audit
from tests.helpers.mini_upstream import MiniUpstream, count_of
from tests.helpers.running import PROJECT, Collector, envelope, error_event, has_told_all, wait_for


@contextmanager
def forwarding(folder: Path, upstream: MiniUpstream, more: str = "") -> Iterator[Collector]:
    running = Collector(folder, PROJECT + f'[upstream]\ndsn = "{upstream.dsn}"\nwindow = "1 s"\n{more}')
    running.start()
    try:
        yield running
    finally:
        running.close()


def send(running: Collector, number: int, issues: int = 5) -> str:
    event = error_event(kind=f"Error{number % issues}", user={"id": str(number % 7)})
    assert running.send(envelope(event))[0] == 200
    return str(event["event_id"])


@pytest.mark.process
@pytest.mark.slow
def test_counts_upstream_are_exact_over_kills_of_worker_and_front(tmp_path: Path) -> None:
    """1. Events flow to an upstream. 2. Worker or front is killed, again and again. 3. It is started again and ends
    its work. Result: the forwarded events stand for exactly what was acknowledged."""
    pick = random.Random(5)
    with MiniUpstream() as upstream, forwarding(tmp_path, upstream) as running:
        sent: list[str] = []
        for turn in range(5):
            for _ in range(30):
                sent.append(send(running, len(sent)))
            time.sleep(pick.uniform(0.0, 1.5))  # the moment of death is the point of this test
            kill(running, front=turn % 3 == 2)
        assert wait_for(lambda: upstream.counted() >= len(sent), what="all occurrences upstream")
        audit(running, sent)
        assert wait_for(lambda: has_told_all(running), what="an empty outbox")
        assert upstream.counted() == len(sent) == 150
        assert upstream.received.complaints == []
        assert all(count_of(event) >= 1 for event in upstream.received.events.values())


def kill(running: Collector, front: bool) -> None:
    """kill -9; the worker is started again by the front, the front by us."""
    if front:
        running.kill()
        running.start()
        return
    old = wait_for(lambda: running.status()["worker"]["pid"], what="a worker")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: running.status()["worker"]["pid"] not in (None, old), what="another worker")


@pytest.mark.process
def test_hanging_upstream_is_named_delays_nothing_and_the_collector_stops_in_time(tmp_path: Path) -> None:
    """1. Upstream takes requests and never answers. 2. Events come. 3. SIGTERM. Result: all stored, the status names
    the upstream, exit 0 within the shutdown time."""
    with MiniUpstream() as upstream, forwarding(tmp_path, upstream, 'timeout = "2 s"\n') as running:
        upstream.behave("hang")
        sent = [send(running, number, issues=20) for number in range(60)]
        verdict = audit(running, sent, restart=False)
        assert verdict.ledger["stored"] == 60
        named = wait_for(lambda: running.status()["outbox"]["last_error"], what="a sentence about upstream")
        assert "did not answer" in named or "did not finish" in named
        assert running.stop() == 0
