"""Verify, back up, restore: live, incremental, and honest about damage."""

import io
import json
from pathlib import Path

import pytest

from collector.errors import Unavailable
from collector.query import adhoc
from collector.query.adhoc import Limits, Sources
from collector.query.settings import QuerySettings
from collector.store.care import backup, of_folder_at_rest, restore, verify
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import SHOP, records
from tests.store.conftest import Opener, kill

TEN_QUERIES = [
    "SELECT count(*) AS n FROM events", "SELECT * FROM events ORDER BY event_id", "SELECT * FROM issues ORDER BY id",
    "SELECT issue_id, count(*) AS n FROM events GROUP BY 1 ORDER BY 1", "SELECT sum(payload_bytes) AS n FROM events",
    "SELECT DISTINCT tags->>'tenant_id' AS t FROM events ORDER BY 1", "SELECT * FROM outcomes",
    "SELECT max(payload->>'$.event_id') AS m FROM events", "SELECT count(*) AS n FROM exceptions",
    "SELECT date_trunc('day', received_at) AS d, count(*) AS n FROM events GROUP BY 1 ORDER BY 1",
]  # fmt: skip


@pytest.fixture
def live(open_store: Opener, clock: FakeClock) -> Store:
    store = open_store()
    for first in (1, 21, 41):
        store.commit(records(first, first + 19))
        clock.advance(86_400)
        store.maintain()
    store.commit(records(61, 70))
    return store


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def answers(data: Path, copies: Path) -> list[object]:
    sources: Sources = adhoc.of_folder(data, folder(copies))
    found: list[object] = []
    for sql in TEN_QUERIES:
        out = io.BytesIO()
        adhoc.run(sql, sources, Limits.of(QuerySettings()), "json", out)
        found.append(json.loads(out.getvalue()))
    return found


def test_a_whole_store_verifies_clean_while_it_runs(live: Store, tmp_path: Path) -> None:
    found = list(verify(live.snapshot(folder(tmp_path / "copies")), tmp_path, deep=True))
    assert [one.wrong for one in found] == [""] * 5
    assert [one.events for one in found[:4]] == [20, 20, 20, 10]


def test_verify_names_what_is_damaged_or_missing(live: Store, tmp_path: Path) -> None:
    data = tmp_path / "data"
    live.close()
    (data / "segments/20260921.duckdb").unlink()
    raw = bytearray((data / "segments/20260922.duckdb").read_bytes())
    raw[8192:8200] = b"damaged!"
    (data / "segments/20260922.duckdb").write_bytes(raw)
    found = {one.what: one.wrong for one in verify(of_folder_at_rest(data, folder(tmp_path / "copies")), tmp_path)}
    assert [name for name, wrong in found.items() if wrong] == ["20260922.duckdb", "20260921.duckdb"]


@pytest.mark.slow
def test_verify_misses_the_open_segment_whose_write_ahead_log_is_left(live: Store, tmp_path: Path) -> None:
    data = live.state_path.parent
    active = live._segments.active.path
    live.close()
    active.rename(active.with_name(active.name + ".wal"))
    found = {one.what: one.wrong for one in verify(of_folder_at_rest(data, folder(tmp_path / "copies")), tmp_path)}
    assert found[active.name] == "the catalogue has it, the folder does not"


def test_a_restored_backup_answers_ten_queries_alike(live: Store, clock: FakeClock, tmp_path: Path) -> None:
    saved, again = tmp_path / "saved", tmp_path / "again"
    backup(live.snapshot(folder(tmp_path / "copies")), saved)
    live.commit(records(71, 75))  # after the backup: not in it
    kill(live)
    assert restore(saved, again) == 4
    restored = Store.open(again, StoreSettings(), RetentionSettings(), clock, projects=SHOP)
    assert (restored.position.seq, restored.status().quarantine) == (70, [])
    assert restored.commit(records(71, 75)).stored == 5
    restored.close()
    assert answers(again, tmp_path / "a") == answers(tmp_path / "data", tmp_path / "b")


def test_a_second_backup_copies_only_what_is_new(live: Store, clock: FakeClock, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    names: list[str] = []
    assert backup(live.snapshot(folder(tmp_path / "c1")), saved) == 4
    clock.advance(86_400)
    live.maintain()
    live.commit(records(71, 75))
    assert backup(live.snapshot(folder(tmp_path / "c2")), saved, step=names.append) == 2
    assert names == ["20260924.duckdb", "20260925.duckdb", "state.sqlite"]
    assert [one.wrong for one in verify(of_folder_at_rest(saved, folder(tmp_path / "c3")), tmp_path)] == [""] * 6


def test_a_pruned_backup_follows_retention(live: Store, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    backup(live.snapshot(folder(tmp_path / "c1")), saved)
    live._segments.evict_oldest("age")
    backup(live.snapshot(folder(tmp_path / "c2")), saved)
    assert (saved / "segments/20260921.duckdb").exists()
    backup(live.snapshot(folder(tmp_path / "c3")), saved, prune=True)
    assert not (saved / "segments/20260921.duckdb").exists()


def test_restore_never_overwrites(live: Store, tmp_path: Path) -> None:
    backup(live.snapshot(folder(tmp_path / "c1")), tmp_path / "saved")
    with pytest.raises(Unavailable, match="already holds"):
        restore(tmp_path / "saved", tmp_path / "data")
    with pytest.raises(Unavailable, match="not a backup"):
        restore(tmp_path / "c1", tmp_path / "elsewhere")
