"""The configuration is read again while the real command runs: what changes, what does not, and what is never lost."""

import http.client
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.machine.link import ask_front
from collector.model.outcome import SUMMARISED
from tests.faults.audit import audit
from tests.helpers.running import COLLECTOR, KEY, PROJECT, Collector, balanced, envelope, error_event, wait_for
from tests.helpers.terminal import Terminal

pytestmark = pytest.mark.process

OTHER = "0ddba11a" * 4
LISTEN = '[listen]\naddress = "127.0.0.1:0"\n'
SECOND = f'[[project]]\nid = 43\nslug = "attic"\nkeys = ["{OTHER}"]\n'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    it = Collector(tmp_path_factory.mktemp("reload")).start()
    yield it
    it.close()


@pytest.fixture
def running(shared: Collector) -> Collector:
    """The same process for many tests, each of which begins with the plain configuration."""
    assert rewritten(shared, PROJECT)["mistakes"] == []
    return shared


def written(running: Collector, text: str) -> None:
    """Replaced as a whole, as an editor does: a reload must not see half of it."""
    fresh = running.config.with_suffix(".new")
    fresh.write_text(LISTEN + text)
    fresh.replace(running.config)


def rewritten(running: Collector, text: str) -> dict[str, Any]:
    """What a reload says to this configuration, asked as the command asks."""
    written(running, text)
    outcome: dict[str, Any] = ask_front(running.data, "reload", str(running.config), 60.0)
    return outcome


def sent(running: Collector, key: str = KEY, project: int = 42, message: str = "boom") -> int:
    auth = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={key}, sentry_client=test/1"}
    return running.send(envelope(error_event(message)), auth, f"/api/{project}/envelope/")[0]


def paths(answer: dict[str, Any]) -> list[str]:
    return [change["path"] for change in answer["changes"]]


class Senders:
    """Clients that send one event after the other, each over one connection for as long as that is open."""

    def __init__(self, running: Collector, count: int) -> None:
        self.running = running
        self.answers: Counter[int] = Counter()
        self.acked: list[str] = []
        self.reconnects = -count
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        connection: http.client.HTTPConnection | None = None
        auth = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={KEY}, sentry_client=test/1"}
        while not self._stop.is_set():
            if connection is None or connection.sock is None:
                connection = http.client.HTTPConnection(*self.running.address, timeout=30)
                self.reconnects += 1
            event = error_event("under way")
            connection.request("POST", "/api/42/envelope/", envelope(event), auth)
            answer = connection.getresponse()
            answer.read()
            self.answers[answer.status] += 1
            if answer.status == 200:
                self.acked.append(event["event_id"])
        assert connection is not None
        connection.close()


def storm(running: Collector, steps: int, ask: Callable[[int], None]) -> tuple[Senders, list[dict[str, Any]]]:
    """Changes of the worker's and the front's settings in turn, beside 8 connections; the ledgers seen meanwhile."""
    ledgers = []
    with Senders(running, 8) as senders:
        for step in range(steps):
            front, worker = f'address_rate = "{9000 + step // 2}/s"', f'max_bytes = "{1 + (step + 1) // 2} GB"'
            written(running, f"{PROJECT}[admit]\n{front}\n[retention]\n{worker}\n")
            ask(step)
            ledgers.append(running.status()["ledger"])
    return senders, ledgers


def judged(running: Collector, senders: Senders, ledgers: list[dict[str, Any]]) -> None:
    assert set(senders.answers) == {200}
    assert senders.reconnects == 0
    assert [ledger for ledger in ledgers if not balanced(ledger)] == []
    received = [ledger["received"] for ledger in ledgers]
    assert received == sorted(received)
    assert audit(running, senders.acked, {SUMMARISED: len(senders.acked)}).ledger["dropped"] == {}


def test_hangups_beside_8_busy_connections_cost_no_connection_no_answer_and_no_event(tmp_path: Path) -> None:
    """
    1. 8 connections send. 2. 20 SIGHUPs in quick succession, each with another file, for worker and front in turn.
    Result: every answer is 200 on the connection it began with; each event is stored once; the last file is in force.
    """
    running = Collector(tmp_path, PROJECT).start()
    try:
        assert running.process

        def hang_up(step: int) -> None:
            assert running.process
            running.process.send_signal(signal.SIGHUP)

        senders, ledgers = storm(running, 20, hang_up)
        wait_for(lambda: not ask_front(running.data, "plan", str(running.config), 10)["changes"], what="convergence")
        told = running.status()["config"]
        assert told["mistakes"] == [] and told["reloads"]["refused"] == 0 and told["reloads"]["applied"] > 1
        assert running.status()["worker"]["restarts"] == 0
        judged(running, senders, ledgers)
        assert running.stop() == 0
    finally:
        running.close()


@pytest.mark.long
@pytest.mark.slow
def test_20_reloads_one_after_the_other_beside_8_busy_connections_lose_nothing(tmp_path: Path) -> None:
    """As above, but each reload is waited for, so that the worker is replaced ten times."""
    running = Collector(tmp_path, PROJECT).start()
    try:
        outcomes: list[dict[str, Any]] = []
        senders, ledgers = storm(
            running, 20, lambda step: outcomes.append(ask_front(running.data, "reload", str(running.config), 60))
        )
        assert {outcome["outcome"] for outcome in outcomes} == {"applied"}
        assert sum(outcome["is_worker_replaced"] for outcome in outcomes) >= 10
        judged(running, senders, ledgers)
    finally:
        running.close()


def test_a_new_key_and_project_are_let_in_and_a_removed_key_is_refused(running: Collector) -> None:
    assert sent(running, OTHER) == sent(running, OTHER, 43) == 403
    outcome = rewritten(running, PROJECT.replace(KEY, OTHER) + SECOND)
    assert (outcome["outcome"], outcome["is_worker_replaced"]) == ("applied", True)
    assert sent(running, OTHER) == sent(running, OTHER, 43, "in the attic") == 200
    assert sent(running, KEY) == 403
    assert running.status()["dsns"][0].startswith(f"http://{OTHER}@")
    running.drained()
    assert running.query("SELECT short_id FROM issues WHERE short_id LIKE 'ATTIC%'") == [{"short_id": "ATTIC-1"}]


def test_a_key_alone_is_no_reason_for_another_worker(running: Collector) -> None:
    worker = running.drained()["worker"]["pid"]
    outcome = rewritten(running, PROJECT.replace(f'"{KEY}"', f'"{KEY}", "{OTHER}"'))
    assert not outcome["is_worker_replaced"]
    assert sent(running, OTHER) == 200
    assert running.status()["worker"]["pid"] == worker


def test_another_rate_takes_effect_for_what_is_sent_after_it(running: Collector) -> None:
    before = running.drained()["ledger"]
    rewritten(running, PROJECT + 'issue_rate = "1/d"\nissue_burst = 1\n')
    assert [sent(running, message="rated") for _ in range(5)] == [200] * 5
    after = running.drained()["ledger"]
    assert after["summarised"] - before["summarised"] == 5 - (after["stored"] - before["stored"]) >= 3


def test_another_size_of_the_spool_is_the_one_it_is_measured_by(running: Collector) -> None:
    rewritten(running, PROJECT + '[spool]\nmax_spool_bytes = "96 MiB"\n')
    assert running.status()["spool"]["max_bytes"] == 96 * 2**20


def test_what_a_quota_has_counted_stays_counted(running: Collector) -> None:
    quota = '[[project.quota]]\nid = "few"\ncategories = ["error"]\nwindow = "1 d"\nlimit = '
    rewritten(running, f"{PROJECT}{quota}2\n")
    assert [sent(running) for _ in range(3)] == [200, 200, 429]
    rewritten(running, f"{PROJECT}{quota}3\n")
    assert [sent(running) for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (PROJECT + "issue_rat = 5\n", "project[0].issue_rat: unknown key"),
        (PROJECT + "x = [", "not TOML"),
        (PROJECT + "[project.filters]\n[[project.filters.rules]]\nid = 'a'\nwhen = 'nonsense ==='\n", "filters"),
        (PROJECT + '[upstream]\ndsn = "http://k@127.0.0.1:9/1"\nca_file = "gone.pem"\n', "ca_file"),
    ],
    ids=["key", "syntax", "rule", "only the worker can tell"],
)
def test_a_wrong_file_changes_nothing_and_everybody_says_so(running: Collector, text: str, where: str) -> None:
    generation = running.status()["config"]["generation"]
    outcome = rewritten(running, text)
    assert outcome["outcome"] == "refused" and where in outcome["mistakes"][0]
    assert sent(running) == 200
    status = running.drained()
    assert status["config"]["generation"] == generation
    assert [line for line in status["problems"] if where in line]
    assert b"collector_config_last_reload_successful 0\n" in running.get("/metrics")[1]
    assert where.encode().replace(b"'", b"&#39;") in running.get("/")[1]
    assert any('"configuration not reloaded' in line and where in line for line in running.log)
    assert rewritten(running, PROJECT)["mistakes"] == []
    assert running.status()["problems"] == []


def test_the_commands_tell_what_differs_and_what_came_of_it(running: Collector, tmp_path: Path) -> None:
    written(running, PROJECT + '[query]\ntoken = "a-token-of-its-own-16"\n[upstream]\nwindow = "3 s"\n')
    planned = running.command("plan", code=2)
    assert '~ upstream.window  "60 s" -> "3 s"' in planned
    assert "a-token" not in planned and '"***"' in planned
    assert "the worker was replaced" in running.command("reload")
    assert "nothing differs" in running.command("plan")
    other = tmp_path / "other.toml"
    other.write_text(LISTEN + PROJECT)
    assert paths(json.loads(running.command("plan", str(other), "--json", code=2))) == [
        "query.token",
        "upstream.window",
    ]
    running.config.unlink()
    assert json.loads(running.command("reload", "--json", "--data-dir", str(running.data), code=78))["mistakes"]
    assert sent(running) == 200


def test_what_needs_a_restart_is_named_and_the_rest_is_applied(running: Collector) -> None:
    written(running, PROJECT + 'max_age = "5 d"\n[process]\nworker = "thread"\n')
    outcome = ask_front(running.data, "reload", str(running.config), 60)
    assert paths(outcome) == ["project[42].max_age"]
    assert outcome["needs_restart"] == ["process.worker"]
    left = ask_front(running.data, "plan", str(running.config), 10)
    assert [(change["path"], change["needs_restart"]) for change in left["changes"]] == [("process.worker", True)]
    assert "waiting for a restart: process.worker" in running.status()["problems"]


def test_events_of_a_project_that_is_removed_while_they_wait_keep_it(running: Collector) -> None:
    """
    1. The worker stands still; events of project 43 are acknowledged. 2. A reload removes the project, the worker dies.
    Result: the next worker stores them as project 43, by the rules of a project without settings.
    """
    rewritten(running, PROJECT + SECOND)
    before = running.drained()
    os.kill(before["worker"]["pid"], signal.SIGSTOP)
    assert [sent(running, OTHER, 43, "left behind") for _ in range(7)] == [200] * 7
    written(running, PROJECT)
    reload = subprocess.Popen(
        [*COLLECTOR, "reload", "--config", str(running.config)], stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: running.status()["config"]["tried_at"] > before["config"]["tried_at"], what="a reload under way")
    os.kill(before["worker"]["pid"], signal.SIGKILL)
    assert "- project[43].slug" in reload.communicate(timeout=60)[0]
    assert reload.returncode == 0
    assert sent(running, OTHER, 43) == 403
    ledger = running.drained()["ledger"]
    assert balanced(ledger) and ledger["stored"] - before["ledger"]["stored"] == 7
    sql = "SELECT count(*) AS n FROM events WHERE project_id = 43 AND title LIKE '%left behind%'"
    assert running.query(sql) == [{"n": 7}]


def test_a_reload_while_the_worker_is_being_started_again_is_applied(running: Collector) -> None:
    pid = running.drained()["worker"]["pid"]
    os.kill(pid, signal.SIGKILL)
    outcome = rewritten(running, PROJECT + 'max_age = "6 d"\n')
    assert outcome["outcome"] == "applied"
    assert sent(running) == 200
    assert balanced(running.drained()["ledger"])


@pytest.mark.long
def test_a_query_beside_a_reload_is_answered(running: Collector) -> None:
    written(running, PROJECT + 'max_age = "7 d"\n')
    reload = subprocess.Popen([*COLLECTOR, "reload", "--config", str(running.config)], stdout=subprocess.DEVNULL)
    while reload.poll() is None:
        taken = ask_front(running.data, "snapshot", str(running.data / "tmp" / f"query-{os.urandom(4).hex()}"), 60)
        assert taken["state"]
    assert reload.returncode == 0


def is_caught(pid: int, number: int) -> bool:
    text = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in text.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_hangups_during_start_and_stop_are_taken_as_they_come(tmp_path: Path) -> None:
    """
    1. SIGHUP before it listens. 2. Once it is up, the file of then is in force. 3. SIGHUP and SIGTERM at once.
    Result: it ends with 0, and nothing that was acknowledged is missing.
    """
    running = Collector(tmp_path, PROJECT + SECOND)
    beginning = threading.Thread(target=running.start)
    beginning.start()
    process = wait_for(lambda: running.process)
    wait_for(lambda: is_caught(process.pid, signal.SIGHUP), what="a process that minds SIGHUP")
    process.send_signal(signal.SIGHUP)
    beginning.join()
    try:
        wait_for(lambda: running.status()["config"]["reloads"]["unchanged"] == 1, what="the reload that was asked for")
        assert sent(running) == 200
        written(running, PROJECT + 'max_age = "8 d"\n')
        process.send_signal(signal.SIGHUP)
        assert running.stop() == 0
        assert "Traceback" not in running.tail()
        ledger = running.status()["ledger"]
        assert ledger["stored"] + ledger["in_spool"] == 1  # a busy machine may have left it to the next start
    finally:
        running.close()


def test_a_worker_that_is_a_thread_is_replaced_too(tmp_path: Path) -> None:
    thread = '[process]\nworker = "thread"\n'
    running = Collector(tmp_path, thread + PROJECT).start()
    try:
        assert sent(running) == 200
        outcome = rewritten(running, thread + PROJECT.replace('"shop"', '"store"') + SECOND)
        assert (outcome["outcome"], outcome["is_worker_replaced"]) == ("applied", True)
        assert sent(running, OTHER, 43) == sent(running, message="again", project=42) == 200
        ledger = running.drained()["ledger"]
        assert ledger["stored"] == 3 and balanced(ledger)
        wrong = '[upstream]\ndsn = "http://k@127.0.0.1:9/1"\nca_file = "gone.pem"\n'
        assert "ca_file" in rewritten(running, thread + PROJECT + wrong)["mistakes"][0]
        assert sent(running, OTHER, 43) == 200
        assert running.drained()["ledger"]["stored"] == 4
        assert running.stop() == 0
    finally:
        running.close()


@pytest.mark.long
def test_a_terminal_that_closes_stops_what_was_started_in_it(tmp_path: Path) -> None:
    """
    1. `serve` in a terminal; a SIGHUP of somebody reloads. 2. The terminal is gone.
    Result: it stops in an orderly way, as the next start sees, and does not live on without anybody's knowledge.
    """
    running = Collector(tmp_path, PROJECT)
    with Terminal([*COLLECTOR, "serve", "--config", str(running.config)], {}, tmp_path) as terminal:
        terminal.wait_for("DATA")
        terminal.process.send_signal(signal.SIGHUP)
        wait_for(lambda: running.status()["config"]["reloads"]["unchanged"] == 1, what="a reload")
        terminal.hang_up()
        terminal.process.wait(20)
    assert not (running.data / "tmp" / "control.sock").exists()
