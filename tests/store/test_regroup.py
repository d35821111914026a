"""Merges and splits by hand, as the command asks for them."""

from pathlib import Path

import pytest

from collector.store.regroup import answer
from collector.store.store import Store
from tests.helpers.digested import SHOP_AND_BLOG, event, record
from tests.store.conftest import Opener, kill

A, B, C, D = (f"{number:x}" * 32 for number in (10, 11, 12, 13))


def filled(open_store: Opener) -> Store:
    """SHOP-1 with A, SHOP-2 with B and C, BLOG-1 with D."""
    store = open_store(projects=SHOP_AND_BLOG)
    rows = [event(1, hashes=[A]), event(2, hashes=[B, C]), event(3, hashes=[D], project_id=43)]
    store.commit([record(number, row) for number, row in enumerate(rows, 1)])
    return store


def hashes(store: Store) -> dict[str, list[str]]:
    return {one["short_id"]: answer(store, {"do": "show", "issue": one["id"]})["hashes"] for one in listed(store)}


def listed(store: Store) -> list[dict[str, object]]:
    return sorted(answer(store, {"do": "list"})["issues"], key=lambda one: one["id"])


def test_issues_are_listed_with_the_number_of_their_hashes(open_store: Opener) -> None:
    store = filled(open_store)
    assert [(one["short_id"], one["hashes"], one["count"]) for one in listed(store)] == [
        ("SHOP-1", 1, 1),
        ("SHOP-2", 2, 1),
        ("BLOG-1", 1, 1),
    ]
    blog = answer(store, {"do": "list", "project": 43, "limit": 5})["issues"]
    assert [one["short_id"] for one in blog] == ["BLOG-1"]


def test_all_hashes_of_merged_issues_lead_to_the_first(open_store: Opener) -> None:
    store = filled(open_store)
    done = answer(store, {"do": "merge", "into": "shop-1", "issues": ["SHOP-2", "2"]})
    assert done == {
        "into": "SHOP-1", "new": False, "moved": [{"hash": B, "from": "SHOP-2"}, {"hash": C, "from": "SHOP-2"}],
    }  # fmt: skip
    store.commit([record(4, event(4, hashes=[C, B]))])
    assert [(one["short_id"], one["count"]) for one in listed(store)] == [("SHOP-1", 2), ("SHOP-2", 1), ("BLOG-1", 1)]
    assert answer(store, {"do": "merge", "into": "SHOP-1", "issues": ["SHOP-2"]})["moved"] == []


def test_hashes_go_back_to_the_issue_that_they_came_from(open_store: Opener) -> None:
    store = filled(open_store)
    answer(store, {"do": "merge", "into": "SHOP-1", "issues": ["SHOP-2"]})
    done = answer(store, {"do": "unmerge", "issue": "SHOP-1", "hashes": [B[:6], C]})
    assert (done["into"], done["new"]) == ("SHOP-2", False)
    assert hashes(store) == {"SHOP-1": [A], "SHOP-2": [B, C], "BLOG-1": [D]}


def test_hashes_that_came_from_nowhere_else_make_a_new_issue_that_survives(open_store: Opener, tmp_path: Path) -> None:
    store = filled(open_store)
    done = answer(store, {"do": "unmerge", "issue": "SHOP-2", "hashes": [C]})
    assert (done["into"], done["new"], done["moved"]) == ("SHOP-3", True, [{"hash": C, "from": "SHOP-2"}])
    kill(store)
    (tmp_path / "data" / "state.sqlite").unlink()
    again = open_store(projects=SHOP_AND_BLOG)
    assert hashes(again) == {"SHOP-1": [A], "SHOP-2": [B], "SHOP-3": [C], "BLOG-1": [D]}
    again.commit([record(4, event(4, hashes=[C])), record(5, event(5, hashes=["e" * 32]))])
    assert [(one["short_id"], one["count"]) for one in listed(again)] == [
        ("SHOP-1", 1), ("SHOP-2", 1), ("BLOG-1", 1), ("SHOP-3", 1), ("SHOP-4", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"do": "destroy"}, "unknown action 'destroy'"),
        ({"do": "show", "issue": "SHOP-9"}, "no issue 'SHOP-9'"),
        ({"do": "show"}, "no issue ''"),
        ({"do": "show", "issue": "9" * 90}, "no issue '999"),
        ({"do": "merge", "into": "SHOP-1"}, "at least one issue"),
        ({"do": "merge", "into": "SHOP-1", "issues": ["SHOP-2", "SHOP-1"]}, "SHOP-1 cannot be merged into itself"),
        ({"do": "merge", "into": "SHOP-1", "issues": ["BLOG-1"]}, "SHOP-1 and BLOG-1 are issues of different projects"),
        ({"do": "unmerge", "issue": "SHOP-2"}, "at least one hash"),
        ({"do": "unmerge", "issue": "SHOP-2", "hashes": [A]}, f"is no hash of SHOP-2; it has {B}, {C}"),
        ({"do": "unmerge", "issue": "SHOP-2", "hashes": ["bb"]}, "'bb' is too short for a hash of SHOP-2"),
        ({"do": "unmerge", "issue": "SHOP-2", "hashes": [""]}, "'' begins several hashes of SHOP-2"),
        ({"do": "unmerge", "issue": "SHOP-2", "hashes": [B, C]}, "all hashes of SHOP-2"),
        ({"do": "unmerge", "issue": "SHOP-2", "hashes": [B], "into": "SHOP-2"}, "are with SHOP-2 already"),
        ({"do": "unmerge", "issue": "SHOP-2", "hashes": [B], "into": "BLOG-1"}, "different projects"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_changes(open_store: Opener, body: dict[str, object], why: str) -> None:
    store = filled(open_store)
    before = hashes(store)
    assert why in answer(store, body)["error"]
    assert hashes(store) == before


def test_hashes_of_several_origins_are_not_put_together(open_store: Opener) -> None:
    store = filled(open_store)
    store.commit([record(4, event(4, hashes=["e" * 32]))])
    answer(store, {"do": "merge", "into": "SHOP-1", "issues": ["SHOP-2", "SHOP-3"]})
    refused = answer(store, {"do": "unmerge", "issue": "SHOP-1", "hashes": [B, "e" * 32]})
    assert "come from SHOP-2 and SHOP-3" in refused["error"]
    done = answer(store, {"do": "unmerge", "issue": "SHOP-1", "hashes": [B, "e" * 32], "into": "SHOP-3"})
    assert done["into"] == "SHOP-3"
