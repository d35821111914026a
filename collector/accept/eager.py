"""Coroutines of requests that begin at once, without a task."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Eager:
    """A coroutine that begins to run at once, as eager tasks do from Python 3.12 on. It is in `running` until it ends.

    asyncio.current_task() is None in it, so it must not use what needs a task (timeouts, anyio).
    """

    __slots__ = ("_coroutine", "_running", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], running: set[Any]) -> None:
        self._coroutine = coroutine
        self._running = running
        self._waits_for: asyncio.Future[Any] | None = None
        running.add(self)

    def step(self, _: object = None) -> None:
        """On to the next wait, or to the end."""
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration:
            self._running.discard(self)
            return
        except BaseException:
            self._running.discard(self)
            raise
        if waits_for is None:  # asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(self.step)
            return
        self._waits_for = waits_for
        waits_for._asyncio_future_blocking = False  # the handshake of awaitables with whoever drives them
        waits_for.add_done_callback(self.step)

    def cancel(self, msg: object = None) -> None:
        """End the wait with CancelledError; the server calls it when a stop takes too long."""
        if self._waits_for is not None:
            self._waits_for.cancel(msg)
