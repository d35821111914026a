"""A real server with the guarded protocol on a free loopback port, a spool in memory, and raw sockets to talk to it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import uvicorn
import uvloop

from collector.accept.doors import Doors
from collector.accept.guard import uvicorn_settings
from collector.accept.ingest import IngestApp, build_ingest
from collector.accept.settings import IngestSettings
from collector.model.outcome import Outcome
from collector.model.project import ProjectSettings
from collector.model.received import Position, Received
from collector.protocol.limits import LimitSettings
from tests.helpers.clock import FakeClock
from tests.protocol.bodies import KEY

AUTH = f"X-Sentry-Auth: Sentry sentry_version=7, sentry_client=test/1.0, sentry_key={KEY}"
PROJECT = ProjectSettings(id=42, slug="shop", keys=[KEY])


class Answer(NamedTuple):
    """One HTTP answer as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class House:
    """The doors under test and what came through them."""

    port: int = 0
    spooled: list[tuple[Received, bytes]] = field(default_factory=list)
    refused: list[Outcome] = field(default_factory=list)
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    doors: Doors = field(init=False)
    app: IngestApp = field(init=False)

    async def spool_add(self, received: Received, body: bytes) -> Position:
        """Durable as soon as the gate opens, when there is one."""
        if self.failure is not None:
            raise self.failure
        if self.gate is not None:
            await self.gate.wait()
        self.spooled.append((received, body))
        return Position(1, len(self.spooled), len(self.spooled))

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A raw connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)

    async def say(self, *chunks: bytes) -> Answer:
        """One connection, the chunks one by one, one answer."""
        reader, writer = await self.dial()
        try:
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(0)
            return await read_answer(reader)
        finally:
            await hang_up(writer)

    async def post(self, path: str, body: bytes, *headers: str, method: str = "POST") -> Answer:
        """One request with the project's auth."""
        return await self.say(request(path, body, AUTH, *headers, method=method))

    def reasons(self) -> list[tuple[str, str, str, int, int]]:
        """The refused outcomes in short."""
        return [(o.outcome, o.reason, o.category, o.quantity, o.items) for o in self.refused]


def request(path: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: collector", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One answer; status 0 when the connection closed without one."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split()[1]), headers, body)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close, whatever the other side did."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def page(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The fallback app: says lifespan is fine, and 404 with a word of its own."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"page"})


@contextlib.asynccontextmanager
async def open_house(
    settings: IngestSettings | None = None,
    limits: LimitSettings | None = None,
    projects: tuple[ProjectSettings, ...] = (PROJECT,),
    behind: Callable[[Doors, Any], Any] = lambda doors, page: page,
    **doors: Any,
) -> AsyncIterator[House]:
    """A served house; everything is closed at the end. `behind`: makes the app behind the ingest doors."""
    house = House()
    settings = settings or IngestSettings()
    house.doors = Doors(
        projects=projects,
        settings=settings,
        limits=limits or LimitSettings(),
        clock=FakeClock(),
        spool_add=house.spool_add,
        refused=house.refused.append,
        **doors,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    house.port = listener.getsockname()[1]
    app = house.app = build_ingest(house.doors, behind(house.doors, page))
    server = QuietServer(uvicorn_settings(app, settings, graceful_seconds=1))
    served = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield house
    finally:
        server.should_exit = True
        await served
        listener.close()


def play(scene: Coroutine[Any, Any, None]) -> None:
    """Run one scene on uvloop, as the product does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene)
