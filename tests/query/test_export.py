"""Exports that other tools read."""

from pathlib import Path

import duckdb
import pytest

from collector.query.adhoc import Sources
from collector.query.export import export_parquet
from tests.helpers.digested import NOW


def read(sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(":memory:") as connection:
        return connection.execute(sql).fetchall()


def test_events_lie_in_folders_by_project_and_day(sources: Sources, tmp_path: Path) -> None:
    assert export_parquet(sources, tmp_path) == 91
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet"))
    assert found == [f"events/project=shop/day=2026-09-{day}/part-0.parquet" for day in (21, 22, 23)]
    sql = f"SELECT project, count(*), count(payload->>'$.event_id') FROM read_parquet('{tmp_path}/events/**/*.parquet',"
    assert read(sql + " hive_partitioning=true) GROUP BY 1") == [("shop", 91, 91)]


def test_an_export_again_replaces_the_same_days(sources: Sources, tmp_path: Path) -> None:
    export_parquet(sources, tmp_path, payload=False)
    assert export_parquet(sources, tmp_path, since=NOW + 80_000, payload=False) == 41
    assert read(f"SELECT count(*) FROM '{tmp_path}/events/**/*.parquet'") == [(91,)]


def test_a_view_without_a_time_is_not_exported(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        export_parquet(sources, tmp_path, "issues")
