"""What a start finds: torn tails, missing, empty, garbled and foreign files, checkpoints of every kind."""

from pathlib import Path

import pytest

from collector.errors import ConfigError, Unavailable
from collector.model.received import START, Position
from collector.spool.checkpoint import Checkpoint, Mark
from collector.spool.folder import file_name, look_at
from collector.spool.frame import FRAME_BYTES, FileHeader, encode_file_header
from collector.spool.inspect import inspect, released
from collector.spool.journal import RESTART_GAP
from collector.spool.reader import SpoolReader, SpoolRecord
from tests.helpers.disk import Fault
from tests.helpers.spool import FOLDER, SpoolWorld


def path(number: int) -> Path:
    return FOLDER / file_name(number)


def everything(world: SpoolWorld, after: Position = START) -> list[SpoolRecord]:
    reader = SpoolReader(world.disk, FOLDER, after)
    records = reader.read(10_000, 10_000_000)
    reader.close()
    return records


def ids(records: list[SpoolRecord]) -> list[int]:
    return [int(each.received.event_id) for each in records if each.damaged is None]


def test_torn_tail_is_cut_and_earlier_records_survive(world: SpoolWorld) -> None:
    world.accept([100, 100])
    end = len(world.disk.content(path(1)).rstrip(b"\0"))
    world.accept([400])
    world.forget_writer()
    world.disk.stop()
    handle = world.disk.open(path(1), writable=True)
    world.disk.truncate(handle, end + 100)
    world.start()
    world.accept([50])
    world.audit_checkpoint()
    assert ids(everything(world)) == [1, 2, 4]


def test_zero_filled_tail_is_cut(world: SpoolWorld) -> None:
    world.accept([100])
    world.accept([900])
    world.disk.corrupt(path(1), 64 + FRAME_BYTES + 300, bytes(2000))
    world.crash(None)
    world.accept([50])
    records = everything(world)
    assert ids(records) == [1, 3]
    assert not [each for each in records if each.damaged is not None]


def test_numbers_never_come_again_after_a_start(world: SpoolWorld) -> None:
    first = world.accept([10])[0]
    world.crash(None)
    second = world.accept([10])[0]
    assert (first.seq, second.seq) == (1, 2 + RESTART_GAP)
    assert (first.total, second.total) == (1, 2)
    assert first.epoch == second.epoch


def test_a_store_that_is_ahead_of_the_spool_gets_every_new_record(world: SpoolWorld) -> None:
    last = world.accept([10, 10])[1]
    ahead = Position(last.epoch, last.seq + 500, last.total + 500)
    world.crash(None)
    world.accept([10, 10])
    assert ids(everything(world, ahead)) == [3, 4]


def test_a_position_of_another_epoch_reads_everything(world: SpoolWorld) -> None:
    world.accept([10, 10])
    world.accept([10])
    assert ids(everything(world, Position(77, 1_000_000_000, 5))) == [1, 2, 3]


def test_a_lost_folder_begins_a_new_epoch(world: SpoolWorld) -> None:
    before = world.accept([10])[0]
    world.forget_writer()
    world.disk.stop()
    [world.disk.lose(each) for each in world.disk.list_folder(FOLDER)]
    world.start()
    after = world.accept([10])[0]
    assert after.epoch != before.epoch
    assert (after.seq, after.total) == (1, 1)
    assert ids(everything(world, before)) == [2]


def test_missing_middle_file_is_counted_once_and_the_rest_is_read(world: SpoolWorld) -> None:
    world.accept([5000], quantity=2)
    world.accept([5000], quantity=3)
    world.accept([5000], quantity=4)
    world.disk.lose(path(2))
    records = everything(world)
    assert ids(records) == [1, 3]
    assert [each.lost for each in records] == [0, 3, 0]
    assert records[1].damaged == b""
    assert ids(everything(world, records[1].position)) == [3]


def test_missing_newest_file_is_counted_when_the_checkpoint_knows_it(world: SpoolWorld) -> None:
    world.accept([5000])
    last = world.accept([5000])[0]
    world.digest()
    world.forget_writer()
    world.disk.stop()
    world.disk.lose(path(2))
    newer = Checkpoint(world.disk, FOLDER)
    newer.save(Mark(last, last))
    newer.close()
    world.start()
    world.accept([10])
    world.digest()
    assert world.store.committed.lost == 0
    assert world.store.committed.accounted == world.store.committed.position.total == 3


@pytest.mark.parametrize("content", [b"", bytes(4096), b"not a spool file at all" * 30, b"\xc3SPOOL\r\n"])
def test_garbled_file_is_stepped_over_and_its_records_are_counted(world: SpoolWorld, content: bytes) -> None:
    world.accept([5000], quantity=2)
    world.accept([5000], quantity=3)
    world.accept([5000], quantity=4)
    world.disk.put(path(2), content)
    world.crash(None)
    world.accept([10])
    records = everything(world)
    assert ids(records) == [1, 3, 4]
    assert sum(each.lost for each in records) == 3
    assert b"".join(each.damaged or b"" for each in records).rstrip(b"\0") == content.rstrip(b"\0")


def test_garbled_newest_file_does_not_stop_the_start(world: SpoolWorld) -> None:
    world.accept([5000])
    world.accept([5000])
    world.disk.put(path(2), b"garbage" * 100)
    world.crash(None)
    world.accept([10])
    assert ids(everything(world)) == [1, 3]


def test_foreign_names_are_left_alone_and_reported(world: SpoolWorld) -> None:
    world.disk.put(FOLDER / "notes.txt", b"mine")
    world.disk.put(FOLDER / "7.spool", b"short name")
    world.accept([10])
    world.crash(None)
    assert world.writer is not None
    assert world.writer.status()["foreign"] == ["7.spool", "notes.txt"]
    assert world.disk.content(FOLDER / "notes.txt") == b"mine"


def test_files_of_another_epoch_are_foreign(world: SpoolWorld) -> None:
    world.accept([10])
    header = FileHeader(5, 4711, 900, 901, 900)
    world.disk.put(path(5), encode_file_header(header))
    world.accept([10])
    world.crash(None)
    report = inspect(world.disk, FOLDER, START)
    assert report.foreign == [] or report.foreign == [file_name(5)]


def test_leftovers_of_a_crash_are_removed(world: SpoolWorld) -> None:
    world.disk.put(FOLDER / "spare.tmp", bytes(6000))
    world.disk.put(FOLDER / "000000000009.tmp", b"half")
    world.disk.put(FOLDER / "checkpoint.tmp", b"half")
    world.crash(None)
    assert [each for each in world.disk.list_names(FOLDER) if each.endswith(".tmp")] == []


def test_a_later_format_is_refused_with_a_sentence(world: SpoolWorld) -> None:
    world.stop()
    header = look_at(world.disk, FOLDER, 1).header  # type: ignore[union-attr]
    assert header is not None
    world.disk.put(path(1), encode_file_header(header._replace(version=2)))
    with pytest.raises(ConfigError, match="format 2"):
        world.start()


def test_a_folder_in_use_is_refused(world: SpoolWorld) -> None:
    other = SpoolWorld.__new__(SpoolWorld)
    other.__dict__.update(world.__dict__)
    other.writer = None
    other.start()
    assert other.writer is None
    assert world.accept([10])[0] == world.writer.position  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [None, b"", b"x" * 100, bytes(8192), b"\xc3MARK\0\r\n" * 1024])
def test_missing_or_garbled_checkpoint_is_made_anew(world: SpoolWorld, content: bytes | None) -> None:
    world.accept([5000])
    world.accept([5000])
    world.digest()
    world.release()
    world.forget_writer()
    world.disk.stop()
    world.disk.lose(FOLDER / "checkpoint")
    [world.disk.put(FOLDER / "checkpoint", each) for each in [content] if each is not None]
    world.start()
    world.audit()
    world.release()
    assert released(world.disk, FOLDER) == world.store.committed.position


def test_checkpoint_from_the_future_removes_nothing_unread(world: SpoolWorld) -> None:
    last = world.accept([5000])[0]
    world.accept([5000])
    future = Checkpoint(world.disk, FOLDER)
    future.save(Mark(*[Position(last.epoch, 999, 2)] * 2))
    future.close()
    world.crash(None)
    assert ids(everything(world)) == [1, 2]
    assert world.accept([10])[0].seq > 999


def test_a_torn_checkpoint_leaves_the_one_before(world: SpoolWorld) -> None:
    store = Checkpoint(world.disk, FOLDER)
    [store.save(Mark(*[Position(9, seq, seq)] * 2)) for seq in (1, 2, 3)]
    content = world.disk.content(FOLDER / "checkpoint")
    newest = max((0, 4096), key=lambda at: content[at + 8])
    world.disk.corrupt(FOLDER / "checkpoint", newest + 20, b"torn")
    assert released(world.disk, FOLDER) == Position(9, 2, 2)


def test_released_files_that_came_back_are_removed_at_start(world: SpoolWorld) -> None:
    world.accept([5000])
    back = world.disk.content(path(1))
    world.accept([5000])
    world.accept([5000])
    world.digest()
    world.release()
    assert file_name(1) not in world.disk.list_names(FOLDER)
    world.disk.put(path(1), back)
    world.crash(None)
    assert file_name(1) not in world.disk.list_names(FOLDER)


def test_unreadable_folder_is_unavailable_and_leaves_no_handle(world: SpoolWorld) -> None:
    world.stop()
    handles = world.disk.open_handles
    world.disk.fail(Fault("list_names", forever=True))
    world.start()
    assert world.writer is None
    assert world.disk.open_handles == handles
    with pytest.raises(Unavailable):
        world.open_reader().read(1, 1)


def test_numbers_go_on_when_the_headers_of_all_files_are_damaged(world: SpoolWorld) -> None:
    world.accept([300, 300], quantity=2)
    world.digest()
    world.release()
    for _ in range(3):
        world.crash(None)
        [world.disk.corrupt(each, 0, bytes(64)) for each in world.disk.list_folder(FOLDER) if each.suffix == ".spool"]
    world.crash(None)
    before = world.store.committed.position
    after = world.accept([300])[0]
    assert isinstance(after, Position)
    assert (after.epoch, after.total) == (before.epoch, 5)
    assert after.seq > before.seq
    world.digest()
    assert world.store.committed.position == after
