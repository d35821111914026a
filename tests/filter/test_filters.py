"""Each of the ten filters, their order, and what they cost when nothing is set."""

from typing import Any

import pytest

from collector.filter.filters import Filters
from collector.filter.settings import FilterRule, FilterSettings

IE11 = "Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0) like Gecko"
IE_MOBILE_9 = "Mozilla/5.0 (compatible; MSIE 9.0; Windows Phone OS 7.5; Trident/5.0; IEMobile/9.0; NOKIA; Lumia 710)"
OPERA_14 = "Mozilla/5.0 (Windows NT 6.1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/27.0.1 Safari/537.36 OPR/14.0.1"
OPERA_MINI_7 = "Opera/9.80 (J2ME/MIDP; Opera Mini/7.0.32796/59.323; U; fr) Presto/2.12.423 Version/12.16"
SAFARI_5 = (
    "Mozilla/5.0 (Macintosh; U; Intel Mac OS X 1063) AppleWebKit/533.16 (KHTML like Gecko) Version/5.0 Safari/533.16"
)
ANDROID_3 = (
    "Mozilla/5.0 (Linux; U; Android 3.2; nl-nl) AppleWebKit/534.13 (KHTML, like Gecko) Version/4.0 Safari/534.13"
)
CHROME_120 = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
CHROME_MOBILE_30 = "Mozilla/5.0 (Linux; Android 8; X) AppleWebKit/537.36 Chrome/30.0.0.0 Mobile Safari/537.36"


def match(
    settings: dict[str, Any], event: dict[str, Any], client_ip: str = "192.0.2.1", kind: str = "event"
) -> str | None:
    return Filters(FilterSettings(**settings)).match(event, client_ip, kind)


def browsing(user_agent: str) -> dict[str, Any]:
    return {"request": {"headers": [["User-Agent", user_agent]]}}


def raised(value: str, frames: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"exception": {"values": [{"type": "E", "value": value, "stacktrace": {"frames": frames or []}}]}}


def test_without_settings_nothing_is_filtered_and_no_event_is_needed() -> None:
    filters = Filters(FilterSettings())
    assert filters.needs_event is False
    assert filters.match({"release": "1.0"}, "127.0.0.1") is None


def test_filters_of_the_sender_alone_need_no_event() -> None:
    filters = Filters(FilterSettings(client_ips=["10.0.0.0/8"]))
    assert filters.needs_event is False
    assert filters.match({}, "10.1.2.3") == "ip-address"
    assert Filters(FilterSettings(releases=["1"])).needs_event is True


def test_the_first_filter_in_order_gives_the_reason() -> None:
    event = {
        "type": "transaction",
        "transaction": "health",
        "release": "1.0",
        "logentry": {"formatted": "boom"},
        "user": {"ip_address": "127.0.0.1"},
        **browsing("Googlebot"),
    }
    order: list[tuple[str, dict[str, Any]]] = [
        ("mine", {"rules": [FilterRule(id="mine", when='release == "1.0"')]}),
        ("ip-address", {"client_ips": ["192.0.2.1"]}),
        ("release-version", {"releases": ["1.*"]}),
        ("error-message", {"error_messages": ["boom"]}),
        ("localhost", {"localhost": True}),
        ("web-crawlers", {"web_crawlers": True}),
        ("filtered-transaction", {"ignore_transactions": ["health"]}),
    ]
    for first in range(len(order)):
        settings = {key: value for _, one in order[first:] for key, value in one.items()}
        assert match(settings, event) == order[first][0]


@pytest.mark.parametrize(
    ("address", "filtered"),
    [
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("11.0.0.1", False),
        ("2001:db8::5", True),
        ("", False),
        ("x", False),
    ],
)
def test_senders_are_compared_as_addresses(address: str, filtered: bool) -> None:
    settings = {"client_ips": ["10.0.0.0/8", "2001:db8::/32"]}
    assert (match(settings, {}, address) == "ip-address") is filtered


@pytest.mark.parametrize(
    ("pattern", "event", "filtered"),
    [
        ("*apple*", {"logentry": {"formatted": "an APPLE a day"}}, True),
        ("raw %s", {"logentry": {"message": "raw %s"}}, True),
        ("raw %s", {"logentry": {"message": "raw %s", "formatted": "raw x"}}, False),
        ("E: disk*", raised("disk full"), True),
        ("disk*", raised("disk full"), False),
        ("Second: y", {"exception": {"values": [{"type": "First"}, {"type": "Second", "value": "y"}]}}, True),
        ("Only", {"exception": {"values": [{"type": "Only"}]}}, True),
        ("only value", {"exception": [{"value": "only value"}]}, True),
        ("a*c", {"logentry": {"formatted": "a\nb\nc"}}, True),
    ],
)
def test_messages_and_every_exception_of_the_chain_are_compared_whole(pattern: str, event: Any, filtered: bool) -> None:
    assert (match({"error_messages": [pattern]}, event) == "error-message") is filtered


@pytest.mark.parametrize(
    ("event", "filtered"),
    [
        ({"user": {"ip_address": "127.0.0.1"}}, True),
        ({"user": {"ip_address": "::1"}}, True),
        ({"user": {"ip_address": "127.0.0.2"}}, False),
        ({"request": {"url": "file:///home/u/index.html"}}, True),
        ({"request": {"url": "http://foo.bar.localhost:8080/"}}, True),
        ({"request": {"url": "http://127.0.0.1/"}}, True),
        ({"request": {"url": "http://foolocalhost/"}}, False),
        ({"request": {"url": "http://localhost.com/"}}, False),
        ({"request": {"url": "http://[bad"}}, False),
        ({"request": {"headers": [["Host", "127.0.0.1:3000"]]}}, True),
        ({"request": {"headers": {"X-Forwarded-Host": "localhost:3000"}}}, True),
        ({"request": {"headers": [["Host", "localhost.example.com"]]}}, False),
        ({"request": {"headers": [["X-Forwarded-For", "::1"]]}}, True),
        ({"request": {"url": "https://example.com/", "headers": [["Host", "localhost"]]}}, False),
    ],
)
def test_localhost_is_known_by_address_url_and_host(event: dict[str, Any], filtered: bool) -> None:
    assert (match({"localhost": True}, event) == "localhost") is filtered


@pytest.mark.parametrize(
    "value",
    [
        "some error on top.GLOBALS", "Can't find variable: gmo", "Extension context invalidated.",
        "undefined is not an object (evaluating 'a.L')", "Cannot redefine property: googletag",
        "x webkit-masked-url: y", "TypeError: CAN'T ACCESS DEAD OBJECT", "http://tt.epicplay.com/x",
    ],
)  # fmt: skip
def test_texts_of_browser_extensions_are_known(value: str) -> None:
    assert match({"browser_extensions": True}, raised(value)) == "browser-extensions"


@pytest.mark.parametrize(
    ("frames", "filtered"),
    [
        ([{"abs_path": "chrome-extension://x/y.js"}], True),
        (
            [{"filename": "safari-web-extension://x/y.js"}, {"abs_path": "<anonymous>"}, {"abs_path": "[native code]"}],
            True,
        ),
        ([{"abs_path": "moz-extension://x/y.js"}, {"abs_path": "https://example.com/app.js"}], False),
        ([{"abs_path": "https://connect.facebook.net/en_US/sdk.js"}], True),
        ([{"abs_path": "https://x.com/?chrome://a"}], False),
        ([{"abs_path": "chrome://a/b"}, {"function": "f"}], False),
    ],
)
def test_the_last_named_frame_tells_an_extension(frames: list[dict[str, Any]], filtered: bool) -> None:
    assert (match({"browser_extensions": True}, raised("ordinary", frames)) == "browser-extensions") is filtered


@pytest.mark.parametrize(
    ("options", "user_agent", "filtered"),
    [
        (["default"], IE_MOBILE_9, True),
        (["default"], OPERA_14, True),
        (["default"], OPERA_MINI_7, True),
        (["default"], SAFARI_5, True),
        (["default"], ANDROID_3, True),
        (["default"], IE11, False),
        (["default", "ie11"], IE11, False),
        (["ie11"], IE11, True),
        (["ie10"], IE11, False),
        (["ie9"], IE_MOBILE_9, True),
        (["ie"], IE11, True),
        (["chrome"], CHROME_120, False),
        (["chrome"], CHROME_MOBILE_30, False),
        (["safari_pre_6", "opera_pre_15"], OPERA_14, True),
        (["default"], "no browser at all", False),
    ],
)
def test_old_browsers_are_told_by_family_and_version(options: Any, user_agent: str, filtered: bool) -> None:
    assert (match({"legacy_browsers": options}, browsing(user_agent)) == "legacy-browsers") is filtered


@pytest.mark.parametrize(
    ("user_agent", "filtered"),
    [
        ("Googlebot", True), ("Twitterbot/1.0", True), ("some bots)", True), ("x spider;", True), ("mybot", True),
        ("robotics", False), ("Slackbot 1.0(+https://api.slack.com/robots)", False),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", True), ("ELB-HealthChecker/2.0", True),
        ("SentryUptimeBot/1.0", False), ("Mozilla/5.0; compatible; ChatGPT-User/1.0; +https://openai.com/bot", False),
        ("GPTBot/1.0", True), ("APIs-Google (+https://developers.google.com/webmasters)", False), (CHROME_120, False),
    ],
)  # fmt: skip
def test_crawlers_are_known_by_their_user_agent(user_agent: str, filtered: bool) -> None:
    assert (match({"web_crawlers": True}, browsing(user_agent)) == "web-crawlers") is filtered


@pytest.mark.parametrize(
    ("source", "report", "filtered"),
    [
        ("about", {"blocked_uri": "about"}, True),
        ("*.superfish.com", {"blocked_uri": "http://foo.superfish.com"}, True),
        ("*.superfish.com", {"source_file": "http://superfish.com/x"}, True),
        ("chrome-extension://*", {"source_file": "chrome-extension://abc"}, True),
        ("localhost", {"source_file": "http://localhost:8000"}, True),
        ("http://x.com", {"document_uri": "http://x.com/a"}, True),
        ("http://x.com", {"blocked_uri": "https://x.com/a"}, False),
        ("x.com:80", {"blocked_uri": "https://x.com:8080/a"}, False),
        ("*:8080", {"blocked_uri": "https://x.com:8080/a"}, True),
        ("*", {}, True),
        ("x.com", {}, False),
    ],
)
def test_csp_reports_are_filtered_by_origin(source: str, report: dict[str, Any], filtered: bool) -> None:
    settings = {"csp_disallowed_sources": [source]}
    assert (match(settings, {"type": "csp", "csp": report}) == "invalid-csp") is filtered
    assert match(settings, {"type": "error", "csp": report}) is None


def test_only_transactions_are_filtered_by_name() -> None:
    settings = {"ignore_transactions": ["*health*"]}
    assert match(settings, {"type": "transaction", "transaction": "/api/Health"}) == "filtered-transaction"
    assert match(settings, {"type": "error", "transaction": "/api/health"}) is None


def test_sessions_spans_and_logs_are_filtered_too() -> None:
    assert match({"releases": ["1.*"]}, {"attrs": {"release": "1.2"}}, kind="session") == "release-version"
    rules = [FilterRule(id="r", when='span.op == "db"'), FilterRule(id="l", when='log.body matches "*noise*"')]
    assert match({"rules": rules}, {"op": "db"}, kind="span") == "r"
    assert match({"rules": rules}, {"body": "some noise"}, kind="log") == "l"
    assert match({"rules": rules}, {"op": "db"}) is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"releases": ["["]}, r"releases: glob '\['"),
        ({"client_ips": ["10.0.0.0/99"]}, "client_ips: "),
        ({"error_messages": ["{a"]}, "error_messages: glob"),
        ({"rules": [FilterRule(id="r")]}, "rules: rule 'r' needs"),
        ({"rules": [FilterRule(id="r", when="release ==")]}, "rules: rule 'r': column 11"),
        ({"rules": [FilterRule(id="r", condition={"op": "frobnicate"})]}, "rule 'r': condition.op"),
    ],
)
def test_broken_settings_are_refused_by_name(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Filters(FilterSettings(**settings))


ALL = FilterSettings(
    rules=[FilterRule(id="r", when='exception.type == "x" or tags.a == "b" or user.geo.city == "c" or duration > 5')],
    csp_disallowed_sources=["x"], client_ips=["10.0.0.1"], releases=["x"], error_messages=["x"], localhost=True,
    browser_extensions=True, legacy_browsers=["default"], web_crawlers=True, ignore_transactions=["x"],
)  # fmt: skip
ODD: list[Any] = [None, 1, "q", [], [1, [2, 3]], {}, {"values": [None, 1, {"stacktrace": {"frames": [1, None]}}]}]


@pytest.mark.parametrize("value", ODD)
def test_events_of_any_shape_are_survived(value: Any) -> None:
    fields = ("exception", "tags", "user", "request", "csp", "logentry", "transaction", "release", "contexts", "type")
    assert Filters(ALL).match(dict.fromkeys(fields, value), "") is None
