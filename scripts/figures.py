"""The README's tables of figures from one run of scripts/bench: what, measured, aim, command; and one history row."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Result = dict[str, Any]
ROOT = Path(__file__).parents[1]


def over(result: Result, key: str) -> str:
    """Figures of all connections, as 1 / 8 / 32 / 128."""
    return " / ".join(f"{result['acks'][f'c{number}'][key]:,.0f}" for number in (1, 8, 32, 128))


# Name, aim, the command that measures it, its figure in a result. A missing section leaves its rows out.
FIGURES: tuple[tuple[str, str, str, Callable[[Result], str]], ...] = (
    ("CPU per event, accept to stored, whole process tree (front / worker)", "0.60 ms", "drain", lambda r: (
        f"{r['drain']['cpu_ms_per_event']:.2f} ms ({r['drain']['cpu_ms_per_event_front']:.2f} /"
        f" {r['drain']['cpu_ms_per_event_worker']:.2f})")),
    ("the same as a multiple of what it takes to read the event once as plain JSON, on this machine in that minute", "",
     "drain", lambda r: f"{r['drain']['in_yardsticks']:.1f} ({r['drain']['yardstick_us']:.0f} us)"),
    ("stored per second, drain included", "1,200", "drain", lambda r: f"{r['drain']['stored_per_second']:,.0f}"),
    ("durable acks per second, 1 / 8 / 32 / 128 connections", "", "ack", lambda r: over(r, "acked_per_second")),
    ("ack latency p50, ms", "", "ack", lambda r: over(r, "p50_ms")),
    ("ack latency p99, ms", "", "ack", lambda r: over(r, "p99_ms")),
    ("durable acks at 32 connections, part of a bare HTTP server's (worker stopped)", "0.45", "floor ack", lambda r: (
        f"{r['acks']['c32']['of_floor']:.2f} ({r['acks']['c32']['of_floor_worker_stopped']:.2f})")),
    ("ack p99 beside a saturated worker / an idle one, at 150 requests a second", "2.5", "ack", lambda r: (
        f"{r['ack_tail']['p99_ratio']:.1f} ({r['ack_tail']['saturated_p99_ms']:.0f} / "
        f"{r['ack_tail']['idle_p99_ms']:.0f} ms)")),
    ("one hot issue kept at 30 a minute, counted per second", "3,000", "storm", lambda r: (
        f"{r['storm']['stored_per_second']:,.0f}")),
    ("mixed traffic: CPU per envelope, stored per second", "", "mixed", lambda r: (
        f"{r['mixed']['cpu_ms_per_event']:.2f} ms, {r['mixed']['stored_per_second']:,.0f}")),
    ("disk per event, full payload", "2.2 KB", "drain", lambda r: f"{r['drain']['bytes_per_event'] / 1000:.1f} KB"),
    ("memory (RSS of both processes), idle / under full load", "110 / 240 MB", "idle drain", lambda r: (
        f"{r['idle_rss_mb']:.0f} / {r['drain']['rss_mb']:.0f} MB")),
    ("CPU when idle", "0.4 % of a core", "idle", lambda r: f"{r['idle_cpu_percent']:.1f} %"),
    ("start to first 200", "0.8 s", "start", lambda r: f"{r['start_to_first_200_seconds']:.2f} s"),
)  # fmt: skip


def markdown(result: Result) -> str:
    """Both tables of a result."""
    machine = result["machine"]
    about = f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}"
    lines = [f"{about}, load before the run {machine['load_before']}.", "", FIGURES_HEAD, "|---|---|---|---|"]
    for name, aim, sections, figure in FIGURES:
        try:
            lines.append(f"| {name} | {figure(result)} | {aim or '-'} | `scripts/bench {sections}` |")
        except KeyError:
            continue
    return "\n".join([*lines, "", HISTORY_HEAD, history_row(result)])


FIGURES_HEAD = "| figure | measured | aim | command |"
HISTORY_HEAD = """| day | commit | CPU / event | stored / s | acks / s at 32 | floor | storm / s | KB / event | RSS MB |
|---|---|---|---|---|---|---|---|---|"""


def history_row(result: Result) -> str:
    """One line of the history; a figure that was not measured is a dash."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    drain, ack, storm = result.get("drain", {}), result.get("acks", {}).get("c32", {}), result.get("storm", {})
    cells = [
        time.strftime("%Y-%m-%d"),
        commit or "-",
        f"{drain['cpu_ms_per_event']:.2f} ms" if drain else "-",
        f"{drain['stored_per_second']:,.0f}" if drain else "-",
        f"{ack['acked_per_second']:,.0f}" if ack else "-",
        f"{ack['of_floor']:.2f}" if "of_floor" in ack else "-",
        f"{storm['stored_per_second']:,.0f}" if storm else "-",
        f"{drain['bytes_per_event'] / 1000:.1f}" if drain else "-",
        f"{result['idle_rss_mb']:.0f} / {drain['rss_mb']:.0f}" if drain and "idle_rss_mb" in result else "-",
    ]
    return f"| {' | '.join(cells)} |"
