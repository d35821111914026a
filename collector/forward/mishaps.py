"""What went wrong, as sentences for the status: what holds now, and what happened in the last TOLD_SECONDS.

A refused or damaged entry and a clock that was set are over at once and the next success would hide them; so they are
told for a while.
"""

from collections.abc import Mapping

from collector.forward.bounds import Bounds
from collector.machine.clock import Clock

TOLD_SECONDS = 600.0
CLOCK_STEP_SECONDS = 30.0  # a wall clock that moved so much against the monotonic one was set
WHEN_FULL = {
    "summarise": "summaries of one issue are folded into one, and what still does not fit is dropped",
    "drop_oldest": "the oldest of what matters least are dropped",
    "drop_newest": "the newest of what matters least are dropped",
}


class Mishaps:
    """Written by the sender's thread, read by any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()
        self._told: dict[str, tuple[float, str]] = {}
        self.clock_stepped_seconds = 0.0

    def note(self, kind: str, sentence: str) -> None:
        """Something happened; of each kind the last is told."""
        self._told[kind] = (self._clock.monotonic(), sentence)

    def lately(self) -> list[str]:
        """The sentences of the last TOLD_SECONDS."""
        since = self._clock.monotonic() - TOLD_SECONDS
        return [sentence for at, sentence in list(self._told.values()) if at >= since]

    def watch_clock(self) -> bool:
        """True when the wall clock was set since the last look: windows move then, budgets and pauses do not."""
        ahead = self._clock.now() - self._clock.monotonic()
        step, self._ahead = ahead - self._ahead, ahead
        if abs(step) <= CLOCK_STEP_SECONDS:
            return False
        self.clock_stepped_seconds = round(step, 3)
        direction = "forward" if step > 0 else "back"
        self.note("clock", f"the clock of this machine was set {direction} by {abs(step):.0f} s")
        return True


def limit_sentence(limits: Mapping[str, float]) -> str:
    """limits: category ("all" for everything) -> seconds; "" without any."""
    told = [f"{name} for {seconds:.0f} s" for name, seconds in sorted(limits.items()) if name != "all"]
    if "all" in limits:
        told.insert(0, f"everything for {limits['all']:.0f} s")
    return f"upstream has limited what it takes (429): {', '.join(told)}" if told else ""


def full_sentence(bounds: Bounds, when_full: str) -> str:
    """ "" while there is room."""
    if not bounds.is_full:
        return ""
    return f"the outbox is full, {bounds.bytes} of {bounds.max_bytes} bytes: {WHEN_FULL[when_full]}"
