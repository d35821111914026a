"""Requests that run at once, without a task."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from collector.accept.eager import Eager
from tests.accept.house import hang_up, open_house, play, read_answer, request


def test_it_runs_to_its_first_wait_at_once_and_on_when_that_is_over() -> None:
    async def scene() -> None:
        seen: list[object] = []
        running: set[Any] = set()
        future = asyncio.get_running_loop().create_future()

        async def work() -> None:
            seen.append("begun")
            seen.append(await future)
            await asyncio.sleep(0)
            seen.append("ended")

        Eager(work(), running).step()
        assert (seen, len(running)) == (["begun"], 1)
        future.set_result("answer")
        await asyncio.sleep(0.01)
        assert (seen, running) == (["begun", "answer", "ended"], set())

    play(scene())


def test_a_wait_may_be_ended_from_outside_and_may_fail() -> None:
    async def scene() -> None:
        seen: list[str] = []
        running: set[Any] = set()

        async def work(wait: Awaitable[object]) -> None:
            try:
                await wait
            except (asyncio.CancelledError, OSError) as error:
                seen.append(type(error).__name__)

        loop = asyncio.get_running_loop()
        cancelled, failed = loop.create_future(), loop.create_future()
        for future in (cancelled, failed):
            Eager(work(future), running).step()
        next(each for each in running if each._waits_for is cancelled).cancel(msg="the server stops")
        failed.set_exception(OSError("disk"))
        await asyncio.sleep(0.01)
        assert (sorted(seen), running) == (["CancelledError", "OSError"], set())

    play(scene())


def test_what_it_raises_at_once_is_seen_and_it_runs_no_more() -> None:
    running: set[Any] = set()

    async def work() -> None:
        raise RuntimeError("at once")

    with pytest.raises(RuntimeError, match="at once"):
        Eager(work(), running).step()
    assert running == set()


def test_thousands_of_requests_in_one_go_are_answered_one_after_the_other() -> None:
    async def scene() -> None:
        async with open_house() as house:
            reader, writer = await house.dial()
            writer.write(request("/api/42/envelope/", b"x") * 3000)
            statuses = {(await read_answer(reader)).status for _ in range(3000)}
            assert statuses == {400}
            await hang_up(writer)

    play(scene())
