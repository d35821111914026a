"""scripts/bench: what the collector costs on this machine, on real envelopes, in one run. `--help` lists the sections
and says which figures are medians; scripts/options.py has the command line, scripts/against.py compares servers."""

import functools
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from scripts.against import against, failures, side_by_side
from scripts.figures import markdown
from scripts.forwarding import forwarding
from scripts.hanging import hanging
from scripts.loading import CONNECTIONS, Result, answered, bare, load, median, taken
from scripts.machine import machine
from scripts.options import SECTIONS, orderly, parse
from scripts.stages import MEANINGS, stages
from tests.helpers import proc
from tests.helpers.corpus import templates
from tests.helpers.running import PROJECT, Collector, collector, envelope, error_event, wait_for


class Size(NamedTuple):
    """How much work a run is: the whole, or --quick for a first look. Counts of requests and events."""

    repeats: int
    acks: int = 8000
    events: int = 6000
    stages: int = 1500
    idle_seconds: float = 15.0
    steady_seconds: float = 8.0  # 1,200 answers: the worst twelve decide their p99

    @staticmethod
    def of(options: Namespace) -> "Size":
        """As it was asked for."""
        return Size(options.repeats, 1500, 1500, 400, 3.0, 2.0) if options.quick else Size(options.repeats)


def front_of(running: Collector) -> int:
    assert running.process
    return running.process.pid


def acked(dsn: str, connections: int, size: Size) -> Result:
    """Throughput and latency at so many connections, after a warm-up."""
    load(dsn, 200, connections)
    return taken(load(dsn, 600 if connections == 1 else size.acks, connections))


def floor(size: Size) -> Result:
    """What the HTTP server alone does here, by the same load generator."""
    result: Result = {}
    for connections in CONNECTIONS:
        runs = []
        for _ in range(size.repeats):
            with bare() as (dsn, pid):
                load(dsn, 200, connections)
                before = proc.tree(pid).cpu_seconds
                run = load(dsn, size.acks, connections)
                run["cpu_us"] = (proc.tree(pid).cpu_seconds - before) * 1e6 / size.acks
                runs.append(run)
        result[f"c{connections}"] = median(runs, "acked_per_second", "p50_ms", "p99_ms", "cpu_us")
    return {"floor": result}


def ack(size: Size) -> Result:
    """Durable acknowledgements; the worker digests beside it, as in life, and once more while it is stopped."""
    result: Result = {}
    for connections in CONNECTIONS:
        runs, alone = [], []
        for _ in range(size.repeats):
            with collector() as running:
                runs.append(acked(running.dsn, connections, size))
            with collector() as running, stopped_worker(running):
                alone.append(acked(running.dsn, connections, size))
        result[f"c{connections}"] = median(runs, "acked_per_second", "p50_ms", "p99_ms") | {
            "acked_per_second_worker_stopped": median(alone, "acked_per_second")["acked_per_second"]
        }
    return {"acks": result, "ack_tail": tail(size)}


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


def tail(size: Size) -> Result:
    """Latency of a steady 150 requests a second, beside an idle worker and beside one that has a backlog."""
    idle_runs, busy_runs = [], []
    steady = ("--rate", "150", "--seconds", str(size.steady_seconds))
    for _ in range(size.repeats):
        with collector() as running:
            with stopped_worker(running):
                idle_runs.append(taken(load(running.dsn, 100_000, 32, *steady)))
                load(running.dsn, size.acks * 3 // 2, 32)  # enough for all that time
            busy_runs.append(taken(load(running.dsn, 100_000, 32, *steady)))
    told = {
        "idle_p50_ms": statistics.median(r["p50_ms"] for r in idle_runs),
        "idle_p99_ms": statistics.median(r["p99_ms"] for r in idle_runs),
        "saturated_p50_ms": statistics.median(r["p50_ms"] for r in busy_runs),
        "saturated_p99_ms": statistics.median(r["p99_ms"] for r in busy_runs),
    }
    return {**told, "p99_ratio": round(told["saturated_p99_ms"] / told["idle_p99_ms"], 2)}


def start(size: Size) -> Result:
    """Seconds from exec to the first 200, imports cached."""
    seconds = []
    for _ in range(size.repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            running = Collector(Path(folder), PROJECT)
            try:
                before = time.perf_counter()
                running.start()
                status, _, body = running.send(envelope(error_event()))
                seconds.append(time.perf_counter() - before)
                assert status == 200, body
            finally:
                running.close()
    return {"start_to_first_200_seconds": round(statistics.median(seconds[1:]), 3)}


def idle(size: Size) -> Result:
    """RSS and CPU of a collector that has seen a few events and waits."""
    return median([idle_once(size) for _ in range(size.repeats)])


def idle_once(size: Size) -> Result:
    with collector() as running:
        for _ in range(5):
            running.send(envelope(error_event()))
        running.drained()
        time.sleep(3)
        before = proc.tree(front_of(running))
        time.sleep(size.idle_seconds)
        after = proc.tree(front_of(running))
    percent = (after.cpu_seconds - before.cpu_seconds) / size.idle_seconds * 100
    return {"idle_rss_mb": after.rss_bytes / 2**20, "idle_cpu_percent": percent}


def drain(size: Size, *more: str, settings: str = "") -> Result:
    """From the first request to the last event stored, or counted where its issue keeps no more."""
    runs = [drain_once(size, settings, *more) for _ in range(size.repeats)]
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


def drain_once(size: Size, settings: str, *more: str) -> Result:
    count = size.events
    yardsticks = [yardstick_us()]
    with collector(PROJECT + settings) as running:
        front = front_of(running)
        load(running.dsn, 400, 8, *more)
        running.drained()
        done = processed(running)
        worker = running.status()["worker"]["pid"]
        before, front_before = proc.tree(front), proc.own_cpu(front)
        began = time.perf_counter()
        sent = taken(load(running.dsn, count, 32, *more))
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
        stored = sum(path.stat().st_size for path in (running.data / "segments").iterdir())
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
        "bytes_per_event": stored / (count + 400),
    }


def queries(options: Namespace) -> Result:
    """Named and ad-hoc queries, in a process of their own, whose memory is a figure."""
    parts = [word for part in options.part or () for word in ("--part", part)]
    more = [*parts, "--repeats", str(options.repeats), "--times", str(options.times)]
    more += ["--quick"] * options.quick
    if options.data is not None:
        more += ["--data", str(options.data.absolute())]
    if options.data is None or not options.data.exists():
        shape = (options.rows, options.segments, options.payload_bytes)
        more += ["--rows", str(shape[0]), "--segments", str(shape[1]), "--payload-bytes", str(shape[2])]
    return {"queries": answered("scripts.queries", *more)}


def ways(options: Namespace) -> dict[str, Callable[[], Result]]:
    """How each section is measured."""
    size = Size.of(options)
    made: dict[str, Callable[[], Result]] = {
        "floor": lambda: floor(size),
        "stages": lambda: {"stages_us_per_event": stages(size.repeats, size.stages)},
        "start": lambda: start(size),
        "idle": lambda: idle(size),
        "ack": lambda: ack(size),
        "drain": lambda: {"drain": drain(size)},
        "storm": lambda: {"storm": drain(size, "--hot", settings='issue_rate = "30/m"\n')},
        "mixed": lambda: {"mixed": drain(size, "--mix", "mixed")},
        "queries": lambda: queries(options),
        "upstream": lambda: forwarding(size.repeats) | hanging(size.repeats),
    }
    return {name: made[name] for name in SECTIONS}


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
    else:
        yield name, value


def table(result: Result) -> list[str]:
    """A figure a line; beside a stage, what it is."""
    lines = []
    for name, figure in flat(result):
        meaning = MEANINGS.get(name.removeprefix("stages_us_per_event "), "") if name.startswith("stages") else ""
        lines.append(f"{name:<48} {figure!s:<10} {meaning}".rstrip())
    return lines


def say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def run(options: Namespace) -> int:
    """Measure, print; 1 when a server that was to be compared acknowledged nothing."""
    result: Result = {"machine": machine(options.quick, options.repeats)}
    if options.against:
        compared = against(options.against, options.repeats, Size.of(options).acks // 2, say)
        print(json.dumps({**result, "against": compared}) if options.json else "\n".join(side_by_side(compared)))
        for sentence in failures(compared):
            print(f"scripts/bench: {sentence}", file=sys.stderr)
        return 1 if failures(compared) else 0
    measure = ways(options)
    for name in options.sections or SECTIONS:
        say(name)
        result.update(measure[name]())
    result = with_ratios(result)
    if options.json:
        print(json.dumps(result))
    else:
        print(markdown(result) if options.markdown else "\n".join(table(result)))
    return 0


def main(argv: list[str] | None = None) -> None:
    explained = "\n".join(f"  {name:<13} {meaning}" for name, meaning in MEANINGS.items())
    options = parse(argv, f"stages, in microseconds of CPU an event:\n{explained}")
    orderly(functools.partial(run, options))


if __name__ == "__main__":
    main()
