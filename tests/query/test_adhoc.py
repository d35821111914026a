"""Ad-hoc SQL end to end, each through a real sandbox process."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import pytest

from collector.errors import ProtocolError
from collector.model.event import ItemRow
from collector.query import adhoc
from collector.query.adhoc import Limits, Sources
from collector.query.job import Job
from collector.query.sandbox import prepare
from collector.query.settings import QuerySettings
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, SHOP, record, records

LIMITS = Limits.of(QuerySettings())


def ask(sources: Sources, sql: str, format: str = "json", limits: Limits = LIMITS) -> str:
    out = io.BytesIO()
    adhoc.run(sql, sources, limits, format, out)
    return out.getvalue().decode()


def rows(sources: Sources, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ask(sources, sql))
    return found


def test_events_of_sealed_and_active_segments_are_one_view(sources: Sources) -> None:
    assert rows(sources, "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events") == [{"n": 91, "ids": 91}]


def test_an_event_has_every_promised_column(sources: Sources) -> None:
    [row] = rows(sources, "SELECT * FROM events WHERE event_id = '00000000000000000000000000000003'")
    assert row["project"] == "shop"
    assert row["project_id"] == 42
    assert row["timestamp"] == "2026-09-21T14:13:20.003000Z"
    assert row["tags"] == {"tenant_id": "t0", "browser": "Firefox"}
    assert row["hash"] == f"{4:032x}"
    assert (row["exception_type"], row["exception_value"]) == ("ValueError", "bug 4")
    assert (row["level"], row["platform"], row["release"]) == ("error", "python", "shop@1.2.3")
    assert row["payload_kept"] is True
    assert row["frames"] == []
    assert row["payload"]["exception"] == {"values": [{"type": "ValueError"}]}


def test_the_whole_event_can_be_searched_in_sql(sources: Sources) -> None:
    sql = """SELECT count(*) AS n, min(payload->>'$.exception.values[0].type') AS kind, min(typeof(payload)) AS type
      FROM events WHERE payload->>'$.event_id' >= '00000000000000000000000000000050'"""
    assert rows(sources, sql) == [{"n": 12, "kind": "ValueError", "type": "JSON"}]


def test_items_show_their_text(sources: Sources) -> None:
    found = rows(sources, "SELECT kind, payload, payload_bytes, headers->>'type' AS type FROM items ORDER BY kind")
    assert found == [
        {"kind": "attachment", "payload": None, "payload_bytes": 300, "type": "attachment"},
        {"kind": "session", "payload": '{"sid":"1"}', "payload_bytes": 11, "type": "session"},
    ]


def test_a_text_attachment_is_shown_and_one_whose_file_is_gone_is_null(tmp_path: Path) -> None:
    store = Store.open(tmp_path, StoreSettings(), RetentionSettings(), FakeClock(NOW), projects=SHOP)
    store.commit([record(2, items=(ItemRow(42, "attachment", NOW, "", "{}", "grüße".encode()),
                                   ItemRow(42, "attachment", NOW, "", "{}", b"other")), before=0)])  # fmt: skip
    store.close()
    next(path for path in tmp_path.glob("attachments/*/*") if path.read_bytes() == b"other").unlink()
    found = rows(adhoc.of_folder(tmp_path, tmp_path / "tmp"), "SELECT payload FROM items ORDER BY payload NULLS LAST")
    assert found == [{"payload": "grüße"}, {"payload": None}]


def test_issues_and_events_join_on_the_issue_id(sources: Sources) -> None:
    found = rows(
        sources,
        "SELECT i.short_id, i.count, i.users, i.status, count(*) AS n FROM issues i JOIN events e ON e.issue_id = i.id"
        " GROUP BY ALL ORDER BY i.short_id",
    )
    assert [row["short_id"] for row in found] == ["SHOP-1", "SHOP-2", "SHOP-3", "SHOP-4", "SHOP-5", "SHOP-6"]
    assert [(row["count"], row["n"]) for row in found] == [(18, 18)] * 5 + [(1, 1)]
    assert found[0]["users"] == 7
    assert {row["status"] for row in found} == {"unresolved"}


def test_outcomes_say_what_was_not_stored_and_why(sources: Sources) -> None:
    [row] = rows(sources, "SELECT * FROM outcomes")
    assert (row["project"], row["outcome"], row["reason"], row["quantity"]) == ("shop", "rate_limited", "key_quota", 5)


def test_accepted_says_what_was_taken_in(sources: Sources) -> None:
    sql = """SELECT category, kept, sum(quantity)::INT AS n, sum(items)::INT AS items FROM accepted
      GROUP BY ALL ORDER BY category"""
    assert rows(sources, sql) == [
        {"category": "attachment", "kept": True, "n": 300, "items": 1},
        {"category": "error", "kept": True, "n": 91, "items": 91},
        {"category": "session", "kept": True, "n": 1, "items": 1},
    ]


def test_csv_has_a_header_and_quotes_what_needs_it(sources: Sources) -> None:
    text = ask(sources, "SELECT event_id, tags, NULL AS nothing FROM events ORDER BY timestamp LIMIT 1", "csv")
    head, row = csv.reader(io.StringIO(text))
    assert head == ["event_id", "tags", "nothing"]
    assert row == [f"{1:032x}", '{"tenant_id":"t1","browser":"Firefox"}', ""]


def test_a_table_never_sends_control_characters_to_the_terminal(sources: Sources) -> None:
    text = ask(sources, "SELECT message, title, 7 AS n FROM events ORDER BY timestamp DESC LIMIT 1", "table")
    assert "tab\\x09here \\x1b[31mred" in text
    assert "Ümläut — 試験" in text
    assert text.endswith("(1 row)\n")


def test_ndjson_is_one_object_a_line(sources: Sources) -> None:
    text = ask(sources, "SELECT issue_id FROM events ORDER BY timestamp LIMIT 3", "ndjson")
    assert [json.loads(line)["issue_id"] for line in text.splitlines()] == [1, 2, 3]


def test_json_holds_every_type(sources: Sources) -> None:
    sql = """SELECT 1::UTINYINT AS i, 170141183460469231731687303715884105727::HUGEINT AS big, 1.5::DECIMAL(4,2) AS dec,
      'NaN'::DOUBLE AS nan, DATE '2026-01-02' AS d, uuid '00000000-0000-0000-0000-00000000000a' AS u,
      '\\xAA'::BLOB AS b, [1, 2] AS l, {'a': TIMESTAMP '2026-01-02 03:04:05'} AS s, MAP {'k': 1} AS m,
      INTERVAL 90 SECOND AS v, NULL AS none, '{"x": [1]}'::JSON AS j, true AS yes"""
    [row] = rows(sources, sql)
    assert row == {
        "i": 1, "big": 2**127 - 1, "dec": 1.5, "nan": None, "d": "2026-01-02", "u": f"{10:032x}", "b": "aa",
        "l": [1, 2], "s": {"a": "2026-01-02T03:04:05Z"}, "m": {"k": 1}, "v": 90.0, "none": None, "j": {"x": [1]},
        "yes": True,
    }  # fmt: skip


def test_an_empty_answer_is_an_empty_array(sources: Sources) -> None:
    assert ask(sources, "SELECT * FROM events WHERE false") == "[]\n"


def test_no_segment_at_all_is_an_empty_view() -> None:
    assert rows(Sources([], None), "SELECT (SELECT count(*) FROM events) AS e, (SELECT count(*) FROM issues) AS i") == [
        {"e": 0, "i": 0}
    ]


def test_rows_beyond_the_limit_are_cut_and_said(sources: Sources) -> None:
    out = io.BytesIO()
    verdict = adhoc.run("SELECT * FROM range(5000) t(n)", sources, LIMITS._replace(max_rows=1500), "json", out)
    assert (verdict.rows, verdict.truncated, verdict.cut_by) == (1500, True, "max_rows")
    assert len(json.loads(out.getvalue())) == 1500


def test_bytes_beyond_the_limit_are_cut_and_said_and_the_answer_stays_whole(sources: Sources) -> None:
    out = io.BytesIO()
    limits = LIMITS._replace(max_result_bytes=100_000)
    verdict = adhoc.run("SELECT repeat('x', 1000) AS x FROM range(5000)", sources, limits, "json", out)
    assert (verdict.truncated, verdict.cut_by) == (True, "max_result_bytes")
    assert len(json.loads(out.getvalue())) == verdict.rows
    assert 100_000 < len(out.getvalue()) < 400_000


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", ["syntax error", "line 1, column 1"]),
        ("SELECT\n  nope FROM events", ['"nope" not found', "line 2, column 3"]),
        ("SELECT 1; SELECT 2", ["exactly one statement", "2"]),
        ("", ["exactly one statement"]),
        ("SELECT 'a'::INT", ["Could not convert"]),
        ("DELETE FROM events", ["only SELECT", "DELETE"]),
    ],
)
def test_a_wrong_statement_is_answered_with_a_sentence(sources: Sources, sql: str, words: list[str]) -> None:
    with pytest.raises(ProtocolError) as caught:
        ask(sources, sql)
    assert caught.value.status == 400
    assert [word for word in words if word not in caught.value.detail] == []


def test_an_unknown_format_is_refused_before_anything_runs(sources: Sources) -> None:
    with pytest.raises(ProtocolError, match="table, json, ndjson, csv, parquet, arrow"):
        ask(sources, "SELECT 1", "xml")


def test_a_query_over_its_time_is_stopped_with_a_sentence(sources: Sources) -> None:
    with pytest.raises(ProtocolError) as caught:
        ask(
            sources,
            "SELECT count(*) FROM range(10000000000) a, range(1000) b",
            limits=LIMITS._replace(timeout_seconds=0.3),
        )
    assert caught.value.status == 408


def test_a_query_over_its_memory_is_stopped_with_a_sentence(sources: Sources) -> None:
    with pytest.raises(ProtocolError) as caught:
        ask(sources, "SELECT list(n::VARCHAR || 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') FROM range(20000000) t(n)")
    assert caught.value.status == 413


def test_a_damaged_segment_is_named_and_the_others_answer(sources: Sources, tmp_path: object) -> None:
    broken = sources.segments[-1].with_name("20200101.duckdb")
    broken.write_bytes(b"not a database" * 1000)
    out = io.BytesIO()
    verdict = adhoc.run(
        "SELECT count(*) AS n FROM events", Sources([broken, *sources.segments], sources.state), LIMITS, "json", out
    )
    assert json.loads(out.getvalue()) == [{"n": 91}]
    assert verdict.skipped == ["20200101.duckdb"]


def test_a_segment_that_was_cut_off_is_left_out(sources: Sources, tmp_path: Path) -> None:
    broken = tmp_path / "20200102.duckdb"
    broken.write_bytes(sources.segments[0].read_bytes()[: 3 * 32_768])
    out = io.BytesIO()
    files = Sources([broken, *sources.segments], sources.state)
    verdict = adhoc.run("SELECT count(payload) > 0 AS some FROM events", files, LIMITS, "json", out)
    assert (json.loads(out.getvalue()), verdict.skipped) == ([{"some": True}], ["20200102.duckdb"])


def test_a_damaged_state_is_named_with_what_mends_it(sources: Sources, tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    state.write_bytes(b"not a database" * 1000)
    with pytest.raises(ProtocolError, match=r"state\.sqlite cannot be read: .*; collector repair"):
        adhoc.run("SELECT 1", Sources(sources.segments, state), LIMITS, "json", io.BytesIO())
    about = adhoc.Ask(named="issue", values={"key": "SHOP-1", "now": 0.0})
    with pytest.raises(ProtocolError, match=r"state\.sqlite cannot be read"):
        adhoc.run(about, Sources(sources.segments, state), LIMITS, "json", io.BytesIO())


def test_a_parquet_answer_is_a_file_that_reads_back(sources: Sources, tmp_path: Path) -> None:
    with (tmp_path / "answer.parquet").open("wb") as out:
        verdict = adhoc.run("SELECT * FROM events ORDER BY timestamp;", sources, LIMITS, "parquet", out)
    read = duckdb.connect().execute(
        "SELECT count(*), max(payload->>'$.event_id') FROM '" + str(tmp_path) + "/*.parquet'"
    )
    assert read.fetchall() == [(91, f"{91:032x}")]
    assert (verdict.rows, verdict.truncated) == (91, False)


def test_segments_older_than_since_are_not_even_attached(sources: Sources) -> None:
    narrowed = adhoc.newer_than(sources, NOW + 86_000)
    assert [path.stem for path in narrowed.segments] == ["20260922", "20260923"]
    assert rows(narrowed, "SELECT count(*) AS n FROM events") == [{"n": 41}]
    connection, skipped = prepare(Job("", "json", [str(p) for p in narrowed.segments], "", 5.0, 128 << 20, 10, 1 << 20))
    attached = connection.execute("SELECT path FROM duckdb_databases() WHERE path IS NOT NULL").fetchall()
    connection.close()
    assert sorted(Path(path).stem for (path,) in attached) == ["20260922", "20260923"]
    assert skipped == []


def test_since_cuts_inside_a_segment_too(sources: Sources) -> None:
    narrowed = sources._replace(since=NOW + 86_400 + 0.5 + 0.0805)
    asked = "SELECT (SELECT count(*) FROM events) AS e, (SELECT count(*) FROM items) AS i, count(*) AS o FROM accepted"
    assert rows(narrowed, asked) == [{"e": 11, "i": 2, "o": 4}]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2 d", NOW - 2 * 86_400), ("90 s", NOW - 90), ("2026-09-21", NOW - 51_201 + 1), ("2026-09-21T14:13:20", NOW),
        ("2026-09-21T14:13:20Z", NOW), ("2026-09-21 16:13:20+02:00", NOW),
    ],
)  # fmt: skip
def test_since_is_an_age_or_a_moment(text: str, moment: float) -> None:
    assert adhoc.parse_since(text, NOW) == moment


def test_now_is_comparable_with_our_times_in_any_zone(sources: Sources) -> None:
    [row] = rows(
        sources, "SELECT now()::TIMESTAMP AS n, now() AS z, extract(timezone FROM now()) AS zone FROM events LIMIT 1"
    )
    assert row["zone"] == 0
    assert row["n"] == row["z"]
    assert row["z"].endswith("Z")


def test_an_arrow_answer_is_a_stream_that_reads_back(sources: Sources) -> None:
    out = io.BytesIO()
    sql = "SELECT event_id, timestamp, tags, 'a'::ENUM('a', 'b') AS letter, [1, 2] AS l FROM events ORDER BY timestamp;"
    verdict = adhoc.run(sql, sources, LIMITS._replace(max_rows=40), "arrow", out)
    table = nanoarrow.ArrayStream.from_readable(out.getvalue()).read_all()
    assert (verdict.rows, verdict.cut_by, len(table)) == (40, "max_rows", 40)
    first = table.to_pylist()[0]
    assert (first["event_id"], first["letter"], first["l"]) == (f"{1:032x}", "a", [1, 2])
    assert first["timestamp"].isoformat() == "2026-09-21T14:13:20.001000"


def test_an_arrow_answer_has_its_columns_without_rows_and_stops_at_its_bytes(sources: Sources) -> None:
    out = io.BytesIO()
    adhoc.run("SELECT title, count FROM issues WHERE false", sources, LIMITS, "arrow", out)
    assert [field.name for field in nanoarrow.ArrayStream.from_readable(out.getvalue()).schema.fields] == [
        "title", "count",
    ]  # fmt: skip
    out = io.BytesIO()
    limits = LIMITS._replace(max_result_bytes=1_000_000)
    verdict = adhoc.run("SELECT repeat('x', 1000) AS x FROM range(50000)", sources, limits, "arrow", out)
    table = nanoarrow.ArrayStream.from_readable(out.getvalue()).read_all()
    assert (verdict.cut_by, verdict.rows) == ("max_result_bytes", len(table))
    assert 1_000_000 < len(out.getvalue()) < 4_000_000


@pytest.mark.parametrize("format", ["arrow", "parquet", "json"])
def test_a_mistake_is_marked_in_the_statement_of_the_user(sources: Sources, format: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        ask(sources, "SELECT title,\n\tnope FROM events", format)
    assert "(line 2, column 2)" in caught.value.detail
    assert caught.value.causes == [" nope FROM events", " ^"]


def test_an_answer_that_arrow_cannot_hold_is_refused_with_a_sentence(sources: Sources) -> None:
    with pytest.raises(ProtocolError, match="a type that an Arrow stream cannot hold here"):
        ask(sources, "SELECT ['a'::ENUM('a', 'b')] AS x", "arrow")


def test_a_parquet_answer_of_exactly_the_limit_is_not_called_cut(sources: Sources) -> None:
    limits = LIMITS._replace(max_rows=5)
    verdicts = [adhoc.run(f"SELECT * FROM range({n})", sources, limits, "parquet", io.BytesIO()) for n in (5, 6)]
    assert [(one.rows, one.truncated) for one in verdicts] == [(5, False), (5, True)]


@pytest.mark.parametrize("wrong", [{"max_rows": -1}, {"timeout_seconds": 0.0}, {"timeout_seconds": float("nan")}])
def test_a_limit_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="should be"):
        Limits.of(QuerySettings(), **wrong)


def test_a_folder_that_nobody_has_open_is_read_without_changing_it(tmp_path: Path) -> None:
    data, copies = tmp_path / "data", tmp_path / "copies"
    copies.mkdir()
    store = Store.open(data, StoreSettings(), RetentionSettings(), FakeClock(), projects=SHOP)
    store.commit(records(1, 9))
    store._segments.detach_all()  # as a killed collector leaves it: the events are in the write-ahead log
    store._connection.close()
    store._state.close()
    before = {path.name: path.read_bytes() for path in (data / "segments").iterdir()}
    found = rows(adhoc.of_folder(data, copies), "SELECT count(*) AS n, max(i.count) AS c FROM events, issues i")
    assert found == [{"n": 45, "c": 2}]
    assert {path.name: path.read_bytes() for path in (data / "segments").iterdir()} == before
