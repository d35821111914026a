"""The items of commits that are applied again, read from their segment when somebody looks at them.

Items are only ever appended, in commit order, so those of a commit are the rows between the item counts of the
progress row before it and of its own.
"""

# ruff: noqa: S608 - only our own aliases are put into SQL; values are bound

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import duckdb

from collector.errors import Damaged, Unavailable
from collector.model.event import ItemRow
from collector.store.payload import PayloadCodec

PAGE_ROWS = 200


class ReplayedItems(Sequence[ItemRow]):
    """`count` items from the row `start` on. One that cannot be read any more is left out."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        alias: str,
        codec: Callable[[], PayloadCodec],
        start: int,
        count: int,
    ) -> None:
        self._connection = connection
        self._alias = alias
        self._codec = codec
        self._start = start
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> ItemRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[ItemRow]: ...
    def __getitem__(self, place: int | slice) -> ItemRow | list[ItemRow]:
        return list(self)[place]

    def __iter__(self) -> Iterator[ItemRow]:
        for first in range(self._start, self._start + self._count, PAGE_ROWS):
            many = min(PAGE_ROWS, self._start + self._count - first)
            try:
                yield from self._page(first, many)
            except (duckdb.Error, Damaged, Unavailable):  # inside a SQLite transaction nobody could act on it
                return

    def _page(self, first: int, many: int) -> list[ItemRow]:
        rows = self._connection.execute(
            "SELECT project_id, kind, epoch_us(received_at), coalesce(replace(event_id::VARCHAR, '-', ''), ''),"
            f" coalesce(headers::VARCHAR, ''), enc, payload FROM {self._alias}.items ORDER BY rowid LIMIT ? OFFSET ?",
            [many, first],
        ).fetchall()
        codec = self._codec()
        return [
            ItemRow(project_id, kind, at / 1e6, event_id, headers, codec.decode(enc, payload) or b"")
            for project_id, kind, at, event_id, headers, enc, payload in rows
        ]
