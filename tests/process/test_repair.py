"""`collector repair` and `collector verify` on folders with every kind of damage."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.running import Collector, balanced, envelope, error_event

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("keep")]


def send(running: Collector, count: int, kind: str = "FaultError") -> list[str]:
    events = [error_event(f"number {number}", kind) for number in range(count)]
    assert {running.send(envelope(event))[0] for event in events} == {200}
    return [event["event_id"] for event in events]


def flip(path: Path, offset: int, count: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(byte ^ 0xFF for byte in data[offset : offset + count])
    path.write_bytes(bytes(data))


def deeds(running: Collector, code: int = 0) -> dict[str, str]:
    found = json.loads(running.command("repair", "--json", code=code))["deeds"]
    return {deed["what"]: deed["did"] for deed in found}


def wrong(running: Collector, code: int) -> dict[str, str]:
    findings: list[dict[str, Any]] = json.loads(running.command("verify", "--json", code=code))
    return {finding["what"]: finding["wrong"] for finding in findings if finding["wrong"]}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_running_collector_is_not_repaired_and_a_whole_folder_needs_none(tmp_path: Path) -> None:
    running = Collector(tmp_path).start()
    try:
        send(running, 3)
        running.drained()
        running.command("repair", "--json", code=73)
        assert wrong(running, 0) == {}
        running.stop()
        assert deeds(running) == {}
        assert running.command("repair") == "nothing is damaged\n"
    finally:
        running.close()


def test_repair_sets_damaged_files_aside_deletes_nothing_and_the_rest_is_stored(tmp_path: Path) -> None:
    """1. Events in the store, events in the spool only. 2. Damage to state.sqlite, checkpoint, one spool record.
    3. verify names all three; repair tells of each; verify is content but for the record that the next start sets
    aside. 4. A second repair has nothing new.

    Result: after a start everything but the damaged record is stored, issues and ledger are whole, nothing was deleted.
    """
    running = Collector(tmp_path).start()
    try:
        first = send(running, 5)
        worker = running.drained()["worker"]["pid"]
        os.kill(worker, 19)
        late = send(running, 4, "LateError")
        os.kill(worker, 9)
        running.kill()
        spool = max((running.data / "spool").glob("*.spool"), key=lambda path: path.stat().st_mtime_ns)
        flip(spool, spool.read_bytes().index(late[1].encode()), 4)
        (running.data / "spool/checkpoint").write_bytes(b"\xff" * 8192)
        for name in ("state.sqlite-wal", "state.sqlite-shm"):
            (running.data / name).unlink(missing_ok=True)
        flip(running.data / "state.sqlite", 0, 4096)
        before = files(running.data / "spool") | {path.name for path in (running.data / "segments").glob("*.duckdb")}
        assert set(wrong(running, 1)) >= {"state.sqlite", "spool/checkpoint", f"spool/{spool.name}"}
        told = deeds(running)
        assert "computed again from the segments" in told["state.sqlite"]
        assert "set aside as quarantine/checkpoint" in told["spool/checkpoint"]
        assert "sets aside the rest" in told[f"spool/{spool.name}"]
        assert before <= files(running.data)
        assert set(deeds(running)) == {f"spool/{spool.name}"}
        assert running.query("SELECT count(*) AS n FROM issues") == [{"n": 1}]
        running.start()
        ledger = running.drained()["ledger"]
        stored = {row["event_id"] for row in running.query("SELECT event_id FROM events")}
    finally:
        running.close()
    assert stored == {*first, late[0], *late[2:]}
    assert (sum(ledger["dropped"].values()), balanced(ledger)) == (1, True)


def test_a_damaged_segment_is_set_aside_and_what_it_held_is_counted(tmp_path: Path) -> None:
    running = Collector(tmp_path).start()
    try:
        send(running, 5)
        running.drained()
        running.stop()
        segment = next((running.data / "segments").glob("*.duckdb"))
        flip(segment, 4096, 4096)
        assert segment.name in wrong(running, 1)
        assert f"quarantine/{segment.name}" in deeds(running)[segment.name]
        assert wrong(running, 0) == {}
        assert deeds(running) == {}
        ledger = running.status()["ledger"]
        assert (ledger["dropped"], balanced(ledger)) == ({"damaged": 5}, True)
        assert running.query("SELECT count FROM issues") == [{"count": 5}]
    finally:
        running.close()
