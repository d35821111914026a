"""A bounded load on a server of this machine: N connections, fresh ids, who was acknowledged and how fast.

As a program: python -m tests.helpers.load --dsn DSN -n 1000 -c 8 [--rate R] [--ids-out FILE] [--seconds S]
prints one JSON object.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.helpers.corpus import Template, templates


class Load:
    """What was sent and what came of it."""

    def __init__(self, dsn: str, bodies: list[Template], count: int, rate: float = 0.0, seconds: float = 0.0) -> None:
        parts = urlsplit(dsn)
        assert parts.hostname in ("127.0.0.1", "localhost", "::1"), "loads go to this machine only"
        self.host, self.port = parts.hostname, parts.port or 80
        self.head = (
            f"POST /api/{parts.path.strip('/')}/envelope/ HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: application/x-sentry-envelope\r\nContent-Encoding: gzip\r\nX-Sentry-Auth: Sentry "
            f"sentry_version=7, sentry_client=load/1, sentry_key={parts.username}\r\nContent-Length: "
        ).encode()
        self.bodies, self.count, self.rate, self.seconds = bodies, count, rate, seconds
        self.sent = 0
        self.acked: list[str] = []
        self.answers: Counter[str] = Counter()
        self.latencies: list[float] = []

    async def run(self, connections: int) -> None:
        self.started = time.perf_counter()
        await asyncio.gather(*(self._connection() for _ in range(connections)))
        self.ended = time.perf_counter()

    def _next(self) -> int | None:
        if self.sent >= self.count or (self.seconds and time.perf_counter() - self.started > self.seconds):
            return None
        self.sent += 1
        return self.sent - 1

    async def _connection(self) -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while (number := self._next()) is not None:
            if self.rate:
                await asyncio.sleep(max(0.0, self.started + number / self.rate - time.perf_counter()))
            event_id, body = self.bodies[(number * 7919) % len(self.bodies)].fresh()
            before = time.perf_counter()
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.wait_for(asyncio.open_connection(self.host, self.port), 10)
                writer.write(self.head + b"%d\r\n\r\n" % len(body) + body)
                status = await asyncio.wait_for(_answer(reader), 30)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.answers[type(error).__name__] += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
                await asyncio.sleep(0.02)
                continue
            self.answers[str(status)] += 1
            if status == 200:
                self.acked.append(event_id)
                self.latencies.append(time.perf_counter() - before)
        if writer is not None:
            writer.close()

    def summary(self) -> dict[str, Any]:
        ordered = sorted(self.latencies) or [0.0]
        wall = self.ended - self.started
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "sent": self.sent,
            "acked": len(self.acked),
            "answers": dict(self.answers),
            "seconds": round(wall, 3),
            "acked_per_second": round(len(self.acked) / wall, 1),
            "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99) - 1] * 1000, 2),
            "client_cpu_ms": round((used.ru_utime + used.ru_stime) * 1000 / max(self.sent, 1), 3),
        }


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))
    return int(head[9:12])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("-c", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--hot", action="store_true", help="one envelope only")
    parser.add_argument("--ids-out", type=Path)
    args = parser.parse_args()
    bodies = templates(args.corpus)
    load = Load(args.dsn, bodies[:1] if args.hot else bodies, args.n, args.rate, args.seconds)
    import uvloop

    uvloop.run(load.run(args.c))
    if args.ids_out:
        args.ids_out.write_text("\n".join(load.acked))
    json.dump(load.summary(), sys.stdout)


if __name__ == "__main__":
    main()
