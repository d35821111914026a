"""What must hold for every event."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from collector.group.explain import explain
from collector.group.fingerprint import FingerprintRules
from collector.group.grouping import GROUPING_CONFIGS, group
from collector.group.rules import StackRules
from collector.group.view import View, decode, lenient
from tests.group.events import (
    EVENTS,
    FRAMES,
    JSON_VALUES,
    examples,
    exception_event,
    many_examples,
    tree_exception,
)

CONFIGS = st.sampled_from(sorted(GROUPING_CONFIGS))
SHARED = StackRules()
FIELDS = (
    "function",
    "module",
    "filename",
    "abs_path",
    "in_app",
    "lineno",
    "context_line",
    "package",
    "data",
    "platform",
)
EVENT_FIELDS = sorted(View.__struct_fields__)
EXCEPTION_FIELDS = ("type", "value", "module", "mechanism", "stacktrace")


def view_of(event: Any) -> View:
    return decode(json.dumps(event).encode())


def hashes(event: Any, config: str) -> list[str]:
    return group(view_of(event), config).hashes


def reordered(value: Any) -> Any:
    """The same JSON with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def decorated(value: Any) -> Any:
    """The same JSON with locals, lines around and unknown fields in every object."""
    if isinstance(value, dict):
        extra = {"vars": {"password": "x"}, "pre_context": ["a"], "post_context": [], "x_unknown": [1, {}]}
        return {**extra, **{key: decorated(inner) for key, inner in value.items()}}
    return [decorated(item) for item in value] if isinstance(value, list) else value


def moved(value: Any, lines: int) -> Any:
    """The same JSON with every line number moved."""
    if isinstance(value, dict):
        return {key: inner + lines if key == "lineno" else moved(inner, lines) for key, inner in value.items()}
    return [moved(item, lines) for item in value] if isinstance(value, list) else value


@examples
@given(event=EVENTS, config=CONFIGS)
def test_order_of_keys_does_not_change_a_hash(event, config):
    assert hashes(reordered(event), config) == hashes(event, config)


@examples
@given(event=EVENTS, config=CONFIGS)
def test_locals_and_unknown_fields_do_not_change_a_hash(event, config):
    assert hashes(decorated(event), config) == hashes(event, config)


@examples
@given(event=EVENTS, config=CONFIGS, lines=st.integers(1, 10_000))
def test_moved_lines_do_not_change_a_hash(event, config, lines):
    assert hashes(moved(event, lines), config) == hashes(event, config)


@examples
@given(frames=st.lists(FRAMES, min_size=1, max_size=5), config=CONFIGS)
def test_renaming_a_contributing_function_changes_the_hash(frames, config):
    named = [*frames, {"function": "old_name", "module": "shop.cart", "in_app": True, "lineno": 900}]
    renamed = [*frames, {"function": "new_name", "module": "shop.cart", "in_app": True, "lineno": 900}]
    assert hashes(exception_event(*named), config) != hashes(exception_event(*renamed), config)


@examples
@given(frames=st.lists(FRAMES, min_size=1, max_size=5), config=CONFIGS)
def test_the_value_of_an_exception_does_not_count_beside_its_stack(frames, config):
    with_frame = [*frames, {"function": "last", "module": "shop.cart", "in_app": True, "lineno": 900}]
    assert hashes(exception_event(*with_frame, value="a"), config) == hashes(
        exception_event(*with_frame, value="b"), config
    )


@examples
@given(event=EVENTS, config=CONFIGS)
def test_what_was_grouped_before_never_changes_a_result(event, config):
    assert group(view_of(event), config, SHARED) == group(view_of(event), config, StackRules())


@examples
@given(event=EVENTS)
def test_the_lenient_way_reads_a_proper_event_as_the_typed_way_does(event):
    assert lenient(event) == view_of(event)


@examples
@given(event=EVENTS, config=CONFIGS)
def test_every_event_has_a_primary_hash_that_is_a_contributing_variant(event, config):
    result = group(view_of(event), config)
    assert result.hashes
    assert set(result.hashes) == {value for value, contributes in result.variants.values() if contributes}
    assert all(len(value) == 32 for value in result.hashes)


@many_examples
@given(field=st.sampled_from(EVENT_FIELDS), value=JSON_VALUES, event=EVENTS, config=CONFIGS)
def test_anything_in_any_field_of_an_event_groups(field, value, event, config):
    view = view_of({**event, field: value})
    assert group(view, config).hashes
    assert explain(view, config)


@many_examples
@given(field=st.sampled_from(FIELDS), value=JSON_VALUES, frame=FRAMES, config=CONFIGS)
def test_anything_in_any_field_of_a_frame_groups(field, value, frame, config):
    assert group(view_of(exception_event({**frame, field: value}, frame)), config).hashes


@many_examples
@given(field=st.sampled_from(EXCEPTION_FIELDS), value=JSON_VALUES, config=CONFIGS)
def test_anything_in_any_field_of_an_exception_groups(field, value, config):
    event = exception_event({"function": "f"})
    event["exception"]["values"][0][field] = value
    assert group(view_of(event), config).hashes


@examples
@given(event=JSON_VALUES)
def test_any_json_document_groups(event):
    assert group(view_of(event)).hashes


@examples
@given(text=st.text(max_size=200), platform=st.sampled_from(["native", "csharp", "javascript", "java", "php", "ruby"]))
def test_any_function_name_groups(text, platform):
    assert group(view_of(exception_event({"function": text, "in_app": True}, platform=platform))).hashes


@examples
@given(
    ids=st.lists(
        st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(0, 4), st.booleans()), min_size=1, max_size=8
    )
)
def test_absurd_trees_of_exceptions_terminate(ids):
    values = [tree_exception(own, parent, group=is_group) for own, parent, is_group in ids]
    assert group(view_of({"platform": "python", "exception": {"values": values}})).hashes


@examples
@given(event=EVENTS)
def test_a_rule_that_never_matches_changes_nothing(event):
    stack = StackRules("stack.function:no_such_function -app -group")
    fingerprints = FingerprintRules("type:NoSuchType -> never")
    assert group(view_of(event), rules=stack, fingerprints=fingerprints) == group(view_of(event))


@examples
@given(event=EVENTS)
def test_the_secondary_hashes_are_those_of_the_configuration_before(event):
    assume(not event.get("fingerprint"))
    before = group(view_of(event), "newstyle:2023-01-11")
    assert group(view_of(event)).secondary_hashes == before.hashes


def test_half_a_surrogate_pair_groups():
    payload = json.dumps(exception_event({"function": "caf\ud83d", "in_app": True}, value="\udfff")).encode()
    assert group(decode(payload)).title == "ValueError: ?"


def test_a_payload_nested_without_end_is_refused_as_a_value_error():
    with pytest.raises(ValueError, match="deep"):
        decode(b'{"exception":' + b"[" * 100_000)
