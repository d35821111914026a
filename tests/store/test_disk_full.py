"""A disk that fills up under the store: a small tmpfs."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.errors import Unavailable
from collector.model.settings import Size
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import SHOP, event, record
from tests.store.conftest import kill

KEEP_ALL = RetentionSettings(min_free_bytes=Size("1 B"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 24 MB, unmounted afterwards."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    ctypes.CDLL(None).umount2(str(folder).encode(), 2)


def fill(path: Path, keep: int) -> None:
    """Takes all free space but `keep` bytes."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    path.write_bytes(b"\0" * max(0, free - keep))


def commit_until_full(store: Store) -> int:
    """Commits 50 KB payloads until the store refuses; returns the last seq that was committed."""
    number = store.position.seq
    with pytest.raises(Unavailable, match="space"):  # noqa: PT012 - which commit raises depends on the disk
        while True:
            number += 1
            store.commit([record(number, event(number, payload=os.urandom(50_000)))])
    return number - 1


def settings() -> StoreSettings:
    return StoreSettings(checkpoint_bytes=Size("1 GB"))


def test_a_full_disk_refuses_commits_keeps_everything_and_recovers_by_itself(small_disk: Path) -> None:
    clock = FakeClock()
    store = Store.open(small_disk / "data", settings(), KEEP_ALL, clock, projects=SHOP)
    fill(small_disk / "ballast", 6_000_000)
    last = commit_until_full(store)
    assert last > 10
    assert store.payload(f"{1:032x}", 42) is not None
    assert store.position.seq == last
    (small_disk / "ballast").unlink()
    store.commit([record(last + 1, event(last + 1))])
    status = store.status()
    assert (store.position.seq, status.ledger["stored"], status.dropped) == (last + 1, last + 1, {})
    store.close()


def test_a_disk_that_is_full_at_the_checkpoint_loses_nothing_and_releases_nothing(small_disk: Path) -> None:
    clock = FakeClock()
    store = Store.open(small_disk / "data", settings(), KEEP_ALL, clock, projects=SHOP)
    for number in range(1, 101):
        store.commit([record(number, event(number, payload=os.urandom(50_000)))])
    released = store.released
    fill(small_disk / "ballast", 500_000)
    with pytest.raises(Unavailable):
        store.checkpoint()
    assert store.released == released
    assert store.position.seq == 100
    assert store.payload(f"{100:032x}", 42) is not None
    (small_disk / "ballast").unlink()
    assert store.checkpoint().seq == 100
    assert store.commit([record(101, event(101))]).stored == 1
    store.close()


def test_a_crash_on_a_full_disk_loses_nothing(small_disk: Path) -> None:
    clock = FakeClock()
    store = Store.open(small_disk / "data", settings(), KEEP_ALL, clock, projects=SHOP)
    fill(small_disk / "ballast", 5_000_000)
    last = commit_until_full(store)
    kill(store)
    (small_disk / "ballast").unlink()
    again = Store.open(small_disk / "data", settings(), KEEP_ALL, clock, projects=SHOP)
    assert again.position.seq == last
    assert again.status().ledger["stored"] == last
    again.close()


def test_a_full_rotation_goes_on_with_the_old_file_until_there_is_room(small_disk: Path) -> None:
    clock = FakeClock()
    store = Store.open(small_disk / "data", settings(), KEEP_ALL, clock, projects=SHOP)
    store.commit([record(1, event(1))])
    clock.advance(86_400)
    fill(small_disk / "ballast", 20_000)
    with pytest.raises(Unavailable):
        store.maintain()
    (small_disk / "ballast").unlink()
    store.maintain()
    store.commit([record(2, event(2))])
    assert (store.position.seq, store.status().segments, store.status().quarantine) == (2, 2, [])
    store.close()


def test_retention_makes_room_before_the_disk_is_full(small_disk: Path) -> None:
    clock = FakeClock()
    keep = RetentionSettings(min_free_bytes=Size("8 MB"))
    store = Store.open(small_disk / "data", settings(), keep, clock, projects=SHOP)
    for number in range(1, 101):
        store.commit([record(number, event(number, payload=os.urandom(200_000)))])
        store.maintain()
        clock.advance(86_400 / 10)
    status = store.status()
    assert status.ledger["evicted"] > 25
    assert status.ledger["stored"] == 100
    store.close()


def test_a_disk_that_others_filled_is_freed_by_retention_alone(small_disk: Path) -> None:
    clock = FakeClock()
    keep = RetentionSettings(min_free_bytes=Size("2 MB"))
    store = Store.open(small_disk / "data", settings(), keep, clock, projects=SHOP)
    for day in range(3):
        first = 1 + day * 20
        store.commit([record(n, event(n, payload=os.urandom(50_000))) for n in range(first, first + 20)])
        clock.advance(86_400)
        store.maintain()
    fill(small_disk / "ballast", 0)
    store.maintain()
    assert (store.status().ledger["stored"], store.status().dropped) == (60, {})
    assert store.status().ledger["evicted"] >= 20
    assert store.commit([record(61, event(61))]).stored == 1
    store.close()
