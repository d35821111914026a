"""The worker's life, as the front sees it: start, talk, restart with back-off, stop.

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
from typing import Any

import structlog

from collector.machine.clock import Clock
from collector.machine.link import AsyncLink

MAX_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 30.0  # a worker that lived this long starts again at the shortest back-off

log = structlog.get_logger("worker")


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
        self.restarts = 0
        self.stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    async def run(self) -> None:
        """Keep a worker running until `stop`."""
        backoff = 0.1
        while not self.stopping:
            started_at = self._clock.monotonic()
            ours, theirs = socket.socketpair()
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
                self.link.notify("hello", self._hello)
                await talk
                await self._wait()
            if self._leaving():
                return
            self.restarts += 1
            if self._clock.monotonic() - started_at > STEADY_SECONDS:
                backoff = 0.1
            log.warning("worker ended; starting another", restarts=self.restarts, after_seconds=backoff)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)

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

    async def stop(self, task: "asyncio.Task[None]", timeout_seconds: float) -> bool:
        """Ask the worker to finish and leave; True when it did in time, else it is killed."""
        self.stopping = True
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
        """End a child at once (second signal)."""
        if self._process is not None:
            self._process.kill()
