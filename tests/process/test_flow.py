"""The main job, end to end: a real SDK, the real command, SQL, a real upstream."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.audit import audit
from tests.helpers.running import PROJECT, Collector, balanced, collector, envelope, error_event, has_told_all, wait_for

APP = """
import sys, sentry_sdk
sentry_sdk.init(dsn=sys.argv[1], release="shop@1.2.3", environment="prod", send_default_pii=True)
sentry_sdk.set_user({"id": "u-7", "email": "ada@example.com"})
sentry_sdk.set_tag("tenant", "acme")
def sell(item, password="hunter2-plain"):
    card = "4111 1111 1111 1111"
    return {}[item]
for item in ("tea", "tea", "cup"):
    try:
        sell(item)
    except KeyError as error:
        print(sentry_sdk.capture_exception(error))
sentry_sdk.capture_message("stock is at 17 percent", level="warning")
sentry_sdk.flush(10)
"""


def run_app(dsn: str, source: str = APP) -> list[str]:
    done = subprocess.run([sys.executable, "-c", source, dsn], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module", params=["child", "thread"])
def running(request: pytest.FixtureRequest) -> Iterator[Collector]:
    with collector(f'[process]\nworker = "{request.param}"\n' + PROJECT) as it:
        SOLD[it.dsn] = run_app(it.dsn)
        yield it


SOLD: dict[str, list[str]] = {}


@pytest.mark.process
@pytest.mark.xdist_group("flow")
class TestRealSdk:
    def test_each_captured_exception_is_stored_with_its_columns(self, running: Collector) -> None:
        ids = SOLD[running.dsn]
        running.drained()
        rows = running.query(
            "SELECT * FROM events WHERE exception_type = 'KeyError' ORDER BY timestamp, exception_value"
        )
        assert sorted(row["event_id"] for row in rows) == sorted(ids)
        row = rows[0]
        assert row["release"] == "shop@1.2.3"
        assert row["environment"] == "prod"
        assert row["platform"] == "python"
        assert row["level"] == "error"
        assert row["user_id"] == "u-7"
        assert row["title"] == "KeyError: 'tea'"
        assert row["tags"]["tenant"] == "acme"
        assert len(row["hash"]) == 32
        assert row["trace_id"]

    def test_equal_errors_are_one_issue_with_a_count(self, running: Collector) -> None:
        (issue,) = running.query("SELECT * FROM issues WHERE title LIKE 'KeyError%'")
        assert issue["count"] == 3
        assert issue["users"] == 1
        assert issue["short_id"].startswith("SHOP-")
        assert issue["status"] == "unresolved"
        assert issue["first_seen"] <= issue["last_seen"]

    def test_messages_are_events_too(self, running: Collector) -> None:
        (row,) = running.query("SELECT message, level, title FROM events WHERE level = 'warning'")
        assert row == {
            "message": "stock is at 17 percent",
            "level": "warning",
            "title": "stock is at 17 percent",
        }

    def test_secrets_are_nowhere_in_the_stored_files(self, running: Collector) -> None:
        running.drained()
        kept = b"".join(path.read_bytes() for path in running.data.rglob("*.duckdb*"))
        assert b"hunter2-plain" not in kept
        (row,) = running.query("SELECT count(*) AS n FROM events WHERE payload LIKE '%hunter2-plain%'")
        assert row["n"] == 0
        (row,) = running.query("SELECT count(*) AS n FROM events WHERE payload LIKE '%[Filtered]%'")
        assert row["n"] >= 3

    def test_status_names_everything_and_the_ledger_balances(self, running: Collector) -> None:
        status = running.drained()
        assert status["ready"] is True
        assert status["worker"]["pid"]
        assert status["front"]["pid"]
        assert set(status["front"]["loop_lag_ms"]) == {"now", "worst"}
        assert status["worker"]["heartbeat_age_seconds"] < 5
        assert status["spool"]["records"] == 0
        assert status["store"]["segments"] == 1
        assert status["store"]["bytes"] > 0
        assert status["outbox"]["records"] == 0
        assert status["ledger"]["received"] >= 4
        assert balanced(status["ledger"])

    def test_the_command_shows_the_same_status_and_exits_0(self, running: Collector) -> None:
        shown = json.loads(running.command("status", "--json"))
        asked = running.status()
        assert set(shown) == set(asked)
        assert shown["ledger"] == asked["ledger"]
        assert shown["front"]["pid"] == asked["front"]["pid"]

    def test_health_ready_and_metrics_answer(self, running: Collector) -> None:
        assert running.get("/healthz")[0] == 200
        assert running.get("/readyz")[0] == 200
        code, text = running.get("/metrics")
        assert code == 200
        assert b"collector_ledger_received_total" in text

    def test_the_status_page_shows_the_issue_escaped(self, running: Collector) -> None:
        event = error_event("<script>alert(1)</script>", "XssError")
        assert running.send(envelope(event))[0] == 200
        running.drained()
        code, page = running.get("/")
        assert code == 200
        assert b"XssError: &lt;script&gt;" in page
        assert b"<script" not in page

    def test_csv_and_table_hold_the_same_answer(self, running: Collector) -> None:
        sql = "SELECT 1 AS one, 'a,b' AS two"
        assert running.command("query", "--format", "csv", sql).split() == ["one,two", '1,"a,b"']
        table = running.command("query", "--format", "table", sql)
        assert "one" in table
        assert "a,b" in table

    def test_an_acknowledged_event_is_soon_visible_in_sql(self, running: Collector) -> None:
        event = error_event()
        assert running.send(envelope(event))[0] == 200
        sql = f"SELECT count(*) AS n FROM events WHERE event_id = '{event['event_id']}'"
        wait_for(lambda: running.query(sql)[0]["n"] == 1)

    def test_the_same_event_twice_is_stored_once_and_counted(self, running: Collector) -> None:
        event = error_event()
        before = running.drained()["ledger"]
        for _ in range(2):
            assert running.send(envelope(event))[0] == 200
        after = running.drained()["ledger"]
        assert after["stored"] == before["stored"] + 1
        assert sum(after["dropped"].values()) == sum(before["dropped"].values()) + 1
        assert balanced(after)

    def test_the_answer_is_the_event_id_as_json(self, running: Collector) -> None:
        event = error_event()
        code, headers, body = running.send(envelope(event))
        assert code == 200
        assert headers["content-type"].startswith("application/json")
        assert json.loads(body) == {"id": event["event_id"]}

    def test_a_broken_query_is_one_sentence_and_exit_1(self, running: Collector) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "collector.cli", "query", "--config", str(running.config), "SELEC 1"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.strip()


@pytest.mark.process
@pytest.mark.xdist_group("flow2")
def test_queries_and_status_answer_from_the_files_when_nothing_runs() -> None:
    with tempfile.TemporaryDirectory() as name:
        running = Collector(Path(name)).start()
        event = error_event()
        running.send(envelope(event))
        running.drained()
        assert running.stop() == 0
        assert [row["event_id"] for row in running.query("SELECT event_id FROM events")] == [event["event_id"]]
        assert running.query("SELECT count FROM issues") == [{"count": 1}]
        status = running.status()
        assert status["ready"] is False
        assert status["ledger"]["stored"] == 1
        assert balanced(status["ledger"])


@pytest.mark.process
@pytest.mark.xdist_group("flow2")
def test_sigterm_under_load_answers_what_was_taken_and_exits_0() -> None:
    with tempfile.TemporaryDirectory() as name:
        running = Collector(Path(name)).start()
        acked = []
        for number in range(50):
            event = error_event(f"message {number}")
            if running.send(envelope(event))[0] == 200:
                acked.append(event["event_id"])
        assert running.stop() == 0
        running.start()
        verdict = audit(running, acked, restart=False)
        running.close()
        assert verdict.stored == len(acked) > 0


@pytest.mark.process
@pytest.mark.xdist_group("flow2")
def test_a_second_collector_on_the_same_folder_is_refused_with_73(tmp_path: Path) -> None:
    running = Collector(tmp_path).start()
    done = subprocess.run(
        [sys.executable, "-m", "collector.cli", "serve", "--config", str(running.config)],
        capture_output=True,
        text=True,
        timeout=20,
    )
    running.close()
    assert done.returncode == 73
    assert "in use" in done.stderr


@pytest.mark.process
@pytest.mark.xdist_group("flow2")
def test_without_a_project_one_is_made_and_its_dsn_stays(tmp_path: Path) -> None:
    running = Collector(tmp_path, "").start()
    first = running.dsn
    assert running.send(envelope(error_event()))[0] == 200
    assert running.stop() == 0
    running.start()
    second = running.dsn
    printed = running.command("dsn").strip()
    running.close()
    assert first.split("@")[0] == second.split("@")[0]
    assert printed == second


class Kent:
    """kent, the test server from the Python registry, as the upstream Sentry."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "kent-server"), "run", "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: self.get("/api/eventlist/") is not None, what="kent")

    def get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def bodies(self) -> list[dict[str, Any]]:
        listed = (self.get("/api/eventlist/") or {}).get("events", [])
        bodies = [self.get(f"/api/event/{row['event_id']}")["payload"]["body"] for row in listed]
        return [body for body in bodies if isinstance(body, dict) and "exception" in body]

    def counts(self) -> list[int]:
        return [body.get("contexts", {}).get("collector", {}).get("count", 1) for body in self.bodies()]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.process
@pytest.mark.xdist_group("upstream")
def test_upstream_gets_the_first_event_at_once_and_then_a_summary_per_window() -> None:
    port = free_port()
    kent = Kent(port)
    try:
        with collector(PROJECT + f'[upstream]\ndsn = "http://abc@127.0.0.1:{port}/1"\nwindow = "2 s"\n') as running:
            running.send(envelope(error_event("first", "OneError")))
            wait_for(lambda: kent.counts() == [1], what="the first event upstream")
            for number in range(9):
                running.send(envelope(error_event(f"again {number}", "OneError")))
            wait_for(lambda: sum(kent.counts()) == 10, what="counts that add up")
            assert len(kent.counts()) < 10
            assert running.drained()["outbox"]["records"] == 0
    finally:
        kent.close()


@pytest.mark.process
@pytest.mark.xdist_group("upstream")
def test_an_upstream_that_is_down_costs_outbox_bytes_and_is_caught_up() -> None:
    port = free_port()
    with collector(PROJECT + f'[upstream]\ndsn = "http://abc@127.0.0.1:{port}/1"\nwindow = "1 s"\n') as running:
        for number in range(12):
            assert running.send(envelope(error_event("down", f"Error{number % 3}")))[0] == 200
        running.drained()
        wait_for(lambda: running.status()["outbox"]["records"] >= 3, what="a waiting outbox")
        assert running.status()["ledger"]["stored"] == 12
        time.sleep(1.5)
        kent = Kent(port)
        try:
            wait_for(lambda: sum(kent.counts()) == 12, what="catching up")
            wait_for(lambda: has_told_all(running), what="an empty outbox")
        finally:
            kent.close()
