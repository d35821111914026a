"""What was taken in stands in the outcomes beside what was not."""

from pathlib import Path

from collector.model.event import ItemRow
from collector.store.buckets import IssueRate, StoredProject
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, event, record, records

ACCEPTED = """SELECT minute, category, reason, sum(quantity), sum(items) FROM outcomes WHERE outcome = 'accepted'
  GROUP BY 1, 2, 3"""


def test_events_over_the_rate_of_their_issue_are_accepted_but_summarised(tmp_path: Path) -> None:
    projects = {42: StoredProject("shop", IssueRate(1.0, 3))}
    store = Store.open(tmp_path, StoreSettings(), RetentionSettings(), FakeClock(NOW), projects=projects)
    store.commit([record(seq, event(seq, 1, NOW)) for seq in range(1, 11)])
    minute = int(NOW + 0.5) // 60 * 60
    ledger, _ = store._state.counts()
    found = {row[2]: row[3] for row in store._state.rows(ACCEPTED)}
    assert found == {"": ledger["stored"], "summarised": ledger["summarised"]}
    assert sum(found.values()) == 10
    assert {row[0] for row in store._state.rows(ACCEPTED)} == {minute}
    store.close()


def test_items_count_as_the_protocol_counts_them(tmp_path: Path) -> None:
    store = Store.open(tmp_path, StoreSettings(), RetentionSettings(), FakeClock(NOW), projects={})
    items = (
        ItemRow(42, "attachment", NOW, "", "{}", b"x" * 70),
        ItemRow(42, "log", NOW, "", '{"item_count": 5}', b"{}"),
        ItemRow(42, "transaction", NOW, "", "{}", b'{"spans":[{},{}]}'),
        ItemRow(42, "something", NOW, "", "{}", b""),
    )
    store.commit([record(4, items=items, before=0)])
    assert {(row[1], row[3], row[4]) for row in store._state.rows(ACCEPTED)} == {
        ("attachment", 70, 1), ("log_item", 5, 1), ("transaction", 1, 1), ("default", 1, 1),
    }  # fmt: skip
    store.close()


def test_a_state_computed_again_from_the_segments_has_the_same(tmp_path: Path) -> None:
    store = Store.open(tmp_path, StoreSettings(), RetentionSettings(), FakeClock(NOW), projects={})
    store.commit(records(1, 20))
    before = store._state.rows(ACCEPTED)
    store.close()
    (tmp_path / "state.sqlite").unlink()
    again = Store.open(tmp_path, StoreSettings(), RetentionSettings(), FakeClock(NOW), projects={})
    assert again._state.rows(ACCEPTED) == before
    again.close()
