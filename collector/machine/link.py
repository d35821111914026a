"""Frames between our own processes: front <-> worker over a socketpair, command line <-> front over a Unix socket.

A frame is 4 bytes big-endian length and one msgpack array [kind: str, call: int, body]. `call` pairs an answer with
its question: 0 expects none, an answer has the same number and the kind "answer" or "failed" (body = one sentence).
The largest frame is MAX_FRAME_BYTES; both ends are ours, so a larger one is a bug and closes the link.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from collector.errors import Unavailable

MAX_FRAME_BYTES = 64 * 2**20
CONTROL_SOCKET = "tmp/control.sock"  # within the data folder
LENGTH = struct.Struct(">I")
Frame = tuple[str, int, Any]


def pack(kind: str, call: int, body: Any) -> bytes:
    """One frame as bytes."""
    data: bytes = msgpack.packb([kind, call, body], use_bin_type=True)
    return LENGTH.pack(len(data)) + data


def unpack(data: bytes) -> Frame:
    """The frame in `data` (without its length)."""
    kind, call, body = msgpack.unpackb(data, raw=False, strict_map_key=False)
    return kind, call, body


class AsyncLink:
    """The event loop's end. Every incoming question or notice goes to `on_frame(kind, body)`; its result answers."""

    def __init__(self, on_frame: Callable[[str, Any], Awaitable[Any]]) -> None:
        self._on_frame = on_frame
        self._writer: asyncio.StreamWriter | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends; calls that wait then fail with Unavailable."""
        self._writer = writer
        try:
            while True:
                size = LENGTH.unpack(await reader.readexactly(4))[0]
                if size > MAX_FRAME_BYTES:
                    raise Unavailable(f"link: a frame of {size} bytes is over max_frame_bytes {MAX_FRAME_BYTES}")
                self._take(unpack(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writer = None
            for future in self._calls.values():
                if not future.done():
                    future.set_exception(Unavailable("worker: the link closed before an answer"))
            self._calls.clear()
            for task in list(self._tasks):
                task.cancel()
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()

    def _take(self, frame: Frame) -> None:
        kind, call, body = frame
        if kind in ("answer", "failed"):
            future = self._calls.pop(call, None)
            if future is not None and not future.done():
                if kind == "answer":
                    future.set_result(body)
                else:
                    future.set_exception(Unavailable(str(body)))
            return
        task = asyncio.get_running_loop().create_task(self._handle(kind, call, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, kind: str, call: int, body: Any) -> None:
        try:
            result = await self._on_frame(kind, body)
            answer = ("answer", call, result)
        except Unavailable as error:
            answer = ("failed", call, str(error))
        if call and self._writer is not None:
            self._writer.write(pack(*answer))

    def notify(self, kind: str, body: Any = None) -> bool:
        """Send without waiting; False when nobody is there."""
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(pack(kind, 0, body))
        return True

    async def call(self, kind: str, body: Any = None, timeout_seconds: float = 30.0) -> Any:
        """Ask and wait for the answer. Raises Unavailable (no other end, no answer in time, or its sentence)."""
        if self._writer is None:
            raise Unavailable("worker: not running")
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        self._writer.write(pack(kind, number, body))
        try:
            return await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            raise Unavailable(f"worker: no answer to {kind!r} within {timeout_seconds:g} s") from None
        finally:
            self._calls.pop(number, None)


class ThreadLink:
    """The worker's end: a blocking socket; `send` may be called from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    def send(self, kind: str, body: Any = None, call: int = 0) -> bool:
        """Send one frame; False when the other end is gone."""
        try:
            with self._lock:
                self._socket.sendall(pack(kind, call, body))
        except OSError:
            return False
        return True

    def receive(self) -> Frame | None:
        """The next frame, or None when the other end is gone."""
        head = self._exactly(4)
        if head is None:
            return None
        body = self._exactly(LENGTH.unpack(head)[0])
        return unpack(body) if body is not None else None

    def _exactly(self, count: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self._socket.recv(min(count - len(parts), 1 << 20))
            except OSError:
                return None
            if not part:
                return None
            parts += part
        return bytes(parts)

    def close(self) -> None:
        """Close our end; a blocked `receive` returns None."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def control_address(folder: Path) -> Iterator[str]:
    """Where the front of a data folder is asked: a Unix socket address holds 107 bytes, a longer path goes through a
    descriptor of its folder, which is open within the block. Raises OSError: that folder is not there."""
    path = str(folder / CONTROL_SOCKET)
    if len(path.encode()) <= 100:
        yield path
        return
    descriptor = os.open(folder / "tmp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/control.sock"
    finally:
        os.close(descriptor)


def ask_front(folder: Path, kind: str, body: Any, timeout_seconds: float) -> Any:
    """One question to the front of a data folder. Raises Unavailable as `ask`, also where there is no such folder."""
    if not (folder / "tmp").is_dir():
        raise Unavailable(f"collector: not running (no data folder {folder})")
    with control_address(folder) as address:
        return ask(address, kind, body, timeout_seconds)


def ask(address: str, kind: str, body: Any, timeout_seconds: float) -> Any:
    """One question over the Unix socket at `address`, as the command line asks it.

    Raises Unavailable: nobody listens there, no answer in time, or the other end's sentence.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_seconds)
    link = ThreadLink(sock)
    try:
        try:
            sock.connect(address)
        except OSError as error:
            raise Unavailable(f"collector: not running (no answer at {address})") from error
        link.send(kind, body, 1)
        frame = link.receive()
        if frame is None:
            raise Unavailable(f"collector: no answer to {kind!r} within {timeout_seconds:g} s")
        if frame[0] == "failed":
            raise Unavailable(str(frame[2]))
        return frame[2]
    finally:
        link.close()
