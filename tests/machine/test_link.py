"""Frames between our own processes."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from collector.errors import Unavailable
from collector.machine.link import AsyncLink, ThreadLink


async def linked(
    on_frame: Callable[[str, Any], Awaitable[Any]],
) -> tuple[AsyncLink, ThreadLink, "asyncio.Task[None]"]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    link = AsyncLink(on_frame)
    task = asyncio.create_task(link.run(reader, writer))
    await asyncio.sleep(0)
    return link, ThreadLink(theirs), task


async def silent(kind: str, body: Any) -> Any:
    return None


def test_a_question_gets_its_own_answer() -> None:
    async def scene() -> list[Any]:
        link, other, task = await linked(silent)

        def answer() -> None:
            first, second = other.receive(), other.receive()
            assert first
            assert second
            other.send("answer", second[2] * 10, second[1])
            other.send("answer", first[2] * 10, first[1])

        thread = threading.Thread(target=answer)
        thread.start()
        answers = await asyncio.gather(link.call("double", 1), link.call("double", 2))
        thread.join()
        other.close()
        await task
        return list(answers)

    assert asyncio.run(scene()) == [10, 20]


def test_a_refusal_is_raised_as_its_sentence() -> None:
    async def scene() -> None:
        link, other, task = await linked(silent)

        def refuse() -> None:
            frame = other.receive()
            assert frame
            other.send("failed", "no such thing", frame[1])

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(Unavailable, match="no such thing"):
            await link.call("x")
        thread.join()
        other.close()
        await task

    asyncio.run(scene())


def test_a_closed_link_fails_what_waits_and_what_comes() -> None:
    async def scene() -> None:
        link, other, task = await linked(silent)
        waiting = asyncio.create_task(link.call("x"))
        await asyncio.sleep(0)
        other.close()
        with pytest.raises(Unavailable, match="closed before an answer"):
            await waiting
        await task
        assert not link.notify("y")
        with pytest.raises(Unavailable, match="not running"):
            await link.call("z")

    asyncio.run(scene())


def test_notices_reach_the_handler_in_order() -> None:
    async def scene() -> list[Any]:
        seen: list[Any] = []

        async def take(kind: str, body: Any) -> Any:
            seen.append((kind, body))

        _, other, task = await linked(take)
        other.send("beat", {"a": 1})
        other.send("released", [1, 2, 3])
        other.close()
        await task
        return seen

    assert asyncio.run(scene()) == [("beat", {"a": 1}), ("released", [1, 2, 3])]


def test_a_receiver_sees_the_end_as_none() -> None:
    ours, theirs = socket.socketpair()
    one, other = ThreadLink(ours), ThreadLink(theirs)
    one.send("a", b"x" * 100_000)
    one.close()
    assert other.receive() == ("a", 0, b"x" * 100_000)
    assert other.receive() is None
    assert not other.send("b") or not other.send("b")
    other.close()
