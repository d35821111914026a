"""What the kernel says about processes: CPU, memory, descriptors, threads; of one or of a whole tree."""

import os
from pathlib import Path
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """cpu_seconds counts ended children that were waited for, too."""

    cpu_seconds: float
    rss_bytes: float
    descriptors: int = 0
    threads: int = 0


def of(pid: int) -> Usage | None:
    """One process; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    return Usage(cpu_of(fields), int(fields[21]) * PAGE, descriptors, int(fields[17]))


def cpu_of(fields: list[bytes]) -> float:
    """User and system time of a process and of its ended children, by the clock tick (10 ms)."""
    return sum(map(int, fields[11:15])) / TICK


def own_cpu(pid: int) -> float:
    """CPU seconds of one living process alone, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    return sum(map(int, fields[11:13])) / TICK


def tree(root: int) -> Usage:
    """A process and all its descendants."""
    rows: dict[int, tuple[int, Usage]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rsplit(b")", 1)[1].split()
            except OSError:
                continue
            usage = Usage(cpu_of(fields), int(fields[21]) * PAGE, 0, int(fields[17]))
            rows[int(entry.name)] = (int(fields[1]), usage)
    found = []
    todo = [root]
    while todo:
        pid = todo.pop()
        if pid in rows:
            found.append(rows[pid][1])
            todo += [child for child, row in rows.items() if row[0] == pid]
    return Usage(
        sum(one.cpu_seconds for one in found),
        sum(one.rss_bytes for one in found),
        0,
        sum(one.threads for one in found),
    )


def slope_per_hour(points: list[tuple[float, float]]) -> float:
    """Theil-Sen: the median of the slopes between all pairs, which a few outliers cannot move. Seconds in, 1/h out."""
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(points)
        for later in points[number + 1 :]
        if later[0] > earlier[0]
    )
    return slopes[len(slopes) // 2] * 3600 if slopes else 0.0
