"""Looking after the data with the real commands, live and at rest."""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.helpers.running import Collector, collector, envelope, error_event

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("keep")]

QUESTIONS = [
    "SELECT event_id, title, culprit, hash, tags FROM events ORDER BY event_id",
    "SELECT short_id, title, count, users, first_seen, last_seen FROM issues ORDER BY short_id",
    "SELECT reason, sum(quantity) AS n FROM outcomes GROUP BY reason",
    "SELECT payload->>'$.exception.values[0].value' AS value FROM events ORDER BY event_id",
    "SELECT level, count(*) AS n FROM events GROUP BY level",
]


@pytest.fixture(scope="module")
def running() -> Iterator[Collector]:
    with collector() as it:
        for number in range(7):
            it.send(envelope(error_event(f"number {number}", f"Error{number % 2}", tags={"tenant": f"t{number % 3}"})))
        it.drained()
        yield it


def test_a_restored_backup_gives_equal_answers(running: Collector, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    assert json.loads(running.command("backup", str(backup), "--json")) == {"copied": 1}
    before = [running.query(sql) for sql in QUESTIONS]
    other = Collector(tmp_path / "other_place")
    assert json.loads(other.command("restore", str(backup), "--json")) == {"restored": 1}
    assert [other.query(sql) for sql in QUESTIONS] == before
    other.start()
    try:
        assert [other.query(sql) for sql in QUESTIONS] == before
    finally:
        other.close()


def test_verify_says_ok_live_and_names_a_damaged_segment(running: Collector, tmp_path: Path) -> None:
    findings = json.loads(running.command("verify", "--deep", "--json"))
    assert [finding["wrong"] for finding in findings] == [""] * len(findings)
    other = Collector(tmp_path)
    backup = tmp_path / "backup"
    running.command("backup", str(backup))
    other.command("restore", str(backup))
    segment = next((other.data / "segments").glob("*.duckdb"))
    segment.write_bytes(b"\0" * 5000)
    findings = json.loads(other.command("verify", "--json", code=1))
    assert any(finding["what"] == segment.name and finding["wrong"] for finding in findings)


def test_a_snapshot_opens_with_plain_duckdb(running: Collector, tmp_path: Path) -> None:
    running.command("snapshot", str(tmp_path / "snap"))
    (file,) = (tmp_path / "snap" / "segments").glob("*.duckdb")
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.execute("SELECT exception_type, count(*) FROM events GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [("Error0", 4), ("Error1", 3)]


def test_an_export_is_parquet_by_project_and_day(running: Collector, tmp_path: Path) -> None:
    running.command("export", "--to", "parquet", str(tmp_path), "--since", "1 d")
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT project, count(*) FROM read_parquet('{tmp_path}/events/*/*/*.parquet', hive_partitioning=true)"
            " GROUP BY project"
        ).fetchall()
    assert rows == [("shop", 7)]


def test_segments_and_dry_run_print_json(running: Collector) -> None:
    (segment,) = json.loads(running.command("segments", "--json"))
    assert segment["state"] == "active"
    assert json.loads(running.command("forward", "--dry-run", "--json")) == {"entries": [], "windows": []}
    assert running.command("forward", "--dry-run").strip() == "nothing would be sent now"
    assert running.command("forward").startswith("nothing is forwarded: ")
