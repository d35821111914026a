"""What the commands answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from collector.errors import ConfigError
from collector.group import console
from collector.group.console import (
    Options,
    eval_lines,
    group_lines,
    parameterize_lines,
    test_lines,
    try_rules,
)
from collector.group.grouping import group
from collector.group.view import decode
from tests.group.events import exception_event, frame

PLAIN = Options()
EVENT = {"event_id": "a" * 32, **exception_event(frame("lib", in_app=False), frame("main"))}


def answers(*documents: Any, options: Options = PLAIN) -> list[Any]:
    return [json.loads(line) for line in group_lines(map(json.dumps, documents), options, as_json=True)]


def test_an_event_alone_is_answered_with_its_hashes():
    (answer,) = answers(EVENT)
    result = group(decode(json.dumps(EVENT).encode()))
    assert answer == {
        "id": "a" * 32,
        "config": "newstyle:2026-01-20",
        "variants": {name: {"hash": each[0], "contributes": each[1]} for name, each in result.variants.items()},
        "hashes": result.hashes,
        "fingerprint": ["{{ default }}"],
        "title": "ValueError: boom",
        "culprit": "shop.cart in main",
    }


def test_a_line_may_bring_its_own_rules_and_configuration():
    wrapped = {
        "id": 7,
        "event": EVENT,
        "stack_trace_rules": "function:lib +app",
        "fingerprint_rules": [{"matchers": [["type", "KeyError"]], "fingerprint": ["x"]}],
        "config": "newstyle:2023-01-11",
    }
    own, plain = answers(wrapped, EVENT)
    assert (own["id"], own["config"]) == (7, "newstyle:2023-01-11")
    assert len(own["hashes"]) == 1
    assert len(plain["hashes"]) == 2


def test_rules_of_the_command_hold_for_lines_without_their_own():
    (answer,) = answers(EVENT, options=Options(fingerprint_rules="type:ValueError -> value"))
    assert answer["fingerprint"] == ["value"]


def test_one_event_may_stretch_over_many_lines():
    lines = json.dumps(EVENT, indent=2).split("\n")
    assert len(list(group_lines(lines, PLAIN, as_json=True))) == 1


def test_a_raw_event_is_normalised_first():
    options = Options(normalise=lambda raw: raw.replace(b"boom", b"normalised"))
    (answer,) = answers(EVENT, options=options)
    assert answer["title"] == "ValueError: normalised"


def test_what_is_wrong_with_one_line_is_its_answer():
    broken, unknown, fine = answers(
        {"id": 1, "event": EVENT, "stack_trace_rules": "nope"}, {"id": 2, "event": {}, "config": "x"}, EVENT
    )
    assert "line 1, column 1" in broken["error"]
    assert "unknown config" in unknown["error"]
    assert fine["hashes"]


def test_broken_options_are_refused_before_the_first_line():
    options = Options(config="x", stack_trace_rules="function:a", fingerprint_rules="a")
    with pytest.raises(ConfigError) as refused:
        list(group_lines([], options, as_json=True))
    assert len(refused.value.mistakes) == 3


def test_a_person_reads_for_each_frame_why_it_counts_or_not():
    event = exception_event(
        frame("run", module="flask.app", abs_path="/venv/lib/site-packages/flask/app.py"),
        frame("main", filename="cart.py"),
    )
    lines = list(group_lines([json.dumps(event)], Options(stack_trace_rules="function:nothing -app"), as_json=False))
    text = "\n".join(lines)
    assert "- frame 0 [system] run in flask.app  (non app frame" in text
    assert "marked out of app by rule (path:**/site-packages/** -app)" in text
    assert "+ frame 1 [in app] main in shop.cart" in text
    assert '- filename "cart.py"  (module takes precedence)' in text
    assert '- value "boom"  (ignored because stacktrace takes precedence)' in text


def test_a_person_reads_which_fingerprint_rule_matched():
    options = Options(fingerprint_rules="type:ValueError -> {{ function }}")
    text = "\n".join(group_lines([json.dumps(EVENT)], options, as_json=False))
    assert 'by rule type:"ValueError" -> "{{ function }}"' in text
    assert "= main" in text
    assert "- app  does not count: the fingerprint takes precedence" in text


def test_texts_are_parameterised_line_by_line():
    assert list(parameterize_lines(['"user 7"', '"a=true"'])) == ['"user <int>"', '"a=<bool>"']


def test_rules_are_evaluated_over_frames():
    question = {
        "id": 3,
        "rules": "function:a -app\nfunction:b category=ui -group\nerror.type:E function:c +app",
        "platform": "python",
        "frames": [{"function": "a", "in_app": True}, {"function": "b"}, {"function": "c"}],
        "exception": {"type": "E"},
        "contributes_before": [True, True, False],
    }
    assert json.loads(next(eval_lines([json.dumps(question)]))) == {
        "id": 3,
        "frames": [
            {"in_app": False, "category": None},
            {"in_app": None, "category": "ui"},
            {"in_app": True, "category": None},
        ],
        "contributes": [True, False, False],
        "stacktrace_contributes": True,
    }


QUESTIONS = [
    ({"parse": "function:a +app"}, {"valid": True, "error": None}),
    (
        {"parse": "function:a"},
        {"valid": False, "error": "line 1, column 11: expected at least one action such as +app"},
    ),
]


@pytest.mark.parametrize(("question", "answer"), QUESTIONS)
def test_a_rule_is_checked(question, answer):
    assert json.loads(next(eval_lines([json.dumps(question)]))) == answer


@pytest.mark.parametrize(
    "question", [[], {"rules": "builtin:x"}, {"rules": "x"}, {"frames": [{}], "contributes_before": [True, True]}]
)
def test_a_question_that_makes_no_sense_is_answered_with_an_error(question):
    assert "error" in json.loads(next(eval_lines([json.dumps(question)])))


def test_expectations_are_reported_one_by_one_and_in_total():
    hashes = group(decode(json.dumps(EVENT).encode())).hashes
    lines = [
        {
            "id": "one",
            "event": EVENT,
            "expect": {"hashes": hashes, "in_app": [False, True], "title": "ValueError: boom"},
        },
        {"id": "two", "event": {**EVENT, "fingerprint": ["x"]}, "expect": {"same_as": "one"}},
        {"id": "three", "event": EVENT, "expect": {"same_as": "one", "fingerprint": ["{{ default }}"]}},
        {"id": "four", "event": {"logentry": {"formatted": "a"}}, "expect": {"differs_from": "one", "nonsense": 1}},
    ]
    report = list(test_lines(map(json.dumps, lines), PLAIN))
    assert [checked.ok for checked in report] == [True, False, True, False, False]
    assert report[1].line == "FAIL two: shares no issue with 'one'"
    assert "unknown expectation 'nonsense'" in report[3].line
    assert report[-1].line == "2 passed, 2 failed"


def test_trying_rules_shows_what_would_merge_and_what_would_split():
    events = [exception_event(frame("main"), frame(name)) for name in ("a", "a", "b")]
    events.append(exception_event(frame("other")))
    payloads = [json.dumps(event).encode() for event in events]
    lines = list(try_rules(payloads, PLAIN, Options(stack_trace_rules="function:a -group\nfunction:b -group")))
    assert lines[0].startswith("merge  ")
    assert [line.split()[1:3] for line in lines[1:3]] == [["2", "events"], ["1", "event"]]
    assert lines[-1] == "4 events: 3 issues before, 2 after; 1 would be merged from several, 0 would split"
    back = list(try_rules(payloads, Options(stack_trace_rules="function:a -group\nfunction:b -group"), PLAIN))
    assert back[0].startswith("split  ")
    assert back[-1] == "4 events: 2 issues before, 3 after; 0 would be merged from several, 1 would split"


def test_the_built_in_rules_can_be_asked_by_name(tmp_path: Path):
    question = {"rules": "builtin:all-platforms:2026-01-20", "platform": "native", "frames": [{"function": "malloc"}]}
    assert json.loads(next(eval_lines([json.dumps(question)])))["frames"][0]["category"] == "malloc"


def test_a_line_that_is_no_json_is_answered_and_the_others_too():
    lines = ['"first"', "{oops", "[1]", "", '{"event": {}, "id": "last"}']
    answers = [json.loads(line) for line in console.group_lines(lines, console.Options(), as_json=True)]
    assert [answer.get("error", "")[:21] for answer in answers] == [
        "an event is a JSON ob", "line 2 is no JSON: Ex", "an event is a JSON ob", "",
    ]  # fmt: skip
    assert answers[-1]["id"] == "last"
    assert [console.is_error(json.dumps(answer)) for answer in answers] == [True, True, True, False]


def test_one_document_may_go_on_over_lines_and_a_broken_one_is_not_the_end():
    whole = list(console.documents(['{"a":', "1}"]))
    broken = list(console.documents(['{"a":', '{"b": 1}', "[" * 100_000]))
    assert whole == [{"a": 1}]
    assert broken[1] == {"b": 1}
    assert [each.why[:20] for each in (broken[0], broken[2])] == ["line 1 is no JSON: E", "line 3 is no JSON: n"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"event": None}, "event is not a JSON object"),
        ({"event": {}, "config": ["x"]}, "unknown config ['x']"),
        ({"event": {}, "expect": 5}, "expect is not"),
        ({"event": {}, "stack_trace_rules": 5}, "stack trace rules are"),
        ({"event": {}, "stack_trace_rules": "builtin:x"}, "unknown set 'x'"),
        ({"event": {}, "stack_trace_rules": ["function:a +app", "function:b +ap"]}, "line 2, column 13"),
        ({"event": {}, "fingerprint_rules": {"a": 1}}, "fingerprint rules are"),
        (
            {"event": {}, "fingerprint_rules": [{"matchers": [["type"]], "fingerprint": ["a"]}]},
            "line 1, column 1: a rule is {matchers",
        ),
    ],
)
def test_what_is_wrong_with_a_line_is_its_answer(line, why):
    (answer,) = console.group_lines([json.dumps({"id": 7, **line})], console.Options(), as_json=True)
    assert json.loads(answer)["id"] == 7
    assert json.loads(answer)["error"].startswith(why)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"parse": 5}, {"valid": False, "error": "a rule is a text"}),
        ({}, {"frames": [], "contributes": [], "stacktrace_contributes": False}),
        (
            {"rules": "app:no -group", "frames": [None, {"in_app": True}], "platform": 5, "exception": []},
            {
                "frames": [{"in_app": None, "category": None}, {"in_app": True, "category": None}],
                "contributes": [False, True],
                "stacktrace_contributes": True,
            },
        ),
        ({"frames": 5}, {"error": "frames is not a list"}),
        ({"rules": "builtin:x"}, {"error": f"unknown set 'x'; there are {', '.join(console.BUILT_IN_SETS)}"}),
    ],
)
def test_any_question_about_rules_has_an_answer(question, answer):
    assert [json.loads(line) for line in console.eval_lines([json.dumps(question)])] == [answer]
