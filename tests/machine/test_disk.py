"""RealDisk and FakeDisk keep the same promises; FakeDisk loses what it may and nothing else."""

import errno
import os
import stat
from pathlib import Path

import pytest

from collector.errors import Unavailable
from collector.machine.disk import Disk, RealDisk
from tests.helpers.disk import FakeDisk, Fault

FOLDER = Path("/data")


@pytest.fixture(params=["real", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Disk, Path]:
    """A disk and a folder on it."""
    return {"real": (RealDisk(), tmp_path), "fake": (FakeDisk(), FOLDER)}[request.param]


def test_bytes_come_back_from_where_they_were_written(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    handle = disk.create(folder / "a")
    assert disk.write_at(handle, [b"one", b"", b"two"], 4) == 6
    assert disk.read_at(handle, 100, 0) == b"\0\0\0\0onetwo"
    assert disk.read_at(handle, 3, 7) == b"two"
    assert disk.read_at(handle, 3, 70) == b""
    disk.truncate(handle, 5)
    disk.sync(handle)
    assert disk.length(handle) == disk.size(folder / "a") == 5
    disk.close(handle)


def test_names_come_and_go(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    disk.make_folder(folder)
    disk.close(disk.create(folder / "b"))
    disk.close(disk.create(folder / "a"))
    with pytest.raises(FileExistsError):
        disk.create(folder / "a")
    disk.replace(folder / "a", folder / "c")
    disk.sync_folder(folder)
    assert disk.list_names(folder) == ["b", "c"]
    assert disk.list_folder(folder) == [folder / "b", folder / "c"]
    assert disk.remove(folder / "b")
    assert not disk.remove(folder / "b")
    assert [disk.exists(folder / name) for name in "abc"] == [False, False, True]
    with pytest.raises(FileNotFoundError):
        disk.open(folder / "b")
    with pytest.raises(FileNotFoundError):
        disk.replace(folder / "b", folder / "c")


def test_whole_files_are_replaced_and_leave_nothing_beside_them(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    disk.close(disk.create(folder / "f.tmp"))  # left by a crash
    disk.write_whole(folder / "f", b"old")
    disk.write_whole(folder / "f", b"new content")
    assert disk.read_whole(folder / "f") == b"new content"
    assert disk.read_whole(folder / "f", 3) == b"new"
    assert disk.list_names(folder) == ["f"]
    assert disk.modified_at(folder / "f") >= 0


def test_a_folder_is_locked_for_others_until_it_is_closed(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    with disk.lock_folder(folder) as lock, pytest.raises(Unavailable, match="in use"):
        disk.lock_folder(folder)
    lock.close()
    disk.lock_folder(folder).close()


def test_space_is_free_and_total(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    space = disk.space(folder)
    assert 0 < space.free_bytes <= space.total_bytes


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    disk = RealDisk()
    before = os.umask(0)
    try:
        disk.make_folder(tmp_path / "a" / "b")
        disk.write_whole(tmp_path / "a" / "b" / "f", b"")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(os.stat(tmp_path / each).st_mode) for each in ("a", "a/b", "a/b/f")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        RealDisk().open(tmp_path / "link")


def test_more_buffers_than_one_call_takes_are_written(tmp_path: Path) -> None:
    disk = RealDisk()
    handle = disk.create(tmp_path / "f")
    assert disk.write_at(handle, [b"ab"] * 3000, 0) == 6000
    assert disk.read_at(handle, 10_000, 0) == b"ab" * 3000
    disk.close(handle)


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk()
    handle = disk.create(tmp_path / "f")
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: os.pwrite(fd, b"".join(buffers)[:4], offset))
    assert disk.write_at(handle, [b"abc", b"defgh"], 2) == 8
    assert disk.read_at(handle, 100, 0) == b"\0\0abcdefgh"
    disk.close(handle)


def test_a_short_read_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk()
    disk.write_whole(tmp_path / "f", b"abcdefgh")
    handle = disk.open(tmp_path / "f")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 3), offset))
    assert disk.read_at(handle, 7, 0) == b"abcdefg"
    assert disk.read_at(handle, 70, 1) == b"bcdefgh"
    disk.close(handle)


def synced(disk: FakeDisk, name: str, data: bytes) -> int:
    handle = disk.create(FOLDER / name)
    disk.write_at(handle, [data], 0)
    disk.sync(handle)
    disk.sync_folder(FOLDER)
    return handle


@pytest.mark.parametrize("seed", range(30))
def test_synced_bytes_survive_every_crash(seed: int) -> None:
    disk = FakeDisk()
    handle = synced(disk, "f", b"durable")
    disk.write_at(handle, [b"lost or not"], 7)
    disk.crash(seed)
    assert disk.read_whole(FOLDER / "f").startswith(b"durable")


def after_crashes(unsynced: bytes) -> set[bytes]:
    found = set()
    for seed in range(200):
        disk = FakeDisk()
        disk.write_at(synced(disk, "f", b""), [unsynced], 0)
        disk.crash(seed)
        found.add(disk.read_whole(FOLDER / "f"))
    return found


def test_any_prefix_and_a_zero_tail_may_survive() -> None:
    assert {b"", b"a", b"ab", b"abc", b"\0\0\0", b"a\0\0", b"ab\0"} <= after_crashes(b"abc")


def test_a_later_sector_may_survive_without_the_earlier_one() -> None:
    assert bytes(512) + b"b" * 512 in after_crashes(b"a" * 512 + b"b" * 512)


def test_names_that_were_not_synced_may_be_lost_or_come_back() -> None:
    outcomes = set()
    for seed in range(60):
        disk = FakeDisk()
        synced(disk, "old", b"1")
        synced(disk, "gone", b"2")
        disk.replace(FOLDER / "old", FOLDER / "new")
        disk.unlink(FOLDER / "gone")
        disk.close(disk.create(FOLDER / "made"))
        disk.crash(seed)
        outcomes.add(tuple(disk.list_names(FOLDER)))
    assert len(outcomes) == 8
    assert ("gone", "old") in outcomes
    assert ("made", "new") in outcomes


def test_a_failed_sync_may_drop_bytes_that_the_next_one_calls_durable() -> None:
    disk = FakeDisk()
    handle = synced(disk, "f", b"")
    disk.write_at(handle, [b"x" * 100], 0)
    disk.fail(Fault("sync"))
    with pytest.raises(OSError, match="Input/output"):
        disk.sync(handle)
    disk.sync(handle)
    assert disk.read_whole(FOLDER / "f") == b"x" * 100
    disk.crash(1)
    assert len(disk.read_whole(FOLDER / "f")) < 100


def test_faults_hit_the_nth_call_once_or_from_there_on() -> None:
    def failures(forever: bool) -> list[bool]:
        disk = FakeDisk()
        disk.fail(Fault("space", 2, errno.EIO, forever))
        return [fails(disk) for _ in range(4)]

    assert failures(False) == [False, True, False, False]
    assert failures(True) == [False, True, True, True]


def fails(disk: FakeDisk) -> bool:
    try:
        disk.space(FOLDER)
    except OSError:
        return True
    return False


def test_a_full_disk_takes_a_part_of_a_write() -> None:
    disk = FakeDisk(capacity_bytes=10)
    handle = disk.create(FOLDER / "f")
    with pytest.raises(OSError, match="No space left"):
        disk.write_at(handle, [b"x" * 20], 0)
    assert disk.length(handle) <= 10
    assert disk.space(FOLDER).free_bytes >= 0


def test_handles_and_locks_are_gone_after_a_crash() -> None:
    disk = FakeDisk()
    handle = synced(disk, "f", b"")
    disk.lock_folder(FOLDER)
    disk.crash(0)
    assert disk.open_handles == 0
    with pytest.raises(OSError, match="bad handle"):
        disk.sync(handle)
