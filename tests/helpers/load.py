"""A bounded load on a server of this machine: N connections, fresh ids, who was acknowledged and how fast.

As a program: python -m tests.helpers.load --dsn DSN -n 1000 -c 8 [--rate R] [--mix K=W,..] [--ids-out FILE]
prints one JSON object. It shares the cores with what it measures, so requests are made before the clock starts and a
connection is one asyncio protocol without streams; `client_cpu_ms` says what it cost per request nevertheless.
Latency counts from the moment a request is written. With --rate requests are due at fixed times, whatever the answers
take (open loop), and `late` counts those that found no free connection in time.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.helpers.corpus import Template, templates
from tests.helpers.traffic import MIXED, Shot, Traffic

PREPARED = 20_000  # requests made in advance at most; about 6 KB each
ANSWER_SECONDS = 30.0
AGAIN_SECONDS = 0.02  # pause before a new connection after a failure


class Address(NamedTuple):
    """Where a DSN points to. prefix: what stands before /api, "" or with a leading slash."""

    host: str
    port: int
    prefix: str
    project: str
    key: str


def address_of(dsn: str) -> Address:
    """Raises ValueError with a sentence when it is no DSN or not one of this machine."""
    form = "http://KEY@HOST:PORT/PROJECT is wanted"
    try:
        parts = urlsplit(dsn)
        port = parts.port or 80
    except ValueError as error:
        raise ValueError(f"{error}; {form}") from None
    if not parts.scheme or not parts.netloc:
        raise ValueError(f"this is no DSN; {form}")
    if parts.scheme != "http":
        raise ValueError(f"{parts.scheme} is not spoken here; {form}")
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError(
            f"{parts.hostname or 'no host'}: loads go to this machine only (127.0.0.1, localhost or [::1])"
        )
    if not parts.username:
        raise ValueError(f"the key is missing; {form}")
    prefix, _, project = parts.path.rstrip("/").rpartition("/")
    if not project:
        raise ValueError(f"the project is missing; {form}")
    return Address(parts.hostname, port, prefix, project, parts.username)


class Load:
    """What was sent and what came of it. source: a Traffic, or templates of error events."""

    def __init__(
        self, dsn: str, source: Traffic | list[Template], count: int, rate: float = 0.0, seconds: float = 0.0
    ) -> None:
        address = address_of(dsn)
        self.host, self.port = address.host, address.port
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.head = (
            f"POST {address.prefix}/api/{address.project}/envelope/ HTTP/1.1\r\nHost: {host}:{self.port}\r\n"
            f"Content-Type: application/x-sentry-envelope\r\nContent-Encoding: gzip\r\nX-Sentry-Auth: Sentry "
            f"sentry_version=7, sentry_client=load/1, sentry_key={address.key}\r\nContent-Length: "
        ).encode()
        self.traffic = source if isinstance(source, Traffic) else Traffic({"error": 1}, errors=source)
        self.count, self.rate, self.seconds = count, rate, seconds
        self.sent = 0
        self.acked: list[str] = []
        self.kinds: dict[str, list[str]] = {}
        self.answers: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.late = 0
        self.client_cpu = 0.0
        in_advance = min(
            count, PREPARED, int(rate * seconds) + 1 if rate and seconds else 2000 if seconds else PREPARED
        )
        self._ready = deque(self._make() for _ in range(in_advance))

    def _make(self) -> tuple[Shot, bytes]:
        shot = self.traffic.shot()
        return shot, self.head + b"%d\r\n\r\n" % len(shot.body) + shot.body

    async def run(self, connections: int) -> None:
        """Send everything; returns when the last answer is there."""
        self._loop = asyncio.get_running_loop()
        self.started = time.perf_counter()
        used = resource.getrusage(resource.RUSAGE_SELF)
        senders = [_Sender(self) for _ in range(connections)]
        await asyncio.gather(*(sender.done for sender in senders))
        self.ended = time.perf_counter()
        after = resource.getrusage(resource.RUSAGE_SELF)
        self.client_cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime

    def take(self) -> tuple[float, Shot, bytes] | None:
        """(seconds to wait first, shot, bytes); None when it is over."""
        if self.sent >= self.count:
            return None
        elapsed = time.perf_counter() - self.started
        if self.seconds and elapsed > self.seconds:
            return None
        wait = 0.0
        if self.rate:
            wait = self.sent / self.rate - elapsed
            if self.seconds and self.sent / self.rate > self.seconds:
                return None
            self.late += wait < -0.05
        self.sent += 1
        shot, data = self._ready.popleft() if self._ready else self._make()
        return max(0.0, wait), shot, data

    def answered(self, status: str, shot: Shot, began: float) -> None:
        """One request is over."""
        self.answers[status] += 1
        if status == "200":
            self.latencies.append(time.perf_counter() - began)
            self.acked.append(shot.id)
            self.kinds.setdefault(shot.kind, []).append(shot.id)

    def summary(self) -> dict[str, Any]:
        """Counts, rates and latencies (ms)."""
        ordered = sorted(self.latencies)
        last = len(ordered) - 1

        def ms(at: int) -> float | None:
            return round(ordered[at] * 1000, 2) if ordered else None

        wall = self.ended - self.started
        return {
            "sent": self.sent,
            "acked": len(self.acked),
            "answers": dict(self.answers),
            "late": self.late,
            "seconds": round(wall, 3),
            "acked_per_second": round(len(self.acked) / wall, 1),
            "p50_ms": ms(len(ordered) // 2),
            "p99_ms": ms(int(last * 0.99)),
            "max_ms": ms(last),
            "client_cpu_ms": round(self.client_cpu * 1000 / max(self.sent, 1), 3),
        }


class _Sender:
    """One client: a request, its answer, the next request; a new connection after each failure."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.loop = load._loop
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.transport: asyncio.Transport | None = None
        self.shot: Shot | None = None
        self.data = b""
        self.began = 0.0
        self.watch: asyncio.TimerHandle | None = None
        self.next()

    def next(self) -> None:
        taken = self.load.take()
        if taken is None:
            if self.transport is not None:
                self.transport.close()
            self.done.set_result(None)
            return
        wait, self.shot, self.data = taken
        if wait > 0:
            self.loop.call_later(wait, self.send)
        else:
            self.send()

    def send(self) -> None:
        if self.transport is None or self.transport.is_closing():
            self.loop.create_task(self._connect())
            return
        self.began = time.perf_counter()
        self.transport.write(self.data)

    async def _connect(self) -> None:
        try:
            await asyncio.wait_for(self.loop.create_connection(lambda: _Wire(self), self.load.host, self.load.port), 10)
        except (OSError, TimeoutError) as error:
            self.over(type(error).__name__)
            return
        self.watch_time()
        self.send()

    def watch_time(self) -> None:
        """One timer a connection that looks now and then, not one a request."""
        if self.shot is not None and self.began and time.perf_counter() - self.began > ANSWER_SECONDS:
            if self.transport is not None:
                self.transport.abort()
            return
        if not self.done.done():
            self.watch = self.loop.call_later(5.0, self.watch_time)

    def over(self, status: str) -> None:
        shot, self.shot = self.shot, None
        if shot is None:
            return
        self.load.answered(status, shot, self.began)
        self.began = 0.0
        if status.isdigit():
            self.next()
        else:
            self.transport = None
            self.loop.call_later(AGAIN_SECONDS, self.next)


class _Wire(asyncio.Protocol):
    """Reads answers: status line and Content-Length, nothing else."""

    def __init__(self, sender: _Sender) -> None:
        self.sender = sender
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sender.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        status = head[9:12].decode()
        self.buffer = b""
        if b"connection: close" in head and self.sender.transport is not None:
            self.sender.transport.close()
        self.sender.over(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sender.watch is not None:
            self.sender.watch.cancel()
        if self.sender.transport is not None and self.sender.shot is not None and self.sender.began:
            self.sender.over(type(exc).__name__ if exc else "closed")


def mix_of(text: str) -> dict[str, int]:
    """ "error=50,log=10" as a mapping; "mixed" is the usual one."""
    if text == "mixed":
        return dict(MIXED)
    return {kind: int(weight) for kind, _, weight in (part.partition("=") for part in text.split(","))}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("-c", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--mix", type=mix_of, default={"error": 1}, help="kind=weight,... or mixed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hot", action="store_true", help="one envelope only")
    parser.add_argument("--ids-out", type=Path, help="kind and id of each acknowledged request, one a line")
    args = parser.parse_args()
    bodies = templates(args.corpus)
    traffic = Traffic(args.mix, args.seed, bodies[:1] if args.hot else bodies)
    load = Load(args.dsn, traffic, args.n, args.rate, args.seconds)
    import uvloop

    uvloop.run(load.run(args.c))
    if args.ids_out:
        lines = [f"{kind} {one}" for kind, ids in load.kinds.items() for one in ids]
        args.ids_out.write_text("\n".join(lines))
    json.dump(load.summary(), sys.stdout)


if __name__ == "__main__":
    main()
