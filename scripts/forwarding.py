"""What forwarding costs: CPU per occurrence and per event, and how fast a collector catches up after an outage.

The product's own room and client on real events over loopback; the receiver (scripts/floor.py) is another process that
takes everything, so that only our side is measured. CPU is the least of `repeats` runs, which neighbours disturb least.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.config import Config
from collector.digest.digester import Digester, ProjectRules
from collector.forward.settings import ForwardSettings
from collector.machine.clock import SystemClock
from collector.machine.net import HttpNet, NetSettings
from collector.model.event import EventRow
from collector.model.received import Position, Received
from collector.model.settings import Secret, Size
from tests.forward.edge import PROJECT, Edge
from tests.helpers.clock import FakeClock
from tests.helpers.corpus import templates

ROOT = Path(__file__).parents[1]
KEY = "5e9a7e5e9a7e5e9a7e5e9a7e5e9a7e5e"
COMMIT = 100  # events a commit
ISSUES = 20
Result = dict[str, Any]


def events(count: int) -> list[EventRow]:
    """Digested real events with ids of their own."""
    config = Config()
    digester = Digester({PROJECT: ProjectRules()}, config.digest, config.limits)
    kinds = templates()
    made: list[EventRow] = []
    while len(made) < count:
        _, body = kinds[len(made) % len(kinds)].fresh(compress=False)
        head = Received("envelope", PROJECT, time.time())
        made += digester.digest(Position(1, 1, 1), head, body).events
    return made[:count]


@contextmanager
def receiver() -> Iterator[str]:
    """A DSN that takes everything."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.floor"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        yield f"http://{KEY}@127.0.0.1:{process.stdout.readline().strip()}/7"
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@contextmanager
def edge(dsn: str, mode: str, encoding: str) -> Iterator[Edge]:
    """A forward room of its own folder."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        net = HttpNet(NetSettings())
        made = Edge(Path(folder), net, dsn=Secret(dsn), encoding=encoding, max_outbox_bytes=Size("1 GiB"))
        made.state.execute("PRAGMA synchronous=NORMAL")
        made.modes[PROJECT] = ForwardSettings(mode=mode)  # type: ignore[arg-type]
        made.restart()
        try:
            yield made
        finally:
            made.close()
            net.close()


def commit(on: Edge, rows: list[EventRow]) -> float:
    """CPU seconds of the digest thread's part."""
    spent = 0.0
    for start in range(0, len(rows), COMMIT):
        numbered = [(number % ISSUES + 1, row) for number, row in enumerate(rows[start : start + COMMIT])]
        on.payloads = {row.event_id: row.payload for _, row in numbered}
        began = time.thread_time()
        on.commit(numbered)
        spent += time.thread_time() - began
    return spent


def summaries(dsn: str, rows: list[EventRow], encoding: str) -> Result:
    """µs of CPU an occurrence: counting, closing the windows and sending what they leave."""
    with edge(dsn, "summaries", encoding) as on:
        on.clock = FakeClock()
        on.restart()
        commit(on, rows[:COMMIT])
        on.finish()
        spent = commit(on, rows[COMMIT:])
        began = time.thread_time()
        on.finish()
        spent += time.thread_time() - began
    return {"summaries_us": spent * 1e6 / (len(rows) - COMMIT)}


def whole(dsn: str, rows: list[EventRow], encoding: str) -> Result:
    """µs of CPU an event in `events` mode: queueing it, sending it; and how many leave a second."""
    with edge(dsn, "events", encoding) as on:
        on.clock = SystemClock()  # type: ignore[assignment]
        on.restart()
        commit(on, rows[:COMMIT])
        on.settle()
        queued = commit(on, rows[COMMIT:])
        began, wall = time.thread_time(), time.perf_counter()
        on.settle()
        sent, wall = time.thread_time() - began, time.perf_counter() - wall
        assert on.records() == 0, on.status()["last_error"]
    count = len(rows) - COMMIT
    each = {"queued": queued, "sent": sent, "events": queued + sent}
    return {f"{name}_us": cpu * 1e6 / count for name, cpu in each.items()} | {"caught_up_per_second": count / wall}


def forwarding(repeats: int, count: int = 1500) -> Result:
    """All of it, for gzip (the default) and zstd."""
    rows = events(count + COMMIT)
    result: Result = {"payload_bytes": sum(len(row.payload) for row in rows) // len(rows)}
    with receiver() as dsn:
        for encoding in ("gzip", "zstd"):
            runs = [summaries(dsn, rows, encoding) | whole(dsn, rows, encoding) for _ in range(repeats)]
            result[encoding] = {
                name: round((max if name.endswith("second") else min)(run[name] for run in runs), 1) for name in runs[0]
            }
    return {"forwarding": result}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.forwarding", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--events", type=int, default=1500)
    args = parser.parse_args()
    print(json.dumps(forwarding(args.repeats, args.events), indent=2))


if __name__ == "__main__":
    main()
