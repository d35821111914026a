"""The runner itself: placeholders, places, translation, exact bytes, judgement, and files it was not made for."""

import base64
import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.cases import KEY, Place, fill, load, moved
from tests.conformance.client import Answer, body_of, request_bytes
from tests.conformance.judge import Evidence, Stored, Unknown, judge, read_status
from tests.conformance.play import grouped, play
from tests.conformance.run import CASES, main
from tests.conformance.translate import plan, project_table, toml

NOON = datetime(2026, 2, 3, 12, 0, 0, tzinfo=UTC)
THERE = Place(1234, "c0ffee00" + "1" * 24)


def case_file(folder: Path, rows: Any) -> Path:
    path = folder / "cases.json"
    path.write_text(json.dumps(rows))
    return path


def case(**fields: Any) -> dict[str, Any]:
    request = {"method": "POST", "path": "/api/42/envelope/", "headers": {}, "body": ""}
    return {"id": "x-1", "area": "x", "tier": "contract", "config": {}, "request": request, "expect": {}} | fields


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{NOW}", "2026-02-03T12:00:00.000Z"),
        ("{NOW-60s}", "2026-02-03T11:59:00.000Z"),
        ("{NOW+7200s}", "2026-02-03T14:00:00.000Z"),
        ("{NOW-30d}", "2026-01-04T12:00:00.000Z"),
        ("{NOW_EPOCH}", "1770120000"),
        ("<{REP:ab:3}>", "<{REP:ab:3}>"),
        ("<{REP:a:3}>", "<aaa>"),
        ("{TMP}/x", "/t/x"),
        ('{"a":{}}', '{"a":{}}'),
    ],
)
def test_placeholders_are_filled_and_nothing_else(text: str, filled: str) -> None:
    assert fill({"a": [text, 1, None]}, NOON, "/t") == {"a": [filled, 1, None]}


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("/api/42/envelope/?sentry_key=" + KEY, f"/api/1234/envelope/?sentry_key={THERE.key}"),
        ("/api//42/store//", "/api//1234/store//"),
        ("/api/4242/store/", "/api/4242/store/"),
        (f'{{"dsn":"https://{KEY}@host/42"}}', f'{{"dsn":"https://{THERE.key}@host/1234"}}'),
        (f"https://{KEY}:secret@host/path/42", f"https://{THERE.key}:secret@host/path/1234"),
        (f"https://{KEY}@host/43", f"https://{THERE.key}@host/43"),
        ("dist 42", "dist 42"),
    ],
)
def test_moving_a_case_changes_its_project_and_key_only(text: str, there: str) -> None:
    assert moved({"body": [text]}, THERE) == {"body": [there]}


def test_basic_auth_moves_inside_its_base64() -> None:
    header = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert base64.b64decode(moved(header, THERE).split()[1]) == f"{THERE.key}:".encode()


def test_the_request_is_sent_byte_for_byte_with_host_length_and_connection_added() -> None:
    request = {"method": "POST", "path": "/a?b", "headers": {"X-Y": "z"}, "envelope_lines": ["{}", "ä"]}
    assert request_bytes(request, "h:1") == (
        b"POST /a?b HTTP/1.1\r\nHost: h:1\r\nX-Y: z\r\nContent-Length: 6\r\nConnection: close\r\n\r\n{}\n\xc3\xa4\n"
    )


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ({"body": "x\r\n"}, b"x\r\n"),
        ({"body_base64": "/w=="}, b"\xff"),
        ({"body_parts": [{"text": "a"}, {"repeat_text": "bc", "count": 2}]}, b"abcbc"),
        ({"body_repeat": {"char": "\0", "count": 3}}, b"\0\0\0"),
        ({"body": "x", "encode": None}, b"x"),
        ({}, b""),
    ],
)
def test_all_forms_of_a_body_become_bytes(request_: dict[str, Any], body: bytes) -> None:
    assert body_of(request_) == body


def test_the_translation_is_a_configuration_that_toml_reads() -> None:
    config = {
        "limits": {"max_event_size": 2000, "shutdown_timeout": 5},
        "routing": {"accept_unknown_items": False},
        "project": {
            "allowedDomains": ["*.a.example"],
            "filterSettings": {"errorMessages": {"patterns": ['"quoted" \\ \n*']}, "localhost": {"isEnabled": True}},
        },
    }
    (one,) = grouped([(loaded, plan(loaded)) for loaded in [loaded_case(config=config)]])
    ((member, made),) = one.members
    text = toml(made.tables, [project_table(made, member.place)])
    values = tomllib.loads(text)
    assert values["limits"] == {"max_event_bytes": "2000 B"}
    assert values["ingest"]["accept_unknown_items"] is False
    (project,) = values["project"]
    assert project["id"] == member.place.project_id
    assert project["allowed_origins"] == ["*.a.example"]
    assert project["filters"]["localhost"] is True
    assert project["filters"]["error_messages"] == ['"quoted" \\ \n*']


def loaded_case(**fields: Any) -> Any:
    from tests.conformance.cases import _case

    return _case(case(**fields), 0)


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"http": {"forward": False}, "spool": {"envelopes": {"path": "{TMP}/x"}}, "warm": True}, []),
        ({"project": {"quotas": [{"id": "q", "limit": 0, "groupBy": {}}]}}, ["config.project.quotas.groupBy"]),
        ({"mode": "static"}, ["config.mode static"]),
    ],
)
def test_what_cannot_be_translated_is_named(config: dict[str, Any], missing: list[str]) -> None:
    assert plan(loaded_case(config=config)).missing == missing


def test_a_quota_for_the_numbered_key_of_the_cases_is_for_the_key_of_the_place() -> None:
    quota = {"id": "q", "limit": 1, "window": 60, "scope": "key", "scopeId": "7", "reasonCode": "r"}
    table = project_table(plan(loaded_case(config={"project": {"quotas": [quota]}})), THERE)
    assert table["quota"] == [
        {"id": "q", "limit": 1, "window": "60 s", "scope": "key", "scope_id": THERE.key, "reason_code": "r"}
    ]


def test_cases_share_a_collector_exactly_when_its_own_tables_are_equal() -> None:
    cases = [
        loaded_case(id="a"),
        loaded_case(id="b", config={"project": {"allowedDomains": []}}),
        loaded_case(id="c", config={"limits": {"max_event_size": 1}}),
    ]
    groups = grouped([(one, plan(one)) for one in cases])
    assert [[member.id for member, _ in group.members] for group in groups] == [["a", "b"], ["c"]]
    places = [member.place for member, _ in groups[0].members]
    assert len({place.project_id for place in places}) == len({place.key for place in places}) == 2


@pytest.mark.parametrize(
    ("expect", "evidence"),
    [
        ({"status": [200, 403]}, Evidence(Answer(403))),
        ({"json": {}}, Evidence(Answer(200, body=b"{}"))),
        ({"json_contains": {"detail": "d"}}, Evidence(Answer(200, body=b'{"detail":"d","causes":["c"]}'))),
        ({"causes_regex": "^c$"}, Evidence(Answer(200, body=b'{"detail":"d","causes":["c"]}'))),
        ({"headers": {"Retry-After": "60"}}, Evidence(Answer(429, {"retry-after": "60"}))),
        ({"headers": {"a": {"contains_all": ["X", "y"]}}}, Evidence(Answer(200, {"a": "x, z, Y"}))),
        ({"headers_absent": ["content-encoding"]}, Evidence(Answer(200))),
        ({"stored": 1}, Evidence(Answer(200), [Stored("event", {}, b"{}"), Stored("client_report", {}, b"{}")])),
        (
            {"stored_items": [{"type": "attachment", "count": 1, "payload_utf8": "é", "filename": "u"}]},
            Evidence(Answer(200), [Stored("attachment", {"filename": "u"}, "é".encode())]),
        ),
        (
            {"event": [{"path": ["a", 0, "b"], "op": "equals", "value": 1}, {"path": ["c"], "op": "absent_or_null"}]},
            Evidence(Answer(200), [Stored("event", {}, b'{"a":[{"b":1}],"c":null}')]),
        ),
        (
            {"outcomes": [{"outcome": "filtered", "reason": "r", "category": "error", "quantity": 2}]},
            Evidence(Answer(200), outcomes=[
                {"outcome": "filtered", "reason": "r", "category": "error", "quantity": 1},
                {"outcome": "filtered", "reason": "r", "category": "error", "quantity": 1},
                {"outcome": "rate_limited", "reason": "r", "category": "session", "quantity": 1},
            ]),
        ),
    ],
)  # fmt: skip
def test_what_fits_has_no_differences_and_what_does_not_has_some(expect: dict[str, Any], evidence: Evidence) -> None:
    assert judge(expect, evidence) == []
    elsewhere = Evidence(Answer(599, {"content-encoding": "gzip"}, b"[]"), outcomes=[
        {"outcome": "invalid", "reason": "other", "category": "error", "quantity": 1}
    ])  # fmt: skip
    assert len(judge(expect, elsewhere)) >= 1


def test_an_expectation_nobody_knows_is_not_passed_over() -> None:
    with pytest.raises(Unknown, match=r"expect\.colour"):
        judge({"colour": "red"}, Evidence(Answer(200)))


def test_a_protobuf_status_is_read() -> None:
    assert read_status(b"\x08\x10\x12\x05hello") == {"code": 16, "message": "hello"}


def test_strange_files_are_skipped_with_a_reason_and_never_crash(tmp_path: Path) -> None:
    rows = [
        7,
        {},
        case(id="a", config={"from_the_future": 1}),
        case(id="b", request={"function": "no_such_function"}),
        case(id="c", config={"limits": {"max_dreams": 1}}),
        {"id": "d", "area": "new", "steps": [{"dance": True, "expect": {}}]},
        case(id="e", expect=[]),
        case(id="f", config={"project": {"filterSettings": 3}}),
    ]
    results = {result.id: result for result in play(load(case_file(tmp_path, rows)))}
    assert {result.outcome for result in results.values()} == {"skipped"}
    assert results["a"].detail == "not translated: config.from_the_future"
    assert results["b"].detail == "unknown function no_such_function"


def test_json_output_has_the_agreed_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--area", "globs"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {frozenset(row) for row in document["results"]} == {frozenset({"id", "area", "outcome", "detail"})}
    assert {row["outcome"] for row in document["results"]} == {"passed"}


def test_every_committed_case_can_be_read() -> None:
    cases = load(CASES)
    assert len(cases) == 320
    assert len({one.id for one in cases}) == 320
