"""The durable queue beside the issues."""

import sqlite3
from pathlib import Path

import pytest

from collector.errors import Unavailable
from collector.store.delta import AppliedBatch
from collector.store.outbox import Entry, Outbox, put
from tests.helpers.digested import records
from tests.store.conftest import Opener


def test_entries_come_by_priority_then_age_and_within_bytes(open_store: Opener, tmp_path: Path) -> None:
    open_store()
    outbox = Outbox.open(tmp_path / "data/state.sqlite")
    for priority, body in ((5, b"a" * 60), (1, b"b" * 60), (5, b"c" * 60)):
        outbox.put(Entry("up", "error", body, priority=priority))
    assert [entry.body[:1] for entry in outbox.next_batch("up", now=0)] == [b"b", b"a", b"c"]
    assert [entry.body[:1] for entry in outbox.next_batch("up", now=0, max_bytes=130)] == [b"b", b"a"]
    assert [entry.body[:1] for entry in outbox.next_batch("up", now=0, max_bytes=1)] == [b"b"]
    assert outbox.next_batch("elsewhere", now=0) == []
    outbox.close()


def test_a_key_is_queued_once_until_it_is_gone(open_store: Opener, tmp_path: Path) -> None:
    open_store()
    outbox = Outbox.open(tmp_path / "data/state.sqlite")
    number = outbox.put(Entry("up", "error", b"x", key="first:1"))
    assert outbox.put(Entry("up", "error", b"y", key="first:1")) == 0
    assert outbox.size()[0] == 1
    outbox.delete([number])
    assert outbox.put(Entry("up", "error", b"y", key="first:1")) > number
    outbox.close()


def test_an_entry_put_in_a_commit_dies_with_it(open_store: Opener, tmp_path: Path) -> None:
    def queue(cursor: sqlite3.Cursor, batch: AppliedBatch) -> None:
        put(cursor, Entry("up", "error", b"x"))
        raise RuntimeError("planted")

    store = open_store(on_apply=[queue])
    with pytest.raises(RuntimeError):
        store.commit(records(1, 2))
    outbox = Outbox.open(tmp_path / "data/state.sqlite")
    assert outbox.size() == (0, 0)
    outbox.close()


def test_entries_wait_for_their_time(open_store: Opener, tmp_path: Path) -> None:
    open_store()
    outbox = Outbox.open(tmp_path / "data/state.sqlite")
    outbox.put(Entry("up", "error", b"x", not_before=100.0))
    assert outbox.next_batch("up", now=99.0) == []
    assert len(outbox.next_batch("up", now=100.0)) == 1
    outbox.close()


def test_without_a_state_file_the_queue_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Outbox.open(tmp_path / "state.sqlite")
