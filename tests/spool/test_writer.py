"""add() and release(): what is acknowledged, in which order, when it is refused and how it comes back."""

import asyncio
import errno

import pytest
from msgspec.structs import replace

from collector.errors import Busy, Unavailable
from collector.model.received import Position, Received
from collector.model.settings import Size
from collector.spool.folder import file_name
from collector.spool.inspect import released
from collector.spool.reader import SpoolReader
from collector.spool.settings import SpoolSettings
from collector.spool.writer import Job, SpoolWriter
from tests.helpers.clock import FakeClock
from tests.helpers.disk import FakeDisk, Fault
from tests.helpers.spool import FOLDER, SMALL, InlineLanes, SpoolWorld, as_coroutine, body, gathered, received
from tests.spool.conftest import MakeWorld


class HeldLanes(InlineLanes):
    """Keeps jobs until run() is called: a disk that takes its time."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.is_holding = False

    def commit(self, job: Job) -> None:
        self.jobs.append(job)
        if not self.is_holding:
            self.run()

    def run(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()


def held_world(make_world: MakeWorld, settings: SpoolSettings = SMALL) -> tuple[SpoolWorld, HeldLanes]:
    world, lanes = make_world(settings=settings), HeldLanes()
    world.stop()
    world.writer = SpoolWriter(world.disk, FOLDER, settings, FakeClock(), lambda: 5, lanes)
    world.loop.run_until_complete(world.writer.start())
    lanes.is_holding = True
    return world, lanes


def test_all_that_one_turn_of_the_loop_adds_shares_one_sync(make_world: MakeWorld) -> None:
    world = make_world(settings=SpoolSettings())
    world.accept([10])
    before = world.disk.calls["sync"]
    world.accept([10] * 40)
    assert world.disk.calls["sync"] == before + 1


def test_what_comes_during_a_sync_waits_for_the_next_one_and_no_longer(make_world: MakeWorld) -> None:
    world, lanes = held_world(make_world)
    writer = world.writer
    assert writer is not None

    async def script() -> list[bool]:
        first = writer.add(received(1), b"a")
        await asyncio.sleep(0)
        later = [writer.add(received(number), b"b") for number in (2, 3)]
        await asyncio.sleep(0)
        waiting = len(lanes.jobs)
        lanes.run()
        await first
        await asyncio.sleep(0)
        states = [waiting == 1, later[0].done(), len(lanes.jobs) == 1]
        lanes.run()
        await asyncio.gather(*later)
        lanes.is_holding = False
        return states

    syncs = world.disk.calls["sync"]
    assert world.loop.run_until_complete(script()) == [True, False, True]
    assert world.disk.calls["sync"] == syncs + 2
    world.stop()


def test_positions_follow_the_order_of_the_calls_and_sum_up_quantities(world: SpoolWorld) -> None:
    results = [*world.accept([10, 5000, 10], quantity=2), *world.accept([10], quantity=0)]
    assert [(each.seq, each.total) for each in results] == [(1, 2), (2, 4), (3, 6), (4, 6)]  # type: ignore[union-attr]
    assert world.writer is not None
    assert world.writer.position == results[-1]


def test_a_client_that_went_away_does_not_disturb_the_others(world: SpoolWorld) -> None:
    writer = world.writer
    assert writer is not None

    async def script() -> list[Position | Exception]:
        futures = [writer.add(received(number), body(number, 9)) for number in (1, 2, 3)]
        futures[1].cancel()
        return await gathered([futures[0], futures[2]])

    results = world.loop.run_until_complete(script())
    assert [each.seq for each in results] == [1, 3]  # type: ignore[union-attr]
    assert world.digest() == 3


def test_a_failed_sync_refuses_the_waiters_and_is_never_repeated_on_that_file(world: SpoolWorld) -> None:
    world.accept([100])
    world.disk.fail(Fault("sync"))
    assert [type(each) for each in world.accept([100, 100])] == [Unavailable, Unavailable]
    assert isinstance(world.accept([100])[0], Unavailable)  # the error is too fresh: no new try
    world.clock.advance(1)
    after = world.accept([100])[0]
    assert isinstance(after, Position)
    assert after.seq == 2
    assert world.disk.list_names(FOLDER)[:2] == [file_name(1), file_name(2)]
    assert world.digest() == 2
    world.audit()


def test_trouble_is_told_while_it_lasts(world: SpoolWorld) -> None:
    world.disk.fail(Fault("write", code := 1, errno.EROFS, forever=True))
    world.accept([100])
    writer = world.writer
    assert writer is not None
    assert "Read-only" in writer.trouble
    assert writer.pressure == 1.0
    world.disk.heal()
    world.clock.advance(code)
    world.accept([100])
    assert writer.trouble == ""
    assert writer.pressure < 1.0


def test_the_spool_opens_a_new_file_by_itself_when_the_disk_is_well(world: SpoolWorld) -> None:
    world.disk.fail(Fault("sync"))
    world.accept([100])
    world.clock.advance(1)
    assert world.writer is not None
    world.writer._retry_now()
    assert not world.writer._journal.is_down
    assert world.writer.trouble == ""


def test_half_a_frame_of_a_full_disk_hides_nothing_behind_it(world: SpoolWorld) -> None:
    world.accept([100])
    world.disk.fail(Fault("write", 1, errno.ENOSPC))
    world.accept([3000])
    world.clock.advance(1)
    world.accept([100, 100])
    world.crash(None)
    world.audit()


def test_a_full_disk_refuses_before_it_is_full_and_recovers_by_itself(make_world: MakeWorld) -> None:
    disk = FakeDisk(capacity_bytes=2 << 20)
    world = make_world(disk, SpoolSettings(file_bytes=Size("64 KiB"), min_free_bytes=Size("64 KiB")))
    world.writer._look = lambda: world.writer._journal.look()  # type: ignore[union-attr, method-assign]
    refusals = [each for _ in range(300) for each in world.accept([20_000]) if isinstance(each, Exception)]
    assert refusals
    assert {type(each) for each in refusals} == {Busy}
    assert isinstance(refusals[0], Busy)
    assert (refusals[0].status, refusals[0].retry_after) == (503, 30.0)
    assert "min_free_bytes" in refusals[0].what
    assert disk.space(FOLDER).free_bytes > 0
    world.digest(10_000, 10 << 20)
    world.release()
    world.clock.advance(2)
    world.accept([10])
    assert isinstance(world.accept([20_000])[0], Position)
    world.audit()


def test_a_disk_that_others_filled_gives_503_keeps_what_is_there_and_recovers(make_world: MakeWorld) -> None:
    disk = FakeDisk()
    world = make_world(disk)
    world.accept([4000])
    disk.capacity_bytes = disk._used_bytes()
    assert isinstance(world.accept([20_000])[0], Unavailable)
    world.crash(None)
    world.digest()
    world.release()  # works without a free byte: the checkpoint is written in place
    assert released(disk, FOLDER) == world.store.committed.position
    disk.capacity_bytes = 1 << 40
    world.clock.advance(5)
    world.accept([10])
    assert isinstance(world.accept([20_000])[0], Position)
    world.audit()


def test_other_settings_hold_from_the_next_record_on_and_nothing_acknowledged_goes(world: SpoolWorld) -> None:
    results = [each for _ in range(80) for each in world.accept([20_000])]
    assert world.writer is not None and isinstance(results[-1], Busy)
    world.writer.take(replace(SMALL, max_spool_bytes=Size("2 MiB")))
    assert isinstance(world.accept([20_000])[0], Position)
    world.writer.take(replace(SMALL, max_spool_bytes=Size("64 KiB")))
    (refusal,) = world.accept([10])
    assert isinstance(refusal, Busy) and refusal.what == "max_spool_bytes 64 KiB reached"
    assert world.writer.pressure == 1.0
    world.writer.take(replace(SMALL, min_free_bytes=Size("3 TiB")))
    assert world.writer.status()["floor_bytes"] > 1 << 30
    world.audit()


def test_the_budget_refuses_with_its_name_and_a_release_makes_room(world: SpoolWorld) -> None:
    results = [each for _ in range(80) for each in world.accept([20_000])]
    refusals = [each for each in results if isinstance(each, Exception)]
    assert world.writer is not None
    assert isinstance(refusals[0], Busy)
    assert (refusals[0].status, refusals[0].what) == (429, "max_spool_bytes 1 MiB reached")
    assert world.writer.pressure > 0.95
    assert disk_bytes(world) <= SMALL.max_spool_bytes
    world.digest(1000, 10 << 20)
    world.release()
    assert world.writer.pressure < 0.1
    assert isinstance(world.accept([20_000])[0], Position)
    world.audit()


def test_a_record_of_most_of_the_budget_can_go_again(world: SpoolWorld) -> None:
    assert isinstance(world.accept([900_000])[0], Position)
    assert isinstance(world.accept([900_000])[0], Busy)
    world.digest()
    world.release()
    assert isinstance(world.accept([900_000])[0], Position)
    world.audit()


def test_a_disk_that_hangs_fills_the_queue_and_no_more_memory(make_world: MakeWorld) -> None:
    world, lanes = held_world(make_world, SpoolSettings(max_queued_bytes=Size("10 KB")))
    writer = world.writer
    assert writer is not None

    async def script() -> list[Position | Exception]:
        futures = [writer.add(received(number), bytes(3000)) for number in range(5)]
        refused = [each.exception() for each in futures if each.done()]
        lanes.is_holding = False
        done = await gathered([each for each in futures if not each.done()])
        return [*refused, *done]  # type: ignore[list-item]

    results = world.loop.run_until_complete(script())
    assert [type(each) for each in results] == [Busy, Busy, Busy, Position, Position]
    assert isinstance(results[0], Busy)
    assert (results[0].status, results[0].what) == (503, "max_queued_bytes 10 KB reached")
    world.stop()


def test_release_is_durable_before_a_file_goes_and_the_newest_stays(world: SpoolWorld) -> None:
    for _ in range(4):
        world.accept([5000])
    world.digest(2)
    world.release()
    names = world.disk.list_names(FOLDER)
    assert file_name(1) not in names
    assert file_name(2) not in names
    assert file_name(3) in names
    world.crash(seed=3)
    world.audit()
    world.release()
    assert len([each for each in world.disk.list_names(FOLDER) if each.endswith(".spool")]) == 1


def test_release_of_another_epoch_or_an_older_position_changes_nothing(world: SpoolWorld) -> None:
    world.accept([5000])
    world.accept([5000])
    world.digest()
    world.release()
    assert world.writer is not None
    before = world.writer.released
    world.send_release(Position(1, 10**9, 10**9))
    world.send_release(before._replace(seq=0, total=0))
    assert world.writer.released == before


def test_release_beyond_the_end_is_cut_to_the_end(world: SpoolWorld) -> None:
    last = world.accept([10])[0]
    assert isinstance(last, Position)
    world.send_release(last._replace(seq=last.seq + 100, total=last.total + 100))
    assert world.writer is not None
    assert world.writer.released == last


def test_a_failed_release_is_unavailable_and_works_the_next_time(world: SpoolWorld) -> None:
    world.accept([5000])
    world.accept([5000])
    world.digest()
    writer = world.writer
    assert writer is not None
    world.disk.fail(Fault("sync", forever=True))
    with pytest.raises(Unavailable):
        world.loop.run_until_complete(as_coroutine(writer.release(world.store.committed.position)))
    assert writer.released.seq == 0
    world.disk.heal()
    world.release()
    assert released(world.disk, FOLDER) == writer.released == world.store.committed.position


def test_pending_counts_records_quantity_and_bytes_behind_a_position(world: SpoolWorld) -> None:
    positions = [world.accept([5000], quantity=3)[0] for _ in range(3)]
    world.crash(None)
    positions += world.accept([100, 100], quantity=1)
    assert world.writer is not None
    assert [world.writer.pending(each)[:2] for each in positions] == [(4, 8), (3, 5), (2, 2), (1, 1), (0, 0)]  # type: ignore[arg-type]
    assert world.writer.pending(Position(1, 1, 1))[:2] == (5, 11)
    assert world.writer.pending(positions[1]).bytes > 5000  # type: ignore[arg-type]


def test_close_writes_what_waits_gives_back_zeros_and_handles(world: SpoolWorld) -> None:
    writer = world.writer
    assert writer is not None

    async def script() -> Position:
        future = writer.add(received(1), body(1, 50))
        await writer.close()
        with pytest.raises(Unavailable):
            await writer.add(received(2), b"")
        return future.result()

    assert world.loop.run_until_complete(script()).seq == 1
    assert len(world.disk.content(FOLDER / file_name(1))) < 500
    assert world.disk.list_names(FOLDER) == [file_name(1), "checkpoint"]
    assert world.disk.open_handles == 0
    assert world.digest() == 1


def test_files_are_written_ahead_and_handles_do_not_pile_up(world: SpoolWorld) -> None:
    for _ in range(50):
        world.accept([2500])
        world.digest()
    world.release()
    assert world.disk.open_handles <= 5  # lock, active file, spare, checkpoint, the reader's file
    assert "spare.tmp" in world.disk.list_names(FOLDER)


def test_durability_write_acknowledges_without_a_sync_and_survives_kill(make_world: MakeWorld) -> None:
    world = make_world(settings=SpoolSettings(durability="write"))
    before = world.disk.calls["sync"]
    world.accept([10, 10])
    assert world.disk.calls["sync"] == before
    assert world.digest() == 2
    world.crash(None)
    world.audit()


def test_a_reader_sees_records_as_soon_as_they_are_acknowledged(world: SpoolWorld) -> None:
    reader = SpoolReader(world.disk, FOLDER)
    seen = []
    for number in range(30):
        world.accept([number * 100])
        seen.append(len(reader.read(10, 100_000)))
    assert seen == [1] * 30
    reader.close()


def disk_bytes(world: SpoolWorld) -> int:
    return sum(len(world.disk.content(each)) for each in world.disk.list_folder(FOLDER))


def test_a_head_that_no_reader_would_believe_is_refused(world: SpoolWorld) -> None:
    writer = world.writer
    assert writer is not None

    async def add(query_bytes: int) -> Position:
        return await writer.add(Received("envelope", 1, 0.0, event_id="1", query="q" * query_bytes), body(1, 9))

    with pytest.raises(Unavailable, match="at most 1048576 bytes"):
        world.loop.run_until_complete(add(1_100_000))
    assert world.loop.run_until_complete(add(900_000)).seq == 1
    assert world.digest() == 1
