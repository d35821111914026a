"""A project that keeps its events for a shorter time leaves shared files, even when the worker is killed then."""

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.running import KEY, PROJECT, Collector, balanced, envelope, error_event, wait_for

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("keep")]

SHORT = f"""
[store]
max_segment_bytes = "1 MB"
{PROJECT}
[[project]]
id = 43
slug = "blog"
keys = ["{KEY[:-1]}1"]
max_age = "1 s"
"""
PADDING = 4000


def send(running: Collector, project: int, key: str, count: int) -> set[str]:
    """Events that do not compress."""
    events = [error_event(f"number {number}", extra={"more": os.urandom(PADDING).hex()}) for number in range(count)]
    auth = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={key}, sentry_client=test/1"}
    answers = {running.send(envelope(event), auth, f"/api/{project}/envelope/")[0] for event in events}
    assert answers == {200}
    return {event["event_id"] for event in events}


def is_sealed(running: Collector) -> bool:
    return any((running.data / "segments").glob("*-2.duckdb"))


def parents_of_rewriting(running: Collector) -> list[int]:
    """Processes whose child writes a file anew now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{running.data}/tmp/rewrite-".encode() in (process / "cmdline").read_bytes():
                found.append(int((process / "stat").read_text().rsplit(")", 1)[1].split()[1]))
    return found


def evicted(running: Collector) -> int:
    return int(running.status()["store"].get("evicted", 0))


def test_a_worker_killed_while_a_file_is_written_anew_loses_nothing(tmp_path: Path) -> None:
    """1. Two projects share a file that is sealed. 2. A start begins to write it anew; the worker is killed meanwhile.
    3. The next worker does it again: what expired is gone and counted as evicted, the rest is whole."""
    running = Collector(tmp_path, SHORT).start()
    try:
        kept, gone = send(running, 42, KEY, 160), send(running, 43, f"{KEY[:-1]}1", 80)
        wait_for(lambda: is_sealed(running), what="a sealed file")
        running.stop()
        with ThreadPoolExecutor(1) as pool:  # looks while it starts: the file is written within half a second
            found = pool.submit(wait_for, lambda: parents_of_rewriting(running), 40.0)
            running.start()
            os.kill(found.result()[0], signal.SIGKILL)
        wait_for(lambda: evicted(running), what="the file in its place")
        ledger = running.drained()["ledger"]
        count = evicted(running)
        left = {row["event_id"] for row in running.query("SELECT event_id FROM events")}
        assert "evicted" in running.command("status")
        running.command("verify", "--deep")
    finally:
        running.close()
    assert kept <= left
    assert gone - left
    assert parents_of_rewriting(running) == []
    assert (count, balanced(ledger)) == (len(gone - left), True)
