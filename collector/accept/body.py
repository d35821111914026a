"""Reading a request body: capped, counted over all requests, never kept when it broke off."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from collector.accept.guard import EXCHANGE
from collector.errors import Busy
from collector.protocol.encodings import body_too_large

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
BUSY_SECONDS = 5.0
DRAIN_FACTOR = 4  # what SDKs' HTTP clients need to see the 413 instead of a reset


class BrokenOff(Exception):
    """The client went away in mid-body. Ends the request without an answer; never leaves this room."""


class Inflight:
    """Bytes of bodies in memory, over all requests."""

    __slots__ = ("held_bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0

    def take(self, size: int) -> None:
        """Raises Busy 503 when the memory for bodies is used up."""
        if self.held_bytes + size > self.max_bytes and self.held_bytes:
            raise Busy(BUSY_SECONDS, f"max_inflight_bytes is {self.max_bytes}", 503)
        self.held_bytes += size


class BodyReader:
    """One body. `taken_bytes` are to be given back by the caller with `release` when the request ends."""

    __slots__ = ("_inflight", "_limit", "_scope", "taken_bytes")

    def __init__(self, scope: Mapping[str, Any], inflight: Inflight, limit_name: str, max_bytes: int) -> None:
        self._scope = scope
        self._inflight = inflight
        self._limit = (limit_name, max_bytes)
        self.taken_bytes = 0

    async def read(self, receive: Receive, announced: int) -> bytes:
        """The whole body. Raises ProtocolError 413, Busy or BrokenOff."""
        name, limit = self._limit
        if announced > limit:
            self._allow_drain(limit)
            raise body_too_large(name, limit, announced)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            whole: bytes = message.get("body", b"")
            self._take(len(whole))
            return whole
        pieces: list[bytes] = []
        while message["type"] == "http.request":
            piece = message.get("body", b"")
            self._take(len(piece))
            pieces.append(piece)
            if not message.get("more_body"):
                return b"".join(pieces)
            message = await receive()
        return b"".join([*pieces, self._rest()])

    def release(self) -> None:
        """Give the memory back."""
        self._inflight.held_bytes -= self.taken_bytes
        self.taken_bytes = 0

    def _take(self, size: int) -> None:
        name, limit = self._limit
        if self.taken_bytes + size > limit:
            self._allow_drain(limit)
            raise body_too_large(name, limit)
        self._inflight.take(size)
        self.taken_bytes += size

    def _rest(self) -> bytes:
        """What had arrived before the client closed: complete, or the body broke off."""
        exchange = self._scope.get("extensions", {}).get(EXCHANGE)
        rest: bytes | None = exchange.rest_of_body() if exchange is not None else None
        if rest is None:
            raise BrokenOff
        self._take(len(rest))
        return rest

    def _allow_drain(self, limit: int) -> None:
        exchange = self._scope.get("extensions", {}).get(EXCHANGE)
        if exchange is not None:
            exchange.allow_drain(DRAIN_FACTOR * limit)
