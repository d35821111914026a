"""What the kernel says about processes: CPU, memory, descriptors, threads; of one or of a whole tree."""

import os
from itertools import pairwise
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


def is_alive(pid: int) -> bool:
    """Whether it runs; one that only waits to be waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


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


class Trend(NamedTuple):
    """A straight line through measurements. margin: two standard errors of the slope, both per hour."""

    per_hour: float
    margin: float

    def judged(self, most_per_hour: float) -> str:
        """Whether it rises by more than that: "flat" and "growing" are sure of it, "undecided" wants a longer look."""
        if self.per_hour + self.margin <= most_per_hour:
            return "flat"
        return "growing" if self.per_hour - self.margin > most_per_hour else "undecided"


def means(points: list[tuple[float, float]], block_seconds: float) -> list[tuple[float, float]]:
    """(seconds, value) of each block of time that has any points."""
    blocks: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        blocks.setdefault(int((point[0] - points[0][0]) // block_seconds), []).append(point)
    return [(sum(x for x, _ in each) / len(each), sum(y for _, y in each) / len(each)) for each in blocks.values()]


def block_seconds(over_seconds: float) -> float:
    """How long a block of `trend` is where so many seconds were seen: eight blocks of a short look, 30 s at most, and
    two samples of the soak at least."""
    return min(30.0, max(4.0, over_seconds / 8))


def trend(points: list[tuple[float, float]], block_seconds: float = 30.0) -> Trend | None:
    """Least squares over the means of blocks of (seconds, value); None when there are fewer than five blocks.

    Memory goes up and down with every batch and every file that is filled, so neighbouring samples say the same thing
    twice: their number is no measure of certainty. Means of blocks nearly are; what they still have in common (the
    correlation of one residual with the next) widens the margin.
    """
    blocks = means(points, block_seconds)
    if len(blocks) < 5:
        return None
    mean_x, mean_y = (sum(each) / len(blocks) for each in zip(*blocks, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in blocks)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in blocks) / spread
    rest = [y - mean_y - slope * (x - mean_x) for x, y in blocks]
    squares = sum(each * each for each in rest)
    alike = sum(one * two for one, two in pairwise(rest)) / squares if squares else 0.0
    alike = min(max(alike, 0.0), 0.9)
    error = (squares / (len(blocks) - 2) / spread * (1 + alike) / (1 - alike)) ** 0.5
    return Trend(slope * 3600, 2 * error * 3600)
