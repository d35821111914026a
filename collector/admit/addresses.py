"""Burst guard per client address: a token bucket each, for a bounded number of addresses.

An IPv6 client owns a /64 and may send from any of its addresses, so that network is one client here.
"""

from functools import lru_cache
from ipaddress import IPv6Network

from collector.machine.clock import Clock

MAX_ADDRESSES = 20_000  # own choice, about 4 MB; the address that was quiet longest is forgotten first


class AddressGuard:
    """per_second None is no guard. Uses the monotonic clock: nothing of it survives a restart, on purpose."""

    def __init__(self, per_second: float | None, burst: int, clock: Clock) -> None:
        self._per_second = per_second
        self._burst = float(max(1, burst))
        self._clock = clock
        self._tokens: dict[str, tuple[float, float]] = {}

    def take_over(self, before: "AddressGuard") -> None:
        """Go on with its buckets; their fill is bounded by the burst that holds now."""
        self._tokens = before._tokens

    def wait_seconds(self, address: str) -> float:
        """Take a token: 0.0 when there was one, else how long until the next."""
        if self._per_second is None:
            return 0.0
        now = self._clock.monotonic()
        if ":" in address:
            address = _network(address)
        left, at = self._tokens.pop(address, (self._burst, now))  # popped and put back: quiet ones drift to the front
        left = min(self._burst, left + (now - at) * self._per_second)
        wait = 0.0 if left >= 1.0 else (1.0 - left) / self._per_second
        if len(self._tokens) >= MAX_ADDRESSES:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[address] = (left - 1.0 if not wait else left, now)
        return wait


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        return str(IPv6Network(f"{address}/64", strict=False))
    except ValueError:
        return address
