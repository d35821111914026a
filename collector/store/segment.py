"""One segment file: created, attached, appended to, checkpointed, sealed.

Only DuckDB ever opens the file in this process: closing any other descriptor of it would silently drop DuckDB's lock
(storage.md 5.2). Rows and their progress row are one transaction. Format: collector.store.schema.
"""

# ruff: noqa: S608 - only our own aliases are put into SQL; values are bound

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import duckdb

from collector.errors import ConfigError, Damaged, Unavailable
from collector.model.received import Position
from collector.store.engine import DURABLE, quoted, translate
from collector.store.payload import Dictionary, PayloadCodec, read_dictionaries
from collector.store.schema import CASTS, EVENT_COLUMNS, ITEM_COLUMNS, SEGMENT_DDL, SEGMENT_FORMAT
from collector.store.snapshots import wal_of

# A checkpoint writes the last row group anew, payloads too: this bounds what it writes, how long it takes (67 to 37 ms
# for 500 real events) and what it leaves empty (17 to 4 % of a file). Queries over 600,000 rows take 0 to 8 % longer.
ROW_GROUP_ROWS = 2_048
# Of a new file: payloads leave half a block empty at each checkpoint and behind each long one. Measured on 6,000 real
# events: 2623 B each with DuckDB's 256 KB, 2372 with 64, 2132 with 32, 2023 with 16, whose checkpoints take twice as
# long.
BLOCK_BYTES = 32_768
# What a row takes in the write-ahead log beside its payload; measured: 1530 B of 2700 of a real event.
EVENT_TEXT_BYTES, ITEM_TEXT_BYTES = 1_500, 600
ATTACH_OPTIONS = f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
FIRST_MICROS, LAST_MICROS = -62_135_596_800_000_000, 253_402_300_799_000_000
BAD_VALUE = (duckdb.DataError, duckdb.InvalidInputException)  # conversion, out of range, bytes that are not UTF-8


class Progress(NamedTuple):
    """The last commit in a segment, and its rows after it."""

    no: int
    position: Position
    events: int
    items: int
    stored: int


def micros(seconds: float) -> int:
    """Microseconds since the epoch, kept inside what a TIMESTAMP can hold (years 1 to 9999)."""
    number = round(seconds * 1e6)
    return number if FIRST_MICROS <= number <= LAST_MICROS else max(FIRST_MICROS, min(LAST_MICROS, number))


class Appender(Protocol):
    """What DuckDB's query_appender returns; the module has no public name for it."""

    def append_rows(self, rows: Sequence[tuple[Any, ...]]) -> Any: ...
    def flush(self) -> Any: ...
    def clear(self) -> Any: ...


class Commit(NamedTuple):
    """One transaction: rows as tuples in the order of EVENT_COLUMNS and ITEM_COLUMNS, and their progress row."""

    no: int
    position: Position
    committed_at: float
    stored: int
    events: Sequence[tuple[Any, ...]]
    items: Sequence[tuple[Any, ...]]
    delta: bytes


def _log_bytes(commit: Commit) -> int:
    """About what its rows take in the write-ahead log."""
    texts = EVENT_TEXT_BYTES * len(commit.events) + ITEM_TEXT_BYTES * len(commit.items)
    return texts + sum(len(row[-1] or b"") for rows in (commit.events, commit.items) for row in rows)


class Segment:
    """An attached, writable segment. All methods on the store's thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, alias: str) -> None:
        self._connection = connection
        self.path = path
        self.alias = alias
        self.name = path.stem
        self.codec = PayloadCodec()
        self.sequence = 0
        self.removed = 0  # ledger quantity that was taken out of it
        self.progress = Progress(0, Position(0, 0, 0), 0, 0, 0)
        self.wal_bytes = 0  # written since the last checkpoint, by our own count
        self._events: Appender | None = None
        self._items: Appender | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, connection: duckdb.DuckDBPyConnection, path: Path, sequence: int, carried: Progress, at: float,
               dictionaries: Mapping[int, Dictionary] | None = None) -> Self:  # fmt: skip
        """A new file that carries the position on. Raises Unavailable (disk full) or Damaged."""
        segment = cls(connection, path, f"seg_{sequence}")
        try:
            segment._attach(f", BLOCK_SIZE {BLOCK_BYTES}")
            connection.execute("BEGIN")
            for statement in SEGMENT_DDL:
                connection.execute(statement.format(seg=segment.alias))
            facts = {"format": str(SEGMENT_FORMAT), "sequence": str(sequence), "created_at": repr(at)}
            rows: list[tuple[str, bytes]] = [(key, value.encode()) for key, value in facts.items()]
            rows += [(f"dict:{number}", one.pack()) for number, one in (dictionaries or {}).items()]
            for key, value in rows:
                connection.execute(f"INSERT INTO {segment.alias}.seg_info VALUES (?, ?)", [key, value])
            segment._insert_progress(Commit(carried.no, carried.position, at, 0, (), (), b""), 0, 0, 0)
            connection.execute("COMMIT")
            connection.execute(f"CHECKPOINT {segment.alias}")  # the tables survive the loss of the WAL
        except duckdb.Error as error:
            segment.abandon()
            raise translate(error, path) from error
        segment.load()
        return segment

    @classmethod
    def attach(cls, connection: duckdb.DuckDBPyConnection, path: Path, alias: str) -> Self:
        """An existing file, writable; its WAL is replayed. Raises Unavailable, Damaged, or ConfigError (newer)."""
        segment = cls(connection, path, alias)
        try:
            segment._attach()
        except duckdb.Error as error:
            raise translate(error, path) from error
        try:
            segment.load()
        except Exception:
            segment.abandon()
            raise
        return segment

    def _attach(self, more: str = "") -> None:
        self._connection.execute(f"ATTACH {quoted(self.path)} AS {self.alias} ({ATTACH_OPTIONS}{more})")

    def load(self) -> None:
        """Reads format, dictionaries and progress. Raises Damaged, ConfigError when the format is newer."""
        try:
            facts = dict(self._connection.execute(f"SELECT k, v FROM {self.alias}.seg_info").fetchall())
            last = self._connection.execute(
                f"SELECT no, epoch, seq, total, events, items, stored FROM {self.alias}.progress"
                " ORDER BY rowid DESC LIMIT 1"
            ).fetchall()
            format_version = int(facts["format"])
            self.sequence = int(facts["sequence"])
            self.removed = int(facts.get("removed", b"0"))
        except duckdb.Error as error:
            raise translate(error, self.path) from error
        except (KeyError, ValueError) as error:
            raise Damaged(self.path, f"seg_info is incomplete: {error}") from error
        if format_version > SEGMENT_FORMAT:
            raise ConfigError([f"{self.path}: written by a newer collector (format {format_version}, this one reads"
                               f" {SEGMENT_FORMAT}); start that version, or move the file away"])  # fmt: skip
        if not last:
            raise Damaged(self.path, "no progress row")
        self.codec = PayloadCodec(read_dictionaries(facts))
        no, epoch, seq, total, events, items, stored = last[0]
        self.progress = Progress(no, Position(epoch, seq, total), events, items, stored)

    def verify(self) -> None:
        """Counts rows against the last progress row. Raises Damaged."""
        try:
            row = self._connection.execute(
                f"SELECT (SELECT count(*) FROM {self.alias}.events), (SELECT count(*) FROM {self.alias}.items)"
            ).fetchall()[0]
        except duckdb.Error as error:
            raise translate(error, self.path) from error
        if row != (self.progress.events, self.progress.items):
            raise Damaged(self.path, f"holds {row[0]} events and {row[1]} items, its progress says"
                                     f" {self.progress.events} and {self.progress.items}")  # fmt: skip

    def abandon(self) -> None:
        """Lets go of the file without a checkpoint; whatever was committed stays in its WAL."""
        self._drop_appenders()
        with suppress(duckdb.Error):
            self._connection.execute("ROLLBACK")
        with suppress(duckdb.Error):
            self._connection.execute(f"DETACH {self.alias}")

    def reopen(self) -> None:
        """After a failure: detach, attach, read what is committed. Raises Unavailable, Damaged."""
        self.abandon()
        try:
            self._attach()
        except duckdb.Error as error:
            raise translate(error, self.path) from error
        self.load()

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(self, commit: Commit) -> None:
        """Makes rows and progress durable. After Unavailable nothing of it is in the file (the caller may try again),
        after Damaged the file cannot be used. Raises ValueError when a value of the rows cannot be written."""
        before = self.progress
        events, items = before.events + len(commit.events), before.items + len(commit.items)
        try:
            self._connection.execute("BEGIN")
            if commit.events:
                self._event_appender().append_rows(commit.events)
                self._event_appender().flush()
            if commit.items:
                self._item_appender().append_rows(commit.items)
                self._item_appender().flush()
            self._insert_progress(commit, events, items, before.stored + commit.stored)
            self._connection.execute("COMMIT")
        except (UnicodeError, ValueError, TypeError) as error:
            self._roll_back()
            raise ValueError(str(error)) from error
        except duckdb.Error as error:
            if isinstance(error, BAD_VALUE) and "invalidated" not in str(error):
                self._roll_back()
                raise ValueError(str(error).split("\n")[0]) from error
            self._settle(commit, error)
        self.progress = Progress(commit.no, commit.position, events, items, before.stored + commit.stored)
        self.wal_bytes += len(commit.delta) + _log_bytes(commit)

    def add_dictionary(self, dictionary: Dictionary) -> None:
        """Keeps a dictionary in the file, then uses it. Raises Unavailable (it is not used)."""
        number = max(self.codec.dictionaries, default=0) + 1
        try:
            self._connection.execute(
                f"INSERT INTO {self.alias}.seg_info VALUES (?, ?)", [f"dict:{number}", dictionary.pack()]
            )
        except duckdb.Error as error:
            self.reopen()
            raise Unavailable(f"{self.path.name}: {str(error).splitlines()[0]}") from error
        self.codec.add(dictionary)

    def _settle(self, commit: Commit, error: duckdb.Error) -> None:
        """Finds out whether a commit that failed is in the file; returns when it is."""
        if isinstance(error, duckdb.TransactionException) and DURABLE not in str(error):
            self._roll_back()
            raise Unavailable(f"{self.path.name}: {str(error).splitlines()[0]}") from error
        self.reopen()
        if self.progress.no != commit.no:
            raise Unavailable(f"{self.path.name}: {str(error).splitlines()[0]}") from error

    def _roll_back(self) -> None:
        self._drop_appenders()
        with suppress(duckdb.Error):
            self._connection.execute("ROLLBACK")

    def _drop_appenders(self) -> None:
        """DuckDB warns about rows that are neither flushed nor cleared."""
        for appender in (self._events, self._items):
            if appender is not None:
                with suppress(duckdb.Error):
                    appender.clear()
        self._events = self._items = None

    def _insert_progress(self, commit: Commit, events: int, items: int, stored: int) -> None:
        self._connection.execute(
            f"INSERT INTO {self.alias}.progress VALUES (?, ?, ?, ?, make_timestamp(?), ?, ?, ?, ?)",
            [commit.no, *commit.position, micros(commit.committed_at), events, items, stored, commit.delta],
        )

    def _event_appender(self) -> Appender:
        if self._events is None:
            self._events = self._appender("events", EVENT_COLUMNS)
        return self._events

    def _item_appender(self) -> Appender:
        if self._items is None:
            self._items = self._appender("items", ITEM_COLUMNS)
        return self._items

    def _appender(self, table: str, columns: dict[str, str]) -> Appender:
        values = ", ".join(CASTS.get(name, name) for name in columns)
        appender: Appender = self._connection.query_appender(
            f"INSERT INTO {self.alias}.{table} SELECT {values} FROM appender_data",
            columns,
        )
        return appender

    # -- resting ------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Moves the WAL into the file, then reads the counts back through a fresh attach. Raises Unavailable (the
        rows are safe in the WAL, try again), Damaged."""
        self._drop_appenders()
        try:
            self._connection.execute(f"CHECKPOINT {self.alias}")
        except duckdb.TransactionException as error:
            raise Unavailable(f"{self.path.name}: {str(error).splitlines()[0]}") from error
        except duckdb.Error as error:
            self.reopen()
            raise Unavailable(f"{self.path.name}: {str(error).splitlines()[0]}") from error
        self.reopen()
        self.verify()
        self.wal_bytes = 0

    def is_empty(self) -> bool:
        """True when no commit was written after the row that opened the file."""
        rows = self._connection.execute(f"SELECT count(*) FROM {self.alias}.progress").fetchall()
        return bool(rows[0][0] <= 1)

    def bytes_on_disk(self) -> int:
        """Size of the file and its WAL."""
        total = 0
        for path in (self.path, wal_of(self.path)):
            with suppress(OSError):
                total += path.stat().st_size
        return total
