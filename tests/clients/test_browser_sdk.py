"""@sentry/browser in a real browser: from another origin, through the tunnel, and from an origin that may not send."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext

from tests.clients.sending import Seen, counted, needs_packages
from tests.clients.site import site
from tests.helpers.browser import needs_browser, page
from tests.helpers.running import balanced, collector, wait_for

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("clients-browser"), needs_browser, needs_packages]

PROJECTS = """
[[project]]
id = 42
slug = "direct"
keys = ["c0ffee00c0ffee00c0ffee00c0ffee00"]
allowed_origins = ["{origin}"]

[[project]]
id = 43
slug = "tunnelled"
keys = ["c0ffee00c0ffee00c0ffee00c0ffee01"]
allowed_origins = ["{origin}"]

[[project]]
id = 44
slug = "elsewhere"
keys = ["c0ffee00c0ffee00c0ffee00c0ffee02"]
allowed_origins = ["https://shop.example"]
"""


def visited(context: BrowserContext, origin: str, **parameters: str) -> list[list[str]]:
    """Open the page in a tab of its own; what its SDK says it sent."""
    opened = context.new_page()
    opened.goto(f"{origin}/page.html?{urlencode(parameters)}")
    opened.wait_for_function("window.told", timeout=40_000)
    sent: list[list[str]] = opened.evaluate("window.told.sent")
    return sent


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with site() as port, collector(PROJECTS.format(origin=f"http://127.0.0.1:{port}")) as running, page() as (first, _):
        origin = f"http://127.0.0.1:{port}"
        browser = first.context.browser
        assert browser
        context = browser.new_context()
        direct, tunnelled, elsewhere = running.dsns
        tunnel = f"http://127.0.0.1:{running.address[1]}/tunnel/"
        told = {
            42: visited(context, origin, dsn=direct),
            43: visited(context, origin, dsn=tunnelled, tunnel=tunnel),
            44: visited(context, origin, dsn=elsewhere),
        }
        # Refusals go to the ledger once a second; the status counts them before that, SQL does not.
        refused = "SELECT coalesce(sum(items), 0)::INT AS n FROM outcomes"
        wait_for(lambda: running.query(refused)[0]["n"] >= len(told[44]), what="refusals in SQL")
        yield Seen(
            running,
            {"sent": told},
            events="SELECT * FROM events",
            logs="SELECT * FROM logs",
            sessions="SELECT * FROM sessions",
            spans="SELECT * FROM spans",
            feedback="SELECT * FROM feedback",
            outcomes="SELECT * FROM outcomes",
        )


def ids(sent: list[list[str]]) -> list[str]:
    return sorted(event_id for kind, event_id in sent if kind in ("event", "feedback"))


def rows(seen: Seen, part: str, project: str) -> list[dict[str, Any]]:
    return [row for row in seen.rows[part] if row["project"] == project]


both = pytest.mark.parametrize(("project_id", "project"), [(42, "direct"), (43, "tunnelled")])


@both
def test_every_item_that_the_page_sent_is_stored_under_its_id(seen: Seen, project_id: int, project: str) -> None:
    sent = seen.told["sent"][project_id]
    assert seen.stored_in(project_id) == counted(sent)
    assert {"event", "feedback", "session", "span", "log", "replay_event", "replay_recording"} <= {k for k, _ in sent}
    assert sorted(row["event_id"] for row in rows(seen, "events", project)) == ids(sent)


@both
def test_errors_of_handlers_promises_and_captures_are_stored(seen: Seen, project_id: int, project: str) -> None:
    found = {row["exception_value"]: row for row in rows(seen, "events", project)}
    handled = {
        value: found[value]["payload"]["exception"]["values"][0]["mechanism"]["handled"]
        for value in ("cannot pay for cup", "nobody waits for it", "cannot pay for tea")
    }
    assert handled == {"cannot pay for cup": False, "nobody waits for it": False, "cannot pay for tea": True}
    tea = found["cannot pay for tea"]
    assert (tea["platform"], tea["release"], tea["user_id"]) == ("javascript", "page@3.0.0", "b-1")
    assert (tea["exception_type"], tea["tags"]["tenant"]) == ("TypeError", "acme")
    assert tea["frames"][-1]["function"] == "pay"
    assert (tea["payload"]["request"]["url"].split("?")[0]).endswith("/page.html")
    assert tea["payload"]["contexts"]["browser"]["name"]


@both
def test_a_message_keeps_its_characters_and_level(seen: Seen, project_id: int, project: str) -> None:
    (event,) = [row for row in rows(seen, "events", project) if row["level"] == "warning"]
    assert event["message"] == "héllo from the page 🦊"


@both
def test_feedback_logs_and_sessions_are_rows_of_their_views(seen: Seen, project_id: int, project: str) -> None:
    (feedback,) = rows(seen, "feedback", project)
    assert (feedback["name"], feedback["email"]) == ("Ada", "ada@example.com")
    assert feedback["message"] == "the button is small"
    (log,) = rows(seen, "logs", project)
    assert (log["level"], log["body"], log["attributes"]["items"]["value"]) == ("warn", "cart is full", 3)
    sessions = rows(seen, "sessions", project)
    assert {(row["did"], row["status"], row["errors"]) for row in sessions} == {("b-1", "unhandled", 1)}


@both
def test_streamed_spans_are_rows_of_the_trace_of_the_errors(seen: Seen, project_id: int, project: str) -> None:
    spans = rows(seen, "spans", project)
    traces = {row["trace_id"] for row in rows(seen, "events", project)}
    assert {row["trace_id"] for row in spans} == traces
    (load,) = [row for row in spans if row["op"] == "pageload"]
    assert (load["description"], load["status"]) == ("Pageload", "error")  # the errors came while it ran
    assert load["duration_ms"] > 0
    children = [row for row in spans if row["parent_span_id"] == load["span_id"]]
    assert children


def test_an_origin_that_may_not_send_stores_nothing_and_each_item_is_counted(seen: Seen) -> None:
    assert seen.stored_in(44) == {}
    refused = rows(seen, "outcomes", "elsewhere")
    assert {(row["outcome"], row["reason"]) for row in refused} == {("invalid", "cors")}
    assert sum(row["items"] for row in refused) == len(seen.told["sent"][44])


def test_the_ledger_has_the_items_of_all_pages(seen: Seen) -> None:
    assert balanced(seen.ledger)
    sent = {project_id: len(items) for project_id, items in seen.told["sent"].items()}
    assert seen.ledger["received"] == sum(sent.values())
    assert seen.ledger["stored"] == sent[42] + sent[43]
    assert seen.ledger["dropped"] == {"invalid:cors": sent[44]}
