"""Outbound HTTP: the only place that opens a connection to somebody else's machine.

Promise: one call ends within its total time whatever the other side does (hangs, trickles header lines, never ends its
body), never follows a redirect, and never holds more than `max_answer_bytes` of an answer. Whether a failed request can
have been taken is told apart (`NetError.sent`), because a receiver that took it must not be told twice.
urllib3 is imported with the first `HttpNet`, so a collector that talks to nobody does not carry it.

Proxies: the setting, else the usual environment (http_proxy, https_proxy, no_proxy). CA: the setting, else
SSL_CERT_FILE or REQUESTS_CA_BUNDLE, else the system's store.
"""

import os
import random
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from collector.errors import ConfigError
from collector.machine.answers import Answer, NetError, Request
from collector.machine.lanes import Lanes
from collector.model.settings import Duration, Help, Settings, Size

if TYPE_CHECKING:
    import urllib3

__all__ = ["Answer", "HttpNet", "Net", "NetError", "NetSettings", "Request", "jitter"]

CHUNK_BYTES = 16 * 1024


class NetSettings(Settings):
    """Outbound connections."""

    connect_timeout: Annotated[Duration, Help("time to reach the other side, TLS included")] = Duration("3 s")
    timeout: Annotated[Duration, Help("time for one whole request and its answer")] = Duration("8 s")
    max_answer_bytes: Annotated[Size, Help("an answer is cut here")] = Size("64 KiB")
    proxy: Annotated[str, Help("http://host:port; empty: as the environment says")] = ""
    ca_file: Annotated[str, Help("PEM file of trusted authorities; empty: environment, else the system's")] = ""


class Net(Protocol):
    """The seam: tests pass a FakeNet, the composition root an HttpNet."""

    def send(self, request: Request) -> Answer:
        """Send and wait. Raises NetError."""
        ...

    def send_many(self, requests: Sequence[Request]) -> list[Answer | NetError]:
        """Send requests to one origin at the same time and wait for all."""
        ...

    def hurry(self, seconds: float) -> None:
        """From now on no request, running ones included, takes longer than `seconds`."""
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


def jitter() -> float:
    """A random number in [0, 1): spreads retries of many collectors."""
    return random.random()  # noqa: S311 - not a secret


class _Timer:
    """The time of one request, and the connection that carries it once that is known."""

    def __init__(self, due_at: float) -> None:
        self.due_at = due_at
        self.connection: Any = None
        self.expired = False


class _Watch:
    """One thread that shuts the socket of a request that is past its deadline.

    Socket timeouts restart with every byte (endless header lines, a trickled body), so only an outside look at the
    clock bounds the whole request.
    """

    def __init__(self) -> None:
        self._timers: dict[int, _Timer] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._idle = False

    def begin(self, seconds: float) -> _Timer:
        """Start the time of the calling thread's request."""
        timer = _Timer(time.monotonic() + seconds)
        with self._changed:
            self._timers[threading.get_ident()] = timer
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="net-watch", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify()
        return timer

    def attach(self, connection: Any) -> None:
        """The connection that carries the calling thread's request."""
        with self._changed:
            timer = self._timers.get(threading.get_ident())
            if timer is not None:
                timer.connection = connection

    def end(self) -> None:
        """Stop the time of the calling thread's request."""
        with self._changed:
            self._timers.pop(threading.get_ident(), None)

    def hurry(self, seconds: float) -> None:
        """Bring all deadlines forward."""
        with self._changed:
            for timer in self._timers.values():
                timer.due_at = min(timer.due_at, time.monotonic() + seconds)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(1.0)

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for timer in self._timers.values():
                    if timer.due_at <= now and not timer.expired:
                        timer.expired = True
                        _shut(timer.connection)
                # Half a second late is still bounded, and an idle collector is not woken at all.
                self._idle = not self._timers
                self._changed.wait(None if self._idle else 0.5)


def _shut(connection: Any) -> None:
    sock = getattr(connection, "sock", None)
    if sock is None:
        return
    try:
        # A TLS socket's own shutdown would talk to the peer first; the plain one below it wakes the reader at once.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass


class HttpNet:
    """The real thing: one urllib3 pool with keep-alive. Raises ConfigError for an unusable proxy or CA file."""

    def __init__(self, settings: NetSettings, connections: int = 2) -> None:
        import urllib3.connectionpool  # 0.1 s of CPU that the first event should not wait for

        self._settings = settings
        self._timeout = float(settings.timeout)
        self._watch = _Watch()
        self._connections = connections
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._proxies: dict[tuple[str, ...], str] = {}
        self._lanes: dict[str, Lanes] = {}
        self._lock = threading.Lock()
        if settings.ca_file:
            _check_ca_file(settings.ca_file)
        if settings.proxy:
            self._pool_for(settings.proxy)

    def send(self, request: Request) -> Answer:
        """Send and wait at most `timeout` in all. Raises NetError; never follows a redirect."""
        import urllib3

        timer = self._watch.begin(self._timeout)
        try:
            answer = self._exchange(request)
            if timer.expired:  # cut off among its header lines, an answer looks complete to http.client
                raise TimeoutError
            return answer
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _net_error(error, request.url, timer.expired, self._timeout) from error
        finally:
            self._watch.end()

    def _exchange(self, request: Request) -> Answer:
        import urllib3

        pool = self._pool_for(self._settings.proxy or self._proxy_of(request.url))
        response = pool.request(
            request.method,
            request.url,
            body=request.body or None,
            headers=request.headers,
            timeout=urllib3.Timeout(connect=min(self._settings.connect_timeout, self._timeout), read=self._timeout),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            body, cut = self._read(response)
            if cut:
                response.close()
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status=response.status, headers=headers, body=body, cut=cut)

    def send_many(self, requests: Sequence[Request]) -> list[Answer | NetError]:
        """As `send`, all at the same time and within `timeout` in all; one after the other through a proxy. One thread
        at a time."""
        first = requests[0].url
        if self._settings.proxy or self._proxy_of(first):
            return [self._or_error(request) for request in requests]
        origin = "{}://{}".format(*urllib.parse.urlsplit(first)[:2])
        lanes = self._lanes.get(origin)
        if lanes is None:
            settings = self._settings
            lanes = Lanes(origin, self._tls, float(settings.connect_timeout), int(settings.max_answer_bytes))
            self._lanes[origin] = lanes
        return lanes.exchange(requests, self._timeout)

    def _or_error(self, request: Request) -> Answer | NetError:
        try:
            return self.send(request)
        except NetError as error:
            return error

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._ca_file() or None)

    def _ca_file(self) -> str:
        return self._settings.ca_file or os.environ.get("REQUESTS_CA_BUNDLE", "")

    def hurry(self, seconds: float) -> None:
        """From now on no request, running ones included, takes longer than `seconds`."""
        self._timeout = min(self._timeout, seconds)
        for lanes in list(self._lanes.values()):
            lanes.hurry(seconds)
        self._watch.hurry(seconds)

    def close(self) -> None:
        """Close all connections and end the watching thread."""
        for pool in self._pools.values():
            pool.clear()
        for lanes in self._lanes.values():
            lanes.close()
        self._watch.close()

    def _read(self, response: Any) -> tuple[bytes, bool]:
        limit = int(self._settings.max_answer_bytes)
        parts: list[bytes] = []
        size = 0
        for part in response.stream(CHUNK_BYTES, decode_content=False):
            parts.append(part)
            size += len(part)
            if size > limit:
                return b"".join(parts)[:limit], True
        return b"".join(parts), False

    def _proxy_of(self, url: str) -> str:
        """Read from the environment once a host: looking through all variables costs as much as the request."""
        host = tuple(urllib.parse.urlsplit(url)[:2])
        if host not in self._proxies:
            self._proxies[host] = _environment_proxy(url)
        return self._proxies[host]

    def _pool_for(self, proxy: str) -> "urllib3.PoolManager":
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: str) -> "urllib3.PoolManager":
        import urllib3

        options: dict[str, Any] = {"num_pools": 8, "maxsize": self._connections, "block": False}
        if ca_file := self._ca_file():
            options["ca_certs"] = ca_file
        pool: urllib3.PoolManager
        if proxy:
            try:
                pool = urllib3.ProxyManager(proxy, **options)
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                raise ConfigError([f"proxy: {_without_secrets(proxy)} cannot be used: {error}"]) from error
        else:
            pool = urllib3.PoolManager(**options)
        pool.pool_classes_by_scheme = _watched_pools(self._watch)
        return pool


def _watched_pools(watch: _Watch) -> dict[str, Any]:
    """urllib3's pools, with connections that tell the watch which socket carries the request."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class WatchedConnection(HTTPConnection):
        def request(self, *args: Any, **options: Any) -> None:
            watch.attach(self)
            super().request(*args, **options)

    class WatchedTlsConnection(HTTPSConnection):
        def connect(self) -> None:
            try:
                super().connect()
            except ConnectionError as error:  # within the handshake: a refused connection has a class of its own
                raise ssl.SSLError(f"the other side ended the handshake: {error}") from error

        def request(self, *args: Any, **options: Any) -> None:
            watch.attach(self)
            super().request(*args, **options)

    class WatchedPool(HTTPConnectionPool):
        ConnectionCls = WatchedConnection

    class WatchedTlsPool(HTTPSConnectionPool):
        ConnectionCls = WatchedTlsConnection

    return {"http": WatchedPool, "https": WatchedTlsPool}


def _environment_proxy(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    proxies = urllib.request.getproxies_environment()
    if not proxies or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return proxies.get(parts.scheme, proxies.get("all", ""))


def _check_ca_file(ca_file: str) -> None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError([f"ca_file: {ca_file!r} cannot be used: {error}"]) from error


def _net_error(error: Exception, url: str, expired: bool, timeout: float) -> NetError:
    """The sentence and the kind of what urllib3 raised; `sent` is False for failures before the request left."""
    import urllib3.exceptions as errors

    where = urllib.parse.urlsplit(url)
    host = f"{where.hostname}:{where.port}" if where.port else str(where.hostname)
    unsent = errors.ConnectTimeoutError | errors.NewConnectionError | errors.ProxyError
    if expired and not isinstance(error, unsent):
        return NetError("timeout", True, f"{host} did not finish an answer within {timeout:g} s")
    if isinstance(error, errors.NameResolutionError):
        return NetError("dns", False, f"the name {where.hostname} cannot be resolved")
    if isinstance(error, errors.ProxyError):
        return NetError("proxy", False, f"the proxy does not reach {host}: {_short(error)}")
    if isinstance(error, errors.NewConnectionError):  # before its base class, ConnectTimeoutError
        return NetError("refused", False, f"{host} refuses the connection")
    if isinstance(error, errors.ConnectTimeoutError):
        return NetError("connect", False, f"{host} does not accept a connection in time")
    if isinstance(error, errors.SSLError):
        return NetError("tls", False, f"TLS with {host} failed: {_short(error)}")
    if isinstance(error, errors.ReadTimeoutError | TimeoutError):
        return NetError("timeout", True, f"{host} did not answer within {timeout:g} s")
    if isinstance(error, errors.LocationParseError | errors.URLSchemeUnknown | ValueError):
        return NetError("protocol", False, f"the address of {host} cannot be used: {_short(error)}")
    if isinstance(error, errors.ProtocolError) and isinstance(error.args[-1], OSError):
        return NetError("reset", True, f"{host} closed the connection before its answer was complete")
    return NetError("protocol", True, f"{host} did not answer in HTTP: {_short(error)}")


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "original_error", None) or error
    return str(reason)[:200]


def _without_secrets(url: str) -> str:
    return url.rpartition("@")[2]
