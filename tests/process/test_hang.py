"""A worker that hangs, a request that stops half-way, a ledger that only grows: with the real command."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.audit import audit
from tests.helpers.running import KEY, Collector, balanced, envelope, error_event, wait_for

pytestmark = pytest.mark.process


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Collector]:
    it = Collector(tmp_path).start()
    yield it
    it.close()


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_and_replaced(running: Collector) -> None:
    """
    1. SIGSTOP the worker; events are acknowledged all the while. 2. Wait for the watchdog (60 s of silence).
    Result: another worker digests them; nothing is lost.
    """
    running.drained()
    hung = running.status()["worker"]["pid"]
    os.kill(hung, signal.SIGSTOP)
    events = [error_event(f"{number}") for number in range(5)]
    assert [running.send(envelope(event))[0] for event in events] == [200] * 5
    wait_for(lambda: running.get("/healthz")[0] == 503, what="a red health page")
    wait_for(lambda: running.status()["worker"]["pid"] not in (None, hung), 120, "another worker")
    verdict = audit(running, [event["event_id"] for event in events])
    assert verdict.ledger["stored"] == 5


def half_closed(running: Collector, request: bytes) -> bytes:
    """The answer to a client that sends this and then says that it sends no more."""
    with socket.create_connection(running.address, timeout=20) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "rest", [b"Content-Length: 1000\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"], ids=["length", "chunk"]
)
def test_a_request_that_ends_half_way_is_answered_400_and_spools_nothing(running: Collector, rest: bytes) -> None:
    head = f"POST /api/42/envelope/?sentry_key={KEY} HTTP/1.1\r\nHost: h\r\n".encode()
    answer = half_closed(running, head + rest)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'{"detail"' in answer
    assert running.drained()["ledger"]["received"] == 0


def test_a_whole_request_is_answered_although_the_client_sends_no_more(running: Collector) -> None:
    body = envelope(error_event())
    head = (
        f"POST /api/42/envelope/?sentry_key={KEY} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    answer = half_closed(running, head + body)
    assert answer.startswith(b"HTTP/1.1 200")
    assert running.drained()["ledger"]["stored"] == 1


def test_dropped_never_goes_back_while_refusals_travel_to_the_worker(running: Collector) -> None:
    running.drained()
    worker = running.status()["worker"]["pid"]
    os.kill(worker, signal.SIGSTOP)
    for _ in range(6):
        assert running.send(b"not an envelope")[0] == 400
    seen = []

    def told() -> bool:
        ledger = running.status()["ledger"]
        seen.append(sum(ledger["dropped"].values()))
        assert balanced(ledger)
        return len(seen) > 3

    wait_for(told)
    os.kill(worker, signal.SIGCONT)
    final = running.drained()["ledger"]
    assert seen == sorted(seen)
    assert sum(final["dropped"].values()) == seen[-1] == 6


def test_an_unknown_key_in_the_environment_is_a_mistake(tmp_path: Path) -> None:
    running = Collector(tmp_path, environ={"COLLECTOR_LISTEN_ADRESS": "127.0.0.1:1"})
    refused = running.refused()
    assert refused.returncode == 78
    assert "COLLECTOR_LISTEN_ADDRESS" in refused.stderr
