"""The README's tables of figures from one run of scripts/bench: what, measured, aim, command; and one history row."""

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Result = dict[str, Any]
ROOT = Path(__file__).parents[1]
LARGEST = 5  # stages that are named


class Figure(NamedTuple):
    """A row. KeyError from `measured` or `missed` says that its sections were not run, and leaves it out."""

    name: str
    aim: str
    sections: str
    measured: Callable[[Result], str]
    missed: Callable[[Result], bool] = lambda result: False


def over(result: Result, key: str) -> str:
    """Figures of all connections, as 1 / 8 / 32 / 128; latencies below 10 ms with a digit more."""
    values = [result["acks"][f"c{number}"][key] for number in (1, 8, 32, 128)]
    return " / ".join(f"{value:.1f}" if key.endswith("_ms") and value < 10 else f"{value:,.0f}" for value in values)


def asked(result: Result) -> str:
    """Medians of the named queries: the middle one, the slowest one and its name."""
    told = result["queries"]
    times = {name: figures["p50_ms"] for name, figures in told["named"].items() if isinstance(figures, dict)}
    slowest = max(times, key=lambda name: times[name])
    middle = statistics.median(times.values())
    return f"{middle:.1f} / {times[slowest]:.1f} ms ({slowest}; {told['rows']:,} events)"


def staged(result: Result) -> str:
    """Their sum, and those that take most of it."""
    stages = dict(result["stages_us_per_event"])
    total = stages.pop("sum")
    largest = sorted(stages, key=lambda name: -stages[name])[:LARGEST]
    return f"{total:.0f} us: {', '.join(f'{name} {stages[name]:.0f}' for name in largest)}"


FIGURES: tuple[Figure, ...] = (
    Figure("CPU per event, accept to stored, whole process tree (front / worker)", "0.60 ms", "drain", lambda r: (
        f"{r['drain']['cpu_ms_per_event']:.2f} ms ({r['drain']['cpu_ms_per_event_front']:.2f} /"
        f" {r['drain']['cpu_ms_per_event_worker']:.2f})"),
        lambda r: round(r["drain"]["cpu_ms_per_event"], 2) > 0.60),
    Figure(
        "the same as a multiple of what it takes to read the event once as plain JSON, on this machine in that minute",
        "", "drain", lambda r: f"{r['drain']['in_yardsticks']:.1f} ({r['drain']['yardstick_us']:.0f} us)"),
    Figure("CPU per event of the stages in one process, sum and the five largest", "", "stages", staged),
    Figure("stored per second, drain included", "1,200", "drain",
        lambda r: f"{r['drain']['stored_per_second']:,.0f}",
        lambda r: round(r["drain"]["stored_per_second"]) < 1200),
    Figure("durable acks per second, 1 / 8 / 32 / 128 connections", "", "ack", lambda r: over(r, "acked_per_second")),
    Figure("ack latency p50, ms", "", "ack", lambda r: over(r, "p50_ms")),
    Figure("ack latency p99, ms", "", "ack", lambda r: over(r, "p99_ms")),
    Figure("durable acks at 32 connections, part of a bare HTTP server's (worker stopped)", "0.45", "floor ack",
        lambda r: f"{r['acks']['c32']['of_floor']:.2f} ({r['acks']['c32']['of_floor_worker_stopped']:.2f})",
        lambda r: round(r["acks"]["c32"]["of_floor"], 2) < 0.45),
    Figure("ack p99 beside a saturated worker / an idle one, at 150 requests a second", "2.5", "ack", lambda r: (
        f"{r['ack_tail']['p99_ratio']:.2f} ({r['ack_tail']['saturated_p99_ms']:.1f} / "
        f"{r['ack_tail']['idle_p99_ms']:.1f} ms)"),
        lambda r: round(r["ack_tail"]["p99_ratio"], 2) > 2.5),
    Figure("one hot issue kept at 30 a minute, counted per second", "3,000", "storm",
        lambda r: f"{r['storm']['stored_per_second']:,.0f}",
        lambda r: round(r["storm"]["stored_per_second"]) < 3000),
    Figure("mixed traffic: CPU per envelope, stored per second", "", "mixed", lambda r: (
        f"{r['mixed']['cpu_ms_per_event']:.2f} ms, {r['mixed']['stored_per_second']:,.0f}")),
    Figure("disk per event, full payload", "2.2 KB", "drain",
        lambda r: f"{r['drain']['bytes_per_event'] / 1000:.2f} KB",
        lambda r: round(r["drain"]["bytes_per_event"] / 1000, 2) > 2.2),
    Figure("memory (RSS of both processes), idle / under full load", "110 / 240 MB", "idle drain",
        lambda r: f"{r['idle_rss_mb']:.0f} / {r['drain']['rss_mb']:.0f} MB",
        lambda r: round(r["idle_rss_mb"]) > 110 or round(r["drain"]["rss_mb"]) > 240),
    Figure("CPU when idle", "0.4 % of a core", "idle", lambda r: f"{r['idle_cpu_percent']:.2f} %",
        lambda r: round(r["idle_cpu_percent"], 2) > 0.4),
    Figure("start to first 200", "0.8 s", "start", lambda r: f"{r['start_to_first_200_seconds']:.2f} s",
        lambda r: round(r["start_to_first_200_seconds"], 2) > 0.8),
    Figure("named queries of pages and API, p50: the middle one / the slowest", "", "queries", asked),
)  # fmt: skip


def row(figure: Figure, result: Result) -> str:
    """One line; an aim that is missed says so."""
    aim = f"{figure.aim or '-'}{', **missed**' if figure.missed(result) else ''}"
    return f"| {figure.name} | {figure.measured(result)} | {aim} | `scripts/bench {figure.sections}` |"


def markdown(result: Result) -> str:
    """Both tables of a result. A section that it has not leaves its rows out."""
    lines = [about(result["machine"]), "", FIGURES_HEAD, "|---|---|---|---|"]
    for figure in FIGURES:
        try:
            lines.append(row(figure, result))
        except KeyError:
            continue
    return "\n".join([*lines, "", HISTORY_HEAD, history_row(result)])


def about(machine: Result) -> str:
    """A sentence on the machine and the run, as far as the result has it."""
    parts = [f"{machine['cores']} cores of {machine['cpu']}", f"Python {machine['python']}"]
    if "ram_gb" in machine:
        parts += [f"{machine['ram_gb']} GB of memory", f"{machine['file_system']} on {machine['disk']}"]
    parts.append(f"load before the run {machine['load_before']}")
    if "repeats" in machine:
        times = "once" if machine["repeats"] == 1 else f"medians of {machine['repeats']}"
        parts.append(f"a quick look, {times}" if machine["quick"] else times)
    if machine.get("commit"):
        parts.append(f"commit {machine['commit']}{' with changes' if machine['commit_changed'] else ''}")
    return f"{', '.join(parts)}."


FIGURES_HEAD = "| figure | measured | aim | command |"
HISTORY_HEAD = """| day | commit | CPU / event | stored / s | acks / s at 32 | floor | storm / s | KB / event | RSS MB |
|---|---|---|---|---|---|---|---|---|"""


def head_commit() -> str:
    """Of the checkout now; for results that do not say what they measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def history_row(result: Result) -> str:
    """One line of the history; a figure that was not measured is a dash."""
    machine = result["machine"]
    drain, ack, storm = result.get("drain", {}), result.get("acks", {}).get("c32", {}), result.get("storm", {})
    cells = [
        machine.get("date", time.strftime("%Y-%m-%d", time.gmtime()))[:10],
        (machine["commit"] if "commit" in machine else head_commit()) or "-",
        f"{drain['cpu_ms_per_event']:.2f} ms" if drain else "-",
        f"{drain['stored_per_second']:,.0f}" if drain else "-",
        f"{ack['acked_per_second']:,.0f}" if ack else "-",
        f"{ack['of_floor']:.2f}" if "of_floor" in ack else "-",
        f"{storm['stored_per_second']:,.0f}" if storm else "-",
        f"{drain['bytes_per_event'] / 1000:.1f}" if drain else "-",
        f"{result['idle_rss_mb']:.0f} / {drain['rss_mb']:.0f}" if drain and "idle_rss_mb" in result else "-",
    ]
    return f"| {' | '.join(cells)} |"
