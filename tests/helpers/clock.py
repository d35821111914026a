"""A clock that moves only when told to."""


class FakeClock:
    """Both clocks start at known values; `advance` moves both, `jump` only the wall clock."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.wall = now
        self.mono = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds

    def jump(self, seconds: float) -> None:
        self.wall += seconds
