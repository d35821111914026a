"""Rules of normalisation that the third-party cases leave open."""

import json
from typing import Any

import pytest

from collector.digest.about import About, Invalid
from collector.digest.enrich import Enrichment
from collector.digest.normalise import Normaliser

EVENT_ID = "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"
NOW = 1795219200.0
ABOUT = About(EVENT_ID, 42, NOW, client_ip="198.51.100.23", client="sentry.test/1.2")


def normalise(event: Any, about: About = ABOUT) -> dict[str, Any]:
    """An event (a tree, or bytes), normalised."""
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    tree: dict[str, Any] = json.loads(Normaliser(Enrichment()).normalise(payload, about).payload)
    return tree


def frame(**fields: Any) -> dict[str, Any]:
    """An event with one frame."""
    return {"exception": {"values": [{"type": "E", "value": "v", "stacktrace": {"frames": [fields]}}]}}


def only_frame(event: dict[str, Any]) -> dict[str, Any]:
    """The frame of such an event."""
    found: dict[str, Any] = event["exception"]["values"][0]["stacktrace"]["frames"][0]
    return found


@pytest.mark.parametrize(
    ("message", "params", "formatted"),
    [
        ("Hi %s #%d", ["bob", 3], "Hi bob #3"),
        ("%(who)s: %(n)05.1f", {"who": "bob", "n": 2.25}, "bob: 002.2"),
        ("100%% of %s", [7], "100% of 7"),
        ("{} and {}", ["a", 1], "a and 1"),
        ("{1} {0} {{x}}", ["a", "b"], "b a {x}"),
        ("{name}", {"name": True}, "true"),
        ("%s %s", ["only one"], "%s %s"),
        ("{missing}", {"name": 1}, "{missing}"),
        ("nothing to do", ["a"], "nothing to do"),
        ("%d", ["text"], "text"),
    ],
)
def test_parameters_are_put_into_the_message(message: str, params: Any, formatted: str) -> None:
    assert normalise({"logentry": {"message": message, "params": params}})["logentry"]["formatted"] == formatted


def test_a_file_name_that_is_a_url_becomes_its_path() -> None:
    found = only_frame(normalise(frame(filename="https://h.example/js/app.js?v=1#x")))
    assert found["abs_path"] == "https://h.example/js/app.js?v=1#x"
    assert found["filename"] == "/js/app.js"


def test_an_object_as_exception_value_becomes_its_json_text() -> None:
    event = normalise({"exception": {"values": [{"type": "E", "value": {"a": [1]}}]}})
    assert event["exception"]["values"][0]["value"] == '{"a":[1]}'


def test_the_only_exception_takes_the_event_stack_trace() -> None:
    event = normalise({"exception": [{"type": "E"}], "stacktrace": {"frames": [{"filename": "a.py"}]}})
    assert only_frame(event)["filename"] == "a.py"
    assert "stacktrace" not in event


def test_frames_beyond_fifty_keep_variables_only_where_they_tell_most() -> None:
    frames = [{"filename": f"{n}.py", "vars": {"n": n}, "in_app": n == 30} for n in range(80)]
    event = normalise({"exception": [{"type": "E", "stacktrace": {"frames": frames}}]})
    kept = [n for n, f in enumerate(event["exception"]["values"][0]["stacktrace"]["frames"]) if "vars" in f]
    assert 30 in kept and 0 in kept and 79 in kept
    assert 48 <= len(kept) <= 50


def test_variables_beyond_two_kilobytes_are_cut_with_a_remark() -> None:
    event = normalise(frame(filename="a.py", vars={"a": "x" * 1500, "b": "y" * 1500, "c": 1}))
    variables = only_frame(event)["vars"]
    assert len(variables["a"]) == 1500
    assert variables["b"].endswith("...") and len(variables["b"]) == 2048 - 1503
    assert "c" not in variables
    meta = event["_meta"]["exception"]["values"]["0"]["stacktrace"]["frames"]["0"]["vars"]
    assert meta["b"][""]["len"] == 1500
    assert meta[""]["len"] == 3


def test_variables_deeper_than_five_levels_become_json_text() -> None:
    event = normalise(frame(filename="a.py", vars={"a": {"b": {"c": {"d": {"e": 1}}}}}))
    assert only_frame(event)["vars"] == {"a": {"b": {"c": {"d": '{"e":1}'}}}}


def test_extra_is_cut_where_sentry_cuts_it() -> None:
    event = normalise({"extra": {f"k{n:02}": "x" * 16000 for n in range(30)}})
    assert len(event["extra"]) == 17
    assert sum(map(len, event["extra"].values())) == 262096
    assert len(normalise({"extra": {"k": "x" * 20000}})["extra"]["k"]) == 16384


def test_unknown_user_keys_move_to_data() -> None:
    user = normalise({"user": {"id": 7, "plan": "gold", "data": {"a": 1}}})["user"]
    assert user == {"id": "7", "data": {"a": 1, "plan": "gold"}, "sentry_user": "id:7"}


def test_the_auth_client_stands_in_for_a_missing_sdk() -> None:
    assert normalise({})["sdk"] == {"name": "sentry.test", "version": "1.2"}


def test_settings_of_the_sdk_stay_with_the_first_receiver() -> None:
    sdk = {"name": "x", "version": "1", "settings": {"infer_ip": "auto"}}
    assert normalise({"sdk": sdk})["sdk"] == {"name": "x", "version": "1"}


def test_a_request_is_taken_apart() -> None:
    event = normalise({"request": {
        "url": "https://h.example/p?a=1&b=%20x#frag", "method": "post", "data": '{"k": [1]}',
        "headers": {"content-type": "application/json", "cookie": "s=1; t=%41", "x-b": ["1", "2"]},
    }})  # fmt: skip
    assert event["request"] == {
        "url": "https://h.example/p", "method": "POST", "data": {"k": [1]}, "query_string": [["a", "1"], ["b", " x"]],
        "fragment": "frag", "cookies": [["s", "1"], ["t", "A"]], "inferred_content_type": "application/json",
        "headers": [["Content-Type", "application/json"], ["X-B", "1,2"]],
    }  # fmt: skip


def test_a_form_body_is_parsed() -> None:
    request = normalise({"request": {"data": "a=1&b=x%20y"}})["request"]
    assert request["data"] == {"a": "1", "b": "x y"}
    assert request["inferred_content_type"] == "application/x-www-form-urlencoded"


def test_remarks_of_the_sdk_follow_what_they_speak_about() -> None:
    event = normalise({
        "request": {"headers": {"b": "1", "A": "[Filtered]"}}, "tags": {"z": "1", "a": "2"},
        "_meta": {"request": {"headers": {"A": {"": {"rem": [["x", "s"]]}}}}, "tags": {"z": {"": {"len": 3}}}},
    })  # fmt: skip
    assert event["_meta"]["request"]["headers"] == {"0": {"1": {"": {"rem": [["x", "s"]]}}}}
    assert event["_meta"]["tags"] == {"1": {"1": {"": {"len": 3}}}}


def test_a_clock_that_is_wrong_shifts_breadcrumbs_too() -> None:
    about = About(EVENT_ID, 42, NOW, sent_at=NOW - 7200)
    event = normalise({"timestamp": NOW - 7205, "breadcrumbs": [{"timestamp": NOW - 7210, "message": "a"}]}, about)
    assert event["timestamp"] == NOW - 5
    assert event["breadcrumbs"]["values"][0]["timestamp"] == NOW - 10
    assert event["_meta"]["timestamp"][""]["err"][0][0] == "clock_drift"


@pytest.mark.parametrize("sent_at", [NOW - 54 * 60, NOW + 54 * 60, None])
def test_a_clock_that_is_about_right_shifts_nothing(sent_at: float | None) -> None:
    event = normalise({"timestamp": NOW - 5}, About(EVENT_ID, 42, NOW, sent_at=sent_at))
    assert event["timestamp"] == NOW - 5
    assert "_meta" not in event


@pytest.mark.parametrize("value", ["yesterday", "", [], {}, True, "10000-01-01", -5, 1e20])
def test_an_unreadable_time_becomes_the_time_of_receipt(value: Any) -> None:
    event = normalise({"timestamp": value})
    assert event["timestamp"] == NOW
    assert event["errors"][0]["name"] == "timestamp"


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-20T23:59:00Z",
        "2026-11-20 23:59:00",
        "2026-11-21T00:59:00+01:00",
        "2026-11-20T23:59:00.000000Z",
        NOW - 60,
        int(NOW - 60),
    ],
)
def test_every_form_of_time_is_read(value: Any) -> None:
    assert normalise({"timestamp": value})["timestamp"] == NOW - 60


def test_odd_json_is_kept_as_far_as_it_can_be_read() -> None:
    payload = b'{"message":"a\\ud800b","extra":{"n":NaN,"i":1e999,"ok":1},"tags":{"t":"\\u0000"},"message2":1}'
    event = normalise(payload)
    assert event["logentry"]["formatted"] == "a�b"
    assert event["extra"] == {"n": None, "i": None, "ok": 1}


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b"null", b'"x"', b"{", b'{"a":', b"\xff", b"not json"])
def test_what_is_no_object_is_invalid_json(payload: bytes) -> None:
    with pytest.raises(Invalid, match="JSON") as found:
        normalise(payload)
    assert found.value.reason == "invalid_json"


def test_deep_nesting_is_refused_or_cut_but_never_raised() -> None:
    shallow = normalise(b'{"extra":{"a":' + b"[" * 400 + b"]" * 400 + b"}}")
    assert isinstance(shallow["extra"]["a"], list)
    with pytest.raises(Invalid) as found:
        normalise(b'{"extra":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}")
    assert found.value.reason == "nesting_too_deep"


@pytest.mark.parametrize(
    ("name", "source", "wanted"),
    [
        ("/user/12345/x", "url", "/user/*/x"),
        ("/user/12345/x", None, "/user/*/x"),
        ("/user/12345/x", "route", "/user/12345/x"),
        ("/o/6b1f8c3e-0d7a-4f7e-9a41-2c3d4e5f6a7b/", "url", "/o/*/"),
        ("plain 12345", None, "plain 12345"),
        ("", "url", "<unlabeled transaction>"),
    ],
)
def test_identifiers_leave_the_names_of_transactions(name: str, source: str | None, wanted: str) -> None:
    trace = {"trace_id": "a" * 32, "span_id": "b" * 16}
    event = {"type": "transaction", "transaction": name, "transaction_info": {"source": source},
             "start_timestamp": NOW - 2, "timestamp": NOW - 1, "contexts": {"trace": trace}}  # fmt: skip
    found = normalise(event, About(EVENT_ID, 42, NOW, item="transaction"))
    assert found["transaction"] == wanted


def test_a_name_that_looked_like_a_url_is_called_sanitized() -> None:
    trace = {"trace_id": "a" * 32, "span_id": "b" * 16}
    event = {"transaction": "/cart", "start_timestamp": NOW - 2, "timestamp": NOW - 1, "contexts": {"trace": trace}}
    found = normalise(event, About(EVENT_ID, 42, NOW, item="transaction"))
    assert found["transaction_info"] == {"source": "sanitized"}


@pytest.mark.parametrize(
    "change",
    [{"start_timestamp": None}, {"timestamp": None}, {"start_timestamp": NOW}, {"contexts": {}},
     {"contexts": {"trace": {"trace_id": "a" * 32}}}, {"spans": [{"span_id": "x"}]}, {"spans": [1]}],
)  # fmt: skip
def test_a_transaction_without_times_trace_or_sound_spans_is_invalid(change: dict[str, Any]) -> None:
    trace = {"trace_id": "a" * 32, "span_id": "b" * 16}
    event = {"transaction": "t", "start_timestamp": NOW - 2, "timestamp": NOW - 1, "contexts": {"trace": trace}}
    with pytest.raises(Invalid) as found:
        normalise({**event, **change}, About(EVENT_ID, 42, NOW, item="transaction"))
    assert found.value.reason == "invalid_transaction"
