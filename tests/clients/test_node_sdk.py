"""@sentry/node in a program of its own: errors, causes, spans of a real HTTP server, and what goes beside events."""

import json
from collections.abc import Iterator

import pytest

from tests.clients.sending import HERE, NODE, PARTS, Seen, needs_node, needs_packages, run, told
from tests.helpers.running import collector

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("clients-node"), needs_node, needs_packages]


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with collector() as running:
        sent = told(run(str(NODE), "worker.mjs", running.dsn))
        yield Seen(
            running,
            sent,
            **PARTS,
            outcomes="SELECT category, outcome, reason, quantity, items FROM outcomes",
            feedback="SELECT * FROM feedback",
        )


def test_every_item_that_the_sdk_sent_is_stored_under_its_id(seen: Seen) -> None:
    seen.assert_complete()
    sent = sorted(event_id for kind, event_id in seen.told["sent"] if kind in ("event", "feedback"))
    assert sorted(row["event_id"] for row in seen.rows["events"]) == sent


def test_an_error_is_stored_with_its_function_user_tags_and_breadcrumb(seen: Seen) -> None:
    event = seen.one("events", exception_value="cannot charge o-1")
    assert (event["exception_type"], event["platform"], event["release"]) == ("TypeError", "node", "worker@2.0.0")
    assert (event["user_id"], event["tags"]["tenant"], event["payload"]["extra"]["order"]) == ("n-1", "acme", "o-1")
    frame = event["payload"]["exception"]["values"][0]["stacktrace"]["frames"][-1]
    assert (frame["function"], frame["in_app"]) == ("charge", True)
    assert frame["abs_path"].endswith(f"{HERE.name}/worker.mjs")
    assert "added tea" in [crumb.get("message") for crumb in event["payload"]["breadcrumbs"]["values"]]


def test_an_error_with_a_cause_is_stored_as_a_chain(seen: Seen) -> None:
    event = seen.one("events", title="Error: order failed")
    chain = [(one["type"], one["value"]) for one in event["payload"]["exception"]["values"]]
    assert chain == [("TypeError", "cannot charge o-2"), ("Error", "order failed")]


def test_text_beyond_ascii_comes_through_whole(seen: Seen) -> None:
    event = seen.one("events", message="zażółć gęślą 🐍\nsecond line")
    assert (event["level"], event["title"]) == ("warning", "zażółć gęślą 🐍")


def test_errors_of_one_place_are_one_issue_and_all_are_counted(seen: Seen) -> None:
    values = sorted(row["exception_value"] for row in seen.rows["events"] if row["exception_type"] == "RangeError")
    assert values == sorted(f"row {number} is out of range" for number in range(20))
    (issue,) = [row for row in seen.rows["issues"] if row["title"].startswith("RangeError: row")]
    assert (issue["count"], issue["users"]) == (20, 1)


def test_an_attachment_is_stored_with_its_event(seen: Seen) -> None:
    (attachment,) = seen.rows["attachments"]
    assert attachment["event_id"] == seen.one("events", message="with a file")["event_id"]
    assert (attachment["filename"], attachment["content_type"]) == ("cart.json", "application/json")
    assert json.loads(attachment["payload"]) == {"tea": 1}


def test_user_feedback_is_a_row_of_its_view(seen: Seen) -> None:
    (feedback,) = seen.rows["feedback"]
    assert (feedback["name"], feedback["message"], feedback["kind"]) == ("Ada", "tea is cold", "feedback")


def test_a_request_to_an_http_server_and_a_task_are_transactions_with_spans(seen: Seen) -> None:
    assert sorted(row["transaction"] for row in seen.rows["transactions"]) == ["GET /orders", "restock"]
    served = seen.one("transactions", transaction="GET /orders")
    assert (served["op"], served["status"]) == ("http.server", "ok")
    restock = seen.one("transactions", transaction="restock")
    span = seen.one("spans", description="SELECT stock")
    assert (span["event_id"], span["parent_span_id"]) == (restock["event_id"], restock["span_id"])


def test_check_ins_sessions_logs_and_metrics_are_stored(seen: Seen) -> None:
    begun = seen.one("check_ins", monitor_slug="sweep", status="in_progress")
    done = seen.one("check_ins", monitor_slug="sweep", status="ok")
    assert begun["check_in_id"] == done["check_in_id"]
    assert begun["monitor_config"]["schedule"] == {"type": "interval", "value": 1, "unit": "hour"}
    singles = [row for row in seen.rows["sessions"] if row["kind"] == "session"]
    assert {(row["did"], row["status"], row["release"]) for row in singles} == {("n-1", "exited", "worker@2.0.0")}
    (bucket,) = seen.one("sessions", kind="sessions")["aggregates"]
    assert bucket["exited"] == 1
    log = seen.one("logs", body="stock is low")
    assert (log["level"], log["attributes"]["left"]["value"]) == ("error", 2)
    (metric,) = json.loads(seen.rows["metrics"][0]["payload"])["items"]
    assert (metric["name"], metric["value"]) == ("charged", 2)


def test_what_the_sdk_threw_away_itself_is_counted_as_its_discard(seen: Seen) -> None:
    (row,) = seen.rows["outcomes"]
    assert (row["category"], row["outcome"], row["reason"], row["items"]) == (
        "span",
        "client_discard",
        "no_parent_span",
        0,
    )
