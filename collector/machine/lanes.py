"""Several requests at once to one place: a connection each, all sent before the first answer is read.

A pool that can do everything costs 0.5 ms of CPU a request; catching up after an outage, and every event in `events`
mode, pays that. This does one thing: HTTP/1.1 POSTs with a length over connections that stay open, straight to the
receiver (requests through a proxy go the other way, see collector.machine.net). Answers are read by httptools' parser.

Bounds as in net: `timeout` for all requests of a call together, `max_answer_bytes` an answer, no redirects.
"""

import select
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Sequence

import httptools

from collector.machine.answers import Answer, NetError, Request

CHUNK_BYTES = 64 * 1024
MAX_HEADER_BYTES = 64 * 1024
SLICE_SECONDS = 0.25  # how soon a deadline that was brought forward is noticed
MAX_IDLE_SECONDS = 30.0  # receivers and what lies between forget a silent connection after a minute or so
LEAST_SECONDS = 0.05  # for answers that lie in the buffer already when an earlier one has used up the time


class _Reading:
    """One answer as it comes in; the callbacks are httptools'."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.size = self.header_size = 0
        self.has_headers = self.is_complete = self.is_cut = self.stays_open = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The body follows."""
        self.has_headers = True

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self.size += len(data)
        if not self.is_cut:
            self.parts.append(data)
        self.is_cut = self.is_cut or self.size > self._max

    def on_message_complete(self) -> None:
        """The end, unless it was only an interim answer."""
        self.is_complete = self.parser.get_status_code() >= 200
        self.stays_open = self.parser.should_keep_alive()  # the parser forgets the headers right after this

    def feed(self, data: bytes) -> None:
        """Raises httptools.HttpParserError, also for endless header lines."""
        if not self.has_headers:
            self.header_size += len(data)
            if self.header_size > MAX_HEADER_BYTES + CHUNK_BYTES:
                raise httptools.HttpParserError("its header lines do not end")
        self.parser.feed_data(data)

    def answer(self) -> Answer:
        """What was read; ask once."""
        status = self.parser.get_status_code()
        del self.parser  # it holds this reading: a circle is memory until it is found
        body = b"".join(self.parts)[: self._max]
        return Answer(status=status, headers=self.headers, body=body, cut=self.is_cut)


class Lanes:
    """Connections to one origin. One thread calls `exchange`; any may call `hurry`. Raises nothing but NetError."""

    def __init__(self, origin: str, tls: Callable[[], ssl.SSLContext], connect_timeout: float, max_answer: int) -> None:
        parts = urllib.parse.urlsplit(origin)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._where = f"{self._host}:{parts.port}" if parts.port else self._host
        self._netloc = parts.netloc.rpartition("@")[2]
        self._tls = tls() if parts.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._max_answer = max_answer
        self._idle: list[tuple[socket.socket, float]] = []  # and since when (monotonic)
        self._deadline = 0.0
        self._timeout = 0.0
        self._limit = float("inf")

    def exchange(self, requests: Sequence[Request], timeout: float) -> list[Answer | NetError]:
        """The answer to each request, or why there is none."""
        self._timeout = timeout
        self._deadline = time.monotonic() + min(timeout, self._limit)
        results: list[Answer | NetError | None] = [None] * len(requests)
        open_lanes: list[socket.socket | None] = []
        failure: NetError | None = None
        for place, request in enumerate(requests):
            try:
                if failure is not None:  # nobody there: the others need not find out as well
                    raise failure
                open_lanes.append(self._send(request))
            except NetError as error:
                open_lanes.append(None)
                results[place] = error
                failure = error if not error.sent else None
        for place, lane in enumerate(open_lanes):
            if lane is not None:
                results[place] = self._receive(lane)
        return [one for one in results if one is not None]

    def hurry(self, seconds: float) -> None:
        """From now on no call takes longer."""
        self._limit = seconds
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[0].close()

    # -- one lane -----------------------------------------------------------------------------------------------------

    def _send(self, request: Request) -> socket.socket:
        lane = self._lane()
        path = request.url.partition("//")[2].partition("/")[2]
        lines = [f"{request.method} /{path} HTTP/1.1", f"Host: {self._netloc}", f"Content-Length: {len(request.body)}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        try:
            self._write(lane, head + request.body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass  # one that refuses a body closes while it comes in: why may lie in the buffer
        except OSError as error:
            lane.close()
            raise self._broken(error) from error
        return lane

    def _write(self, lane: socket.socket, data: bytes) -> None:
        """`sendall` under TLS begins its timeout anew with every record, and notices no deadline that is moved."""
        rest = memoryview(data)
        while rest:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            lane.settimeout(min(left, SLICE_SECONDS))
            try:
                rest = rest[lane.send(rest) :]
            except TimeoutError:
                continue

    def _lane(self) -> socket.socket:
        """An idle connection that the other side has not closed, else a new one."""
        while self._idle:
            lane, since = self._idle.pop()
            if time.monotonic() - since < MAX_IDLE_SECONDS and not select.select([lane], [], [], 0)[0]:
                return lane
            lane.close()
        return self._connect()

    def _connect(self) -> socket.socket:
        seconds = max(LEAST_SECONDS, min(self._connect_timeout, self._deadline - time.monotonic()))
        try:
            plain = socket.create_connection((self._host, self._port), seconds)
        except socket.gaierror as error:
            raise NetError("dns", False, f"the name {self._host} cannot be resolved") from error
        except TimeoutError as error:
            raise NetError("connect", False, f"{self._where} does not accept a connection in time") from error
        except OSError as error:
            raise NetError("refused", False, f"{self._where} refuses the connection") from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return plain
        try:
            return self._tls.wrap_socket(plain, server_hostname=self._host)
        except (OSError, ValueError) as error:
            plain.close()
            raise NetError("tls", False, f"TLS with {self._where} failed: {str(error)[:200]}") from error

    def _receive(self, lane: socket.socket) -> Answer | NetError:
        reading = _Reading(self._max_answer)
        least = time.monotonic() + LEAST_SECONDS
        try:
            while not reading.is_complete and not reading.is_cut:
                if time.monotonic() > max(self._deadline, least):  # it sends, but so slowly that it never ends
                    raise TimeoutError
                data = self._read(lane)
                if data:
                    reading.feed(data)
                elif reading.has_headers and not reading.headers.keys() & {"content-length", "transfer-encoding"}:
                    break  # its end is the end of the connection
                else:
                    raise ConnectionResetError
        except (OSError, httptools.HttpParserError) as error:
            lane.close()
            return self._broken(error)
        if reading.is_complete and not reading.is_cut and reading.stays_open:
            self._idle.append((lane, time.monotonic()))
        else:
            lane.close()
        return reading.answer()

    def _read(self, lane: socket.socket) -> bytes:
        while True:
            left = self._left()
            lane.settimeout(min(left, SLICE_SECONDS))
            try:
                return lane.recv(CHUNK_BYTES)
            except TimeoutError:
                if left <= SLICE_SECONDS:
                    raise

    def _left(self) -> float:
        return max(LEAST_SECONDS, self._deadline - time.monotonic())

    def _broken(self, error: Exception) -> NetError:
        if isinstance(error, TimeoutError):
            return NetError(
                "timeout", True, f"{self._where} did not answer within {min(self._timeout, self._limit):g} s"
            )
        if isinstance(error, httptools.HttpParserError):
            return NetError("protocol", True, f"{self._where} did not answer in HTTP: {str(error)[:200]}")
        return NetError("reset", True, f"{self._where} closed the connection before its answer was complete")
