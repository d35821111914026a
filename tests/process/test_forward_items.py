"""The real command, killed again and again while logs and check-ins go to an upstream."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.mini_upstream import MiniUpstream
from tests.helpers.running import PROJECT, Collector, has_told_all, wait_for

UPSTREAM = '[upstream]\ndsn = "{dsn}"\nwindow = "1 s"\nbatch_linger = "0.2 s"\n'
ROUNDS, CONTAINERS, RECORDS = 5, 12, 3


def envelope(kind: str, payload: object, **headers: object) -> bytes:
    body = json.dumps(payload).encode()
    return b"{}\n" + json.dumps({"type": kind, "length": len(body), **headers}).encode() + b"\n" + body + b"\n"


def logs(first: int) -> bytes:
    records = [
        {"timestamp": time.time(), "level": "info", "trace_id": "ab" * 16, "body": f"record {number}"}
        for number in range(first, first + RECORDS)
    ]
    content_type = "application/vnd.sentry.items.log+json"
    return envelope("log", {"items": records}, item_count=len(records), content_type=content_type)


def check_in(check_in_id: str) -> bytes:
    return envelope("check_in", {"check_in_id": check_in_id, "monitor_slug": "nightly", "status": "ok"})


def told(upstream: MiniUpstream) -> tuple[Counter[str], set[str]]:
    """How often each log record arrived, and the ids of the check-ins."""
    items = list(upstream.received.items)
    records = Counter(one["body"] for item in items if item.type == "log" for one in item.json["items"])
    return records, {item.json["check_in_id"] for item in items if item.type == "check_in"}


def kill_worker(running: Collector, pid: int) -> None:
    """The front starts another one."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: running.status()["worker"]["pid"] not in (None, pid), what="another worker")


def kill_all(running: Collector, _: int) -> None:
    running.kill()
    running.start()


def both(running: Collector, turn: int, ids: list[str]) -> None:
    """Logs and check-ins, and death at a random moment."""
    for number in range(turn * CONTAINERS, (turn + 1) * CONTAINERS):
        assert running.send(logs(number * RECORDS))[0] == 200
        assert running.send(check_in(ids[number]))[0] == 200
    time.sleep(random.Random(turn).uniform(0.0, 0.6))  # the moment of death is the point of this test


def logs_under_way(running: Collector, upstream: MiniUpstream, turn: int) -> None:
    """Logs only, and death while upstream has some of them and has not answered."""
    running.drained()
    wait_for(lambda: has_told_all(running), what="an empty outbox")
    upstream.behave("slow", seconds=1.0)
    before = upstream.posts
    for number in range(turn * CONTAINERS, (turn + 1) * CONTAINERS):
        assert running.send(logs(number * RECORDS))[0] == 200
    wait_for(lambda: upstream.posts > before, what="a request under way")


@pytest.mark.process
@pytest.mark.slow
def test_logs_are_told_once_or_counted_and_check_ins_arrive_over_kills(tmp_path: Path) -> None:
    """1. Logs and check-ins flow. 2. Worker or front is killed at a random moment, four times, and
    once while logs are under way. Result: no record is told twice, what may be missing is counted, every check-in
    arrived."""
    ids = [uuid.uuid4().hex for _ in range(ROUNDS * CONTAINERS)]
    with MiniUpstream() as upstream:
        running = Collector(tmp_path, PROJECT + UPSTREAM.format(dsn=upstream.dsn)).start()
        try:
            for turn, kill in enumerate((kill_worker, kill_all, kill_worker, kill_all)):
                pid = wait_for(lambda: running.status()["worker"]["pid"], what="a worker")
                both(running, turn, ids)
                kill(running, pid)
            pid = wait_for(lambda: running.status()["worker"]["pid"], what="a worker")
            logs_under_way(running, upstream, ROUNDS - 1)
            kill_worker(running, pid)
            upstream.behave("ok")
            running.drained()
            wait_for(lambda: has_told_all(running), what="an empty outbox")
            running.stop()
            with contextlib.closing(sqlite3.connect(next(running.data.rglob("state.sqlite")))) as state:
                totals = dict(state.execute("SELECT name, quantity FROM forward_counts").fetchall())
        finally:
            running.close()
    records, check_ins = told(upstream)
    sent, lost = totals["sent:log_item"], totals.get("dropped:collector_unknown_fate", 0)
    assert sent + lost == len(ids) * RECORDS
    assert sent <= len(records) == sum(records.values()) <= sent + lost
    assert lost > 0, "some were under way"
    assert check_ins == set(ids[:-CONTAINERS])
    assert upstream.received.complaints == []
