"""scripts/bench: what the collector costs on this machine, on real envelopes, in one run.

Sections: floor (a server that only reads and answers, by the same load), stages (CPU per event of each stage), start
(to the first 200), idle (RSS, CPU), ack (durable acknowledgements by connections, their ratio to the floor, and their
latency beside an idle and a saturated worker), drain (CPU per event from accept to stored, stored per second with the
drain, RSS, bytes per event), storm (one hot issue), mixed (errors, transactions, sessions, logs, check-ins), queries
(scripts/queries.py), upstream (what forwarding costs, acks beside a hanging upstream). Medians of `--repeats` runs; CPU
per event is the least of them, which neighbours disturb least.

--against URL...: the same load on other servers, given by DSN (DSN#PID to read their CPU, too), beside ours.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from scripts.figures import markdown
from scripts.forwarding import forwarding
from scripts.hanging import hanging
from scripts.stages import stages
from tests.helpers import proc
from tests.helpers.corpus import templates
from tests.helpers.running import PROJECT, Collector, collector, envelope, error_event, wait_for

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 8, 32, 128)
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
Result = dict[str, Any]


class Size:
    """How much work a run is: the whole, or --quick for a first look."""

    def __init__(self, quick: bool) -> None:
        self.acks = 1500 if quick else 8000
        self.events = 1500 if quick else 6000
        self.stages = 400 if quick else 1500
        self.idle_seconds = 3.0 if quick else 15.0
        self.rows = "100000" if quick else "1M"


SIZE = Size(quick=False)


def load(dsn: str, count: int, connections: int, *more: str) -> Result:
    """A load generator of its own process; its summary."""
    command = [
        sys.executable,
        "-m",
        "tests.helpers.load",
        "--dsn",
        dsn,
        "-n",
        str(count),
        "-c",
        str(connections),
        *more,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result: Result = json.loads(done.stdout)
    return result


def median(runs: list[Result], *keys: str) -> Result:
    return {key: round(statistics.median(run[key] for run in runs), 2) for key in keys or runs[0]}


def front_of(running: Collector) -> int:
    assert running.process
    return running.process.pid


def acked(dsn: str, connections: int) -> Result:
    """Throughput and latency at so many connections, after a warm-up."""
    load(dsn, 200, connections)
    run = load(dsn, 600 if connections == 1 else SIZE.acks, connections)
    assert set(run["answers"]) == {"200"}, run
    return run


@contextmanager
def bare() -> Iterator[tuple[str, int]]:
    """(DSN, pid) of the floor."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.floor"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        yield f"http://{KEY}@127.0.0.1:{process.stdout.readline().strip()}/42", process.pid
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def floor(repeats: int) -> Result:
    """What the HTTP server alone does here, by the same load generator."""
    result: Result = {}
    for connections in CONNECTIONS:
        runs = []
        for _ in range(repeats):
            with bare() as (dsn, pid):
                load(dsn, 200, connections)
                before = proc.tree(pid).cpu_seconds
                run = load(dsn, SIZE.acks, connections)
                run["cpu_us"] = (proc.tree(pid).cpu_seconds - before) * 1e6 / SIZE.acks
                runs.append(run)
        result[f"c{connections}"] = median(runs, "acked_per_second", "p50_ms", "p99_ms", "cpu_us")
    return {"floor": result}


def ack(repeats: int) -> Result:
    """Durable acknowledgements; the worker digests beside it, as in life, and once more while it is stopped."""
    result: Result = {}
    for connections in CONNECTIONS:
        runs, alone = [], []
        for _ in range(repeats):
            with collector() as running:
                runs.append(acked(running.dsn, connections))
            with collector() as running, stopped_worker(running):
                alone.append(acked(running.dsn, connections))
        result[f"c{connections}"] = median(runs, "acked_per_second", "p50_ms", "p99_ms") | {
            "acked_per_second_worker_stopped": median(alone, "acked_per_second")["acked_per_second"]
        }
    return {"acks": result, "ack_tail": tail(repeats)}


@contextmanager
def stopped_worker(running: Collector) -> Iterator[None]:
    """SIGSTOP: what the front does when nobody else wants the core."""
    pid = wait_for(lambda: running.status()["worker"]["pid"], what="a worker")
    running.drained()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def tail(repeats: int) -> Result:
    """Latency of a steady 150 requests a second, beside an idle worker and beside one that has a backlog."""
    idle_runs, busy_runs = [], []
    steady = ("--rate", "150", "--seconds", "4")
    for _ in range(repeats):
        with collector() as running:
            with stopped_worker(running):
                idle_runs.append(load(running.dsn, 100_000, 32, *steady))
                load(running.dsn, SIZE.acks, 32)
            busy_runs.append(load(running.dsn, 100_000, 32, *steady))
    told = {
        "idle_p50_ms": statistics.median(r["p50_ms"] for r in idle_runs),
        "idle_p99_ms": statistics.median(r["p99_ms"] for r in idle_runs),
        "saturated_p50_ms": statistics.median(r["p50_ms"] for r in busy_runs),
        "saturated_p99_ms": statistics.median(r["p99_ms"] for r in busy_runs),
    }
    return {**told, "p99_ratio": round(told["saturated_p99_ms"] / told["idle_p99_ms"], 2)}


def start(repeats: int) -> Result:
    """Seconds from exec to the first 200, imports cached."""
    seconds = []
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            before = time.perf_counter()
            running = Collector(Path(folder), PROJECT).start()
            running.send(envelope(error_event()))
            seconds.append(time.perf_counter() - before)
            running.close()
    return {"start_to_first_200_seconds": round(statistics.median(seconds[1:]), 3)}


def idle(repeats: int) -> Result:
    """RSS and CPU of a collector that has seen a few events and waits."""
    with collector() as running:
        for _ in range(5):
            running.send(envelope(error_event()))
        running.drained()
        time.sleep(3)
        before = proc.tree(front_of(running))
        time.sleep(SIZE.idle_seconds)
        after = proc.tree(front_of(running))
    percent = (after.cpu_seconds - before.cpu_seconds) / SIZE.idle_seconds * 100
    return {"idle_rss_mb": round(after.rss_bytes / 2**20, 1), "idle_cpu_percent": round(percent, 2)}


def drain(repeats: int, *more: str, settings: str = "") -> Result:
    """From the first request to the last event stored, or counted where its issue keeps no more."""
    runs = [drain_once(settings, *more) for _ in range(repeats)]
    best = min(runs, key=lambda run: float(run["cpu_ms_per_event"]))
    least = {key: round(best[key], 3) for key in best if key.startswith(("cpu_", "yardstick"))}
    in_yardsticks = round(best["cpu_ms_per_event"] * 1000 / best["yardstick_us"], 1)
    return {**least, "in_yardsticks": in_yardsticks, **median(runs, *(key for key in best if key not in least))}


def processed(running: Collector) -> int:
    ledger = running.status()["ledger"]
    return int(ledger["stored"] + ledger["summarised"])


def yardstick_us() -> float:
    """CPU of reading one event of the corpus as plain JSON, the least of five: how fast the machine is just now. On a
    shared host that changes by half from one minute to the next."""
    payloads = [template.fresh(compress=False)[1].split(b"\n", 2)[2].split(b"\n", 1)[0] for template in templates()]
    decode = msgspec.json.Decoder().decode
    runs = []
    for _ in range(5):
        began = time.thread_time()
        for payload in payloads:
            decode(payload)
        runs.append(time.thread_time() - began)
    return min(runs) * 1e6 / len(payloads)


def drain_once(settings: str, *more: str) -> Result:
    count = SIZE.events
    yardsticks = [yardstick_us()]
    with collector(PROJECT + settings) as running:
        front = front_of(running)
        load(running.dsn, 400, 8, *more)
        running.drained()
        done = processed(running)
        worker = running.status()["worker"]["pid"]
        before, front_before = proc.tree(front), proc.own_cpu(front)
        began = time.perf_counter()
        sent = load(running.dsn, count, 32, *more)
        peak = [proc.tree(front).rss_bytes]

        def finished() -> bool:
            peak.append(proc.tree(front).rss_bytes)
            time.sleep(0.1)  # a status has its price, too
            return processed(running) >= done + count

        wait_for(finished, 180, "everything stored")
        wall = time.perf_counter() - began
        after, front_after = proc.tree(front), proc.own_cpu(front)
        assert worker == running.status()["worker"]["pid"], "the worker died"
        running.stop()
        size = sum(path.stat().st_size for path in (running.data / "segments").iterdir())
    yardsticks.append(yardstick_us())
    whole, in_front = after.cpu_seconds - before.cpu_seconds, front_after - front_before
    return {
        "cpu_ms_per_event": whole * 1000 / count,
        "cpu_ms_per_event_front": in_front * 1000 / count,
        "cpu_ms_per_event_worker": (whole - in_front) * 1000 / count,
        "yardstick_us": sum(yardsticks) / 2,
        "stored_per_second": count / wall,
        "acked_per_second": sent["acked_per_second"],
        "rss_mb": max(peak) / 2**20,
        "bytes_per_event": size / (count + 400),
    }


def queries(repeats: int) -> Result:
    """Named and ad-hoc queries over a million rows."""
    command = [sys.executable, "-m", "scripts.queries", "--json", "--rows", SIZE.rows]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return {"queries": json.loads(done.stdout)}


SECTIONS: dict[str, Callable[[int], Result]] = {
    "floor": floor,
    "stages": lambda repeats: {"stages_us_per_event": stages(repeats, SIZE.stages)},
    "start": start,
    "idle": idle,
    "ack": ack,
    "drain": lambda repeats: {"drain": drain(repeats)},
    "storm": lambda repeats: {"storm": drain(repeats, "--hot", settings='issue_rate = "30/m"\n')},
    "mixed": lambda repeats: {"mixed": drain(repeats, "--mix", "mixed")},
    "queries": queries,
    "upstream": lambda repeats: forwarding(repeats) | hanging(repeats),
}


def against(targets: list[str], repeats: int) -> Result:
    """The same load on other servers and on a collector of our own. A target is a DSN, or DSN#PID to read its CPU."""
    result: Result = {}
    for target in targets:
        dsn, _, pid = target.partition("#")
        load(dsn, 300, 8)
        result[dsn.rsplit("@", 1)[1]] = [compared(dsn, int(pid) if pid else None, each) for each in (1, 8, 32)]
    with collector() as running:
        load(running.dsn, 300, 8)
        running.drained()
        result["collector"] = [compared(running.dsn, front_of(running), each) for each in (1, 8, 32)]
    return result


def compared(dsn: str, pid: int | None, connections: int) -> Result:
    """Acknowledged per second, latency, all answers by status; CPU when there is a pid."""
    before = proc.tree(pid) if pid else None
    run = load(dsn, 300 if connections == 1 else SIZE.acks // 4, connections)
    told = {
        "connections": connections,
        **{key: run[key] for key in ("acked_per_second", "p50_ms", "p99_ms", "answers")},
    }
    if pid and before:
        after = proc.tree(pid)
        told["cpu_ms_per_request"] = round((after.cpu_seconds - before.cpu_seconds) * 1000 / run["sent"], 3)
        told["rss_mb"] = round(after.rss_bytes / 2**20, 1)
    return told


def side_by_side(result: Result) -> list[str]:
    """A column a server."""
    servers = [name for name in result if name != "machine"]
    lines = [f"{'':<28}" + "".join(f"{name:>28}" for name in servers)]
    for number, row in enumerate(result[servers[0]]):
        for key in ("acked_per_second", "p50_ms", "p99_ms", "cpu_ms_per_request", "rss_mb", "answers"):
            cells = [str(result[name][number].get(key, "-")) for name in servers]
            label = f"{row['connections']} connections {key}"
            lines.append(f"{label:<36}" + "".join(f"{cell:>28}" for cell in cells)[8:])
    return lines


def machine() -> Result:
    """What this was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "load_before": round(os.getloadavg()[0], 2),
    }


def with_ratios(result: Result) -> Result:
    """Durable acknowledgements as a part of what the bare server does."""
    for name, figures in result.get("acks", {}).items():
        if name in result.get("floor", {}):
            base = result["floor"][name]["acked_per_second"]
            figures["of_floor"] = round(figures["acked_per_second"] / base, 2)
            figures["of_floor_worker_stopped"] = round(figures["acked_per_second_worker_stopped"] / base, 2)
    return result


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Lines of a table."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name} {key}".strip())
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from flat(inner, f"{name} {inner.get('connections', number)}")
    else:
        yield name, value


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all when none is named")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a first look in about a minute: less of everything, once")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="as the tables of the README")
    parser.add_argument("--against", nargs="+", metavar="DSN", help="other servers on this machine instead")
    args = parser.parse_args()
    global SIZE
    SIZE = Size(args.quick)
    repeats = 1 if args.quick else args.repeats
    result: Result = {"machine": machine()}
    if args.against:
        result.update(against(args.against, repeats))
    else:
        for name in args.sections or SECTIONS:
            print(f"... {name}", file=sys.stderr)
            result.update(SECTIONS[name](repeats))
        result = with_ratios(result)
    if args.json:
        print(json.dumps(result))
        return
    if args.against:
        print("\n".join(side_by_side(result)))
        return
    if args.markdown:
        print(markdown(result))
        return
    for name, figure in flat(result):
        print(f"{name:<48} {figure}")


if __name__ == "__main__":
    main()
