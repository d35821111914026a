"""Memos are bounded and never change a result."""

from collector.group.grouping import group
from collector.group.memo import Memo
from collector.group.recall import MAX_KEYS_PER_GLANCE, MAX_TEXTS_PER_KEY
from collector.group.rules import StackRules
from collector.group.view import lenient
from tests.group.events import exception_event, frame


def test_the_oldest_entries_make_room_for_new_ones():
    memo: Memo[int] = Memo(max_weight=100)
    for number in range(20):
        memo.put(number, number, 10)
    assert [number for number in range(20) if memo.get(number) is not None] == list(range(10, 20))
    assert memo.weight == 100


def test_an_entry_that_is_too_heavy_is_not_kept():
    memo: Memo[int] = Memo(max_weight=100)
    memo.put("heavy", 1, 13)
    assert memo.get("heavy") is None
    assert len(memo) == 0


def test_a_replaced_entry_weighs_once():
    memo: Memo[int] = Memo(max_weight=100)
    memo.put("key", 1, 10)
    memo.put("key", 2, 5)
    assert (memo.get("key"), memo.weight) == (2, 5)


def test_memos_stay_within_their_bounds_whatever_comes():
    rules = StackRules()
    for number in range(3000):
        event = exception_event(frame(f"f{number}", context_line="x" * 2000), value="y" * 2000)
        group(lenient(event), rules=rules)
    memos = [rules.recalled, rules._frames, *(reader.stacks for reader in rules._readers.values())]
    assert all(0 < memo.weight <= memo.max_weight for memo in memos)


def test_messages_of_one_kind_are_kept_in_small_numbers():
    rules = StackRules()
    for number in range(200):
        group(lenient({"logentry": {"formatted": f"kind {'x' * number}"}}), rules=rules)
    ((entries, _),) = rules.recalled._entries.values()
    ((_, by_text),) = entries
    assert 0 < len(by_text) <= MAX_TEXTS_PER_KEY


def test_stacks_that_look_alike_at_first_glance_are_told_apart():
    rules = StackRules()
    views = [lenient(exception_event(frame(f"caller_{number}"), frame("main"))) for number in range(40)]
    results = [group(view, rules=rules) for view in (*views, *views)]
    assert len({result.hashes[0] for result in results}) == 40
    assert results[:40] == results[40:]
    ((entries, _),) = rules.recalled._entries.values()
    assert len(entries) <= MAX_KEYS_PER_GLANCE


def test_a_forgotten_event_groups_the_same():
    rules = StackRules()
    view = lenient(exception_event(frame("main")))
    first = group(view, rules=rules)
    rules.forget()
    assert len(rules.recalled) == 0
    assert group(view, rules=rules) == first


def test_an_event_with_a_message_is_not_taken_for_one_without():
    rules = StackRules()
    empty, full = lenient({"logentry": {"formatted": ""}}), lenient({"logentry": {"formatted": "hello"}})
    assert group(empty, rules=rules).hashes != group(full, rules=rules).hashes
    assert group(full, rules=rules) == group(full, rules=StackRules())


def test_a_fingerprint_that_is_a_message_is_not_taken_for_one_that_is_not():
    rules = StackRules()
    event = {"fingerprint": ["order 7"], "logentry": {"formatted": "other"}}
    same = {"fingerprint": ["order 7"], "logentry": {"formatted": "order 7"}}
    assert group(lenient(event), rules=rules).resolved_fingerprint == ["order 7"]
    assert group(lenient(same), rules=rules).resolved_fingerprint == ["order <int>"]
