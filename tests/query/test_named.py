"""Named queries: each runs on an empty schema, and answers right on a small store."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from collector.errors import Damaged
from collector.query.named import NAMES, QUERIES, ask, event, event_id_of, issue
from collector.store.schema import SEGMENT_DDL, STATE_DDL
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, SHOP, record, records
from tests.helpers.digested import event as row

FOLDER = Path(__file__).parents[2] / "collector/query"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Five issues of ten events a day on two days; the first day is sealed."""
    clock = FakeClock(NOW)
    store = Store.open(tmp_path / "data", StoreSettings(), RetentionSettings(), clock, projects=SHOP)
    store.commit(records(1, 50))
    clock.advance(86_400)
    store.maintain()
    store.commit(records(51, 100, at=NOW + 86_400))
    yield store
    store.close()


def test_every_sql_file_is_a_named_query() -> None:
    assert {path.stem for path in FOLDER.glob("*.sql")} == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if QUERIES[name].place == "state"])
def test_a_state_query_fits_the_schema(name: str) -> None:
    query = QUERIES[name]
    connection = sqlite3.connect(":memory:")
    connection.executescript(STATE_DDL)
    connection.execute(f"EXPLAIN {query.sql}", dict.fromkeys(query.parameters))
    connection.close()


@pytest.mark.parametrize("name", [name for name in NAMES if QUERIES[name].place != "state"])
def test_a_segment_query_fits_the_schema_and_uses_all_its_parameters(name: str) -> None:
    query = QUERIES[name]
    connection = duckdb.connect(":memory:")
    connection.execute("ATTACH ':memory:' AS seg")
    for statement in SEGMENT_DDL:
        connection.execute(statement.format(seg="seg"))
    sql = query.sql.replace("{segment}", "seg").replace("{events}", "seg.events")
    sql = sql.replace("{first}", "1").replace("{last}", "2").replace("{rowid}", "3")
    connection.execute(f"EXPLAIN {sql}", dict.fromkeys(query.parameters))
    connection.close()


@pytest.mark.parametrize(
    "spelling",
    [f"{7:032x}", "00000000-0000-0000-0000-000000000007", f" {7:032X} "],
)
def test_an_event_is_found_by_any_spelling_of_its_id(store: Store, spelling: str) -> None:
    found = event(store, spelling)
    assert found is not None
    assert (found["event_id"], found["issue_id"], found["tags"]["tenant_id"]) == (f"{7:032x}", 2, "t1")
    assert found["payload"].startswith(b'{"event_id":"00000000000000000000000000000007"')


@pytest.mark.parametrize("wrong", ["", "zz", "../../etc/passwd", "7" * 31, "{" + "0" * 32 + "}", "' OR 1=1 --"])
def test_what_is_not_an_event_id_finds_nothing(store: Store, wrong: str) -> None:
    assert event_id_of(wrong) is None
    assert event(store, wrong) is None


def test_an_event_of_another_project_is_not_found(store: Store) -> None:
    assert event(store, f"{7:032x}", 42) is not None
    assert event(store, f"{7:032x}", 43) is None


def test_an_issue_is_found_by_number_and_short_id(store: Store) -> None:
    assert [found and found["id"] for found in (issue(store, "3"), issue(store, "shop-3"), issue(store, "SHOP-3"))] == [
        3, 3, 3,
    ]  # fmt: skip
    assert [issue(store, key) for key in ("999", "nope", "9" * 30, "٣")] == [None] * 4


def test_the_issue_list_is_by_last_seen_with_hours(store: Store) -> None:
    found = ask(store, "issue_list", project_id=42, status=None, text="%bug%", now=NOW + 86_500, limit=2, offset=0)
    assert [(one["short_id"], one["count"]) for one in found] == [("SHOP-5", 20), ("SHOP-4", 20)]
    assert found[0]["hours"] == f"[[{(NOW + 86_400) // 3600 * 3600:.0f},10]]"


def test_the_ends_and_neighbours_of_an_issue(store: Store) -> None:
    [ends] = ask(store, "issue_ends", issue_id=2)
    assert ends == {"oldest": f"{2:032x}", "newest": f"{97:032x}", "stored": 20}
    here = event(store, f"{52:032x}")
    assert here is not None
    [beside] = ask(store, "issue_neighbours", issue_id=2, timestamp=here["timestamp"], event_id=here["event_id"])
    assert beside == {"previous": f"{47:032x}", "next": f"{57:032x}"}


def test_events_of_an_issue_page_backwards(store: Store) -> None:
    first = ask(store, "issue_events", issue_id=2, before=NOW + 1e6, level=None, limit=11)
    assert [int(one["event_id"], 16) for one in first] == [97, 92, 87, 82, 77, 72, 67, 62, 57, 52, 47]
    after = ask(store, "issue_events", issue_id=2, before=first[-1]["timestamp"], level="error", limit=2)
    assert [int(one["event_id"], 16) for one in after] == [42, 37]


def test_tags_of_an_issue(store: Store) -> None:
    assert ask(store, "issue_tags", issue_id=1, limit=2) == [
        {"key": "browser", "value": "Firefox", "count": 20},
        {"key": "tenant_id", "value": "t0", "count": 7},
        {"key": "tenant_id", "value": "t1", "count": 7},
    ]


def test_totals_by_hour_leave_out_segments_before_since(store: Store) -> None:
    everything = ask(store, "events_by_hour", project_id=None, since=0.0)
    assert [one["count"] for one in everything] == [50, 50]
    assert ask(store, "events_by_hour", project_id=42, since=NOW + 80_000.0)[0]["count"] == 50
    per_issue = ask(store, "issues_by_hour", since=0.0)
    assert len(per_issue) == 5
    assert sum(count for one in per_issue for _, count in json.loads(one["hours"])) == 100


def test_a_block_that_went_bad_costs_its_segment_and_nothing_else(store: Store, tmp_path: Path) -> None:
    sealed = tmp_path / "data/segments/20260921.duckdb"
    raw = bytearray(sealed.read_bytes())
    for at in range(13_000, len(raw), 4096):
        raw[at] ^= 0xFF
    sealed.write_bytes(raw)
    with contextlib.suppress(Damaged):  # found at attaching when the catalogue is hit, else while reading
        ask(store, "issue_tags", issue_id=1, limit=2)
    assert ask(store, "events_by_hour", project_id=None, since=0.0)[0]["count"] == 50
    assert store.status().quarantine == ["20260921.duckdb"]
    store.commit([record(101, row(101), before=100)])


def test_a_mistake_in_a_statement_costs_no_segment(store: Store) -> None:
    with pytest.raises(duckdb.Error):
        store.reads.ask_all("SELECT nope FROM {events}", {})
    with pytest.raises(duckdb.Error):
        store.reads.ask_all("SELECT title::INT FROM {events}", {})
    assert store.status().quarantine == []
