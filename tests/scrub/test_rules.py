"""Advanced rules: types, redactions, selectors, and what is refused."""

import json
from typing import Any

import pytest

from collector.scrub.relay import from_relay
from collector.scrub.scrubber import Scrubber
from collector.scrub.selectors import parse_selector
from collector.scrub.settings import ScrubSettings


def scrubber(applications: dict[str, list[str]], **settings: Any) -> Scrubber:
    return Scrubber(ScrubSettings(scrub_data=False, applications=applications, **settings))


def scrubbed(event: dict[str, Any], applications: dict[str, list[str]], **settings: Any) -> dict[str, Any]:
    payload = json.dumps(event).encode()
    result: dict[str, Any] = json.loads(scrubber(applications, **settings).event(payload))
    return result


def text_under(rule: str, text: str, **settings: Any) -> tuple[Any, Any]:
    event = scrubbed({"extra": {"v": text}}, {"$string": [rule]}, **settings)
    return event["extra"]["v"], event.get("_meta", {}).get("extra", {}).get("v", {}).get("", {}).get("rem")


@pytest.mark.parametrize(
    ("rule", "text", "expected", "remarks"),
    [
        ("@ip", "before 127.0.0.1 after", "before [ip] after", [["@ip", "s", 7, 11]]),
        ("@ip:remove", "a 127.0.0.1 b", "a  b", [["@ip:remove", "x", 2, 2]]),
        ("@ip:mask", "127.0.0.1", "*********", [["@ip:mask", "m", 0, 9]]),
        ("@ip:hash", "127.0.0.1", "AE12FE3B5F129B5CC4CDD2B136B7B7947C4D2741", [["@ip:hash", "p", 0, 40]]),
        ("@email", "a bob@x.de b", "a [email] b", [["@email", "s", 2, 9]]),
        ("@mac", "4a:00:04:10:9b:50", "*****************", [["@mac", "m", 0, 17]]),
        ("@uuid:replace", "ceee0822-ed8f-4622-b2a3-789e73e75cd1", "[uuid]", [["@uuid:replace", "s", 0, 6]]),
        ("@imei", "my 356938035643809", "my [imei]", [["@imei", "s", 3, 9]]),
        ("@usssn", "x 123-45-6789", "x ***********", [["@usssn", "m", 2, 13]]),
        ("@userpath", "C:\\Users\\jane\\x", "C:\\Users\\[user]\\x", [["@userpath", "s", 9, 15]]),
        ("@urlauth", "https://u:p@h", "https://[auth]@h", [["@urlauth", "s", 8, 14]]),
        ("@bearer", "a Bearer xyz", "a Bearer [token]", [["@bearer", "s", 2, 16]]),
        ("@iban", "DE89370400440532013000", "[iban]", [["@iban", "s", 0, 6]]),
        ("@anything:mask", "éab", "***", [["@anything:mask", "m", 0, 3]]),
        ("@anything:remove", "abc", None, [["@anything:remove", "x"]]),
        ("@password", "my password", "", [["@password", "x", 0, 0]]),
    ],
)
def test_builtin_rules_redact_and_remark(rule: str, text: str, expected: Any, remarks: Any) -> None:
    assert text_under(rule, text) == (expected, remarks)


def test_several_rules_on_one_text_keep_all_their_remarks() -> None:
    event = scrubbed({"extra": {"v": "1.2.3.4 is bob@x.de"}}, {"$string": ["@ip", "@email"]})
    assert event["extra"]["v"] == "[ip] is [email]"
    assert event["_meta"]["extra"]["v"][""] == {"rem": [["@ip", "s", 0, 4], ["@email", "s", 8, 15]], "len": 19}


def test_pattern_rules_replace_their_groups() -> None:
    rules = {
        "r": {"type": "pattern", "pattern": r"id=(\d+);(\w+)", "replaceGroups": [1, 2], "redaction": {"method": "mask"}}
    }
    assert text_under("r", "x id=123;abc y", rules=rules)[0] == "x id=***;*** y"


def test_redact_pair_matches_keys_and_texts() -> None:
    rules = {"r": {"type": "redact_pair", "keyPattern": "(?i)cookie", "redaction": {"method": "replace", "text": "-"}}}
    event = scrubbed(
        {"extra": {"Cookie": "a", "b": "my cookie", "c": "d", "cookies": 5}}, {"extra.**": ["r"]}, rules=rules
    )
    assert event["extra"] == {"Cookie": "-", "b": "-", "c": "d", "cookies": None}


def test_groups_of_rules_hand_down_origin_and_redaction() -> None:
    rules = {
        "all": {"type": "multiple", "rules": ["@ip", "@email"], "hideInner": True, "redaction": {"method": "mask"}},
        "one": {"type": "alias", "rule": "all", "hideInner": False},
    }
    assert text_under("one", "1.2.3.4", rules=rules) == ("*******", [["all", "m", 0, 7]])


def test_pseudonyms_depend_on_the_key() -> None:
    rules = {"r": {"type": "email", "redaction": {"method": "pseudonymise"}}}
    first = text_under("r", "bob@x.de", rules=rules, vars={"hash_key": "one"})
    second = text_under("r", "bob@x.de", rules=rules, vars={"hash_key": "two"})
    assert first[0] != second[0]
    assert first[1] == [["r", "p", 0, 40]]


def test_a_hashed_address_becomes_the_user_id_when_there_is_none() -> None:
    user = scrubbed({"user": {"ip_address": "127.0.0.1"}}, {"$user.ip_address": ["@ip:hash"]})["user"]
    assert user == {"ip_address": None, "id": "AE12FE3B5F129B5CC4CDD2B136B7B7947C4D2741"}
    named = scrubbed({"user": {"ip_address": "127.0.0.1", "email": "x"}}, {"$user.ip_address": ["@ip:hash"]})["user"]
    assert "id" not in named


def test_file_paths_keep_their_last_part() -> None:
    frames = [{"abs_path": "/home/bob/x.py"}]
    event = scrubbed({"stacktrace": {"frames": frames}}, {"$frame.abs_path": ["@anything:mask"]})
    assert event["stacktrace"]["frames"] == [{"abs_path": "*********/x.py"}]
    image = {"type": "elf", "code_file": "/lib/secret/a.so"}
    event = scrubbed({"debug_meta": {"images": [image]}}, {"debug_meta.images.*.code_file": ["@anything:remove"]})
    assert event["debug_meta"]["images"][0]["code_file"] == "a.so"


EVENT = {
    "user": {"id": "1", "email": "e"},
    "tags": [["a", "t"], ["b", "u"]],
    "extra": {"a": {"b": ["x", "y", "z"]}, "needle": "n", "my key": "k"},
    "transaction": "name",
    "logger": "l",
}


USER = ["user.id", "user.email"]
TEXTS = ["extra.a.b.0", "extra.a.b.1", "extra.a.b.2", "extra.needle", "extra.my key"]
PATHS = [*USER, "tags.0.1", "tags.1.1", "extra", "extra.a", "extra.a.b", *TEXTS, "transaction", "logger"]


@pytest.mark.parametrize(
    ("selector", "gone"),
    [
        ("**.needle", ["extra.needle"]),
        ("extra.'my key'", ["extra.my key"]),
        ("extra.a.b.0", ["extra.a.b.0"]),
        ("extra.*.b.1", ["extra.a.b.1"]),
        ("extra.a", ["extra.a"]),
        ("EXTRA.Needle", ["extra.needle"]),
        ("$user.email | $user.id", ["user.id", "user.email"]),
        ("extra.** & !needle & !$object & !$array", ["extra.a.b.0", "extra.a.b.1", "extra.a.b.2", "extra.my key"]),
        ("(needle || id) && !$user.*", ["extra.needle"]),
        ("tags.a", ["tags.0.1"]),
        ("$event.**", [*USER, "extra"]),
        ("**", [*USER, "extra"]),
        ("$string", [*USER, *TEXTS]),
        ("transaction", ["transaction"]),
        ("$event.transaction", ["transaction"]),
        ("logger", []),
    ],
)
def test_selectors_find_exactly_these_fields(selector: str, gone: list[str]) -> None:
    after = scrubbed(EVENT, {selector: ["@anything:remove"]})
    assert [path for path in PATHS if at(after, path) is None and not above(path, gone)] == gone


def at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else (value or {}).get(key)
    return value


def above(path: str, gone: list[str]) -> bool:
    return any(path.startswith(parent + ".") for parent in gone)


def test_broken_settings_are_refused_with_place_and_reason() -> None:
    refused = [
        ({"applications": {"$string": ["nope"]}}, "applications.*unknown rule 'nope'"),
        ({"applications": {"a..b": ["@ip"]}}, "applications.*column 3"),
        ({"rules": {"r": {"type": "pattern", "pattern": "(a"}}}, r"rules\.r\.pattern.*missing \)"),
        ({"rules": {"r": {"type": "pattern", "pattern": "(?=a)"}}}, r"rules\.r\.pattern"),
        ({"rules": {"r": {"type": "pattern"}}}, r"rules\.r\.pattern"),
        ({"rules": {"r": {"type": "pattern", "pattern": "a", "replaceGroups": [3]}}}, "groups 0 to 0"),
        ({"rules": {"r": {"type": "frobnicate"}}}, r"rules\.r\.type.*frobnicate"),
        ({"rules": {"r": {"type": "ip", "redaction": {"method": "burn"}}}}, r"rules\.r\.redaction\.method.*burn"),
        ({"rules": {"r": {"type": "multiple", "rules": ["r"]}}}, "refers to itself"),
        ({"rules": {"r": {"type": "ip", "redaction": {"method": "pseudonymise"}}}}, r"vars\.hash_key"),
        ({"vars": {"key": "x"}}, r"vars\.key"),
    ]
    for settings, reason in refused:
        with pytest.raises(ValueError, match=f"(?s){reason}"):
            Scrubber(ScrubSettings(**settings))


def test_patterns_of_users_cannot_run_away() -> None:
    rules = {"r": {"type": "pattern", "pattern": "(a+)+$", "redaction": {"method": "replace", "text": "-"}}}
    assert text_under("r", "a" * 5000 + "!", rules=rules)[0] == "a" * 5000 + "!"
    assert text_under("r", "a" * 5000, rules=rules)[0] == "-"


def test_advanced_rules_run_before_default_scrubbing() -> None:
    settings = ScrubSettings(applications={"extra.password": ["@anything:hash"]})
    event = json.loads(Scrubber(settings).event(b'{"extra":{"password":"x","other":"my secret"}}'))
    assert event["extra"]["other"] == "[Filtered]"
    assert event["_meta"]["extra"]["password"][""]["rem"][0] == ["@anything:hash", "p", 0, 40]


def test_configuration_in_relays_names_leaves_out_what_nobody_knows() -> None:
    pii = {"rules": {"r": {"type": "quantum"}}, "applications": {"$string": ["r", "@ip"]}}
    assert from_relay(None, pii).applications == {"$string": ["@ip"]}
    assert from_relay(None, None).scrub_data is False


@pytest.mark.parametrize("text", ["$string", "a && b || !c", "~(a|b)", "'it''s'.0.*", "  a . b ", "$http.headers.x-y"])
def test_selectors_are_understood(text: str) -> None:
    assert parse_selector(text).op in ("path", "and", "or", "not")


@pytest.mark.parametrize(
    "text", ["", "!", "*", "a.", ".a", "a b", "$nope", "a.**.b.**", "(a", "a)", "2abc", "''", "!!a"]
)
def test_broken_selectors_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="column"):
        parse_selector(text)


@pytest.mark.parametrize("field", ["id", "username", "email", "ip_address"])
def test_the_repeated_identity_of_a_user_goes_with_the_field(field: str) -> None:
    kind = "ip" if field == "ip_address" else field
    payload = json.dumps({"user": {field: "1.2.3.4", "sentry_user": f"{kind}:1.2.3.4"}}, separators=(",", ":")).encode()
    scrubber = Scrubber(ScrubSettings(applications={f"$user.{field}": ["@anything:remove"]}))
    assert b"1.2.3.4" not in scrubber.event(payload)
    assert Scrubber(ScrubSettings()).event(payload) == payload
