"""POST /api/query/ of a running collector, asked as a program asks it."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import pytest

from tests.helpers.running import PATIENCE_SECONDS, PROJECT, Collector, collector, envelope, error_event, wait_for

TOKEN = "correct-horse-battery-staple"
CONFIG = PROJECT + f'\n[query]\ntoken = "{TOKEN}"\nmax_concurrent = 1\nmax_rows = 1000\ntimeout = "60 s"\n'
FOREVER = "SELECT count(*) FROM range(100000000000) a"

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def running() -> Iterator[Collector]:
    with collector(CONFIG) as one:
        for number in range(3):
            one.send(envelope(error_event(f"boom {number}", kind="ValueError")))
        one.drained()
        yield one


def post(
    running: Collector, body: Any, token: str | None = TOKEN, method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*running.address, timeout=PATIENCE_SECONDS)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, "/api/query/", data, headers)
    answer = connection.getresponse()
    found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def detail(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["detail"]


def test_a_statement_is_answered_as_json_with_how_it_went(running: Collector) -> None:
    status, headers, body = post(
        running, {"sql": "SELECT exception_type AS kind, count(*) AS n FROM events GROUP BY 1"}
    )
    assert (status, json.loads(body)) == (200, [{"kind": "ValueError", "n": 3}])
    assert headers["content-type"] == "application/json"
    assert headers["x-collector-rows"] == "1"
    assert "x-collector-truncated" not in headers


def test_every_format_is_what_its_readers_read(running: Collector, tmp_path: Path) -> None:
    question = {"sql": "SELECT event_id, level, timestamp, tags FROM events ORDER BY timestamp"}
    answers = {name: post(running, {**question, "format": name}) for name in ("ndjson", "csv", "parquet", "arrow")}
    assert {name: answer[0] for name, answer in answers.items()} == dict.fromkeys(answers, 200)
    ids = [json.loads(line)["event_id"] for line in answers["ndjson"][2].splitlines()]
    assert len(ids) == 3
    assert [line.split(",")[0] for line in answers["csv"][2].decode().splitlines()] == ["event_id", *ids]
    (tmp_path / "a.parquet").write_bytes(answers["parquet"][2])
    with duckdb.connect() as connection:
        read = connection.execute(f"SELECT event_id FROM '{tmp_path}/a.parquet'").fetchall()
    assert [row[0] for row in read] == ids
    table = nanoarrow.ArrayStream.from_readable(answers["arrow"][2]).read_all()
    assert [row["event_id"] for row in table.to_pylist()] == ids


def test_who_has_no_token_or_another_one_is_refused(running: Collector) -> None:
    question = {"sql": "SELECT 1"}
    missing = post(running, question, None)
    assert detail(missing) == (401, "a token is needed: Authorization: Bearer <query.token>")
    assert missing[1]["www-authenticate"] == "Bearer"
    assert detail(post(running, question, "wrong"))[0] == 403
    assert detail(post(running, question, "ünïcode".encode().decode("latin-1")))[0] == 403
    assert detail(post(running, question, method="GET"))[0] == 405


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"sql": "SELECT\n nope FROM events"}, 400, "line 2, column 2"),
        ({"sql": "SELECT * FROM read_text('/etc/passwd')"}, 400, "not available"),
        ({"sql": "SELECT 1", "format": "xml"}, 400, "format: 'xml'"),
        ({"sql": "SELECT 1", "since": "yesterday"}, 400, "since: 'yesterday'"),
        ({"sql": "SELECT 1", "limit": -1}, 400, "limit: -1"),
        ({"sql": "SELECT 1", "timeout": 0}, 400, "timeout: 0"),
        ({"query": "SELECT 1"}, 400, "unknown field `query`"),
        (b"SELECT 1", 400, "the body should be JSON"),
        (b'{"sql": "' + b"x" * 1_100_000 + b'"}', 413, "larger than"),
        ({"sql": FOREVER, "timeout": 0.3}, 504, "time limit of 0.3 s"),
        ({"sql": "SELECT list(n::VARCHAR || repeat('x', 99)) FROM range(9000000) t(n)"}, 413, "memory limit of 256 MB"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_sentence(
    running: Collector, body: Any, status: int, words: str
) -> None:
    found = detail(post(running, body))
    assert found[0] == status
    assert words in found[1]


def test_rows_beyond_the_limit_are_cut_and_said(running: Collector) -> None:
    status, headers, body = post(running, {"sql": "SELECT * FROM range(5000)", "limit": 10})
    assert (status, len(json.loads(body)), headers["x-collector-truncated"]) == (200, 10, "max_rows")


def test_since_leaves_out_what_came_before(running: Collector) -> None:
    question = {"sql": "SELECT count(*) AS n FROM events"}
    assert json.loads(post(running, {**question, "since": "1 h"})[2]) == [{"n": 3}]
    assert json.loads(post(running, {**question, "since": "2100-01-01"})[2]) == [{"n": 0}]


def test_questions_wait_for_their_turn_and_too_many_are_sent_away(running: Collector) -> None:
    """1. Fourteen clients ask for something slow; one runs at a time, eight more may wait.
    Result: the first are answered, the others get 429 at once; the collector takes events meanwhile."""
    slow = {"sql": FOREVER, "timeout": 0.05}
    with ThreadPoolExecutor(14) as pool:
        asked = [pool.submit(post, running, slow) for _ in range(14)]
        assert running.send(envelope(error_event("meanwhile", kind="KeyError")))[0] == 200
        found = sorted(one.result()[0] for one in asked)
    assert set(found) == {429, 504}
    assert found.count(429) >= 5  # a slow machine sends away those who waited ten seconds, too
    assert found.count(504) > 1


def test_a_client_that_hangs_up_ends_its_query(running: Collector) -> None:
    connection = http.client.HTTPConnection(*running.address, timeout=30)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", "/api/query/", json.dumps({"sql": FOREVER, "timeout": 60}), headers)
    wait_for(lambda: sandboxes(running), what="the query's process")
    connection.close()
    wait_for(lambda: not sandboxes(running), what="the end of the query's process")
    assert post(running, {"sql": "SELECT 1"})[0] == 200


def _told(path: Path) -> str:
    """A file of /proc, empty when its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def sandboxes(running: Collector) -> list[str]:
    """Processes of queries below this collector."""
    assert running.process
    children = Path(f"/proc/{running.process.pid}/task").glob("*/children")
    commands = [_told(Path(f"/proc/{pid}/cmdline")) for path in children for pid in _told(path).split()]
    return [command for command in commands if "collector.query.sandbox" in command]


def test_without_a_token_nobody_may_ask() -> None:
    with collector() as one:
        assert detail(post(one, {"sql": "SELECT 1"}))[0] == 404
        assert detail(post(one, {"sql": "SELECT 1"}, token=None))[0] == 404


def test_a_stop_does_not_wait_for_a_query() -> None:
    with collector(CONFIG) as one, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, one, {"sql": FOREVER, "timeout": 60})
        wait_for(lambda: sandboxes(one), what="the query's process")
        assert one.stop() == 0
        assert detail(asked.result()) == (503, "the collector stops")


def test_a_stop_does_not_wait_for_the_worker_that_a_query_asked() -> None:
    """1. The worker is busy with something else, here: halted. 2. A query asks it for its files. 3. SIGTERM."""
    with collector(CONFIG) as one, ThreadPoolExecutor(2) as pool:
        worker = wait_for(lambda: one.status()["worker"]["pid"], what="a worker")
        os.kill(worker, signal.SIGSTOP)
        try:
            asked = pool.submit(post, one, {"sql": "SELECT 1"})
            wait_for(lambda: sandboxes(one), what="the query's process")
            stopped = pool.submit(one.stop)
            assert detail(asked.result()) == (503, "the collector stops")
        finally:
            os.kill(worker, signal.SIGCONT)
        assert stopped.result() == 0
