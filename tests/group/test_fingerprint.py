"""Fingerprint rules, their variables and their mistakes."""

from typing import Any

import pytest

from collector.group.fingerprint import FingerprintRules
from collector.group.grouping import group
from collector.group.sdk import sdk_family
from collector.group.syntax import RuleError
from collector.group.view import lenient
from collector.model.event import GroupingResult
from tests.group.events import exception_event, frame

EVENT: dict[str, Any] = {
    **exception_event(
        frame("lib", module="flask.app", in_app=False, abs_path="/lib/flask/app.py"),
        frame("pay", module="shop.cart", abs_path="/srv/Shop/cart.py", package="/opt/libshop.so"),
        value=" order 17 failed ",
    ),
    "logentry": {"formatted": "payment broken"},
    "level": "error",
    "logger": "shop.pay",
    "release": "shop@1.2.3",
    "transaction": "/cart",
    "tags": [["browser", "Firefox 130"], ["empty", ""]],
    "sdk": {"name": "sentry.python.flask", "version": "2.1"},
    "threads": {"values": [{"id": 7, "name": "main", "crashed": True}, {"id": "9", "state": "waiting"}]},
}


def ruled(text: str, **fields: Any) -> GroupingResult:
    return group(lenient({**EVENT, **fields}), fingerprints=FingerprintRules(text))


MATCHING = [
    "type:ValueError",
    "error.type:Value*",
    "!type:KeyError",
    'value:"ORDER ?? failed"',
    'message:"*broken"',
    "message:order*",
    "module:shop.*",
    "stack.function:pay",
    "path:**/shop/*.py",
    "path:/SRV/shop/cart.py",
    "package:**/libshop.so",
    "app:true function:pay",
    "app:no module:flask.*",
    "logger:shop.* level:ERROR",
    'tags.browser:"Firefox *"',
    "!tags.browser:Chrome*",
    "sdk:sentry.python",
    "sdk:sentry.go,sentry.python",
    "family:other",
    "family:all",
    "release:shop@*",
    '"tags.browser":Firefox*',
    "[ function:lib ] | function:pay",
    "[module:flask.* app:no] | app:yes",
    'function:lib | [ function:"pay" ]',
    "[ !function:pay ] | type:ValueError",
    "thread.name:main thread.crashed:yes",
    "thread.id:7 !thread.crashed:no",
    "thread.state:wait* thread.current:false",
]
NOT_MATCHING = [
    "type:valueerror",
    "value:order",
    "module:Shop.*",
    "app:true function:lib",
    "logger:shop.* level:warning",
    "tags.missing:*",
    "sdk:sentry.python.flask",
    "family:native",
    "path:*.py",
    "type:ValueError module:nothing",
    "[ function:pay ] | function:lib",
    "[ !function:pay ] | function:lib",
    "function:pay | [ !function:nothing ]",
    "thread.name:main thread.crashed:no",
    "thread.id:8",
    "!thread.name:* thread.current:yes",
]


@pytest.mark.parametrize("matchers", MATCHING)
def test_a_matching_rule_chooses_the_fingerprint(matchers):
    result = ruled(f"{matchers} -> chosen")
    assert result.fingerprint == ["chosen"]
    assert result.variants["custom_server_fingerprint"] == (result.hashes[0], True)


@pytest.mark.parametrize("matchers", NOT_MATCHING)
def test_a_rule_that_does_not_match_leaves_the_default(matchers):
    assert ruled(f"{matchers} -> chosen").fingerprint == ["{{ default }}"]


def test_matchers_of_one_group_must_agree_on_one_frame():
    assert ruled("function:lib module:flask.* -> a").fingerprint == ["a"]
    assert ruled("function:lib module:shop.* -> a").fingerprint == ["{{ default }}"]


def test_the_first_matching_rule_wins_over_the_client():
    rules = "# comment\n\ntype:KeyError -> a\ntype:ValueError -> b\ntype:* -> c"
    assert ruled(rules, fingerprint=["mine"]).fingerprint == ["b"]


VALUES = [
    ("{{ type }}", "ValueError"),
    ("{{error.value}}", " order <int> failed "),
    ("{{ message }}", "payment broken"),
    ("{{ function }}", "pay"),
    ("{{ module }}", "shop.cart"),
    ("{{ path }}", "/srv/Shop/cart.py"),
    ("{{ stack.filename }}", "/srv/Shop/cart.py"),
    ("{{ package }}", "libshop.so"),
    ("{{ transaction }}", "/cart"),
    ("{{ level }}", "error"),
    ("{{ logger }}", "shop.pay"),
    ("{{ tags.browser }}", "Firefox 130"),
    ("{{ tags.nothing }}", "<no-value-for-tag-nothing>"),
    ("{{ nothing }}", "<unrecognized-variable-nothing>"),
    ('"a, b"', "a, b"),
]


@pytest.mark.parametrize(("written", "value"), VALUES)
def test_a_variable_is_filled_in(written, value):
    assert ruled(f"type:* -> {written}").resolved_fingerprint == [value]


MISSING = [
    ("type", "<no-type>"),
    ("value", "<no-value>"),
    ("message", "<no-message>"),
    ("function", "<no-function>"),
    ("path", "<no-abs-path>"),
    ("stack.filename", "<no-filename>"),
    ("module", "<no-module>"),
    ("package", "<no-package>"),
    ("transaction", "<no-transaction>"),
    ("level", "<no-level>"),
    ("logger", "<no-logger>"),
]


@pytest.mark.parametrize(("name", "value"), MISSING)
def test_a_variable_without_a_value_says_so(name, value):
    assert group(lenient({"fingerprint": [f"{{{{ {name} }}}}"]})).resolved_fingerprint == [value]


def test_the_older_configuration_leaves_an_unknown_variable_as_written():
    view = lenient({"fingerprint": ["{{ nothing }}"]})
    assert group(view, "newstyle:2023-01-11").resolved_fingerprint == ["{{ nothing }}"]


def test_a_rule_may_give_the_title():
    result = ruled('type:* -> "pay" "{{ transaction }}" title="Payment on {{ transaction }} ({{ type }})"')
    assert (result.title, result.fingerprint) == ("Payment on /cart (ValueError)", ["pay", "{{ transaction }}"])


def test_values_may_be_separated_by_commas_or_blanks():
    assert ruled('type:* -> a, b c,{{ default }} "d e"').fingerprint == ["a", "b", "c", "{{ default }}", "d e"]


def test_the_json_form_means_the_same_as_the_text():
    form = {"matchers": [["!type", "KeyError"], ["module", "shop.*"]], "fingerprint": ["a", "b"]}
    parsed = FingerprintRules.of([{**form, "attributes": {"title": "T"}}])
    assert parsed.rules == FingerprintRules('!type:KeyError module:"shop.*" -> a b title="T"').rules


MISTAKES = [
    ("type:a", 1, 7, "expected a matcher"),
    ("-> a", 1, 1, "at least one matcher"),
    ("type:a ->", 1, 10, "a value of the fingerprint"),
    ("# fine\n nope:a -> b", 2, 2, "unknown matcher 'nope'"),
    ('type:"a -> b', 1, 6, "unclosed quote"),
    ('type:a -> b color="red"', 1, 13, "unknown attribute 'color'"),
    ("type: -> b", 1, 6, "expected a pattern"),
    ("[ ] | function:a -> b", 1, 3, "such as function:load"),
    ("[ function:a ] function:b -> c", 1, 16, r"expected \|"),
    ("[ type:a ] | function:b -> c", 1, 3, "says nothing about a frame beside"),
    ("function:a | -> b", 1, 14, "the frame called"),
    ("function:a | [ function:b ] app:no -> c", 1, 29, "expected ->"),
]


@pytest.mark.parametrize(("text", "line", "column", "reason"), MISTAKES)
def test_a_broken_rule_is_refused_with_its_place_and_reason(text, line, column, reason):
    with pytest.raises(RuleError, match=reason) as refused:
        FingerprintRules(text)
    assert (refused.value.line, refused.value.column) == (line, column)


@pytest.mark.parametrize(
    "form", [{}, {"matchers": 1, "fingerprint": []}, {"matchers": [["x", "y"]], "fingerprint": []}]
)
def test_a_broken_json_form_is_refused(form):
    with pytest.raises(RuleError):
        FingerprintRules.of([form])


def test_chunk_load_errors_of_front_ends_are_one_issue():
    event = {"platform": "javascript", "exception": {"values": [{"type": "ChunkLoadError", "value": "chunk 7"}]}}
    result = group(lenient(event))
    assert result.fingerprint == ["chunkloaderror"]
    assert "built_in_fingerprint" in result.variants
    assert group(lenient({**event, "platform": "python"})).fingerprint == ["{{ default }}"]


def test_hydration_errors_are_one_issue_a_page():
    event = {
        "platform": "javascript",
        "tags": [["transaction", "/cart"]],
        "logentry": {"formatted": "Text content does not match server-rendered HTML."},
    }
    assert group(lenient(event)).resolved_fingerprint == ["hydrationerror", "/cart"]
    assert group(lenient({**event, "tags": []})).fingerprint == ["{{ default }}"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sentry.python.django", "sentry.python"),
        ("sentry-ruby", "sentry.ruby"),
        ("sentry.javascript.nextjs", "sentry.javascript.nextjs"),
        ("sentry.javascript.homegrown", "other"),
        ("sentry.native.android.flutter", "sentry.native.android"),
        ("acme.logger", "other"),
        ("", "other"),
    ],
)
def test_sdk_names_lose_their_framework(name, known):
    assert sdk_family(name) == known
