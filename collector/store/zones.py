"""What is known of a sealed segment without looking into it: the span of its timestamps, and which event ids it cannot
hold. In memory, made when it is first of use; a sealed file never changes.

The ids are kept as a Bloom filter of two bit strings of 8 bits an event each: 1.4 % of the ids that are not there seem
to be. DuckDB hashes and fills them (11 ms for 170,000 events); 2 bytes an event, 10 MB for five million.
"""

# ruff: noqa: S608 - only our own aliases are put into SQL; values are bound

from typing import NamedTuple

import duckdb

BITS_PER_EVENT = 8
MAX_FILTER_BYTES = 24 << 20  # of all filters together: twelve million events; more are looked for in their files


class Span(NamedTuple):
    """Oldest and newest `timestamp` in a segment, microseconds since the epoch; both 0 in an empty one."""

    oldest: int
    newest: int


class IdFilter(NamedTuple):
    """Two bit strings of `bits` bits each, the first bit the highest of the first byte."""

    bits: int
    first: bytes
    second: bytes

    def may_hold(self, hashes: tuple[int, int]) -> bool:
        """False when an id with these hashes is not in the segment."""
        for field, value in zip((self.first, self.second), hashes, strict=True):
            place = value % self.bits
            if not field[place // 8] & (0x80 >> place % 8):
                return False
        return True


def hashes_of(connection: duckdb.DuckDBPyConnection, event_id: str) -> tuple[int, int]:
    """The two hashes that the filters are made of."""
    first, second = connection.execute("SELECT hash($id::UUID), hash($id::UUID, 1)", {"id": event_id}).fetchall()[0]
    return first, second


class Zones:
    """Spans and filters by segment name. On the store's thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._spans: dict[str, Span] = {}
        self._filters: dict[str, IdFilter] = {}

    def keep(self, names: set[str]) -> None:
        """Forgets the segments that are not among `names`."""
        for kept in (self._spans, self._filters):
            for name in kept.keys() - names:
                del kept[name]

    def span(self, name: str, alias: str) -> Span:
        """The span of a sealed segment. Raises duckdb.Error."""
        if name not in self._spans:
            sql = f"SELECT epoch_us(min(timestamp)), epoch_us(max(timestamp)) FROM {alias}.events"
            oldest, newest = self._connection.execute(sql).fetchall()[0]
            self._spans[name] = Span(oldest or 0, newest or 0)
        return self._spans[name]

    def filter(self, name: str) -> IdFilter | None:
        """The filter of a sealed segment, None when it was not made."""
        return self._filters.get(name)

    def make_filter(self, name: str, alias: str, events: int) -> IdFilter | None:
        """Makes it, unless it would take too much memory. Raises duckdb.Error."""
        bits = max(64, (events * BITS_PER_EVENT + 7) // 8 * 8)
        used = sum(len(one.first) * 2 for one in self._filters.values())
        if used + bits // 4 > MAX_FILTER_BYTES:
            return None
        fields = ", ".join(
            f"bitstring_agg((hash({what}) % {bits})::BIGINT, 0, {bits - 1})::BLOB"
            for what in ("event_id", "event_id, 1")
        )
        row = self._connection.execute(f"SELECT {fields} FROM {alias}.events").fetchall()[0]
        if row[0] is None:  # no events
            row = (bytes(bits // 8),) * 2
        self._filters[name] = IdFilter(bits, bytes(row[0]), bytes(row[1]))
        return self._filters[name]
