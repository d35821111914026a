"""Reading beside a writer: damage in every region of a record, bounded memory, nothing before its proof."""

import os
from collections.abc import Callable

import pytest

from collector.errors import Unavailable
from collector.model.received import START
from collector.spool.folder import file_name
from collector.spool.frame import FIRST, FRAME_BYTES, FileHeader, decode_frame, encode_frame, encode_head, encode_seal
from collector.spool.inspect import inspect, records, released
from collector.spool.reader import SpoolReader, SpoolRecord
from tests.helpers.disk import FakeDisk, Fault
from tests.helpers.spool import FOLDER, SpoolWorld, body, received
from tests.spool.conftest import MakeWorld

PATH = FOLDER / file_name(1)
REGIONS = {
    "magic": 0,
    "kind": 4,
    "number": 8,
    "epoch": 12,
    "seq": 20,
    "total": 28,
    "head length": 36,
    "body length": 40,
    "payload crc": 44,
    "header crc": 48,
    "head": FRAME_BYTES + 3,
    "body": FRAME_BYTES + 250,
}


def second_record(disk: FakeDisk) -> int:
    """Where the second frame of the first file starts."""
    content = disk.content(PATH)
    first = decode_frame(content, 64, 64)
    assert first is not None
    return first.end


def flip(disk: FakeDisk, offset: int) -> None:
    disk.corrupt(PATH, offset, bytes([disk.content(PATH)[offset] ^ 0x41]))


def read_all(world: SpoolWorld) -> list[SpoolRecord]:
    reader = world.open_reader()
    found = reader.read(1000, 1_000_000)
    assert reader.read(1000, 1_000_000) == []
    reader.close()
    return found


@pytest.mark.parametrize("restart", [False, True], ids=["live", "restarted"])
@pytest.mark.parametrize("offset", REGIONS.values(), ids=REGIONS.keys())
def test_a_flipped_bit_costs_that_record_and_no_other(world: SpoolWorld, offset: int, restart: bool) -> None:
    world.accept([300, 300, 300], quantity=2)
    world.accept([300])
    start = second_record(world.disk)
    flip(world.disk, start + offset)
    [world.crash(None) for _ in range(restart)]
    found = read_all(world)
    assert [each.received.event_id for each in found] == ["1", "", "3", "4"]
    assert [each.lost for each in found] == [0, 2, 0, 0]
    damage = found[1]
    assert damage.damaged is not None
    assert damage.damaged[offset : offset + 1] == world.disk.content(PATH)[start + offset : start + offset + 1]
    assert damage.position == found[0].position._replace(seq=2, total=4)
    assert f"{file_name(1)} {start}.." in damage.why


def test_damage_of_the_last_sealed_record_is_counted(world: SpoolWorld) -> None:
    world.accept([300])
    world.accept([300], quantity=5)
    flip(world.disk, second_record(world.disk) + 100)
    assert [each.lost for each in read_all(world)] == [0, 5]
    world.crash(None)
    world.accept([10])
    assert [each.lost for each in read_all(world)] == [0, 5, 0]


def test_several_damaged_records_are_one_report(world: SpoolWorld) -> None:
    world.accept([300, 300, 300, 300])
    start = second_record(world.disk)
    world.disk.corrupt(PATH, start + 20, os.urandom(600))
    found = read_all(world)
    assert [each.lost for each in found] == [0, 2, 0]
    assert len(found[1].damaged or b"") > 700


def test_a_damaged_file_header_costs_nothing(world: SpoolWorld) -> None:
    world.accept([300, 5000])
    world.accept([300, 5000])
    world.disk.corrupt(PATH, 0, b"\0" * 64)
    world.crash(None)
    found = read_all(world)
    assert [each.received.event_id for each in found] == ["1", "2", "3", "4"]


def test_a_forged_frame_in_a_body_is_never_a_record(world: SpoolWorld) -> None:
    head = encode_head(received(666))
    forged = encode_frame(FIRST, FileHeader(1, 1, 0, 1, 0), 3, 1000, head, b"evil") + b"evil"
    writer = world.writer
    assert writer is not None

    async def add() -> None:
        await writer.add(received(1), body(1, 10))
        await writer.add(received(2), forged * 3)
        await writer.add(received(3), body(3, 10))

    world.loop.run_until_complete(add())
    flip(world.disk, second_record(world.disk) + 1)
    assert [each.received.event_id for each in read_all(world)] == ["1", "", "3"]


def test_a_batch_stays_within_its_bytes_and_a_large_record_comes_alone(world: SpoolWorld) -> None:
    world.accept([100, 100, 50_000, 100, 100])
    reader = world.open_reader()
    batches = [[len(each.body) for each in reader.read(100, 1000)] for _ in range(4)]
    assert batches == [[100, 100], [50_000], [100, 100], []]
    reader.close()


def test_damaged_bytes_are_cut_at_the_batch_size(world: SpoolWorld) -> None:
    world.accept([100, 50_000, 100])
    flip(world.disk, second_record(world.disk) + 1)
    reader = world.open_reader()
    found = [record for _ in range(4) for record in reader.read(1, 1000)]
    assert [each.lost for each in found] == [0, 1, 0]
    assert len(found[1].damaged or b"") == 1000
    reader.close()


def test_records_are_not_handed_out_before_the_sync(world: SpoolWorld) -> None:
    reader = world.open_reader()
    world.accept([300])
    early: list[list[SpoolRecord]] = []
    world.disk.meanwhile = ("sync", lambda: early.append(reader.read(10, 10_000)))
    world.accept([300])
    assert [[each.received.event_id for each in batch] for batch in early] == [["1"]]
    assert [each.received.event_id for each in reader.read(10, 10_000)] == ["2"]
    reader.close()


def test_a_tool_also_sees_what_nothing_proves(world: SpoolWorld) -> None:
    world.accept([300])
    seen: list[int] = []
    world.disk.meanwhile = ("sync", lambda: seen.append(len(list(records(world.disk, FOLDER)))))
    world.accept([300])
    assert seen == [2]


def test_a_half_written_record_is_waited_for(world: SpoolWorld) -> None:
    reader = world.open_reader()
    world.accept([300])
    assert len(reader.read(10, 10_000)) == 1
    whole = world.disk.content(PATH)
    world.accept([300])
    after = world.disk.content(PATH)
    end = len(whole.rstrip(b"\0"))
    world.disk.corrupt(PATH, 0, after[: end + 20] + bytes(len(after) - end - 20))
    assert reader.read(10, 10_000) == []
    world.disk.corrupt(PATH, 0, after)
    assert [each.received.event_id for each in reader.read(10, 10_000)] == ["2"]
    reader.close()


def test_a_reader_before_the_first_file_waits_for_it() -> None:
    disk = FakeDisk()
    reader = SpoolReader(disk, FOLDER, START)
    assert reader.read(10, 1000) == []
    world = SpoolWorld(disk)
    world.accept([10])
    assert len(reader.read(10, 1000)) == 1
    reader.close()
    world.close()


def test_a_disk_that_cannot_be_read_is_unavailable_and_nothing_is_skipped(world: SpoolWorld) -> None:
    world.accept([300, 300])
    reader = world.open_reader()
    assert len(reader.read(1, 1000)) == 1
    reader.close()
    world.disk.fail(Fault("read", forever=True))
    with pytest.raises(Unavailable, match="Input/output"):
        reader.read(10, 10_000)
    world.disk.heal()
    assert [each.received.event_id for each in reader.read(10, 10_000)] == ["2"]
    reader.close()
    assert reader.position.seq == 2


def test_a_reader_that_was_closed_goes_on_although_its_file_is_gone(world: SpoolWorld) -> None:
    reader = world.open_reader()
    world.accept([5000])
    world.store.commit(reader.read(10, 10_000))
    reader.close()
    world.accept([5000])
    world.release()
    assert file_name(1) not in world.disk.list_names(FOLDER)
    assert [each.received.event_id for each in reader.read(10, 10_000)] == ["2"]
    reader.close()


def test_a_name_that_readdir_left_out_is_no_missing_file(world: SpoolWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = world.open_reader()
    world.accept([5000])
    world.accept([5000])
    world.accept([5000])
    names: Callable[..., list[str]] = world.disk.list_names
    assert len(reader.read(1, 1000)) == 1
    monkeypatch.setattr(world.disk, "list_names", lambda folder: [n for n in names(folder) if n != file_name(2)])
    assert [each.received.event_id for each in reader.read(10, 100_000)] == ["2", "3"]
    reader.close()


def test_inspection_tells_what_waits_and_what_is_damaged(make_world: MakeWorld) -> None:
    world = make_world()
    world.accept([300, 300], quantity=3)
    world.accept([300])
    world.digest(1)
    world.release()
    flip(world.disk, second_record(world.disk) + 80)
    assert released(world.disk, FOLDER).seq == 1
    report = inspect(world.disk, FOLDER)
    assert (report.records, report.quantity, report.lost, len(report.damages)) == (1, 1, 3, 1)
    assert report.position == world.writer.position  # type: ignore[union-attr]
    assert inspect(world.disk, FOLDER, START).records == 2


def test_inspection_of_an_empty_folder_is_empty() -> None:
    disk = FakeDisk()
    assert released(disk, FOLDER) == START
    assert inspect(disk, FOLDER) == (START, 0, 0, 0, 0, [], [])


def test_a_seal_is_one_frame_without_payload() -> None:
    seal = encode_seal(FileHeader(7, 9, 0, 1, 0), 12, 34)
    frame = decode_frame(seal, 0, 100)
    assert frame is not None
    assert (frame.number, frame.epoch, frame.seq, frame.total, frame.end) == (7, 9, 12, 34, 100 + len(seal))
