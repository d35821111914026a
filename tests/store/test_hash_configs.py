"""The store remembers which grouping configurations made the hashes of a project."""

import sqlite3
from pathlib import Path

from collector.store.store import Store
from tests.helpers.digested import SHOP_AND_BLOG, event, record
from tests.store.conftest import Opener, kill

OLD, NEW = "older", "newer"
A, B, C = (f"{number:032x}" for number in (1, 2, 3))


def held(store: Store, project_id: int = 42) -> list[str]:
    return [config for config in (OLD, NEW) if store.may_hold(project_id, config)]


def test_only_configurations_that_made_a_hash_are_held_also_after_a_restart(open_store: Opener) -> None:
    store = open_store(projects=SHOP_AND_BLOG)
    assert held(store) == []
    store.commit([record(1, event(1, hashes=[A], grouping_config=NEW))])
    assert (held(store), held(store, 43)) == ([NEW], [])
    kill(store)
    again = open_store(projects=SHOP_AND_BLOG)
    assert (held(again), held(again, 43)) == ([NEW], [])
    known = event(2, hashes=[A], secondary_hashes=[B], grouping_config=NEW, secondary_config=OLD)
    again.commit([record(2, known)])
    assert held(again) == [NEW]
    new = event(3, hashes=[C], secondary_hashes=[B], grouping_config=NEW, secondary_config=OLD)
    again.commit([record(3, new)])
    assert held(again) == [OLD, NEW]


def test_the_loss_of_the_state_loses_no_configuration(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    store.commit([record(1, event(1, hashes=[A], grouping_config=NEW))])
    kill(store)
    (tmp_path / "data" / "state.sqlite").unlink()
    assert held(open_store()) == [NEW]


def test_hashes_of_unknown_origin_may_be_of_any_configuration(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(projects=SHOP_AND_BLOG)
    store.commit([record(1, event(1, hashes=[A], grouping_config=NEW))])
    store.close()
    with sqlite3.connect(tmp_path / "data" / "state.sqlite") as state:
        state.execute("DROP TABLE hash_configs")  # as a collector wrote it that did not keep them
    again = open_store(projects=SHOP_AND_BLOG)
    assert (held(again), held(again, 43)) == ([OLD, NEW], [])


def test_a_hash_given_by_hand_that_nobody_saw_may_be_of_any_configuration(open_store: Opener) -> None:
    store = open_store()
    store.commit(
        [record(1, event(1, hashes=[A], grouping_config=NEW)), record(2, event(2, hashes=[B], grouping_config=NEW))]
    )
    assert store.move_hashes(42, [B], 1)
    assert held(store) == [NEW]
    assert store.move_hashes(42, [C], 1)
    assert held(store) == [OLD, NEW]
