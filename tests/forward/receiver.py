"""A receiver on loopback, plain or with TLS, that answers byte by byte as a test says: one thread a connection."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import NamedTuple, Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Socket = socket.socket


class Got(NamedTuple):
    """One request; connection: number of the connection on which it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Receiver:
    """`reply(got, connection)` writes the answer and returns whether the connection stays open.

    greet: called instead of reading requests, for receivers that do not read.
    """

    def __init__(self, certificate: str = "") -> None:
        self.got: list[Got] = []
        self.connections = 0
        self.reply: Callable[[Got, Socket], bool] = lambda got, connection: say(connection, OK)
        self.greet: Callable[[Socket], None] | None = None
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._open: list[Socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def origin(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    def hang_up(self) -> None:
        """Close all connections that are open now."""
        for one in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self.over.is_set():
                plain, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(plain, self.connections), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, plain: Socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            self._open.append(connection)
            if self.greet is not None:
                with contextlib.closing(connection):
                    self.greet(connection)
                    return
            with contextlib.closing(connection), connection.makefile("rb") as reader:
                while self._one(reader, connection, number):
                    pass

    def _one(self, reader, connection: Socket, number: int) -> bool:  # type: ignore[no-untyped-def]
        line = reader.readline()
        if not line:
            return False
        headers = {}
        while (header := reader.readline().strip()) != b"":
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        got = Got(line.decode().split()[1], headers, reader.read(int(headers["content-length"])), number)
        with self._lock:
            self.got.append(got)
        return self.reply(got, connection)


def say(connection: Socket, *parts: bytes, stay: bool = True) -> bool:
    """Write parts of an answer, each as its own packet."""
    for part in parts:
        connection.sendall(part)
    return stay
