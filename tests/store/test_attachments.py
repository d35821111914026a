"""Contents of attachments are files beside the segments: once each, durable first, gone with their rows."""

import os
import sqlite3
from pathlib import Path

import pytest

from collector.errors import Unavailable
from collector.model.event import ItemRow
from collector.model.settings import Size
from collector.store.attachments import Attachments, digest_of, path_of
from collector.store.care import backup, of_folder_at_rest, restore, verify
from collector.store.engine import connect
from collector.store.settings import RetentionSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, event, record
from tests.helpers.disk import FakeDisk, Fault
from tests.store.conftest import Opener, kill, read, segment_files

DAY = 86_400.0
LOG = b"line of a log\n" * 500


def attachment(content: bytes, name: str = "app.log") -> ItemRow:
    return ItemRow(42, "attachment", NOW, f"{1:032x}", f'{{"type":"attachment","filename":"{name}"}}', content)


def files(data: Path) -> list[str]:
    return sorted(str(path.relative_to(data)) for path in (data / "attachments").rglob("*") if path.is_file())


def kept(store: Store) -> list[bytes | None]:
    """Contents as readers of the store get them."""
    sql = "SELECT enc, payload FROM {segment}.items WHERE kind = 'attachment' ORDER BY rowid"
    rows = [row for one in store._segments.catalogue() for row in store.reads.ask_one(one.name, sql, {})]
    return [row["codec"].decode(row["enc"], row["payload"]) for row in rows]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(open_store: Opener) -> Store:
    store = open_store()
    store.commit([record(1, event(1), items=(attachment(LOG), attachment(LOG, "same.log")), before=0)])
    return store


def test_the_same_content_is_one_file_of_the_owner_and_the_rows_name_it(store: Store, data: Path) -> None:
    assert files(data) == [str(path_of(digest_of(LOG)))]
    assert (data / files(data)[0]).stat().st_mode & 0o777 == 0o600
    assert kept(store) == [LOG, LOG]
    store.close()
    rows = read(segment_files(data)[0], "SELECT enc, hex(payload), raw_bytes FROM items")
    assert rows == [(254, digest_of(LOG).hex().upper(), len(LOG))] * 2


def test_content_goes_with_the_last_row_that_names_it(store: Store, clock: FakeClock, data: Path) -> None:
    other = b"other"
    store.commit([record(2, items=(attachment(other),), before=3)])
    clock.advance(DAY)
    store.maintain()
    store.commit([record(3, items=(attachment(LOG),), before=4)])
    for path in files(data):
        os.utime(data / path, (clock.now() - DAY, clock.now() - DAY))
    store._segments.evict_oldest("bytes")
    store._upkeep.evicted(1)
    store.maintain()
    assert files(data) == [str(path_of(digest_of(LOG)))]
    assert kept(store) == [LOG]


def test_what_a_crash_left_without_a_row_is_swept(store: Store, clock: FakeClock, data: Path) -> None:
    orphan = data / path_of(digest_of(b"orphan"))
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"orphan")
    orphan.with_name("half.tmp").write_bytes(b"")
    for path in data.glob("attachments/*/*"):
        os.utime(path, (clock.now() - 2 * DAY, clock.now() - 2 * DAY))
    clock.advance(3601.0)
    store.maintain()
    assert files(data) == [str(path_of(digest_of(LOG)))]


def test_the_oldest_go_beyond_the_bytes_and_the_row_stays(open_store: Opener, clock: FakeClock, data: Path) -> None:
    store = open_store(retention=RetentionSettings(max_attachment_bytes=Size("10 KB"), min_free_bytes=Size("1 B")))
    contents = [bytes([number]) * 4000 for number in range(4)]
    for number, content in enumerate(contents):
        store.commit([record(number + 1, items=(attachment(content),), before=number)])
        os.utime(data / path_of(digest_of(content)), (clock.now() + number, clock.now() + number))
    clock.advance(3601.0)
    store.maintain()
    assert kept(store) == [None, None, *contents[2:]]
    assert store.status().ledger["stored"] == 4


def test_a_disk_that_takes_no_file_takes_no_commit(open_store: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    disk = FakeDisk()
    monkeypatch.setattr(store._attachments, "_disk", disk)
    disk.fault = Fault("sync", 1, 28)
    rows = [record(1, items=(attachment(LOG),), before=0)]
    with pytest.raises(Unavailable, match="attachments"):
        store.commit(rows)
    assert store.position.seq == 0
    monkeypatch.undo()
    assert store.commit(rows).stored == 1
    assert kept(store) == [LOG]


def test_a_damaged_one_is_found_by_verify(store: Store, data: Path, tmp_path: Path) -> None:
    (data / files(data)[0]).write_bytes(b"something else")
    kill(store)
    (tmp_path / "copies").mkdir()
    wrong = [one for one in verify(of_folder_at_rest(data, tmp_path / "copies"), tmp_path) if one.wrong]
    assert [(one.what, one.wrong) for one in wrong] == [(files(data)[0], "its content is not what its name says")]


def test_backup_and_restore_bring_them_along(store: Store, data: Path, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    backup(store.snapshot(tmp_path / "copies"), tmp_path / "saved")
    restore(tmp_path / "saved", tmp_path / "again")
    assert files(tmp_path / "again") == files(data)
    assert Attachments(store._attachments._disk, tmp_path / "again").get(digest_of(LOG)) == LOG


def test_a_folder_of_the_format_before_is_read_and_brought_up_to_date(
    open_store: Opener, clock: FakeClock, data: Path, tmp_path: Path
) -> None:
    """Format 1 had attachments as payloads, and state.sqlite did not know how many events were kept."""
    store = open_store()
    store.commit([record(1, event(1), event(2, 2), items=(attachment(LOG),), before=0)])
    clock.advance(DAY)
    store.maintain()
    store.close()
    connection = connect(64 << 20, tmp_path)
    connection.execute(f"ATTACH '{segment_files(data)[0]}' AS s")
    connection.execute("UPDATE s.seg_info SET v = '1' WHERE k = 'format'")
    connection.execute("UPDATE s.items SET enc = 0, payload = ?", [LOG])
    connection.close()
    with sqlite3.connect(data / "state.sqlite") as state:
        state.execute("ALTER TABLE issues DROP COLUMN kept")
        state.execute("ALTER TABLE issues DROP COLUMN kept_since")
    state.close()
    again = open_store()
    again.maintain()
    assert kept(again) == [LOG]
    assert again._state.rows("SELECT id, kept, kept_since FROM issues ORDER BY id") == [(1, 1, None), (2, 1, None)]
    again.commit([record(2, event(3), before=3)])
    assert again._state.rows("SELECT kept FROM issues WHERE id = 1") == [(2,)]
