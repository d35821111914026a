"""What default scrubbing takes out of an event, and what it leaves. Observed values: reference page, F2 and F3."""

import json
from typing import Any

import pytest

from collector.scrub.scrubber import Scrubber
from collector.scrub.settings import ScrubSettings

DEFAULT = Scrubber(ScrubSettings())
WITH_IPS = Scrubber(ScrubSettings(scrub_ip_addresses=True))


def scrubbed(event: dict[str, Any], scrubber: Scrubber = DEFAULT) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(scrubber.event(json.dumps(event).encode()))
    return result


def value_of(key: str, value: Any, scrubber: Scrubber = DEFAULT) -> Any:
    return scrubbed({"extra": {key: value}}, scrubber)["extra"][key]


def names(text: str) -> list[str]:
    return text.split()


FILTERED_KEYS = names(
    "token my_token tokenizer max_tokens gen_ai.usage.tokens auth author authority oauth Authorization secretary "
    "client_secret password_reset_at passwd mysql_pwd otp two_factor credentials api_key apiKey x-api-key "
    "private_key_id a_password_here two-factor MYSQL_PWD"
)
KEPT_KEYS = names(
    "key access_key accessKeyId pwd passphrase totp session sessionid cookie csrf jwt bearer signature ssn "
    "credit_card cvv pin DSN email phone username"
)


@pytest.mark.parametrize("key", FILTERED_KEYS)
def test_values_of_sensitive_keys_are_filtered(key: str) -> None:
    assert value_of(key, "abc") == "[Filtered]"


@pytest.mark.parametrize("key", [*KEPT_KEYS, "api key"])
def test_values_of_other_keys_stay(key: str) -> None:
    assert value_of(key, "abc") == "abc"


@pytest.mark.parametrize("value", [42, 1.5, [1], {"a": 1}])
def test_other_values_of_sensitive_keys_are_removed_with_a_remark(value: Any) -> None:
    event = scrubbed({"extra": {"password": value}})
    assert event["extra"]["password"] is None
    assert event["_meta"]["extra"]["password"][""] == {"rem": [["@password:filter", "x"]]}


@pytest.mark.parametrize("value", [True, False, None, "", "true", "false", "null", "undefined", "[Filtered]"])
def test_values_that_hold_nothing_stay(value: Any) -> None:
    event = scrubbed({"extra": {"password": value}})
    assert event == {"extra": {"password": value}}


TEXTS = {
    "4111111111111112": "[Filtered]",
    "3530111333300000": "3530111333300000",
    "371449635398431": "[Filtered]",
    "1453843029218310": "1453843029218310",
    "x4111111111111111": "x4111111111111111",
    "000-12-3456": "[Filtered]",
    "GB82 WEST 1234 5698 7654 32": "GB82 WEST 1234 5698 7654 32",
    "to GB82WEST12345698765432 now": "to [Filtered] now",
    "Basic dXNlcjpwdw==": "Basic dXNlcjpwdw==",
    "Bearer abc.def": "[Filtered]",
    "say bearer abc now": "say [Filtered] now",
    "author bob": "[Filtered]",
    "secret sauce": "[Filtered]",
    "password is x": "[Filtered]",
    "the token: abc": "[Filtered]",
    "the token abc": "the token abc",
    "postgres://user:pw@host/db": "postgres://user:[Filtered]@host/db",
    "{'a': 'pg://m:p@h'} redis://r:f@h:1/0": "{'a': 'pg://m:[Filtered]@h'} redis://r:[Filtered]@h:1/0",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----": (
        "-----BEGIN RSA PRIVATE KEY-----\n[Filtered]\n-----END RSA PRIVATE KEY-----"
    ),
    "mail bob@example.com": "mail bob@example.com",
    "/home/bob/x": "/home/bob/x",
    "1.2.3.4": "1.2.3.4",
    '{"password":"x"}': "[Filtered]",
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_texts_are_scrubbed_as_observed(text: str, expected: str) -> None:
    assert value_of("v", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4.5", "[ip].5"),
        ("10.0.0.1:8080", "[ip]:8080"),
        ("::1", "[ip]"),
        ("2001:db8::1", "2001:[ip]"),
        ("12:34:56", "12:34:56"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_addresses_in_texts_are_scrubbed_when_asked(text: str, expected: str) -> None:
    assert value_of("v", text, WITH_IPS) == expected


def test_fields_known_to_hold_addresses_are_removed_when_asked() -> None:
    event = {
        "user": {"ip_address": "not even one", "id": "7"},
        "sdk": {"client_ip": "x", "name": "y"},
        "request": {"env": {"REMOTE_ADDR": "x"}, "headers": [["User-Agent", "127.0.0.1"], ["X-Ip", "10.0.0.1"]]},
        "spans": [{"sentry_tags": {"user.ip": "1.1.1.1"}}],
    }
    after = scrubbed(event, WITH_IPS)
    assert after["user"] == {"ip_address": None, "id": "7"}
    assert after["sdk"] == {"client_ip": None, "name": "y"}
    assert after["request"]["env"] == {"REMOTE_ADDR": None}
    assert after["request"]["headers"] == [["User-Agent", "127.0.0.1"], ["X-Ip", "[ip]"]]
    assert after["spans"][0]["sentry_tags"] == {"user.ip": None}


def test_fields_that_issues_hang_on_are_never_touched() -> None:
    frame = {"filename": "/secret/x.py", "abs_path": "/secret/x.py", "function": "auth", "context_line": "password=1"}
    event = {
        "exception": {"values": [{"type": "AuthError", "value": "password 4111111111111111", "stacktrace": {}}]},
        "stacktrace": {"frames": [frame]},
        "debug_meta": {"images": [{"type": "elf", "code_file": "/secret/lib.so", "debug_id": "password"}]},
        "transaction": "/auth/token",
        "release": "secret@1.0",
        "tags": [["auth", "password"]],
        "culprit": "secret",
        "fingerprint": ["password"],
        "logger": "auth",
    }
    assert scrubbed(event) == event


def test_the_message_keeps_its_words_and_loses_what_names_a_person() -> None:
    text = "password of bob@example.com, card 4111 1111 1111 1111, 123-45-6789, DE89370400440532013000, bearer x.y"
    expected = "password of [email], card [creditcard], [us-ssn], [iban], Bearer [token]"
    event = scrubbed({"logentry": {"message": "password of %s", "formatted": text, "params": ["my secret"]}})
    assert event["logentry"] == {"message": "password of %s", "formatted": expected, "params": ["[Filtered]"]}


def test_remarks_count_utf8_bytes_and_the_length_counts_characters() -> None:
    event = scrubbed({"extra": {"x": "é 4111 1111 1111 1111 ok"}})
    assert event["extra"]["x"] == "é [Filtered] ok"
    assert event["_meta"] == {"extra": {"x": {"": {"rem": [["@creditcard:filter", "s", 3, 13]], "len": 24}}}}


def test_earlier_remarks_are_kept_and_moved() -> None:
    event = {
        "extra": {"x": "4111111111111111 and more..."},
        "_meta": {"extra": {"x": {"": {"rem": [["!limit", "s", 25, 28]], "len": 900}}}},
    }
    after = scrubbed(event)
    assert after["extra"]["x"] == "[Filtered] and more..."
    assert after["_meta"]["extra"]["x"][""] == {
        "rem": [["@creditcard:filter", "s", 0, 10], ["!limit", "s", 19, 22]],
        "len": 900,
    }


def test_original_values_in_meta_are_scrubbed_like_their_fields() -> None:
    event = {"extra": {"a": None}, "_meta": {"extra": {"a": {"": {"err": ["invalid_data"], "val": "my password"}}}}}
    assert scrubbed(event)["_meta"]["extra"]["a"][""] == {"err": ["invalid_data"], "val": "[Filtered]"}


def test_pairs_are_read_as_keys_and_values_wherever_they_stand() -> None:
    pairs = [["secret", "A1"], ["name", "my_password"], ["name", "abc"]]
    event = {"request": {"headers": pairs, "query_string": pairs}, "extra": {"h": pairs}}
    expected = [["secret", "[Filtered]"], ["name", "[Filtered]"], ["name", "abc"]]
    after = scrubbed(event)
    assert after["request"] == {"headers": expected, "query_string": expected}
    assert after["extra"] == {"h": expected}
    assert after["_meta"]["request"]["headers"]["0"]["1"][""]["len"] == 2


def test_sensitive_cookies_are_filtered_in_cookies_and_in_span_data() -> None:
    data = {"http.request.header.cookie": "session=abc, language=en", "http.request.header.cookie.csrf": "x"}
    event = {
        "request": {"cookies": [["session", "a"], ["PHPSESSID", "b"], ["lang", "en"]]},
        "contexts": {"response": {"cookies": [["su", "c"]]}, "trace": {"data": dict(data)}},
        "spans": [{"data": dict(data)}],
    }
    after = scrubbed(event)
    expected = {
        "http.request.header.cookie": "session=[Filtered], language=en",
        "http.request.header.cookie.csrf": "[Filtered]",
    }
    assert after["request"]["cookies"] == [["session", "[Filtered]"], ["PHPSESSID", "[Filtered]"], ["lang", "en"]]
    assert after["contexts"]["response"]["cookies"] == [["su", "[Filtered]"]]
    assert after["contexts"]["trace"]["data"] == expected
    assert after["spans"][0]["data"] == expected


def test_sensitive_cookies_are_filtered_in_a_cookie_header_too() -> None:
    headers = [["Cookie", "lang=en; sessionid=abc; theme=dark; csrf=d"], ["X-Cookie", "sessionid=abc"]]
    after = scrubbed({"request": {"headers": headers, "cookies": [["lang", "en"]]}})
    assert after["request"]["headers"] == [
        ["Cookie", "lang=en; sessionid=[Filtered]; theme=dark; csrf=[Filtered]"],
        ["X-Cookie", "sessionid=abc"],
    ]


def test_known_contexts_stay_and_custom_ones_are_scrubbed() -> None:
    contexts = {"os": {"name": "auth"}, "device": {"model": "secret"}, "mine": {"note": "secret"}, "secret": {"a": 1}}
    after = scrubbed({"contexts": contexts})["contexts"]
    assert after == {**contexts, "mine": {"note": "[Filtered]"}, "secret": None}


def test_a_context_is_judged_by_its_own_type_whatever_earlier_events_said_of_its_name() -> None:
    scrubber = Scrubber(ScrubSettings())
    known, custom = {"type": "os", "note": "secret"}, {"note": "secret"}
    for context, note in ((known, "secret"), (custom, "[Filtered]"), (known, "secret")):
        assert scrubbed({"contexts": {"mine": dict(context)}}, scrubber)["contexts"]["mine"]["note"] == note


def test_prompts_keep_their_words_and_token_counts_stay() -> None:
    data = {"gen_ai.prompt": "my password, bob@example.com", "gen_ai.usage.input_tokens": 12}
    assert scrubbed({"spans": [{"data": data}]})["spans"][0]["data"] == {
        "gen_ai.prompt": "my password, [email]",
        "gen_ai.usage.input_tokens": 12,
    }


def test_graphql_variables_and_what_the_answer_repeats_of_them_are_blanked() -> None:
    event = {
        "request": {"api_target": "graphql", "data": {"query": "q", "variables": {"name": "bob"}}},
        "contexts": {"response": {"type": "response", "data": {"data": {"user": {"name": "bob", "age": 3}}}}},
    }
    after = scrubbed(event)
    assert after["request"]["data"]["variables"] == {"name": "[Filtered]"}
    assert after["contexts"]["response"]["data"] == {"data": {"user": {"name": "[Filtered]", "age": 3}}}


def test_a_graphql_request_without_variables_loses_the_answer() -> None:
    event = {
        "request": {"api_target": "graphql", "data": {"query": "q"}},
        "contexts": {"response": {"type": "response", "data": {"data": {"user": {"name": "bob"}}}}},
    }
    assert scrubbed(event)["contexts"]["response"]["data"] == {}
    assert scrubbed({"request": {"api_target": "rest", "data": {"variables": {"a": "b"}}}}) == {
        "request": {"api_target": "rest", "data": {"variables": {"a": "b"}}}
    }


@pytest.mark.parametrize("word", ["cookie", "server", "data", "vars", "user", "extra", "crumb"])
def test_words_may_name_any_field_of_an_event(word: str) -> None:
    scrubber = Scrubber(ScrubSettings(sensitive_fields=[word]))
    event = {
        "server_name": "web-1",
        "user": {"id": "7", "data": {"a": "b"}},
        "request": {"cookies": [["lang", "en"]], "data": {"a": 1}, "headers": [["Host", "x"]]},
        "extra": {"a": "b"},
        "exception": {"values": [{"type": "E", "stacktrace": {"frames": [{"vars": {"a": "b"}}]}}]},
        "breadcrumbs": {"values": [{"message": "m", "data": {"a": "b"}}]},
    }
    payload = json.dumps(event).encode()
    assert json.loads(scrubber.event(payload)) == json.loads(scrubber.walked(payload, "event"))


F = "[Filtered]"
WORDS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"sensitive_fields": ["myStuff"]}, {"MYSTUFF": "x"}, {"MYSTUFF": F}),
    ({"sensitive_fields": ["", " "]}, {"a": "x"}, {"a": "x"}),
    ({"sensitive_fields": ["gärbage'"]}, {"GÄRBAGE'": "x"}, {"GÄRBAGE'": F}),
    ({"sensitive_fields": ["session_key"]}, {"q": "SELECT session_key"}, {"q": F}),
    ({"sensitive_fields": ["vars", "1"]}, {"vars": "x", "a1": "y", "b": 1}, {"vars": F, "a1": F, "b": 1}),
    ({"safe_fields": ["GITHUB_TOKEN"]}, {"github_token": "a", "token": "b"}, {"github_token": "a", "token": F}),
    ({"safe_fields": ["extra.a.**"]}, {"a": {"b": "password"}, "c": "auth"}, {"a": {"b": "password"}, "c": F}),
    ({"safe_fields": ["auth"]}, {"auth": {"password": "x", "n": 1}}, {"auth": {"password": F, "n": 1}}),
    ({"safe_fields": ["do not ,./<>?"]}, {"do not ,./<>?": "password"}, {"do not ,./<>?": "password"}),
    ({"scrub_data": False}, {"password": "x"}, {"password": "x"}),
    ({"scrub_defaults": False, "sensitive_fields": ["b"]}, {"auth": "x", "b": "y"}, {"auth": "x", "b": F}),
]


@pytest.mark.parametrize(("settings", "extra", "expected"), WORDS)
def test_settings_add_and_protect_fields(settings: Any, extra: Any, expected: Any) -> None:
    assert scrubbed({"extra": extra}, Scrubber(ScrubSettings(**settings)))["extra"] == expected


def test_an_event_with_nothing_to_hide_keeps_its_bytes() -> None:
    payload = b'{"extra" : {"n": 1.10, "big": 123456789012345678901234567890}, "tags": [["a", "b"]]}'
    assert DEFAULT.event(payload) == payload


def test_everything_but_the_secret_keeps_its_bytes() -> None:
    payload = b'{"extra" : {"n": 1.10, "password" : "x", "e": 1E2} , "release":"1" }'
    head, _, tail = DEFAULT.event(payload).partition(b'"[Filtered]"')
    assert head == b'{"extra" : {"n": 1.10, "password" : '
    assert tail.startswith(b', "e": 1E2} , "release":"1" ,"_meta":{')


def test_the_bytes_form_gives_way_to_the_walk_where_it_must() -> None:
    odd = [
        {"extra": {"a": "\U000f0001 password"}},
        {"extra": {"a": "411111\x001111111111"}},
        {"_meta": {"": {"err": ["x"]}}, "extra": {"password": "x"}},
        {"extra": {"_meta": {"password": "x"}, "my_meta": {"auth": 1}}},
        {"exception": [{"value": "v", "stacktrace": {"frames": [{"vars": {"password": "x"}}]}}]},
        {"unknown_field": {"password": "x"}},
    ]
    for event in odd:
        payload = json.dumps(event).encode()
        assert json.loads(DEFAULT.event(payload)) == json.loads(DEFAULT.walked(payload, "event"))
        assert b'password": "x' not in DEFAULT.event(payload).replace(b'":"', b'": "')


@pytest.mark.parametrize("before", ["", ":", ",", "[", " ", '":', '",', "\\", '\\":', "é"])
@pytest.mark.parametrize("after", ["", ",", "]", "}", " ", '"', '",', "\\"])
def test_cards_are_found_in_texts_that_look_like_json_numbers(before: str, after: str) -> None:
    event = scrubbed(
        {"extra": {"n": 4111111111111111, "v": f"{before}4111111111111111{after}", "l": [4111111111111111]}}
    )
    assert event["extra"] == {"n": 4111111111111111, "v": f"{before}[Filtered]{after}", "l": [4111111111111111]}


def test_many_hits_in_one_event_are_all_found() -> None:
    event = {"extra": {f"password{number}": "x" for number in range(5000)}}
    assert set(scrubbed(event)["extra"].values()) == {"[Filtered]"}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"ex\\u0074ra":{"password":"SECRET"}}',
        b'{"extra":{"pass\\u0077ord":"SECRET"}}',
        b'{"request":{"head\\u0065rs":[["Author\\u0069zation","SECRET"]]}}',
        b'{"exception":{"v\\u0061lues":[{"stacktrace":{"frames":[{"vars":{"a":"\\u0042earer SECRET"}}]}}]}}',
        b'{"_meta":{"extra":{"a":{"":{"len":3}}}},"extra":{"a":"my secret SECRET"},"_dsc":{"a":"b"}}',
        b' { "extra" : { "a" : [ "password" , "SECRET" ] } , "_meta" : { } } ',
    ],
)
def test_however_it_is_written_it_is_found_and_the_bytes_stay_json(payload: bytes) -> None:
    after = DEFAULT.event(payload)
    assert b"SECRET" not in after
    assert json.loads(after) == json.loads(DEFAULT.walked(payload, "event"))


TWICE = [
    b'{"extra":{"note":"SECRET 4111111111111111","note":"fine"}}',
    b'{"extra":{"a":{"password":"SECRET"},"a":"secret"}}',
    b'{"extra":{"password":{"x":"SECRET"},"password":"other"}}',
    b'{"extra":{"long":"' + b"-" * 2000 + b'","a":{"password":"SECRET"},"a":"x"}}',
    b'{"extra":[["a",{"password":"SECRET","password":true}],["b",{"a":{"password":"SECRET"},"a":1}]]}',
    b'{"exception":{"values":[{"stacktrace":{"frames":[{"vars":{"x":"Bearer SECRET","x":"y"}}]}}]}}',
    b'{"contexts":{"k":{"a":{"token":"SECRET"},"a":1},"k":{"a":2}}}',
    b'{"breadcrumbs":{"values":[{"data":{"u":"http://me:SECRET@host","u":"http://host"}}]}}',
    b'{"tags":[["a","b"]],"spans":[{"data":{"k":{"password":"SECRET"},"k":null}}]}',
    b'{"user":{"data":{"k":["password","SECRET"],"k":0}}}',
]


@pytest.mark.parametrize("payload", TWICE)
def test_the_earlier_value_of_a_repeated_key_leaves_no_bytes(payload: bytes) -> None:
    assert b"SECRET" not in Scrubber(ScrubSettings()).event(payload)


@pytest.mark.parametrize("name", ["tags.k", "level", "extra.password.x", "fingerprint"])
def test_what_was_found_invalid_is_scrubbed_in_errors_and_remarks(name: str) -> None:
    value = {"password": "SECRET", "text": "Bearer SECRET"}
    node: dict[str, Any] = {"": {"err": ["invalid_data"], "val": value}}
    for key in reversed(name.split(".")):
        node = {key: node}
    event = {"errors": [{"type": "invalid_data", "name": name, "value": value}], "_meta": node, "level": "error"}
    payload = json.dumps(event, separators=(",", ":")).encode()
    after = DEFAULT.event(payload)
    assert b"SECRET" not in after
    assert json.loads(after)["errors"][0]["name"] == name


def test_the_original_name_of_a_transaction_stays() -> None:
    event = {"transaction": "/auth/*", "_meta": {"transaction": {"": {"val": "/auth/123"}}}}
    assert scrubbed(event)["_meta"]["transaction"][""]["val"] == "/auth/123"
