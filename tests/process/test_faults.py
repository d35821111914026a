"""Full disks, damaged files and poison, with the real command: it starts, sets aside, counts, and serves the rest.

Each ends with the audit; what it may miss, and for which reason of the ledger, stands in its call.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.model.outcome import DAMAGED
from tests.faults.audit import acknowledged, audit
from tests.faults.shim import needs_gcc
from tests.faults.victim import CONFIG, Victim
from tests.helpers.mini_upstream import MiniUpstream
from tests.helpers.running import PROJECT, Collector, envelope, error_event, wait_for
from tests.process.test_crash import load

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("faults")]

LOST_IN_SPOOL, POISON = f"{DAMAGED}:spool", f"{DAMAGED}:internal"
# Python runs it at its start: a failure in the product's own code, which only a failure of ours can make.
FAILS_AT_POISON = """
from collector.group.grouping import Grouper
group = Grouper.group
def fails(self, view, *more, **named):
    if "PoisonError" in repr(view):
        raise RuntimeError("poison")
    return group(self, view, *more, **named)
Grouper.group = fails
"""
ODD: list[dict[str, Any]] = [
    {"extra": {"deep": json.loads("[" * 90 + "]" * 90)}},
    {"tags": {f"tag{number}": "x" * 50 for number in range(3000)}},
    {"message": 7, "level": [], "user": "nobody", "breadcrumbs": {"values": 3}, "contexts": [1]},
    {"timestamp": "never", "release": {"a": 1}, "fingerprint": {"b": 2}, "request": 5, "sdk": False},
]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Collector]:
    it = Collector(tmp_path).start()
    yield it
    it.close()


def send(running: Collector, count: int, kind: str = "FaultError", **fields: Any) -> list[str]:
    ids = []
    for number in range(count):
        event = error_event(f"number {number}", kind) | fields
        assert running.send(envelope(event))[0] == 200
        ids.append(event["event_id"])
    return ids


def stored(running: Collector) -> list[str]:
    return sorted(row["event_id"] for row in running.query("SELECT event_id FROM events"))


def undigested(running: Collector, count: int, **fields: Any) -> list[str]:
    """Acknowledged events that the worker never saw: it is stopped, then everything is killed."""
    running.drained()
    worker = running.status()["worker"]["pid"]
    os.kill(worker, signal.SIGSTOP)
    ids = send(running, count, **fields)
    os.kill(worker, signal.SIGKILL)
    running.kill()
    return ids


def newest(folder: Path, pattern: str) -> Path:
    return max((path for path in folder.glob(pattern)), key=lambda path: path.stat().st_mtime_ns)


def flip(path: Path, offset: int, count: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(byte ^ 0xFF for byte in data[offset : offset + count])
    path.write_bytes(bytes(data))


def test_a_damaged_spool_record_is_set_aside_and_its_neighbours_are_stored(running: Collector) -> None:
    ids = undigested(running, 9)
    spool = newest(running.data / "spool", "*.spool")
    flip(spool, spool.read_bytes().index(ids[4].encode()))
    running.start()
    verdict = audit(running, ids, {LOST_IN_SPOOL: 1})
    assert verdict.ledger["dropped"] == {LOST_IN_SPOOL: 1}
    assert verdict.status["quarantine"]["files"] >= 1
    assert stored(running) == sorted(ids[:4] + ids[5:])


def test_a_missing_checkpoint_changes_nothing(running: Collector) -> None:
    first = send(running, 5)
    ids = first + undigested(running, 5)
    (running.data / "spool" / "checkpoint").unlink(missing_ok=True)
    running.start()
    verdict = audit(running, ids)
    assert verdict.ledger["received"] == verdict.ledger["stored"] == 10


def test_a_damaged_segment_is_quarantined_and_new_events_are_stored(running: Collector) -> None:
    lost = send(running, 5)
    running.drained()
    assert running.stop() == 0
    flip(newest(running.data / "segments", "*.duckdb"), 0, 20_000)
    running.start()
    ids = send(running, 3, "LaterError")
    verdict = audit(running, lost + ids, {DAMAGED: 5})
    assert verdict.ledger["dropped"] == {DAMAGED: 5}
    assert verdict.status["quarantine"]["files"] >= 1
    assert list((running.data / "quarantine").iterdir())
    assert stored(running) == sorted(ids)


def test_a_missing_segment_does_not_keep_it_from_starting(running: Collector) -> None:
    lost = send(running, 5)
    running.drained()
    assert running.stop() == 0
    newest(running.data / "segments", "*.duckdb").unlink()
    running.start()
    ids = send(running, 2, "LaterError")
    verdict = audit(running, lost + ids, {DAMAGED: 5}, restart=False)
    assert verdict.counted == 5


@pytest.mark.long
@needs_gcc
def test_a_process_that_dies_of_opening_a_file_takes_nobody_along(tmp_path: Path) -> None:
    """
    1. Events are stored, the spool still has them; kill -9. 2. What opens the file at the start is killed by it.
    Result: file set aside, stored again from the spool, each once.
    """
    victim = Victim(tmp_path, PROJECT).start()
    try:
        victim.send(8)
        victim.running.drained()
        os.kill(victim.running.status()["worker"]["pid"], signal.SIGKILL)
        victim.running.kill()
        victim.shim.set("write KILL 1 .duckdb$")
        victim.running.start()
        wait_for(victim.shim.fired, what="a death at the opening")
        victim.shim.set()
        victim.send(2)
        verdict = victim.audit(restart=True)
        assert verdict.status["quarantine"]["files"] >= 1
        assert verdict.stored == verdict.acked == 10
    finally:
        victim.running.close()


@pytest.mark.parametrize(("harm", "restart"), [("flip", True), ("cut", False), ("delete", False)])
def test_a_damaged_wal_loses_nothing_because_the_spool_brings_it_again(
    running: Collector, harm: str, restart: bool
) -> None:
    ids = send(running, 12)
    running.drained()
    os.kill(running.status()["worker"]["pid"], signal.SIGKILL)
    running.kill()
    wal = newest(running.data / "segments", "*.wal")
    size = wal.stat().st_size
    harms = {
        "flip": lambda: flip(wal, size // 2, 16),
        "cut": lambda: os.truncate(wal, size - 100),
        "delete": lambda: wal.unlink(),
    }
    harms[harm]()
    running.start()
    verdict = audit(running, ids, restart=restart)
    assert verdict.stored == 12


@pytest.mark.long
def test_beyond_its_bytes_the_oldest_events_go_and_each_is_counted_as_evicted(tmp_path: Path) -> None:
    running = Collector(tmp_path, PROJECT + '[retention]\nmax_bytes = "2 MB"\n').start()
    try:
        ids: list[str] = []

        def evicted() -> int:
            ids.extend(send(running, 5, extra={"blob": os.urandom(30_000).hex()}))
            return int(running.status()["store"]["evicted"])

        wait_for(evicted, what="an eviction")
        verdict = audit(running, ids, restart=False)
        assert verdict.counted == verdict.status["store"]["evicted"] > 0
        assert verdict.ledger["dropped"] == {}
    finally:
        running.close()


@pytest.mark.parametrize("harm", ["delete", "garble"])
def test_a_lost_state_database_is_computed_again_from_the_segments(running: Collector, harm: str) -> None:
    ids = send(running, 4, "OneError") + send(running, 3, "TwoError")
    running.drained()
    sql = "SELECT short_id, title, count, users, first_seen, last_seen, hash FROM issues ORDER BY short_id"
    before = running.query(sql)
    assert running.stop() == 0
    state = running.data / "state.sqlite"
    for path in running.data.glob("state.sqlite*"):
        path.unlink() if harm == "delete" else path.write_bytes(b"\xffgarbage" * 2000)
    running.start()
    verdict = audit(running, ids, restart=False)
    assert running.query(sql) == before
    assert verdict.ledger["stored"] == 7
    assert state.exists()


def test_foreign_files_and_a_tail_of_zeros_change_nothing(running: Collector) -> None:
    ids = undigested(running, 4)
    foreign = ("spool/notes.txt", "spool/000.spool", "segments/readme")
    for name in (*foreign, "segments/99999999.duckdb"):
        (running.data / name).write_bytes(b"not ours")
    (running.data / "spool/empty").touch()
    with newest(running.data / "spool", "????*.spool").open("ab") as spool:
        spool.write(bytes(5000))
    running.start()
    ids += send(running, 2)
    verdict = audit(running, ids)
    assert verdict.ledger["dropped"] == {}
    assert {(running.data / name).read_bytes() for name in foreign} == {b"not ours"}


@pytest.mark.long
def test_a_spool_file_that_is_gone_is_counted_and_the_rest_is_stored(tmp_path: Path) -> None:
    """Of several that wait to be digested the second is removed."""
    running = Collector(tmp_path, CONFIG).start()
    try:
        ids = send(running, 3) + undigested(running, 30, extra={"bulk": os.urandom(4000).hex()})
        sorted((running.data / "spool").glob("*.spool"))[-3].unlink()
        running.start()
        verdict = audit(running, ids + send(running, 2), {LOST_IN_SPOOL: 20}, restart=False)
        assert 0 < verdict.counted == verdict.ledger["dropped"][LOST_IN_SPOOL] < 20
    finally:
        running.close()


def test_poison_is_set_aside_after_one_try_and_its_neighbours_are_stored(tmp_path: Path) -> None:
    """
    1. The code of the worker is made to fail at each event of one kind. 2. Such events, odd ones and plain ones.
    Result: those are in quarantine and in the ledger, all others stored, the worker is still the one it was.
    """
    (tmp_path / "sitecustomize.py").write_text(FAILS_AT_POISON)
    running = Collector(tmp_path, environ={"PYTHONPATH": str(tmp_path)}).start()
    try:
        worker = running.drained()["worker"]["pid"]
        ids = send(running, 2)
        poison = send(running, 3, "PoisonError")
        for fields in ODD:
            ids += send(running, 1, "OddError", **fields)
        ids += send(running, 2, "LaterError")
        status = running.drained()
        assert status["worker"]["pid"] == worker
        assert status["quarantine"]["files"] == 2 * 3
        verdict = audit(running, ids + poison, {POISON: 3})
        assert verdict.ledger["dropped"] == {POISON: 3}
        assert stored(running) == sorted(ids)
    finally:
        running.close()


@pytest.mark.long
def test_an_upstream_that_redirects_to_this_machine_is_not_followed(tmp_path: Path) -> None:
    """What an alert would meet, too: both go out by the same door. Nothing is let out, nothing waits for it."""
    with MiniUpstream() as upstream, MiniUpstream() as inner:
        upstream.behave("redirect", location=f"http://127.0.0.1:{inner.port}/api/7/envelope/")
        running = Collector(tmp_path, PROJECT + f'[upstream]\ndsn = "{upstream.dsn}"\nwindow = "1 s"\n').start()
        try:
            ids = send(running, 5)
            said = wait_for(lambda: running.status()["outbox"]["last_error"], what="a sentence about upstream")
            assert "redirects are not followed" in said
            audit(running, ids)
            assert inner.connections == 0
            upstream.behave("ok")
            wait_for(lambda: upstream.counted() == 5, what="all of it upstream")
        finally:
            running.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root); may be absent")
    yield tmp_path
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_before_it_loses_and_recovers_by_itself(small_disk: Path) -> None:
    """
    1. A 24 MB disk; events of 60 KB until the answer is a refusal.
    2. The disk grows.
    Result: only 200, 429 and 503 with Retry-After; every acknowledged event is stored; the ledger balances.
    """
    running = Collector(small_disk).start()
    try:
        acked = []
        answers = set()
        refusal: dict[str, str] = {}
        for number in range(900):
            event = error_event(f"{number}", "FullError", extra={"blob": os.urandom(30_000).hex()})
            code, headers, _ = running.send(envelope(event))
            answers.add(code)
            if code == 200:
                acked.append(event["event_id"])
            else:
                refusal = headers
                break
        assert answers <= {200, 429, 503}
        assert len(answers) == 2, "a 24 MB disk must be full at some time"
        assert int(refusal["retry-after"]) > 0
        assert acked
        assert running.status()["ledger"]["received"] >= len(acked)
        subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk / "data")], check=True)
        wait_for(lambda: running.send(envelope(error_event("after", "AfterError")))[0] == 200, what="room again")
        audit(running, acked, restart=False)
    finally:
        running.close()


def test_a_read_only_data_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    if os.geteuid() == 0 and not shutil.which("mount"):
        pytest.skip("root may write anywhere; may be absent")
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root); may be absent")
    try:
        running = Collector(tmp_path)
        refused = running.refused()
        assert refused.returncode == 73
        assert "Read-only" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_sigterm_beside_8_busy_connections_ends_with_0_and_keeps_what_was_acknowledged(
    running: Collector, tmp_path: Path
) -> None:
    sending = load(running, tmp_path, seconds=1.5, rate=400)
    wait_for(lambda: running.status()["ledger"]["received"] > 50, what="a load")
    assert running.stop() == 0
    sending.communicate(timeout=60)
    running.start()
    verdict = audit(running, acknowledged(tmp_path), restart=False)
    assert verdict.acked > 50


def test_sigterm_twice_leaves_at_once(running: Collector) -> None:
    ids = send(running, 3)
    worker = running.status()["worker"]["pid"]
    os.kill(worker, signal.SIGSTOP)  # a worker that cannot finish
    assert running.process
    running.process.send_signal(signal.SIGTERM)
    wait_for(lambda: any('"stopping"' in line for line in running.log), what="the first one's word")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 130
    running.kill()
    running.start()
    audit(running, ids, restart=False)
