"""The strict preset: what it takes out beyond Sentry's default."""

import json
from typing import Any

import pytest

from collector.scrub.scrubber import Scrubber
from collector.scrub.settings import ScrubSettings

STRICT = Scrubber(ScrubSettings(preset="strict", scrub_ip_addresses=True))


def value_of(key: str, value: Any) -> Any:
    return json.loads(STRICT.event(json.dumps({"extra": {key: value}}).encode()))["extra"][key]


@pytest.mark.parametrize(
    "key", ["pwd", "user_pwd", "ssn", "SSN", "access_key", "accessKeyId", "access-key", "passphrase"]
)
def test_more_keys_are_sensitive(key: str) -> None:
    assert value_of(key, "abc") == "[Filtered]"


@pytest.mark.parametrize("key", ["lessnoise", "cpwdx", "accession"])
def test_words_that_only_contain_those_letters_stay(key: str) -> None:
    assert value_of(key, "abc") == "abc"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail bob@example.com now", "mail [email] now"),
        ("card 3530111333300000.", "card [Filtered]."),
        ("card 3530 1113 3330 0000", "card [Filtered]"),
        ("number 3530111333300001", "number 3530111333300001"),
        ("from 2001:db8::1 to ::ffff:1.2.3.4", "from [ip] to [ip]"),
        ("at [fe80::1%eth0]:80", "at [[ip]]:80"),
        ("std::vector at 12:34:56", "std::vector at 12:34:56"),
        ("open /home/bob/x.txt", "open /home/[user]/x.txt"),
        ("open C:\\Users\\bob\\x", "open C:\\Users\\[user]\\x"),
    ],
)
def test_more_is_found_in_texts(text: str, expected: str) -> None:
    assert value_of("v", text) == expected


def test_exception_values_lose_what_names_a_person_but_not_their_words() -> None:
    text = "no password for bob@example.com, card 4111111111111111"
    event = {"exception": {"values": [{"type": "E", "value": text}]}}
    after = json.loads(STRICT.event(json.dumps(event).encode()))
    assert after["exception"]["values"][0]["value"] == "no password for [email], card [Filtered]"


def test_file_names_of_frames_stay() -> None:
    event = {"stacktrace": {"frames": [{"filename": "/home/bob/x.py", "abs_path": "/home/bob/x.py"}]}}
    assert json.loads(STRICT.event(json.dumps(event).encode())) == event


def test_tags_are_looked_at_too() -> None:
    tags = [["api_token", "abc"], ["mail", "bob@example.com"], ["card", "4111111111111111"], ["tenant", "acme"]]
    after = json.loads(STRICT.event(json.dumps({"tags": tags}).encode()))
    assert [pair[1] for pair in after["tags"]] == ["[Filtered]", "[email]", "[Filtered]", "acme"]
    assert json.loads(Scrubber(ScrubSettings()).event(json.dumps({"tags": tags}).encode())) == {"tags": tags}


def test_addresses_leave_messages_exceptions_and_tags_too_when_asked() -> None:
    event = {
        "logentry": {"formatted": "from 10.0.0.1"},
        "exception": {"values": [{"type": "E", "value": "no route to 2001:db8::1"}]},
        "tags": [["peer", "10.0.0.1"]],
    }
    after = json.loads(STRICT.event(json.dumps(event).encode()))
    assert after["logentry"]["formatted"] == "from [ip]"
    assert after["exception"]["values"][0]["value"] == "no route to [ip]"
    assert after["tags"] == [["peer", "[ip]"]]
    log = {"items": [{"body": "from 10.0.0.1"}]}
    assert json.loads(STRICT.text(json.dumps(log).encode(), "log"))["items"][0]["body"] == "from [ip]"
    assert json.loads(Scrubber(ScrubSettings(preset="strict")).event(json.dumps(event).encode())) == event
