"""sentry-sdk for Python in a Flask program: every kind of item it has, in both of its encodings."""

import json
import sys
from collections.abc import Iterator

import pytest

from tests.clients.sending import PARTS, Seen, run, told
from tests.helpers.running import collector

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("clients-python")]


@pytest.fixture(scope="module", params=["gzip", "br"])
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    with collector() as running:
        sent = told(run(sys.executable, "shop.py", running.dsn, request.param))
        yield Seen(
            running,
            sent,
            **PARTS,
            outcomes="SELECT outcome, reason, quantity, items FROM outcomes",
            frames="SELECT * FROM frames WHERE in_app",
        )


def test_every_item_that_the_sdk_sent_is_stored_under_its_id(seen: Seen) -> None:
    seen.assert_complete()
    sent = sorted(event_id for kind, event_id in seen.told["sent"] if kind == "event")
    assert sorted(row["event_id"] for row in seen.rows["events"]) == sent


def test_an_error_of_a_flask_request_is_stored_with_its_request_and_place(seen: Seen) -> None:
    assert seen.told["codes"] == [200, 500]
    event = seen.one("events", exception_type="KeyError")
    assert event["payload"]["request"]["url"] == "http://localhost/buy/tea"
    assert event["payload"]["request"]["query_string"] in ("size=2", [["size", "2"]])
    assert (event["transaction"], event["release"], event["environment"]) == ("buy", "shop@1.2.3", "test")
    assert event["sdk"].startswith("sentry.python.flask/")
    frame = seen.one("frames", event_id=event["event_id"], function="buy")
    assert (frame["filename"], frame["context_line"].strip()) == ("shop.py", "return {}[item]")
    assert frame["vars"]["item"] == "'tea'"


def test_a_log_record_of_level_error_is_an_event_with_message_and_parameters(seen: Seen) -> None:
    event = seen.one("events", logger="shop.stock")
    assert (event["message"], event["level"]) == ("stock of tea is 17", "error")
    assert event["payload"]["logentry"]["message"] == "stock of %s is %d"
    assert event["payload"]["extra"]["shelf"] == "b2"


def test_an_error_that_ends_a_thread_is_stored_as_unhandled(seen: Seen) -> None:
    event = seen.one("events", exception_type="RuntimeError", exception_value="the thread is broken")
    mechanism = event["payload"]["exception"]["values"][0]["mechanism"]
    assert (mechanism["type"], mechanism["handled"]) == ("threading", False)


def test_an_error_that_ends_an_asyncio_task_is_stored(seen: Seen) -> None:
    event = seen.one("events", exception_type="LookupError", exception_value="the task is broken")
    assert event["payload"]["exception"]["values"][0]["mechanism"]["type"] == "asyncio"


def test_transactions_have_their_names_and_spans_and_share_the_trace_of_their_error(seen: Seen) -> None:
    names = sorted(row["transaction"] for row in seen.rows["transactions"])
    assert names == ["buy", "index", "restock"]
    buy = seen.one("transactions", transaction="buy")
    assert (buy["op"], buy["status"]) == ("http.server", "internal_error")
    assert buy["trace_id"] == seen.one("events", exception_type="KeyError")["trace_id"]
    assert seen.one("spans", op="db")["event_id"] == buy["event_id"]
    assert (
        seen.one("spans", description="ask supplier")["parent_span_id"]
        == (seen.one("transactions", transaction="restock")["span_id"])
    )


def test_log_lines_are_rows_with_their_attributes(seen: Seen) -> None:
    low = seen.one("logs", body="low on cups")
    assert low["level"] == "warn"
    assert low["attributes"]["tenant"]["value"] == "acme"
    assert seen.one("logs", body="stock of tea is 17")["level"] == "error"


def test_a_finished_session_and_the_sessions_of_requests_are_rows(seen: Seen) -> None:
    single = seen.one("sessions", kind="session")
    assert (single["status"], single["init"], single["release"]) == ("exited", True, "shop@1.2.3")
    (bucket,) = seen.one("sessions", kind="sessions")["aggregates"]
    assert (bucket["exited"], bucket["crashed"]) == (1, 1)


def test_a_monitored_function_checks_in_before_and_after(seen: Seen) -> None:
    by_slug = {
        slug: sorted(row["status"] for row in seen.rows["check_ins"] if row["monitor_slug"] == slug)
        for slug in ("nightly", "hourly")
    }
    assert by_slug == {"nightly": ["in_progress", "ok"], "hourly": ["error", "in_progress"]}
    done = seen.one("check_ins", monitor_slug="nightly", status="ok")
    begun = seen.one("check_ins", monitor_slug="nightly", status="in_progress")
    assert done["check_in_id"] == begun["check_in_id"]
    assert begun["monitor_config"]["schedule"] == {"type": "crontab", "value": "0 3 * * *"}
    assert done["duration_seconds"] >= 0


def test_an_attachment_is_stored_with_its_event(seen: Seen) -> None:
    event = seen.one("events", message="with a file")
    (attachment,) = seen.rows["attachments"]
    assert attachment["event_id"] == event["event_id"]
    assert (attachment["filename"], attachment["content_type"]) == ("state.bin", "application/x-state")
    assert attachment["bytes"] == 20
    assert (event["user_id"], event["tags"]["tenant"]) == ("u-7", "acme")


def test_a_metric_is_kept_as_it_was_sent(seen: Seen) -> None:
    (row,) = seen.rows["metrics"]
    (metric,) = json.loads(row["payload"])["items"]
    assert (metric["name"], metric["value"]) == ("sold", 3)


def test_what_the_sdk_threw_away_itself_is_counted_as_its_discard(seen: Seen) -> None:
    (row,) = seen.rows["outcomes"]
    assert row == {"outcome": "client_discard", "reason": "event_processor", "quantity": 1, "items": 0}


def test_each_kind_of_error_is_an_issue_with_one_event(seen: Seen) -> None:
    titles = sorted(row["title"] for row in seen.rows["issues"])
    assert titles == [
        "KeyError: 'tea'",
        "LookupError: the task is broken",
        "RuntimeError: the thread is broken",
        "stock of tea is 17",
        "with a file",
    ]
    assert {row["count"] for row in seen.rows["issues"]} == {1}
