"""Guarded: uvicorn's httptools protocol with what it lacks: deadlines, a header cap, connection caps, a bounded drain.

Requests that the app takes by `direct(url, headers, peer)` never become ASGI: their body is gathered here and handed
over whole (measured: scope, cycle and coroutines are a third of what a request costs). Others for which it says
`is_own(path)` run at once, without a task, and are answered in one write.

One timer a connection. It looks at the deadline of the current phase when it fires and sleeps on when that moved, so a
request costs a few attribute writes and no timer of its own. Phases: idle (keep-alive), head, body (its time grows with
what has arrived at the minimum rate), answering (no deadline: the client waits for us), drain (the answer went out
before the whole body came in). Source of the need: uvicorn 0.54 has no header or body deadline and takes 64 MiB of
headers; a client that closes right after its last byte must not lose its envelope.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, ClassVar, Protocol

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from collector.accept.eager import Eager
from collector.accept.settings import IngestSettings

EXCHANGE = "collector.exchange"
_IDLE, _HEAD, _BODY, _ANSWER = range(4)
MAX_PAUSE_SECONDS = 2.0
RawHeaders = Sequence[tuple[bytes, bytes]]  # names in lower case
SPARE_FILES = 256  # file descriptors kept for spool, stores and outgoing connections


class Taken(Protocol):
    """A request that the app took by its head."""

    def grow(self, size_bytes: int, reply: "DirectCycle") -> None:
        """So much more of its body is here; may be answered at once."""
        ...

    def drop(self) -> None:
        """Its body will never be whole."""
        ...

    def finish(self, body: bytes, reply: "DirectCycle") -> None:
        """Here is its body. `reply.answer` is to be called once, now or later. Never raises."""
        ...


Take = Callable[[bytes, RawHeaders, str], Taken | None]


class Guarded(HttpToolsProtocol):
    """`settings`, `addresses`, `is_own` and `direct` are those of the subclass that `guarded` makes."""

    settings: ClassVar[IngestSettings] = IngestSettings()
    addresses: ClassVar["Counter[str]"] = Counter()

    @staticmethod
    def is_own(path: str) -> bool:
        """Whether requests of this path run at once; the subclass of `guarded` knows."""
        return False

    @staticmethod
    def direct(url: bytes, headers: RawHeaders, peer: str) -> Taken | None:
        """Whether a POST with this head goes without ASGI; the subclass of `guarded` knows."""
        return None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._phase = _IDLE
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = self._body_bytes = self._chunk_bytes = 0
        self._body_from = 0.0
        self._drain_bytes = 0
        self._refusal = 400
        self._is_ended = self._is_parsing = False
        self._waiting: RequestResponseCycle | None = None
        self._direct: DirectCycle | None = None  # while its body comes in
        self._peer = ""
        super().connection_made(transport)
        peer = self.client[0] if self.client else ""
        limit = self.settings.max_connections_per_address
        if len(self.connections) > self.settings.max_connections or (limit and self.addresses[peer] >= limit):
            transport.abort()
            return
        self._peer = peer
        self.addresses[peer] += 1
        self._deadline = self.loop.time() + self.settings.header_timeout
        self._timer = self.loop.call_at(self._deadline, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.addresses[self._peer] -= 1
            if self.addresses[self._peer] <= 0:
                del self.addresses[self._peer]
        if self._direct is not None:
            self._direct.drop()
            self._direct = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._is_parsing = True
        self._take(data)
        self._is_parsing = False
        if self._waiting is not None:
            cycle, self._waiting = self._waiting, None
            Eager(cycle.run_asgi(self.app), self.tasks).step()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """A request of our own waits until all bytes at hand are parsed: mostly that is the whole of it."""
        if self._is_parsing and app is self.app and self.is_own(cycle.scope["path"]):
            self._waiting = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _take(self, data: bytes) -> None:
        size = self._chunk_bytes = len(data)
        phase = self._phase
        if phase in (_IDLE, _HEAD):
            self._head_bytes += size
            super().data_received(data)
            if self._phase == _HEAD and self._head_bytes > self.settings.max_http_header_bytes:
                self._refuse(431)
            return
        if phase == _BODY:
            self._body_bytes += size
            if self.cycle.response_complete and self._body_bytes > self._drain_bytes:
                self.transport.close()
                return
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. What is complete is answered before we close; what is not ends in a 400."""
        if self._phase == _ANSWER:
            self._is_ended = True
            return True  # keep our half open for the answer
        if self._phase == _BODY and not self.cycle.response_complete:
            self._break_off(400)
        elif self._phase == _HEAD:
            self._refuse(400)
        return False

    def on_message_begin(self) -> None:
        """As uvicorn's, but for the scope, which most requests do without."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head_bytes = self._chunk_bytes if self._phase == _IDLE else 0
        self._phase = _HEAD
        self._deadline = self.loop.time() + self.settings.header_timeout

    def on_headers_complete(self) -> None:
        if self._head_bytes > self.settings.max_http_header_bytes and self._exact_head() > int(
            self.settings.max_http_header_bytes
        ):
            self._refusal = 431
            raise ValueError  # httptools turns it into a parser error, which ends in send_400_response
        if not self._goes_direct():
            self._make_scope()
            super().on_headers_complete()
            self.scope["extensions"] = {EXCHANGE: Exchange(self, self.cycle)}  # type: ignore[dict-item]
        self._phase = _BODY
        self._body_bytes = 0
        self._drain_bytes = 2**20
        now = self._body_from = self.loop.time()
        self._deadline = now + self.settings.body_timeout

    def _goes_direct(self) -> bool:
        """Whether the app takes this request without ASGI; then it is the cycle of this connection."""
        before, parser = self.cycle, self.parser
        if (
            parser.get_method() != b"POST"
            or self.expect_100_continue
            or parser.should_upgrade()
            or (before is not None and not (before.response_complete and before.keep_alive))
            or self.flow.write_paused
        ):
            return False
        taken = self.direct(self.url, self.headers, self._peer)
        if taken is None:
            return False
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self._direct = DirectCycle(self, taken, keep_alive)
        self.cycle = self._direct  # type: ignore[assignment]
        return True

    def _make_scope(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers

    def on_body(self, body: bytes) -> None:
        if self._direct is None:
            super().on_body(body)
        else:
            self._direct.add(body)

    def on_message_complete(self) -> None:
        direct, self._direct = self._direct, None
        self._phase = _ANSWER
        self._deadline = inf
        self._chunk_bytes = 0  # of what follows in the same chunk only what comes after it counts
        if direct is None:
            super().on_message_complete()
        elif not direct.response_complete:
            direct.hand_over()
            return
        if self.cycle.response_complete:
            self._rest()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._is_ended and not self.pipeline:
            self.transport.close()
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._phase == _ANSWER:
            self._rest()
        elif self._phase == _BODY:
            self._body_from = inf
            self._deadline = self.loop.time() + self.settings.drain_timeout

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def _refuse(self, status: int) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self._phase == _BODY:
                self._break_off(status)
            self.transport.close()  # an answer is under way: nothing may be put in front of it
            return
        self.transport.write(STATUS_LINE[status] + _REFUSALS[status])
        self.transport.close()

    def _rest(self) -> None:
        self._phase = _IDLE
        self._head_bytes = 0
        self._deadline = self.loop.time() + self.settings.keep_alive_timeout

    def _exact_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _look(self) -> None:
        """The timer fired: close, or sleep until the deadline that holds now."""
        now = self.loop.time()
        due = self._deadline
        if self._phase == _BODY and self._body_from != inf:
            due = self._body_from + self.settings.body_timeout + self._body_bytes / self.settings.min_body_rate_bytes
        if self.flow.read_paused:  # we do not read at the moment: not the client's fault
            due = inf
        if due <= now:
            if self._phase == _IDLE:
                self.transport.close()
            else:
                self._late()
            return
        # a new phase may be due sooner than the one this timer was set for: look at least that often
        pause = min(due - now, self.settings.header_timeout / 4, MAX_PAUSE_SECONDS)
        self._timer = self.loop.call_later(max(pause, 0.01), self._look)

    def _late(self) -> None:
        if self._phase == _HEAD:
            self._refuse(408)
        else:
            self._break_off(408)

    def _break_off(self, status: int) -> None:
        """Answer in place of the app, which gets http.disconnect: its body will never be whole."""
        cycle = self.cycle
        if not cycle.response_started and not cycle.disconnected:
            cycle.disconnected = True
            cycle.message_event.set()
            self.transport.write(STATUS_LINE[status] + _REFUSALS[status])
        self.transport.close()


class DirectCycle:
    """A request that the app took without ASGI, in the place of uvicorn's cycle until its answer is out."""

    __slots__ = ("_body", "_connection", "_taken", "disconnected", "keep_alive", "response_complete", "running")

    def __init__(self, connection: Guarded, taken: Taken, keep_alive: bool) -> None:
        self._connection = connection
        self._taken: Taken | None = taken
        self.keep_alive = keep_alive
        self.running: set[Any] = connection.tasks
        self._body: bytes | bytearray = b""
        self.disconnected = self.response_complete = False

    @property
    def response_started(self) -> bool:
        """An answer is one write."""
        return self.response_complete

    @property
    def message_event(self) -> "DirectCycle":
        """Nobody waits for messages."""
        return self

    def set(self) -> None:
        """See message_event."""

    def hand_over(self) -> None:
        """The body is whole."""
        taken, body = self._taken, self._body
        self._taken, self._body = None, b""  # the app holds us now: a circle would be memory until it is found
        if taken is not None:
            taken.finish(bytes(body), self)

    def drop(self) -> None:
        """The body will never be whole."""
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.drop()

    def allow_drain(self, max_bytes: int) -> None:
        """How much of a refused body is read and thrown away before the connection is closed."""
        self._connection._drain_bytes = max_bytes

    def add(self, piece: bytes) -> None:
        """More of the body."""
        if self._taken is not None:
            self._taken.grow(len(piece), self)
        if self._taken is None:  # answered, perhaps just now
            return
        if not self._body:
            self._body = piece
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += piece

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Write one whole answer. headers: complete lines, content-length among them."""
        if self.disconnected:
            return
        self.response_complete = True
        self._taken, self._body = None, b""
        connection = self._connection
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        connection.transport.write(b"".join((STATUS_LINE[status], headers, end, body)))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()


class Exchange:
    """What a request may ask of its connection; found in scope["extensions"][EXCHANGE]."""

    __slots__ = ("_connection", "_cycle")

    def __init__(self, connection: Guarded, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle = cycle

    @property
    def is_ended(self) -> bool:
        """The client sends no more: it hung up, unless it only closed its half."""
        return self._connection._is_ended

    def rest_of_body(self) -> bytes | None:
        """After http.disconnect: the unread rest when the whole body had arrived before, else None."""
        return None if self._cycle.more_body else bytes(self._cycle.body)

    def answer(self, status: int, headers: bytes, body: bytes) -> bool:
        """Send a whole answer in one write. False where that cannot be (the client does not read, or the answer has
        begun); then the usual way is open. headers: complete lines, content-length among them."""
        cycle = self._cycle
        if cycle.response_started or cycle.default_headers or cycle.flow.write_paused or cycle.disconnected:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        cycle.transport.write(b"".join((STATUS_LINE[status], headers, end, body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        cycle.scope = {}  # type: ignore[typeddict-item]  # it holds this exchange: a circle is memory until it is found
        return True

    def allow_drain(self, max_bytes: int) -> None:
        """How much of a refused body is read and thrown away before the connection is closed."""
        self._connection._drain_bytes = max_bytes


def _refusal(detail: str) -> bytes:
    body = b'{"detail":"%s"}' % detail.encode()
    return (
        b"content-type: application/json\r\naccess-control-allow-origin: *\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )


_REFUSALS = {
    400: _refusal("invalid or truncated HTTP request"),
    408: _refusal("the request took too long"),
    431: _refusal("request head too large, see max_http_header_bytes"),
}


def guarded(
    settings: IngestSettings,
    is_own: Callable[[str], bool] = Guarded.is_own,
    addresses: "Counter[str] | None" = None,
    direct: Take = Guarded.direct,
) -> type[Guarded]:
    """A protocol class with these settings, for uvicorn's `http=`; fewer connections when files are limited."""
    files = open_files(settings.max_connections + SPARE_FILES)
    if files - SPARE_FILES < settings.max_connections:
        settings = msgspec.structs.replace(settings, max_connections=max(64, files - SPARE_FILES))
    counts = Counter() if addresses is None else addresses
    own = {"settings": settings, "addresses": counts, "is_own": staticmethod(is_own), "direct": staticmethod(direct)}
    return type("GuardedHere", (Guarded,), own)


def open_files(wanted: int) -> int:
    """Raise this process's limit of open files towards `wanted` as far as the hard limit allows; what it is then.

    Login shells still give 1,024, which 1,000 slow clients use up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def take_settings(config: uvicorn.Config, settings: IngestSettings) -> None:
    """Connections that come from now on have these settings; those that are open keep theirs."""
    now: Any = config.http
    config.http = config.http_protocol_class = guarded(settings, now.is_own, now.addresses, now.direct)


def uvicorn_settings(app: Any, settings: IngestSettings, graceful_seconds: float = 5.0) -> uvicorn.Config:
    """uvicorn's configuration for an app; reasons in the reference figures: each default that is changed here costs
    time, memory or an endless stop."""
    return uvicorn.Config(
        app,
        http=guarded(settings, getattr(app, "is_own", Guarded.is_own), direct=getattr(app, "direct", Guarded.direct)),
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="error",  # below it there is a line per broken request
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=2048,
        timeout_keep_alive=int(settings.keep_alive_timeout),
        timeout_graceful_shutdown=max(1, int(graceful_seconds)),
    )
