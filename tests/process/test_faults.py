"""Full disks and damaged files, with the real command: it starts, sets aside, counts, and serves the rest."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.running import Collector, balanced, envelope, error_event, wait_for

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("faults")]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Collector]:
    it = Collector(tmp_path).start()
    yield it
    it.close()


def send(running: Collector, count: int, kind: str = "FaultError") -> list[str]:
    ids = []
    for number in range(count):
        event = error_event(f"number {number}", kind)
        assert running.send(envelope(event))[0] == 200
        ids.append(event["event_id"])
    return ids


def stored(running: Collector) -> list[str]:
    return sorted(row["event_id"] for row in running.query("SELECT event_id FROM events"))


def undigested(running: Collector, count: int) -> list[str]:
    """Acknowledged events that the worker never saw: it is stopped, then everything is killed."""
    running.drained()
    worker = running.status()["worker"]["pid"]
    os.kill(worker, signal.SIGSTOP)
    ids = send(running, count)
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
    status = running.drained()
    assert stored(running) == sorted(ids[:4] + ids[5:])
    assert sum(status["ledger"]["dropped"].values()) == 1
    assert status["quarantine"]["files"] >= 1
    assert balanced(status["ledger"])


def test_a_missing_checkpoint_changes_nothing(running: Collector) -> None:
    first = send(running, 5)
    ids = first + undigested(running, 5)
    (running.data / "spool" / "checkpoint").unlink(missing_ok=True)
    running.start()
    status = running.drained()
    assert stored(running) == sorted(ids)
    assert status["ledger"]["received"] == status["ledger"]["stored"] == 10
    assert running.query("SELECT sum(count) AS n FROM issues") == [{"n": 10}]


def test_a_damaged_segment_is_quarantined_and_new_events_are_stored(running: Collector) -> None:
    send(running, 5)
    running.drained()
    assert running.stop() == 0
    flip(newest(running.data / "segments", "*.duckdb"), 0, 20_000)
    running.start()
    ids = send(running, 3, "LaterError")
    status = running.drained()
    assert stored(running) == sorted(ids)
    assert status["quarantine"]["files"] >= 1
    assert list((running.data / "quarantine").iterdir())
    assert balanced(status["ledger"])


def test_a_missing_segment_does_not_keep_it_from_starting(running: Collector) -> None:
    send(running, 5)
    running.drained()
    assert running.stop() == 0
    newest(running.data / "segments", "*.duckdb").unlink()
    running.start()
    ids = send(running, 2, "LaterError")
    status = running.drained()
    assert stored(running) == sorted(ids)
    assert balanced(status["ledger"])


@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_a_damaged_wal_loses_nothing_because_the_spool_brings_it_again(running: Collector, harm: str) -> None:
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
    status = running.drained()
    assert stored(running) == sorted(ids)
    assert running.query("SELECT sum(count) AS n FROM issues") == [{"n": 12}]
    assert balanced(status["ledger"])


@pytest.mark.parametrize("harm", ["delete", "garble"])
def test_a_lost_state_database_is_computed_again_from_the_segments(running: Collector, harm: str) -> None:
    send(running, 4, "OneError")
    send(running, 3, "TwoError")
    running.drained()
    sql = "SELECT short_id, title, count, users, first_seen, last_seen, hash FROM issues ORDER BY short_id"
    before = running.query(sql)
    assert running.stop() == 0
    state = running.data / "state.sqlite"
    for path in running.data.glob("state.sqlite*"):
        path.unlink() if harm == "delete" else path.write_bytes(b"\xffgarbage" * 2000)
    running.start()
    status = running.drained()
    assert running.query(sql) == before
    assert status["ledger"]["stored"] == 7
    assert balanced(status["ledger"])
    assert state.exists()


def test_foreign_files_in_the_data_folder_are_left_alone(running: Collector) -> None:
    running.stop()
    for name in ("spool/notes.txt", "spool/000.spool", "segments/readme", "segments/99999999.duckdb"):
        (running.data / name).write_bytes(b"not ours")
    running.start()
    ids = send(running, 2)
    running.drained()
    assert stored(running) == sorted(ids)
    assert (running.data / "spool/notes.txt").read_bytes() == b"not ours"


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
        wait_for(lambda: running.send(envelope(error_event("after", "AfterError")))[0] == 200, 30, "room again")
        status = running.drained(60)
        assert set(acked) <= set(stored(running))
        assert balanced(status["ledger"])
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


def test_sigterm_twice_leaves_at_once(running: Collector) -> None:
    send(running, 3)
    worker = running.status()["worker"]["pid"]
    os.kill(worker, signal.SIGSTOP)  # a worker that cannot finish
    assert running.process
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(5) == 130
    running.kill()
    running.start()
    running.drained()
    assert len(stored(running)) == 3
