"""scripts/bench --against: the same load on other servers, on a collector of our own and on the floor, side by side."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from scripts.loading import CONNECTIONS, Result, bare, load
from scripts.options import Target
from tests.helpers import proc
from tests.helpers.running import collector

QUIET_SECONDS = 2.0
IDLE_CORE = 0.02  # of a core: more is work
DIGEST_SECONDS = 60.0
SHOWN = {
    "acked_per_second": "acknowledged / s",
    "of_floor": "part of the floor",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_ms_per_request": "CPU ms / request",
    "rss_mb": "RSS MB",
    "answers": "answers",
}
CAPTION = f"""Medians of the repeats; latencies of acknowledged (200) requests; answers of all repeats together.
CPU ms / request: of the process tree whose PID was given, per acknowledged request, from the first request until the
tree took less than {IDLE_CORE:.0%} of a core for {QUIET_SECONDS:.0f} s: the digest of its backlog is in it, as far as
that can be told from outside. * stands behind a figure where the tree still worked after {DIGEST_SECONDS:.0f} s."""


def until_idle(
    used: Callable[[], float], clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> tuple[float, bool]:
    """(CPU seconds when the work was done, whether it was) of a process tree, by looking at its CPU seconds."""
    deadline = clock() + DIGEST_SECONDS
    while True:
        before = used()
        sleep(QUIET_SECONDS)
        if used() - before <= QUIET_SECONDS * IDLE_CORE:
            return before, True
        if clock() >= deadline:
            return used(), False


def once(dsn: str, pid: int | None, connections: int, count: int) -> Result:
    """One load. cpu_ms_per_request and rss_mb only when there is a process that lived through it."""
    before = proc.tree(pid).cpu_seconds if pid else 0.0
    run = load(dsn, count, connections, "--seconds", "60")
    told = {key: run[key] for key in ("acked", "acked_per_second", "p50_ms", "p99_ms", "answers")}
    if pid:
        used, done = until_idle(lambda: proc.tree(pid).cpu_seconds)
        after = proc.tree(pid)
        if run["acked"] and after.rss_bytes:
            told["cpu_ms_per_request"] = (used - before) * 1000 / run["acked"]
            told["rss_mb"] = after.rss_bytes / 2**20
            told["backlog_done"] = done
    return told


def summed(connections: int, runs: Sequence[Result]) -> Result:
    """A server's row: medians of the runs that have the figure, None where none has it."""
    row: Result = {"connections": connections}
    for key, digits in {"acked_per_second": 1, "p50_ms": 2, "p99_ms": 2, "cpu_ms_per_request": 3, "rss_mb": 1}.items():
        values = [run[key] for run in runs if run.get(key) is not None]
        row[key] = round(statistics.median(values), digits) if values else None
    row["backlog_done"] = all(run.get("backlog_done", True) for run in runs)
    row["answers"] = dict(sum((Counter(run["answers"]) for run in runs), Counter()))
    return row


def measured(dsn: str, pid: int | None, repeats: int, count: int) -> list[Result]:
    """A row for each number of connections; one that says why when the warm-up was not acknowledged at all."""
    warm = once(dsn, pid, 8, 300) if pid else load(dsn, 300, 8, "--seconds", "15")
    if not warm["acked"]:
        return [summed(8, [warm])]
    counts = {connections: 300 if connections == 1 else count for connections in CONNECTIONS}
    return [summed(each, [once(dsn, pid, each, counts[each]) for _ in range(repeats)]) for each in CONNECTIONS]


def against(targets: Sequence[Target], repeats: int, count: int, say: Callable[[str], None]) -> Result:
    """Rows by server: the floor, ours, then the targets."""
    result: Result = {}
    say("floor")
    with bare() as (dsn, pid):
        result["floor"] = measured(dsn, pid, repeats, count)
    say("collector")
    with collector() as running:
        assert running.process
        result["collector"] = measured(running.dsn, running.process.pid, repeats, count)
    for target in targets:
        say(target.name)
        result[target.name] = measured(target.dsn, target.pid, repeats, count)
    return with_floor(result)


def with_floor(result: Result) -> Result:
    """Acknowledged per second as a part of what the floor did at as many connections."""
    base = {row["connections"]: row["acked_per_second"] for row in result.get("floor", [])}
    for rows in result.values():
        for row in rows:
            floor = base.get(row["connections"])
            row["of_floor"] = round(row["acked_per_second"] / floor, 3) if floor and row["acked_per_second"] else None
    return result


def told(answers: dict[str, int]) -> str:
    """Answers by status, most frequent first."""
    return ", ".join(f"{count} x {status}" for status, count in Counter(answers).most_common()) or "none"


def cell(row: Result | None, key: str) -> str:
    """A figure as the table shows it; '-' where there is none."""
    if row is None:
        return "-"
    value: Any = row.get(key)
    if key == "answers":
        return told(value)
    if value is None or (key == "acked_per_second" and not value):
        return "-"
    late = "*" if key == "cpu_ms_per_request" and not row.get("backlog_done", True) else ""
    return f"{value:,}{late}"


def side_by_side(result: Result) -> list[str]:
    """A column a server."""
    numbers = sorted({row["connections"] for rows in result.values() for row in rows})
    by_server = {name: {row["connections"]: row for row in rows} for name, rows in result.items()}
    table = [["", *by_server]]
    for number in numbers:
        for key, label in SHOWN.items():
            cells = [cell(rows.get(number), key) for rows in by_server.values()]
            table.append([f"{number} connections, {label}", *cells])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for first, *rest in table:
        padded = [f"{text:>{width}}" for text, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *padded]).rstrip())
    return [*lines, "", *CAPTION.splitlines()]


def failures(result: Result) -> list[str]:
    """A sentence for each server and number of connections at which nothing was acknowledged."""
    said = []
    for name, rows in result.items():
        for row in rows:
            if not row["acked_per_second"]:
                where = f" at {row['connections']} connections" if len(rows) > 1 else ""
                said.append(f"nothing acknowledged by {name}{where} (its answers: {told(row['answers'])})")
    return said
