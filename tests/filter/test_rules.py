"""Generic rules: the table form, the one-line form, and what both find."""

from typing import Any

import pytest

from collector.filter.conditions import compile_condition
from collector.filter.fields import Subject
from collector.filter.filters import Filters
from collector.filter.language import parse_condition
from collector.filter.relay import from_relay
from collector.filter.releases import compare_versions, parse_release, release_key
from collector.filter.settings import FilterRule, FilterSettings

EVENT: dict[str, Any] = {
    "level": "error",
    "platform": "python",
    "release": "shop@2.9.0+42",
    "environment": "prod",
    "transaction": "/checkout",
    "exception": {
        "values": [{"type": "ValueError", "value": "x"}, {"type": "ConfigError", "value": "bad config: port"}]
    },
    "tags": [["customer", "acme"], ["my key", "v"], ["device.family", "phone"]],
    "user": {"id": "7", "email": "bob@example.com", "geo": {"country_code": "DE"}},
    "request": {"method": "POST", "url": "https://shop.example/x", "headers": [["User-Agent", "curl/8"]]},
    "contexts": {
        "response": {"status_code": 503},
        "os": {"name": "Linux", "version": "6"},
        "app": {"in_foreground": True},
    },
    "extra": {"a": {"b": "deep"}, "count": 12},
    "logentry": {"formatted": "config_error: no port"},
    "sdk": {"name": "sentry.python", "version": "2.0"},
    "measurements": {"lcp": {"value": 2500.5}},
}


def holds(text: str, event: dict[str, Any] = EVENT, client_ip: str = "10.1.2.3") -> bool:
    return compile_condition(parse_condition(text))(Subject(event, client_ip))


@pytest.mark.parametrize(
    "text",
    [
        'exception.type == "ConfigError"', "exception.value matches 'bad *'", 'exception.values.type == "ValueError"',
        'release < "2.10.0"', 'release >= "2.9"', 'release matches "shop@*"', 'release.package == "shop"',
        'level != "fatal"', 'platform in ["ruby", "python"]', 'tags.customer == "acme"', 'tags."my key" == "v"',
        'tags.device.family == "phone"', 'request.headers.user-agent matches "curl/*"', 'user.geo.country_code == "DE"',
        "contexts.response.status_code >= 500", 'contexts.os == "Linux"', "contexts.app.in_foreground == true",
        'extra.a.b == "deep"', "extra.count == 12", "extra.count > 11.5", 'message matches "config_error*"',
        'client_ip in ["10.0.0.0/8"]', 'client_ip == "10.1.2.3"', "tags.nothing == null",
        'not level == "info" and (tags.customer == "x" or tags.customer == "acme")', "measurements.lcp.value > 2500",
        'logentry.formatted matches ["nope", "*PORT"]', 'event.level == "error"', 'level == "er" or level == "error"',
        'transaction.source == null', 'sdk.name == "sentry.python"', 'transaction matches "/check{out,in}"',
    ],
)  # fmt: skip
def test_conditions_that_hold(text: str) -> None:
    assert holds(text) is True


@pytest.mark.parametrize(
    "text",
    [
        'exception.type == "Config"', 'exception.type != "ConfigError"', 'release > "2.9.0"', 'release < "abc1"[:0]',
        'level == "ERROR"', "tags.customer == null", 'extra.count == "12"', "extra.count < 12", 'extra.a == "deep"',
        'client_ip in ["11.0.0.0/8"]', 'user.name matches "*"', "contexts.app.in_foreground == 1", "level > 3",
    ],
)  # fmt: skip
def test_conditions_that_do_not_hold(text: str) -> None:
    cleaned = text.replace('"abc1"[:0]', '"0.1"')
    assert holds(cleaned) is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "column 1"), ("release", "column 8.*operator"), ("release == ", "column 12"), ("colour == 1", "unknown"),
        ('level == "a" level', "column 14.*expected"), ("(level == 'a'", r"expected \)"), ("level == [1, ]x", "column"),
        ("level ~ 1", "column 7"), ("level matches '['", r"glob '\['"), ("client_ip in ['x']", "x"),
        ("release < 'no version'", "not a release"), ("level in [[1]]", "column"), ("not " * 99 + "level == 1", "nest"),
    ],
)  # fmt: skip
def test_broken_conditions_are_refused_with_column_and_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){reason}"):
        compile_condition(parse_condition(text))


ERRORS = "event.exception.values"
TABLES: list[tuple[dict[str, Any], bool]] = [
    ({"op": "eq", "name": "event.platform", "value": "PYTHON", "options": {"ignoreCase": True}}, True),
    ({"op": "eq", "name": "event.platform", "value": "PYTHON"}, False),
    ({"op": "glob", "name": "event.transaction", "value": ["/CHECK*"]}, True),
    ({"op": "cidr", "name": "event.user.ip_address", "value": ["10.0.0.0/8"]}, False),
    ({"op": "and", "inner": []}, True),
    ({"op": "or", "inner": []}, False),
    ({"op": "not", "inner": {"op": "or", "inner": []}}, True),
    ({"op": "any", "name": ERRORS, "inner": {"op": "eq", "name": "ty", "value": "ConfigError"}}, True),
    ({"op": "all", "name": ERRORS, "inner": {"op": "eq", "name": "ty", "value": "ConfigError"}}, False),
    ({"op": "all", "name": ERRORS, "inner": {"op": "glob", "name": "ty", "value": ["*Error"]}}, True),
    ({"op": "any", "name": "event.nothing", "inner": {"op": "and", "inner": []}}, False),
    ({"op": "release", "name": "event.release", "comparator": "lte", "value": "2.9.0"}, True),
    ({"op": "release", "name": "event.environment", "comparator": "lt", "value": "9"}, False),
    ({"op": "gte", "name": "event.contexts.response.status_code", "value": 503}, True),
    ({"op": "eq", "name": "other.level", "value": "error"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("table", "expected"), TABLES)
def test_tables_hold_as_sentry_reads_them(table: dict[str, Any], expected: bool) -> None:
    assert compile_condition(table)(Subject(EVENT, "")) is expected


def test_rules_are_tried_in_order_and_switched_off_ones_are_not() -> None:
    rules = [
        FilterRule(id="off", when='level == "error"', enabled=False),
        FilterRule(id="config", when='exception.type == "ConfigError"'),
        FilterRule(id="later", condition={"op": "eq", "name": "event.level", "value": "error"}),
    ]
    assert Filters(FilterSettings(rules=rules)).match(EVENT, "") == "config"


def test_what_relay_would_not_apply_is_not_applied() -> None:
    unknown = {"op": "frobnicate", "name": "event.release", "value": "1"}
    known = {"op": "eq", "name": "event.level", "value": "error"}
    rules = [
        {"id": "a", "isEnabled": True, "condition": unknown},
        {"id": "b", "isEnabled": True, "condition": {"op": "or", "inner": [unknown, known]}},
        {"id": "b", "isEnabled": True, "condition": known},
        {"id": "c", "isEnabled": True},
    ]
    settings = from_relay({
        "generic": {"version": 1, "filters": rules},
        "releases": {"releases": ["[", "nope"]},
        "clientIps": {"blacklistedIps": ["junk"]},
        "legacyBrowsers": {"isEnabled": True, "options": ["netscape"]},
    })  # fmt: skip
    assert Filters(settings).match(EVENT, "") == "b"
    assert from_relay({"generic": {"version": 2, "filters": rules}}).rules == []


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("1.2", "1.2.0", 0), ("1.2.3.4", "1.2.3.5", -1), ("1.0.0-alpha", "1.0.0-beta.1", -1), ("1.0.0", "1.0.0-rc1", 1),
        ("1.0.0+1", "1.0.0+2", -1), ("1.0.0", "1.0.0+1", -1), ("1.0.0+9", "1.0.0+10", -1), ("1.0rc1", "1.0", -1),
    ],
)  # fmt: skip
def test_versions_are_ordered(left: str, right: str, expected: int) -> None:
    assert compare_versions(left, right) == expected
    assert compare_versions(right, left) == -expected


def test_releases_without_a_package_still_take_part_in_comparisons_unless_hashes() -> None:
    assert release_key("1.2.3") == release_key("app@1.2.3+build")
    assert release_key("a4b7e0f9c2d1") is None
    assert release_key("not a version") is None
    assert parse_release("1.2.3").version is None


@pytest.mark.parametrize("release", ["latest", "LATEST", ".", "..", "a/b", "a\nb", "x" * 201])
def test_reserved_release_names_are_refused(release: str) -> None:
    with pytest.raises(ValueError, match="release"):
        parse_release(release)
