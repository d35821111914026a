"""Strategies, variants and the hash list."""

import hashlib
from typing import Any

import pytest

from collector.errors import ConfigError
from collector.group.fingerprint import FingerprintRules
from collector.group.grouping import GROUPING_CONFIGS, Grouper, group
from collector.group.rules import StackRules
from collector.group.settings import GroupingSettings
from collector.group.view import lenient
from collector.model.event import GroupingResult
from tests.group.events import exception_event, frame, tree_exception

OLD, NEW = "newstyle:2023-01-11", "newstyle:2026-01-20"


def md5(*texts: str) -> str:
    return hashlib.md5("".join(texts).encode()).hexdigest()


def grouped(event: dict[str, Any], config: str = NEW, rules: str = "", fingerprints: str = "") -> GroupingResult:
    return group(lenient(event), config, StackRules(rules), FingerprintRules(fingerprints))


def exceptions(*values: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"platform": "other", "exception": {"values": list(values)}, **fields}


def test_a_hash_is_the_md5_of_all_contributing_values_without_separators():
    assert grouped(exceptions({"type": "Error", "value": "bad"})).hashes == ["be36642f41f047346396f018f62375d3"]


def test_type_comes_before_the_stack_now_and_after_it_in_the_older_configuration():
    event = exception_event(frame("main"))
    assert grouped(event, NEW).hashes == [md5("ValueError", "shop.cart", "main")]
    assert grouped(event, OLD).hashes == [md5("shop.cart", "main", "ValueError")]


@pytest.mark.parametrize(("config", "other"), [(NEW, OLD), (OLD, NEW)])
def test_the_other_configuration_finds_the_issues_that_it_made(config, other):
    event = exception_event(frame("main"))
    result = grouped(event, config)
    assert (result.config, result.secondary_config) == (config, other)
    assert result.secondary_hashes == grouped(event, other).hashes != result.hashes


def test_the_other_configuration_is_only_asked_where_it_was_in_use():
    grouper, in_use = Grouper(GroupingSettings()), {NEW}
    event = exception_event(frame("main"))
    alone = grouper.group(lenient(event), may_hold=in_use.__contains__)
    assert (alone.secondary_hashes, alone.secondary_config) == ([], "")
    in_use.add(OLD)
    assert grouper.group(lenient(event), may_hold=in_use.__contains__).secondary_hashes == grouped(event, OLD).hashes


def test_the_configuration_before_is_not_asked_about_an_issue_that_is_known():
    rules, asked, known = StackRules(), [], set()

    def is_known(hashes):
        asked.append(hashes)
        return bool(known & set(hashes))

    view = lenient(exception_event(frame("main")))
    first = group(view, rules=rules, transition=is_known)
    assert first.secondary_hashes == grouped(exception_event(frame("main")), OLD).hashes
    known.update(first.hashes)
    assert group(view, rules=StackRules(), transition=is_known).secondary_hashes == []
    assert asked == [first.hashes, first.hashes]


def test_an_event_recalled_without_older_hashes_gets_them_when_its_issue_is_unknown():
    rules = StackRules()
    view = lenient({"logentry": {"formatted": "stock is at 17"}})
    plain = group(view, rules=rules, transition=lambda _: True)
    again = group(view, rules=rules, transition=lambda _: False)
    assert plain.secondary_hashes == []
    assert again == group(view, rules=StackRules())
    assert again.secondary_hashes


def test_app_frames_make_the_primary_hash_and_all_frames_the_second_one():
    event = exception_event(frame("lib", module="flask.app", in_app=False), frame("main"))
    assert grouped(event).hashes == [
        md5("ValueError", "shop.cart", "main"),
        md5("ValueError", "flask.app", "lib", "shop.cart", "main"),
    ]


def test_without_a_frame_in_app_only_the_system_variant_counts():
    result = grouped(exception_event(frame("lib", in_app=False)))
    assert result.variants["app"] == (None, False)
    assert result.hashes == [result.variants["system"][0]]


def test_equal_variants_count_once_and_app_is_the_one():
    result = grouped(exception_event(frame("main")))
    assert result.variants["system"] == (None, False)
    assert len(result.hashes) == 1


def test_the_same_place_twice_in_a_row_counts_once():
    again, other = frame("loop", lineno=3), frame("loop", lineno=4)
    assert grouped(exception_event(again, again)).hashes == grouped(exception_event(again)).hashes
    assert grouped(exception_event(again, other)).hashes != grouped(exception_event(again)).hashes


def test_a_synthetic_exception_is_not_grouped_by_its_type():
    event = exception_event(frame("main"))
    event["exception"]["values"][0]["mechanism"] = {"type": "generic", "synthetic": True}
    assert grouped(event).hashes == [md5("shop.cart", "main")]


def test_an_ns_error_counts_by_domain_and_code_and_hides_the_value():
    value = {"type": "NSError", "value": "failed for 17", "mechanism": {"type": "NSError", "meta": {"ns_error": {}}}}
    assert grouped(exceptions(value)).hashes == [md5("NSError", "None", "None")]
    value["mechanism"]["meta"]["ns_error"] = {"domain": "iOS", "code": 12}
    assert grouped(exceptions(value)).hashes == [md5("NSError", "iOS", "12")]


def test_chained_exceptions_count_in_the_order_of_the_list():
    chained = exceptions({"type": "A", "value": "a"}, {"type": "B", "value": "b"})
    assert grouped(chained).hashes == [md5("A", "a", "B", "b")]


def test_equal_exceptions_below_a_group_stand_for_one():
    leaves = [tree_exception(2, 0, kind="Leaf"), tree_exception(1, 0, kind="Leaf")]
    event = exceptions(*leaves, tree_exception(0, None, group=True, kind="Group"))
    assert grouped(event).hashes == [md5("Leaf", "v")]
    assert grouped(event).title == "Leaf: v"


def test_distinct_exceptions_below_a_group_count_with_the_group():
    leaves = [tree_exception(2, 0, kind="A"), tree_exception(1, 0, kind="B")]
    event = exceptions(*leaves, tree_exception(0, None, group=True, kind="Group"))
    assert grouped(event).hashes == [md5("B", "v", "A", "v", "Group", "v")]


def test_ids_that_make_no_tree_leave_the_list_as_it_is():
    values = [tree_exception(1, 0, kind="A"), tree_exception(1, 0, kind="A"), tree_exception(0, None, group=True)]
    assert grouped(exceptions(*values)).hashes == [md5("A", "v", "A", "v", "E", "v")]


def test_a_circle_of_exceptions_is_taken_as_a_list():
    values = [tree_exception(1, 0, group=True, kind="A"), tree_exception(0, 1, group=True, kind="B")]
    assert grouped(exceptions(*values)).hashes == [md5("A", "v", "B", "v")]


@pytest.mark.parametrize("chosen", [{"crashed": True}, {"current": True}])
def test_the_thread_that_stands_out_is_grouped_by(chosen):
    stack = {"frames": [frame("work")]}
    event = {
        "threads": {"values": [{"id": 1, "stacktrace": {"frames": [frame("idle")]}}, {"stacktrace": stack, **chosen}]}
    }
    assert grouped(event).hashes == [md5("shop.cart", "work")]


def test_many_threads_without_one_that_stands_out_do_not_count():
    event = {"threads": {"values": [{"stacktrace": {"frames": [frame("a")]}}] * 2}, "logentry": {"formatted": "hello"}}
    assert grouped(event).hashes == [md5("hello")]


def test_a_stack_comes_before_a_message():
    event = {"stacktrace": {"frames": [frame("main")]}, "logentry": {"formatted": "hello"}}
    assert grouped(event).hashes == [md5("shop.cart", "main")]


def test_a_message_is_grouped_by_its_template_and_without_what_varies():
    assert grouped({"logentry": {"message": "user %s", "formatted": "user 7"}}).hashes == [md5("user %s")]
    assert grouped({"logentry": {"formatted": "user 7 of 10"}}).hashes == [md5("user <int> of <int>")]


def test_only_the_first_two_lines_of_a_message_count():
    assert grouped({"logentry": {"formatted": "one\n\ntwo\nthree"}}).hashes == [md5("one\ntwo...")]


def test_a_template_is_grouped_by_file_and_line():
    assert grouped({"template": {"filename": "a.html", "context_line": "{{ x }}"}}).hashes == [md5("a.html", "{{ x }}")]


@pytest.mark.parametrize(
    ("report", "parts"),
    [
        ({"effective_directive": "img-src", "blocked_uri": "http://a.example/x.png?q"}, ("img-src", "a.example")),
        ({"effective_directive": "img-src", "blocked_uri": "data:text/html"}, ("img-src", "data:")),
        ({"effective_directive": "img-src", "blocked_uri": "blob"}, ("img-src", "blob:")),
        ({"effective_directive": "script-src", "blocked_uri": "self"}, ("script-src", "'self'")),
        (
            {
                "effective_directive": "script-src",
                "violated_directive": "script-src 'unsafe-inline'",
                "blocked_uri": "",
            },
            ("script-src", "'unsafe-inline'"),
        ),
    ],
)
def test_a_csp_report_is_grouped_by_directive_and_whom_it_stopped(report, parts):
    assert grouped({"csp": report}).hashes == [md5(*parts)]


@pytest.mark.parametrize(
    ("field", "salt"), [("hpkp", "hpkp"), ("expectct", "expect-ct"), ("expectstaple", "expect-staple")]
)
def test_a_report_about_a_host_is_grouped_by_the_host(field, salt):
    assert grouped({field: {"hostname": "a.example"}}).hashes == [md5(salt, "a.example")]


def test_an_event_without_anything_falls_back():
    assert grouped({}).variants == {"fallback": (md5(), True)}


def test_a_checksum_decides_alone():
    own = "0123456789abcdef0123456789abcdef"
    assert grouped({**exception_event(frame("main")), "checksum": own}).variants == {"checksum": (own, True)}
    assert grouped({"checksum": "mine"}).variants == {"hashed_checksum": (md5("mine"), True)}


def test_an_own_fingerprint_takes_the_place_of_all_variants():
    result = grouped({**exception_event(frame("main")), "fingerprint": ["a", "b"]})
    assert result.hashes == [md5("a", "b")]
    assert result.variants["app"] == (None, False)
    assert "custom_client_fingerprint" in result.variants


def test_a_hybrid_fingerprint_salts_every_contributing_variant():
    event = {**exception_event(frame("main")), "fingerprint": ["{{ default }}", "eu"]}
    assert grouped(event).hashes == [md5("ValueError", "shop.cart", "main", "eu")]


def test_rules_decide_what_is_in_app_and_what_counts():
    event = exception_event(frame("a", module="io.acme.Api", in_app=False), frame("b", module="lib", in_app=False))
    plain = exception_event(frame("a", module="io.acme.Api"), frame("b", module="lib", in_app=False))
    assert grouped(event, rules="stack.module:io.acme.* +app").hashes == grouped(plain).hashes
    assert grouped(plain, rules="stack.module:lib -group").hashes == [md5("ValueError", "io.acme.Api", "a")]


def test_max_frames_keeps_the_frames_next_to_the_crash():
    event = exception_event(frame("a"), frame("b"), frame("c"))
    assert (
        grouped(event, rules="family:other max-frames=2").hashes
        == grouped(exception_event(frame("b"), frame("c"))).hashes
    )


def test_too_few_frames_for_min_frames_are_none():
    result = grouped(exception_event(frame("a")), rules="family:other min-frames=2")
    assert result.hashes == [md5("ValueError", "boom")]


def test_a_known_stack_with_another_message_keeps_its_hash_and_gets_its_own_title():
    rules = StackRules()
    results = [group(lenient(exception_event(frame("main"), value=value)), NEW, rules) for value in ("one", "two")]
    assert results[0].hashes == results[1].hashes
    assert [result.title for result in results] == ["ValueError: one", "ValueError: two"]


def test_an_unknown_configuration_is_a_key_error():
    with pytest.raises(KeyError):
        group(lenient({}), "newstyle:1999-01-01")


def test_every_secondary_configuration_exists():
    assert {config.secondary for config in GROUPING_CONFIGS.values()} <= {None, *GROUPING_CONFIGS}


def test_a_grouper_refuses_broken_settings_naming_every_mistake():
    broken = GroupingSettings(config="x", stack_trace_rules="function:a\n", fingerprint_rules="\ntype:a b -> c")
    with pytest.raises(ConfigError) as refused:
        Grouper(broken, "project.shop.grouping")
    assert [mistake.split(": ")[0] for mistake in refused.value.mistakes] == [
        "project.shop.grouping.config",
        "project.shop.grouping.stack_trace_rules",
        "project.shop.grouping.fingerprint_rules",
    ]
    assert "line 2, column 8" in refused.value.mistakes[2]


def test_a_grouper_groups_by_its_settings():
    grouper = Grouper(GroupingSettings(stack_trace_rules="function:b -group", transition=False))
    result = grouper.group(lenient(exception_event(frame("a"), frame("b"))))
    assert result.hashes == [md5("ValueError", "shop.cart", "a")]
    assert result.secondary_hashes == []
