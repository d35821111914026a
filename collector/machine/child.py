"""The worker's life, as the front sees it: start, talk, restart with back-off, replace by another, stop.

The worker is a child process running `python -m collector.work FD`, or, with `in_thread`, a thread running the very
same entry with the same socket. Either way it learns everything over the link, and a closed link means "leave".
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import structlog

from collector.errors import Unavailable
from collector.machine.clock import Clock
from collector.machine.link import AsyncLink

MAX_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 30.0  # a worker that lived this long starts again at the shortest back-off

log = structlog.get_logger("worker")


class Next(NamedTuple):
    """The worker that shall follow: its first frame's body, what happens between the two, and who waits for that."""

    hello: bytes
    between: Callable[[], None]
    is_done: "asyncio.Future[None]"


class Worker:
    """One supervised worker. `hello` is the first frame's body; `on_frame(kind, body)` gets everything it sends."""

    def __init__(
        self,
        hello: bytes,
        on_frame: Callable[[str, Any], Awaitable[Any]],
        clock: Clock,
        in_thread: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self._hello = hello
        self._clock = clock
        self._in_thread = in_thread
        self.link = AsyncLink(on_frame)
        self.pid: int | None = None
        self.lives = 0
        self.restarts = 0  # of those, the ones after an end that nobody wanted
        self.stopping = False
        self._is_greeted = False
        self._next: Next | None = None
        self._hurry = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    async def run(self) -> None:
        """Keep a worker running until `stop`."""
        try:
            await self._keep_running()
        finally:
            if self._next is not None:
                self._next.is_done.cancel()

    async def _keep_running(self) -> None:
        backoff = 0.1
        while not self.stopping:
            self._turn_over()
            started_at = self._clock.monotonic()
            ours, theirs = socket.socketpair()
            self.lives += 1
            try:
                self._start(theirs)
            except OSError as error:
                log.error("worker could not be started", error=str(error))
                ours.close()
                theirs.close()
            else:
                reader, writer = await asyncio.open_connection(sock=ours)
                talk = asyncio.ensure_future(self.link.run(reader, writer))
                await asyncio.sleep(0)  # lets run() take the writer before the first frame
                self._turn_over()
                self.link.notify("hello", self._hello)
                self._is_greeted = True
                if self._leaving():  # asked before there was anybody to tell
                    self.link.notify("stop")
                await talk
                self._is_greeted = False
                await self._wait()
            if self._leaving():
                return
            if self._next is not None:
                backoff = 0.1
                continue
            self.restarts += 1
            if self._clock.monotonic() - started_at > STEADY_SECONDS:
                backoff = 0.1
            log.warning("worker ended; starting another", restarts=self.restarts, after_seconds=backoff)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)

    def _turn_over(self) -> None:
        """From here on the next worker is the one that shall run."""
        if self._next is None:
            return
        hello, between, is_done = self._next
        self._next, self._hello = None, hello
        self._hurry.clear()
        try:
            between()
        except Exception as error:  # whoever waits must hear of it; this loop must go on
            is_done.set_exception(error)
        else:
            is_done.set_result(None)

    def _leaving(self) -> bool:
        return self.stopping  # `stop` sets it while `run` waits, which a type checker cannot see

    def _start(self, theirs: socket.socket) -> None:
        if self._in_thread is not None:
            self.pid = os.getpid()
            self._thread = threading.Thread(target=self._in_thread, args=(theirs,), name="worker", daemon=True)
            self._thread.start()
            return
        # -X frozen_modules and -P would save nothing measurable; the parent's own interpreter and path are kept.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "collector.work", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            close_fds=True,
            # Two malloc arenas instead of eight a core: threads that take turns need no more, and RSS stays lower.
            env={"MALLOC_ARENA_MAX": "2", **os.environ},
        )
        theirs.close()
        self.pid = self._process.pid

    async def _wait(self) -> None:
        """The link is closed: give the other side time to finish its batch, then make sure it is gone."""
        loop = asyncio.get_running_loop()
        if self._thread is not None:
            await loop.run_in_executor(None, self._thread.join)
            self._thread = None
        if self._process is not None:
            try:
                await loop.run_in_executor(None, self._process.wait, 60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await loop.run_in_executor(None, self._process.wait)
            self._process = None
        self.pid = None

    async def replace(self, hello: bytes, between: Callable[[], None], timeout_seconds: float) -> None:
        """Let the worker finish its batch and leave, call `between`, start one with this `hello`; returns then, without
        waiting for that one to work. A worker that takes longer than the timeout is ended: what it had in hand is
        digested again. Raises Unavailable when the collector stops meanwhile, and what `between` raises."""
        if self.stopping:
            raise Unavailable("the collector stops")
        assert self._next is None, "one after the other"
        is_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next = Next(hello, between, is_done)
        self._hurry.set()
        if self._is_greeted:  # else it learns everything with its first frame
            self.link.notify("replace")
        if not (await asyncio.wait({is_done}, timeout=timeout_seconds))[0]:
            log.warning("the worker takes too long to finish its batch; ending it", after_seconds=timeout_seconds)
            self.kill()
        try:
            await is_done
        except asyncio.CancelledError:
            if self._leaving():
                raise Unavailable("the collector stops") from None
            raise

    async def stop(self, task: "asyncio.Task[None]", timeout_seconds: float) -> bool:
        """Ask the worker to finish and leave; True when it did in time, else it is killed."""
        self.stopping = True
        self._hurry.set()
        self.link.notify("stop")
        done, _ = await asyncio.wait({task}, timeout=timeout_seconds)
        if done:
            return True
        if self._process is not None:
            self._process.kill()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False

    def kill(self) -> None:
        """End a child at once. A thread cannot be ended."""
        if self._process is not None:
            self._process.kill()
