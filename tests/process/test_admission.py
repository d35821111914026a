"""Admission of the real command: refused at the door, counted in the ledger, remembered over a restart."""

import http.client
import json
from pathlib import Path

import pytest

from collector.machine.net import Answer, Request
from collector.protocol.ratelimits import RateLimit
from collector.work import ListeningNet
from tests.helpers.running import KEY, PROJECT, Collector, balanced, envelope, error_event, wait_for

QUOTA = """
[[quota]]
id = "errors"
categories = ["error"]
limit = 3
window = "30 d"
reason_code = "monthly"
"""


def send(running: Collector) -> tuple[int, dict[str, str]]:
    """One error event: status and headers."""
    connection = http.client.HTTPConnection(*running.address, timeout=10)
    try:
        connection.request("POST", f"/api/42/envelope/?sentry_key={KEY}", envelope(error_event()))
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@pytest.mark.process
def test_a_quota_holds_over_a_restart_and_the_ledger_balances(tmp_path: Path) -> None:
    """1. Two events of three. 2. Restart. 3. One more comes in, two are refused.

    Result: three stored, two dropped as rate_limited:monthly, the ledger balanced.
    """
    running = Collector(tmp_path, QUOTA + PROJECT).start()
    assert [send(running)[0] for _ in range(2)] == [200, 200]
    assert running.stop() == 0
    assert (running.data / "admission.state").stat().st_mode & 0o777 == 0o600
    running.start()
    assert [send(running)[0] for _ in range(2)] == [200, 429]
    status, headers = send(running)
    assert status == 429
    assert headers["x-sentry-rate-limits"].endswith(":error:organization:monthly")
    assert int(headers["retry-after"]) <= 300
    ledger = wait_for(lambda: (found := running.status()["ledger"])["in_spool"] == 0 and found["stored"] == 3 and found)
    assert ledger["dropped"] == {"rate_limited:monthly": 2}
    assert balanced(ledger), json.dumps(ledger)
    assert running.stop() == 0


class _Net:
    """A way out that always answers the same."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.closed = False

    def send(self, request: Request) -> Answer:
        return self.answer

    def hurry(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (200, {}, []),
        (503, {"retry-after": "5"}, []),
        (429, {"retry-after": "5"}, [RateLimit(5, (), "key", "generic")]),
        (200, {"x-sentry-rate-limits": "9:error:project:full"}, [RateLimit(9, ("error",), "project", "full")]),
    ],
)
def test_limits_in_upstream_answers_are_overheard(status: int, headers: dict[str, str], told: list[RateLimit]) -> None:
    heard: list[RateLimit] = []
    net = _Net(Answer(status, headers, b""))
    listening = ListeningNet(net, heard.extend)
    assert listening.send(Request("POST", "http://upstream.example/")) is net.answer
    assert heard == told
    listening.close()
    assert net.closed


SMALL = '[limits]\nmax_envelope_bytes = "64 KiB"\n'


@pytest.mark.process
def test_a_request_that_is_refused_unread_is_one_dropped_item(tmp_path: Path) -> None:
    """1. Requests of an authenticated client that nobody can read. 2. One without authentication.

    Result: each of the first is one item received and one dropped with its reason, the last is nobody's.
    """
    running = Collector(tmp_path, SMALL + PROJECT).start()
    try:
        assert running.send(b"{nope\n")[0] == 400
        assert running.send(b"x" * 70_000)[0] == 413
        assert running.send(b"zzzz", {"Content-Encoding": "gzip"})[0] == 400
        assert running.send(b'{}\n{"type":"integration"}\n{}\n{"type":"session"}\n{}\n')[0] == 400
        assert running.send(b"x", {"X-Sentry-Auth": "Sentry sentry_key=" + "b" * 32})[0] == 403
        dropped = {
            "invalid:invalid_envelope": 1,
            "invalid:too_large:request": 1,
            "invalid:invalid_compression": 1,
            "invalid:internal_envelope": 2,
        }
        ledger = wait_for(lambda: (found := running.drained()["ledger"])["dropped"] == dropped and found)
        assert (ledger["received"], ledger["stored"]) == (5, 0)
        assert balanced(ledger), json.dumps(ledger)
    finally:
        running.close()
