"""Statuses of issues: decided by hand, re-opened by events, kept over everything."""

from typing import Any

import pytest

from collector.model.event import Digested
from collector.model.received import Position
from collector.store.delta import REGRESSED
from collector.store.regroup import answer
from collector.store.statuses import UPSTREAM, agree, link, linked
from collector.store.store import Store
from tests.helpers.digested import event
from tests.store.conftest import Opener, kill


def commit(store: Store, number: int, issue: int = 1) -> Any:
    return store.commit([Digested(Position(1, number, number), 1, [event(number, issue)])])


def statuses(store: Store) -> list[tuple[Any, ...]]:
    return store._state.rows("SELECT i.short_id, i.status, s.by FROM issues i LEFT JOIN issue_statuses s"
                             " ON s.issue_id = i.id ORDER BY i.id")  # fmt: skip


def test_resolved_by_hand_an_event_re_opens_it_and_ignored_stays(open_store: Opener) -> None:
    flags: list[int] = []
    store = open_store(on_apply=[lambda cursor, batch: flags.extend(one.flags for one in batch.delta.occurrences)])
    commit(store, 1, issue=1)
    commit(store, 2, issue=2)
    done = answer(store, {"do": "set", "status": "resolved", "issues": ["shop-1"]})
    assert done == {"issues": [{"short_id": "SHOP-1", "before": "unresolved", "status": "resolved"}]}
    answer(store, {"do": "set", "status": "ignored", "issues": ["SHOP-2"]})
    assert statuses(store) == [("SHOP-1", "resolved", "person"), ("SHOP-2", "ignored", "person")]
    commit(store, 3, issue=1)
    commit(store, 4, issue=2)
    assert statuses(store) == [("SHOP-1", "unresolved", "regression"), ("SHOP-2", "ignored", "person")]
    assert [flag & REGRESSED for flag in flags] == [0, 0, REGRESSED, 0]


def test_statuses_outlive_a_kill_and_state_sqlite(open_store: Opener) -> None:
    store = open_store()
    commit(store, 1)
    answer(store, {"do": "set", "status": "resolved", "issues": ["SHOP-1"]})
    kill(store)
    store = open_store()
    assert statuses(store) == [("SHOP-1", "resolved", "person")]
    store.close()
    store.state_path.unlink()
    store = open_store()
    assert statuses(store) == [("SHOP-1", "resolved", "person")]
    commit(store, 2)
    assert statuses(store) == [("SHOP-1", "unresolved", "regression")]


def test_what_upstream_decided_is_agreed_before_an_event_re_opens_the_issue(open_store: Opener) -> None:
    store = open_store()
    commit(store, 1)
    with store._state.transaction() as cursor:
        link(cursor, 1, "101", 1.0)
        agree(cursor, [1], "unresolved")
    store.set_statuses([(1, "resolved")], UPSTREAM)
    commit(store, 2)
    with store._state.transaction() as cursor:
        assert [(one.base, one.status) for one in linked(cursor, 10)] == [("resolved", "unresolved")]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"status": "done", "issues": ["SHOP-1"]}, "'done' is no status; there are unresolved, resolved, ignored"),
        ({"status": "resolved", "issues": ["SHOP-9"]}, "there is no issue 'SHOP-9'"),
        ({"status": "resolved"}, "name at least one issue"),
    ],
)
def test_what_cannot_be_set_is_said(open_store: Opener, body: dict[str, Any], said: str) -> None:
    store = open_store()
    commit(store, 1)
    assert answer(store, {"do": "set", **body}) == {"error": said}
