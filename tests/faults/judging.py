"""What a soak makes of what it saw, without processes: who died, what was due, what is late, what is lost."""

import random
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

LOAD_SHARE = 0.5  # of the requests that were due; kills and restarts cost less
ACKED_SHARE = 0.25  # of those; a front that is down for seconds, or an upstream that limits, refuses some
MAX_CALM_LAG_MS = 500.0  # 100 ms happen on a machine that others use, too
LATE_SHARE = 0.01  # of the looks in the calm part may see more
LATE_LOOKS = 2  # may in any case: two looks see the same stall
Figures = dict[str, Any]
T = TypeVar("T")


class Watched(threading.Thread):
    """A thread whose end is looked at. `failure` is a sentence when `work` raised, and `on_failure` was called."""

    def __init__(self, name: str, work: Callable[[], None], on_failure: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.work, self.on_failure, self.failure = work, on_failure, ""

    def run(self) -> None:
        """The work."""
        try:
            self.work()
        except Exception as error:  # the thread's door: whatever it was, the soak must hear of it
            self.failure = f"{self.name}: {type(error).__name__}: {error}"
            self.on_failure()

    def complaints(self) -> list[str]:
        """Why it is not well, once it should be over."""
        if self.is_alive():
            return [f"{self.name}: did not end"]
        return [self.failure] if self.failure else []


class Bag(Generic[T]):
    """Draws each of its things once, in an order of chance, then any."""

    def __init__(self, things: Sequence[T], chance: random.Random) -> None:
        self.things, self.chance = list(things), chance
        self.left = chance.sample(self.things, len(self.things))

    def draw(self) -> T:
        """The next one."""
        return self.left.pop() if self.left else self.chance.choice(self.things)


class Lag(NamedTuple):
    """One look at the front's event loop: seconds since the soak began, collector.machine.loops.LoopLag.status."""

    at: float
    now_ms: float
    worst_ms: float


def quantile(values: Collection[float], share: float) -> float:
    """The value that this share of the others does not exceed; 0.0 of nothing."""
    ordered = sorted(values) or [0.0]
    return ordered[int((len(ordered) - 1) * share)]


def lag_figures(looks: list[Lag], calm_from: float) -> Figures:
    """Milliseconds, each look the most of two seconds; max is of everything between the looks as well."""
    calm = [look.now_ms for look in looks if look.at >= calm_from]
    return {
        "looks": len(looks),
        "p50": quantile([look.now_ms for look in looks], 0.5),
        "p99": quantile([look.now_ms for look in looks], 0.99),
        "max": max((look.worst_ms for look in looks), default=0.0),
        "calm_looks": len(calm),
        "calm_p99": quantile(calm, 0.99),
        "calm_max": max(calm, default=0.0),
        "calm_late_looks": sum(late > MAX_CALM_LAG_MS for late in calm),
    }


def lag_complaints(lag: Figures) -> list[str]:
    """The front must not be busy with anything but requests while nothing is killed."""
    late, looks = lag["calm_late_looks"], lag["calm_looks"]
    if late <= max(LATE_LOOKS, LATE_SHARE * looks):
        return []
    return [f"front: in {late} of {looks} looks of the calm part timers came over {MAX_CALM_LAG_MS:.0f} ms late"]


def load_complaints(sent: int, acked: int, rate: float, due_seconds: float) -> list[str]:
    """A soak without its load proves nothing."""
    due = rate * due_seconds
    if sent < LOAD_SHARE * due:
        return [f"load: {sent} requests sent, {due:.0f} were due in {due_seconds:.0f} s"]
    if acked < ACKED_SHARE * sent:
        return [f"load: only {acked} of {sent} requests were acknowledged"]
    return []


def lost_behind(chunks: Sequence[Collection[str]], kept: Collection[str]) -> list[str]:
    """Ids that retention cannot have taken. chunks: what was acknowledged, one load after the other.

    Whole segments go, the oldest first, and what comes later is stored later: behind the first load that something is
    left of nothing may be missing.
    """
    kept = set(kept)
    first = next((number for number, ids in enumerate(chunks) if not kept.isdisjoint(ids)), len(chunks))
    return [one for ids in chunks[first + 1 :] for one in ids if one not in kept]
