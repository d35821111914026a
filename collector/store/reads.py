"""The reading side of the store: events by id, and statements over state.sqlite, one segment, or all of them.

On the store's thread. Sealed segments stay attached READ_ONLY for a while; a file that cannot be read is set aside and
the others answer.
"""

# ruff: noqa: S608 - only our own aliases are put into SQL; values are bound

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import duckdb

from collector.errors import Damaged, Unavailable
from collector.store.payload import PayloadCodec, read_dictionaries
from collector.store.segments import READ_ERRORS, Segments
from collector.store.state import State


class Reads:
    """What may be asked of a running store."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, segments: Segments, state: State) -> None:
        self._connection = connection
        self._segments = segments
        self._state = state

    def payload(self, event_id: str, project_id: int) -> bytes | None:
        """The scrubbed JSON of an event; None when unknown or not kept. Raises Damaged."""
        for name in self.locate(event_id):
            with suppress(Unavailable), self._segments.reading(name) as alias:
                rows = self._connection.execute(
                    f"SELECT enc, payload FROM {alias}.events WHERE event_id = ?::UUID AND project_id = ?",
                    [event_id, project_id],
                ).fetchall()
                if rows:
                    return self._codec(alias, name).decode(*rows[0])
        return None

    def locate(self, event_id: str) -> list[str]:
        """Names of the segments that hold an event id (32 hex digits), the newest first: one pass over the id
        columns of all, a tenth of the price of asking each segment for the row."""
        aliases = self._attach_all(None)
        parts = [f"SELECT '{name}' FROM {alias}.events WHERE event_id = $id" for name, alias in aliases.items()]
        if not parts:
            return []
        with self._doubting(aliases):
            rows = self._connection.execute(" UNION ALL ".join(parts), {"id": uuid.UUID(event_id)}).fetchall()
        found = {row[0] for row in rows}
        return [name for name in reversed(aliases) if name in found]

    def _codec(self, alias: str, name: str) -> PayloadCodec:
        active = self._segments.active
        if active.name == name:
            return active.codec
        rows = self._connection.execute(f"SELECT k, v FROM {alias}.seg_info WHERE starts_with(k, 'dict:')").fetchall()
        return PayloadCodec(read_dictionaries(dict(rows)))

    def ask_state(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a query on state.sqlite, as dicts. Raises Unavailable, Damaged."""
        return self._state.dicts(sql, values)

    def ask_one(self, name: str, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of one segment, `{segment}` standing for it; each row with the `codec` that reads its payload.
        Raises Unavailable, Damaged."""
        with self._segments.reading(name) as alias:
            codec = self._codec(alias, name)
            return [{**row, "codec": codec} for row in self._dicts(sql.replace("{segment}", alias), values)]

    def ask_all(self, sql: str, values: Mapping[str, Any], since: float | None = None) -> list[dict[str, Any]]:
        """Rows over all segments that end after `since`, `{events}` standing for their union. Raises Unavailable,
        Damaged (a segment was set aside; ask again)."""
        aliases = self._attach_all(since)
        if not aliases:
            return []
        union = " UNION ALL BY NAME ".join(f"SELECT * FROM {alias}.events" for alias in aliases.values())
        with self._doubting(aliases):
            return self._dicts(sql.replace("{events}", f"({union})"), values)

    def _attach_all(self, since: float | None) -> dict[str, str]:
        """Alias by name of the segments that end after `since`, oldest first; those that cannot be attached are
        passed over."""
        aliases: dict[str, str] = {}
        for one in self._segments.catalogue():
            if since is None or one.state == "open" or one.last_at >= since:
                with suppress(Damaged, Unavailable), self._segments.reading(one.name) as alias:
                    aliases[one.name] = alias
        return aliases

    @contextmanager
    def _doubting(self, names: Iterable[str]) -> Iterator[None]:
        """When reading fails in the block, finds the file whose fault it is. Raises Damaged, Unavailable."""
        try:
            yield
        except READ_ERRORS as error:
            for name in names:
                self._segments.doubt(name)
            raise Unavailable(f"the segments cannot be read: {str(error).splitlines()[0]}") from error

    def _dicts(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        result = self._connection.execute(sql, dict(values))
        names = [column[0] for column in result.description or []]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
