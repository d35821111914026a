"""SQLite refuses (full disk, another writer) at the very moment a segment turns out damaged: nothing is forgotten."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from collector.errors import Damaged, Unavailable
from collector.store.store import Store
from tests.helpers.digested import records
from tests.store.conftest import Opener, kill


def state_of(store: Store) -> tuple[list[int], int, dict[str, int]]:
    """(counts of the issues, what the ledger accounts for, dropped)."""
    status = store.status()
    counts = [row[0] for row in store._state.rows("SELECT count FROM issues ORDER BY id")]
    return counts, status.ledger["stored"] + status.ledger["summarised"] + sum(status.dropped.values()), status.dropped


@contextmanager
def refusing(store: Store) -> Iterator[None]:
    """SQLite takes no write: another connection is in the middle of one."""
    store._state._connection.execute("PRAGMA busy_timeout=0")
    with sqlite3.connect(store._state.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    other.close()


def lose_wal(store: Store, after: int) -> None:
    """The active file loses every commit behind number `after`, as a damaged write-ahead log does, when it is opened
    again."""
    segment = store._segments.active
    reopen = segment.reopen

    def reopen_without() -> None:
        reopen()
        segment._connection.execute(f"DELETE FROM {segment.alias}.progress WHERE no > {after}")
        segment._connection.execute(
            f"DELETE FROM {segment.alias}.events WHERE rowid >= (SELECT max(events) FROM {segment.alias}.progress)"
        )
        segment.load()

    segment.reopen = reopen_without  # type: ignore[method-assign]


def replay(store: Store, last: int) -> None:
    """What the worker does: from the position, again and again."""
    while store.position.seq < last:
        with suppress(Damaged, Unavailable):
            store.commit(records(store.position.seq + 1, last, issues=7))


def test_issues_that_waited_for_sqlite_are_made_again_when_their_rows_are_lost(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 10, issues=2))
    store.checkpoint()
    with refusing(store):
        store.commit(records(11, 30, issues=7))  # issues 3 to 7 are new; SQLite does not hear of them
        lose_wal(store, 1)
        with suppress(Damaged, Unavailable):
            store.checkpoint()
        with suppress(Damaged, Unavailable):
            store.commit(records(31, 31, issues=7))
    assert store.position.seq == 10
    replay(store, 31)
    counts, accounted, dropped = state_of(store)
    assert (sum(counts), len(counts), accounted, dropped) == (31, 7, 31, {})


def test_a_segment_set_aside_while_sqlite_refuses_is_settled_later(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    store.commit(records(1, 10, issues=2))
    store.checkpoint()
    with refusing(store):
        store.commit(records(11, 30, issues=7))
        with suppress(Damaged, Unavailable):
            store._guarded(store._segments.active, lambda: (_ for _ in ()).throw(Damaged("x", "planted")))
        with suppress(Damaged, Unavailable):
            store.commit(records(11, 30, issues=7))
    replay(store, 31)
    counts, accounted, dropped = state_of(store)
    assert (sum(counts), len(counts), accounted, dropped) == (31, 7, 31, {"damaged": 10})
    kill(store)
    again = open_store()
    assert state_of(again) == (counts, accounted, dropped)
    assert again.status().quarantine[0].startswith("2026")


def test_a_state_that_turns_out_damaged_while_running_is_set_aside_and_computed_again(open_store: Opener) -> None:
    store = open_store()
    store.commit(records(1, 30))
    before = state_of(store)
    store._state._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with store._state.path.open("r+b") as file:
        file.write(b"\xff" * 65536)
    store._state._connection.execute("PRAGMA shrink_memory")
    with pytest.raises(Damaged) as raised:
        store.commit(records(31, 40))
    assert raised.value.path == store.state_path
    store.give_up_state(raised.value)
    kill(store)
    again = open_store()
    replay(again, 40)
    assert state_of(again)[1] == 40
    assert sum(state_of(again)[0]) == sum(before[0]) + 10
