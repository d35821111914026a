"""Data folders that cannot be used as they are: refused with a sentence, or mended by the start itself."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.running import COLLECTOR, Collector, balanced, envelope, error_event

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("faults")]


def test_the_folder_of_another_owner_is_refused_with_a_sentence(tmp_path: Path) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("giving a folder away needs root and setpriv; may be absent")
    running = Collector(tmp_path)
    running.data.mkdir(mode=0o700)
    os.chown(running.data, 12345, 12345)
    without = "--bounding-set=-dac_override,-dac_read_search"
    done = subprocess.run([setpriv, without, *COLLECTOR, "serve", "--config", str(running.config)], capture_output=True,
                          text=True, timeout=30)  # fmt: skip
    assert done.returncode == 73
    assert "Permission denied" in done.stderr
    assert str(running.data) in done.stderr
    assert "Traceback" not in done.stderr
    assert list(running.data.iterdir()) == []


@pytest.fixture
def no_names_left(tmp_path: Path) -> Iterator[Path]:
    """A file system with bytes to spare and no room for another file."""
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=4", "tmpfs", str(folder)],
                             capture_output=True)  # fmt: skip
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root); may be absent")
    yield tmp_path
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_without_inodes_is_refused_with_a_sentence(no_names_left: Path) -> None:
    refused = Collector(no_names_left).refused()
    assert refused.returncode == 73
    assert "No space left on device" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_wal_without_its_segment_is_set_aside_and_the_spool_brings_it_again(tmp_path: Path) -> None:
    running = Collector(tmp_path).start()
    try:
        events = [error_event(f"number {number}", "FaultError") for number in range(6)]
        assert {running.send(envelope(event))[0] for event in events} == {200}
        worker = running.drained()["worker"]["pid"]
        os.kill(worker, 9)
        running.kill()
        segment = next((running.data / "segments").glob("*.duckdb"))
        segment.unlink()
        running.start()
        status = running.drained()
        stored = {row["event_id"] for row in running.query("SELECT event_id FROM events")}
    finally:
        running.close()
    assert stored == {event["event_id"] for event in events}
    assert (running.data / "quarantine" / f"{segment.name}.wal").exists()
    assert (status["ledger"]["dropped"], balanced(status["ledger"])) == ({}, True)
