"""The worker's life: replaced in an orderly way, whatever it is doing at the moment."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from collector.errors import Unavailable
from collector.machine.child import Worker
from collector.machine.clock import SystemClock
from collector.machine.link import ThreadLink


class Lives:
    """Workers as threads that note what they are told; `behave` of the n-th is called with its link."""

    def __init__(self, *behave: Callable[[ThreadLink], None]) -> None:
        self.behave = behave
        self.told: list[list[Any]] = []
        self.greeted = asyncio.Event()
        self.worker = Worker(b"first", self.on_frame, SystemClock(), self.live)

    async def on_frame(self, kind: str, body: Any) -> None:
        self.greeted.set()

    def live(self, sock: socket.socket) -> None:
        link, number = ThreadLink(sock), len(self.told)
        self.told.append([])
        while (frame := link.receive()) is not None and frame[0] not in ("stop", "replace"):
            self.told[number].append(frame[2])
            if number < len(self.behave):
                self.behave[number](link)
            link.send("here")
        link.close()


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def leave(link: ThreadLink) -> None:
    link.close()


def test_a_worker_is_replaced_without_counting_as_a_restart() -> None:
    async def scene() -> None:
        lives = Lives()
        running = asyncio.create_task(lives.worker.run())
        await lives.greeted.wait()
        steps: list[str] = []
        lives.greeted.clear()
        await lives.worker.replace(b"second", lambda: steps.append("between"), 5)
        assert steps == ["between"]
        await lives.greeted.wait()
        assert lives.told == [[b"first"], [b"second"]]
        assert (lives.worker.lives, lives.worker.restarts) == (2, 0)
        assert await lives.worker.stop(running, 5)

    play(scene())


def test_a_worker_that_is_being_started_again_comes_up_with_what_was_asked_for_last() -> None:
    async def scene() -> None:
        lives = Lives(leave, leave)
        running = asyncio.create_task(lives.worker.run())
        while lives.worker.restarts < 2:
            await asyncio.sleep(0.01)
        await lives.worker.replace(b"second", lambda: None, 5)
        await lives.greeted.wait()
        assert lives.told[-1] == [b"second"]
        assert await lives.worker.stop(running, 5)

    play(scene())


def test_a_replacement_before_the_first_start_is_simply_what_starts() -> None:
    async def scene() -> None:
        lives = Lives()
        replaced = asyncio.create_task(lives.worker.replace(b"second", lambda: None, 5))
        await asyncio.sleep(0)
        running = asyncio.create_task(lives.worker.run())
        await replaced
        await lives.greeted.wait()
        assert lives.told == [[b"second"]]
        assert await lives.worker.stop(running, 5)

    play(scene())


def test_a_stop_ends_a_replacement_that_is_under_way() -> None:
    async def scene() -> None:
        lives = Lives()
        running = asyncio.create_task(lives.worker.run())
        await lives.greeted.wait()
        replaced = asyncio.create_task(lives.worker.replace(b"second", lambda: None, 5))
        await asyncio.sleep(0)
        assert await lives.worker.stop(running, 5)
        with pytest.raises(Unavailable, match="the collector stops"):
            await replaced
        with pytest.raises(Unavailable, match="the collector stops"):
            await lives.worker.replace(b"third", lambda: None, 5)

    play(scene())


def test_a_worker_that_is_stopped_before_it_was_greeted_leaves_at_once() -> None:
    async def scene() -> None:
        lives = Lives()
        running = asyncio.create_task(lives.worker.run())
        await asyncio.sleep(0)
        assert lives.worker.lives == 1
        assert await lives.worker.stop(running, 5)
        assert lives.told == [[b"first"]]

    play(scene())


def test_what_goes_wrong_between_two_workers_is_told_and_the_next_one_runs_all_the_same() -> None:
    async def scene() -> None:
        lives = Lives()
        running = asyncio.create_task(lives.worker.run())
        await lives.greeted.wait()
        with pytest.raises(ZeroDivisionError):
            await lives.worker.replace(b"second", lambda: 1 // 0 and None, 5)
        lives.greeted.clear()
        await lives.greeted.wait()
        assert lives.told[-1] == [b"second"]
        assert await lives.worker.stop(running, 5)

    play(scene())
