"""The spool on a real file system, with its real threads, and with a reader in another process."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collector.errors import Busy, Unavailable
from collector.machine.clock import SystemClock
from collector.machine.disk import RealDisk
from collector.model.received import START, Position
from collector.model.settings import Size
from collector.spool.inspect import inspect
from collector.spool.reader import SpoolReader
from collector.spool.settings import SpoolSettings
from collector.spool.writer import SpoolWriter
from tests.helpers.spool import body, received

SMALL_FILES = SpoolSettings(file_bytes=Size("64 KiB"))

WRITE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from tests.spool.test_real_disk import open_writer
from tests.helpers.spool import body, received

async def one(writer, numbers):
    while True:
        number = next(numbers)
        await writer.add(received(number), body(number, 500 + number % 3000))
        print(number, flush=True)

async def main():
    writer = await open_writer(Path(sys.argv[1]))
    numbers = iter(range(int(sys.argv[2]), 10**9))
    await asyncio.gather(*(one(writer, numbers) for _ in range(8)))

asyncio.run(main())
"""

READ_ALL = """
import sys
from pathlib import Path
from collector.machine.disk import RealDisk
from collector.spool.reader import SpoolReader

reader = SpoolReader(RealDisk(), Path(sys.argv[1]))
left = int(sys.argv[2])
while left:
    for record in reader.read(100, 200_000):
        assert record.damaged is None, record.why
        print(record.received.event_id)
        left -= 1
"""


async def open_writer(folder: Path, settings: SpoolSettings = SMALL_FILES) -> SpoolWriter:
    writer = SpoolWriter(RealDisk(), folder, settings, SystemClock(), lambda: 77)
    await writer.start()
    return writer


async def add_many(writer: SpoolWriter, numbers: range, size: int = 3000) -> list[Position | BaseException]:
    futures = [writer.add(received(number), body(number, size)) for number in numbers]
    return await asyncio.gather(*futures, return_exceptions=True)


def python(code: str, *args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_another_process_reads_everything_in_order_while_it_is_written(tmp_path: Path) -> None:
    async def write() -> str:
        writer = await open_writer(tmp_path)
        reading = python(READ_ALL, tmp_path, 600)
        for start in range(1, 601, 20):
            await add_many(writer, range(start, start + 20))
        try:
            out = await asyncio.to_thread(lambda: reading.communicate(timeout=60)[0])
        finally:
            reading.kill()
        assert reading.returncode == 0
        await writer.close()
        return out

    assert asyncio.run(write()).split() == [str(number) for number in range(1, 601)]


def test_what_was_acknowledged_before_kill_9_is_read_after_it(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for _ in range(4):
        writing = python(WRITE_FOR_EVER, tmp_path, 1 + max(acknowledged, default=0) + 1000)
        assert writing.stdout is not None
        acknowledged += [int(writing.stdout.readline()) for _ in range(60)]
        writing.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writing.stdout.read().split("\n")[:-1]]
        writing.stdout.close()
        writing.wait()

    async def restart() -> None:
        await (await open_writer(tmp_path)).close()

    asyncio.run(restart())
    found = [int(each.received.event_id) for each in all_records(tmp_path)]
    assert found == sorted(set(found))
    assert set(acknowledged) <= set(found)
    report = inspect(RealDisk(), tmp_path, START)
    assert (report.lost, report.damages, report.foreign) == (0, [], [])


def all_records(folder: Path) -> list:  # type: ignore[type-arg]
    reader = SpoolReader(RealDisk(), folder)
    found = []
    while batch := reader.read(1000, 1 << 20):
        found += batch
    reader.close()
    return found


def test_threads_and_descriptors_are_given_back(tmp_path: Path) -> None:
    async def cycle() -> None:
        writer = await open_writer(tmp_path)
        await add_many(writer, range(100))
        await writer.release(writer.position)
        await writer.close()

    asyncio.run(cycle())
    before = (os.listdir("/proc/self/fd"), os.listdir("/proc/self/task"))
    asyncio.run(cycle())
    after = (os.listdir("/proc/self/fd"), os.listdir("/proc/self/task"))
    assert [len(each) for each in after] == [len(each) for each in before]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    async def two() -> None:
        first = await open_writer(tmp_path)
        with pytest.raises(Unavailable, match="in use"):
            await open_writer(tmp_path)
        await first.close()
        await (await open_writer(tmp_path)).close()

    asyncio.run(two())


@pytest.fixture
def tiny_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 16 MB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=16m") != 0:
        pytest.skip("mounting a tmpfs needs CAP_SYS_ADMIN")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def test_a_disk_of_16_mb_works_refuses_in_time_and_recovers(tiny_disk: Path) -> None:
    async def fill() -> None:
        writer = await open_writer(tiny_disk / "spool", SpoolSettings())
        results = [each for _ in range(60) for each in await add_many(writer, range(20), 20_000)]
        kinds = {type(each) for each in results}
        assert kinds == {Position, Busy}
        assert RealDisk().space(tiny_disk).free_bytes > 0
        taken = [each for each in results if isinstance(each, Position)]
        assert len(taken) * 20_000 > 6 * 2**20
        assert len(all_records(tiny_disk / "spool")) == len(taken)
        await writer.release(taken[-1])
        writer._journal.look()
        assert isinstance((await add_many(writer, range(1), 20_000))[0], Position)
        await writer.close()

    asyncio.run(fill())


def test_a_disk_that_others_filled_gives_unavailable_and_recovers(tiny_disk: Path) -> None:
    async def fill() -> None:
        settings = SpoolSettings(min_free_bytes=Size("0 B"))
        writer = await open_writer(tiny_disk / "spool", settings)
        first = await add_many(writer, range(10))
        hog = tiny_disk / "hog"
        hog.write_bytes(bytes(RealDisk().space(tiny_disk).free_bytes))
        journal = writer._journal
        late = [each for _ in range(60) for each in await add_many(writer, range(20), 20_000)]
        refused = [each for each in late if not isinstance(each, Position)]
        assert refused
        assert {type(each) for each in refused} <= {Unavailable, Busy}
        kept = [each for each in [*first, *late] if isinstance(each, Position)]
        assert len(all_records(tiny_disk / "spool")) == len(kept)
        await writer.release(kept[-1])
        hog.unlink()
        journal.look()
        journal._retry_at = 0.0
        await add_many(writer, range(1))
        assert isinstance((await add_many(writer, range(1), 20_000))[0], Position)
        await writer.close()

    asyncio.run(fill())
