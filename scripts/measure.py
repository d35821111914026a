"""scripts/bench: what the collector costs on this machine, on real envelopes, in one run.

Sections: start (to the first 200), idle (RSS, CPU), ack (throughput and latency of durable acknowledgements by
connections), drain (CPU of the whole process tree per event from accept to stored, stored per second including the
drain, RSS, bytes per event), storm (one hot issue). Medians of `--repeats` runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.running import PROJECT, Collector, envelope, error_event, wait_for

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).parents[1]
Result = dict[str, Any]


def tree(root: int) -> tuple[float, float]:
    """(CPU seconds with ended children, RSS bytes) of a process and its descendants."""
    rows: dict[int, tuple[int, float, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rsplit(b")", 1)[1].split()
            except OSError:
                continue
            rows[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICK, int(fields[21]) * PAGE)
    cpu = rss = 0.0
    todo = [root]
    while todo:
        pid = todo.pop()
        if pid in rows:
            cpu += rows[pid][1]
            rss += rows[pid][2]
            todo += [child for child, row in rows.items() if row[0] == pid]
    return cpu, rss


def load(running: Collector, count: int, connections: int, *more: str) -> Result:
    """A load generator of its own process; its summary."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.helpers.load",
            "--dsn",
            running.dsn,
            "-n",
            str(count),
            "-c",
            str(connections),
            *more,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result: Result = json.loads(done.stdout)
    return result


def fresh(folder: str) -> Collector:
    return Collector(Path(folder), PROJECT)


def start(repeats: int) -> Result:
    """Seconds from exec to the first 200, imports cached."""
    seconds = []
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            before = time.perf_counter()
            running = fresh(folder).start()
            running.send(envelope(error_event()))
            seconds.append(time.perf_counter() - before)
            running.close()
    return {"start_to_first_200_seconds": round(statistics.median(seconds[1:]), 3)}


def idle(repeats: int) -> Result:
    """RSS and CPU of a collector that has seen a few events and waits."""
    with tempfile.TemporaryDirectory() as folder:
        running = fresh(folder).start()
        for _ in range(5):
            running.send(envelope(error_event()))
        running.drained()
        time.sleep(3)
        assert running.process
        cpu, _ = tree(running.process.pid)
        time.sleep(10)
        later, rss = tree(running.process.pid)
        running.close()
    return {"idle_rss_mb": round(rss / 2**20, 1), "idle_cpu_percent": round((later - cpu) * 10, 2)}


def ack(repeats: int) -> Result:
    """Durable acknowledgements by number of connections; digesting goes on beside it."""
    result: Result = {}
    for connections in (1, 8, 32, 128):
        runs = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                running = fresh(folder).start()
                load(running, 200, connections)
                runs.append(load(running, 300 if connections == 1 else 4000, connections))
                running.close()
        result[f"c{connections}"] = {
            key: round(statistics.median(run[key] for run in runs), 2)
            for key in ("acked_per_second", "p50_ms", "p99_ms")
        }
        assert all(set(run["answers"]) == {"200"} for run in runs), runs
    return {"acks": result}


def drain(repeats: int, *more: str, count: int = 4000) -> Result:
    """From the first request to the last stored row."""
    runs: list[Result] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            running = fresh(folder).start()
            load(running, 300, 8, *more)
            running.drained()
            assert running.process
            cpu, _ = tree(running.process.pid)
            stored = running.status()["ledger"]["stored"]
            before = time.perf_counter()
            sent = load(running, count, 8, *more)
            wait_for(lambda: running.status()["ledger"]["stored"] >= stored + count, 120)  # noqa: B023
            wall = time.perf_counter() - before
            later, rss = tree(running.process.pid)
            running.stop()
            size = sum(path.stat().st_size for path in (running.data / "segments").iterdir())
            runs.append(
                {
                    "cpu_ms_per_event": (later - cpu) * 1000 / count,
                    "stored_per_second": count / wall,
                    "acked_per_second": sent["acked_per_second"],
                    "rss_mb": rss / 2**20,
                    "bytes_per_event": size / (count + 300),
                }
            )
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


SECTIONS: dict[str, Callable[[int], Result]] = {
    "start": start,
    "idle": idle,
    "ack": ack,
    "drain": lambda repeats: {"drain": drain(repeats)},
    "storm": lambda repeats: {"storm": drain(repeats, "--hot")},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all when none is named")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result: Result = {"machine": f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {os.uname().release}"}
    for name in args.sections or SECTIONS:
        print(f"... {name}", file=sys.stderr)
        result.update(SECTIONS[name](args.repeats))
    if args.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for name, figure in rows:
            print(f"{key + ' ' + name:<42} {figure}")


if __name__ == "__main__":
    main()
