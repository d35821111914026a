"""Edge, hub and upstream as real processes."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.running import KEY, PROJECT, Collector, balanced, envelope, error_event, wait_for

TOKEN = "berlin-0123456789abcdef"
BLOG = f'[[project]]\nid = 43\nslug = "blog"\nkeys = ["{KEY[::-1]}"]\n'


class Upstream:
    """The strict mini upstream as a process of its own; `state` asks it what it has."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.mini_upstream"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self.dsn = self._line()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def state(self) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def hub_at(folder: Path, port: int, upstream: str = "") -> Collector:
    config = f'{PROJECT}[hub]\nenabled = true\n[[hub.edge]]\nname = "berlin"\ntoken = "{TOKEN}"\n'
    if upstream:
        config += f'[upstream]\ndsn = "{upstream}"\nwindow = "1 s"\n'
    return Collector(folder, config, {"COLLECTOR_LISTEN_ADDRESS": f"127.0.0.1:{port}"})


def edge_of(folder: Path, port: int, token: str = TOKEN, more: str = "") -> Collector:
    upstream = f'[upstream]\nhub = "http://127.0.0.1:{port}"\nhub_token = "{token}"\nedge = "berlin"\nwindow = "1 s"\n'
    return Collector(folder, PROJECT + more + upstream + 'max_backoff = "1 s"\n')


@contextmanager
def all_closed(*ones: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for one in ones:
            one.close()


def send(edge: Collector, number: int, kinds: int = 3) -> None:
    event = error_event(kind=f"Error{number % kinds}", user={"id": str(number % 7)})
    assert edge.send(envelope(event))[0] == 200


def problems(one: Collector) -> str:
    """What the collector says is wrong; asked over HTTP, which is cheaper than a command."""
    return " ".join(json.loads(one.get("/healthz")[1])["problems"])


def metric(one: Collector, line: str) -> bool:
    return line in one.get("/metrics")[1].decode().splitlines()


def kill_worker(one: Collector) -> None:
    old = wait_for(lambda: one.status()["worker"]["pid"], what="a worker")
    os.kill(old, signal.SIGKILL)


@pytest.mark.process
@pytest.mark.slow
def test_counts_are_exact_from_edge_over_hub_to_upstream_with_kills_of_both(tmp_path: Path) -> None:
    """1. Events flow from an edge over a hub to an upstream. 2. kill -9 of the hub, of the edge and of their workers at
    random moments in between. 3. All come back. Result: what upstream's events stand for is exactly what the edge
    acknowledged, at the hub too; what a kill made the hub tell again came under its own id; both ledgers balance."""
    pick = random.Random(11)
    port = free_port()
    upstream = Upstream()
    hub, edge = hub_at(tmp_path / "hub", port, upstream.dsn), edge_of(tmp_path / "edge", port)
    with all_closed(edge, hub, upstream):
        hub.start()
        edge.start()
        sent = 0
        for turn in (hub, None, edge):
            for _ in range(40):
                send(edge, sent)
                sent += 1
            time.sleep(pick.uniform(0.2, 1.4))  # the moment of death is the point of this test
            if turn is None:
                kill_worker(hub)
                kill_worker(edge)
            else:
                turn.kill()
                turn.start()
        assert wait_for(lambda: upstream.state()["counted"] >= sent, what="all occurrences upstream")
        assert wait_for(lambda: metric(edge, "collector_outbox_records 0"), what="an empty outbox")
        state = wait_for(
            lambda: (now := upstream.state())["reported"] + now["events"] >= sent and now, what="reports of the rest"
        )
        assert (state["counted"], state["complaints"]) == (sent, [])  # ids that came before are not counted again
        assert state["reported"] == sent - state["events"]
        taken, kept = hub.drained(), edge.drained()
        assert balanced(taken["ledger"]) and balanced(kept["ledger"])
        assert sum(row["count"] for row in hub.query("SELECT count FROM issues")) == sent
        assert taken["hub"]["edges"]["berlin"]["projects"] == {"42": sent}
        assert hub.query("SELECT count(*) AS n FROM events WHERE tags->>'collector.edge' = 'berlin'")[0]["n"] > 0
        assert 'collector_hub_occurrences_total{edge="berlin"}' in hub.get("/metrics")[1].decode()
        assert "berlin" in hub.get("/")[1].decode()


@pytest.mark.process
def test_a_wrong_token_and_an_unknown_project_are_named_on_both_sides_and_block_nothing(tmp_path: Path) -> None:
    """1. An edge with a wrong token sends. 2. It gets the right one, and a project that the hub does not know. Result:
    both sides name the trouble; events wait at the edge; the known project's arrive."""
    port = free_port()
    hub, edge = hub_at(tmp_path / "hub", port), edge_of(tmp_path / "edge", port, "wrong-token-0123456789")
    with all_closed(edge, hub):
        hub.start()
        edge.start()
        send(edge, 1)
        wait_for(lambda: "401, unknown edge token" in problems(edge), what="the edge's sentence")
        assert hub.status()["hub"]["edges"]["unknown"]["refused"]["hub_token"] >= 1
        assert edge.status()["outbox"]["records"] >= 1
        assert edge.stop() == 0
        edge = edge_of(tmp_path / "edge", port, more=BLOG)
        with all_closed(edge):
            edge.start()
            stranger = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={KEY[::-1]}"}
            assert edge.send(envelope(error_event()), stranger, "/api/43/envelope/")[0] == 200
            send(edge, 2, kinds=1)
            wait_for(
                lambda: metric(hub, 'collector_hub_occurrences_total{edge="berlin"} 2'),
                what="both events of project 42",
            )
            wait_for(lambda: "there is no project 43" in problems(edge), what="the project named")
            status = hub.status()
            assert status["hub"]["edges"]["berlin"]["refused"]["hub_project"] >= 1
            assert edge.status()["outbox"]["records"] == 1
            assert status["ledger"]["stored"] == 2
