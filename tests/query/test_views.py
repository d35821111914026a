"""The views are what their documentation says."""

import io
import json
from typing import Any

import pytest

from collector.query import adhoc
from collector.query.adhoc import Limits, Sources
from collector.query.derived import ALL_VIEWS as ALL
from collector.query.settings import QuerySettings
from collector.query.views import View

LIMITS = Limits.of(QuerySettings())


def rows(sources: Sources, sql: str) -> list[dict[str, Any]]:
    out = io.BytesIO()
    adhoc.run(sql, sources, LIMITS, "json", out)
    found: list[dict[str, Any]] = json.loads(out.getvalue())
    return found


@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name)
def test_a_view_has_the_documented_columns_and_types(sources: Sources, view: View) -> None:
    described = rows(sources, f"DESCRIBE {view.name}")
    assert [(row["column_name"], row["column_type"]) for row in described] == [
        (column.name, column.type) for column in view.columns
    ]


def test_views_exist_without_any_data() -> None:
    names = {row["name"] for row in rows(Sources([], None), "SHOW TABLES")}
    assert names >= {view.name for view in ALL}


def test_every_column_says_what_it_means() -> None:
    assert [(view.name, column.name) for view in ALL for column in view.columns if len(column.meaning) < 3] == []


def test_exceptions_are_one_row_each_in_order(stories: Sources) -> None:
    assert rows(stories, "SELECT position, type, value, handled, mechanism FROM exceptions ORDER BY position") == [
        {"position": 1, "type": "KeyError", "value": "'sku'", "handled": None, "mechanism": None},
        {"position": 2, "type": "ValueError", "value": "bad cart", "handled": False, "mechanism": "wsgi"},
    ]


def test_frames_are_one_row_each_with_their_exception(stories: Sources) -> None:
    found = rows(stories, "SELECT exception_type, position, function, lineno, in_app, vars FROM frames ORDER BY 1, 2")
    assert found == [
        {"exception_type": "ValueError", "position": 1, "function": "main", "lineno": 3, "in_app": False, "vars": None},
        {"exception_type": "ValueError", "position": 2, "function": "pay", "lineno": 9, "in_app": True,
         "vars": {"n": "1"}},
    ]  # fmt: skip


def test_tags_are_counted_per_issue_and_value(sources: Sources) -> None:
    found = rows(sources, "SELECT value, sum(count)::INT AS n FROM tags WHERE key = 'tenant_id' GROUP BY 1 ORDER BY 1")
    assert found == [{"value": "t0", "n": 30}, {"value": "t1", "n": 30}, {"value": "t2", "n": 30}]


def test_a_tag_of_any_name_is_counted(stories: Sources) -> None:
    assert rows(stories, "SELECT key, value FROM tags") == [{"key": 'od"d $.k[0]', "value": "v"}]


def test_transactions_and_their_spans_have_durations(stories: Sources) -> None:
    assert rows(stories, "SELECT transaction, op, duration_ms, started_at FROM transactions WHERE op <> ''") == [
        {"transaction": "/pay", "op": "http.server", "duration_ms": 1500.0, "started_at": "2026-09-21T14:13:20Z"}
    ]
    assert rows(stories, "SELECT op, description, duration_ms FROM spans WHERE event_id IS NOT NULL") == [
        {"op": "db", "description": "SELECT 1", "duration_ms": 250.0}
    ]


def test_spans_that_came_without_a_transaction_are_rows_too(stories: Sources) -> None:
    found = rows(stories, "SELECT op, description, status, duration_ms FROM spans WHERE event_id IS NULL ORDER BY op")
    assert found == [
        {"op": "pageload", "description": "/cart", "status": "ok", "duration_ms": 2000.0},
        {"op": "rpc", "description": "alone", "status": None, "duration_ms": 500.0},
    ]


def test_other_items_have_rows_of_their_own(stories: Sources) -> None:
    assert rows(stories, "SELECT level, body, attributes FROM logs ORDER BY body") == [
        {"level": "info", "body": "one", "attributes": {"a": {"value": 1}}},
        {"level": "warn", "body": "two", "attributes": None},
    ]
    assert rows(stories, "SELECT sid, status, release FROM sessions") == [
        {"sid": "s1", "status": "crashed", "release": "shop@1"}
    ]
    assert rows(stories, "SELECT monitor_slug, status, duration_seconds FROM check_ins") == [
        {"monitor_slug": "nightly", "status": "ok", "duration_seconds": 12.5}
    ]
    assert rows(stories, "SELECT kind, event_id, name, email, message FROM feedback ORDER BY kind") == [
        {"kind": "feedback", "event_id": f"{1:032x}", "name": "Ada", "email": "ada@example.com", "message": "cold tea"},
        {"kind": "user_report", "event_id": f"{1:032x}", "name": "Ann", "email": None, "message": "it broke"},
    ]
    assert rows(stories, "SELECT filename, content_type, bytes FROM attachments") == [
        {"filename": "log.txt", "content_type": "text/plain", "bytes": 5}
    ]


def test_an_item_that_is_not_json_hides_nothing(stories: Sources) -> None:
    found = rows(stories, "SELECT count(*) AS n, count(transaction) AS named FROM transactions")
    assert found == [{"n": 2, "named": 1}]


def test_segments_are_listed(sources: Sources) -> None:
    found = rows(sources, "SELECT name, state, events FROM segments")
    assert [(row["name"], row["state"], row["events"]) for row in found] == [
        ("20260921", "sealed", 50), ("20260922", "sealed", 40), ("20260923", "open", 1),
    ]  # fmt: skip
