"""Typed columns as Parquet files in Hive folders, for lakes and notebooks: DIR/VIEW/project=SLUG/day=YYYY-MM-DD/*."""

from pathlib import Path

import duckdb

from collector.errors import Unavailable
from collector.query.adhoc import Sources
from collector.query.job import Job
from collector.query.sandbox import attach, connect, make_views
from collector.query.unpacking import register
from collector.store.engine import quoted

TIME_OF = {"events": "received_at", "items": "received_at", "outcomes": "timestamp", "accepted": "timestamp"}
MEMORY_BYTES = 256 << 20


def export_parquet(
    sources: Sources, target: Path, view: str = "events", since: float = 0.0, payload: bool = True
) -> int:
    """Writes one view, rows received at or after `since` (seconds); returns how many. `target` may hold earlier
    exports: files of the same days are written anew. Raises Unavailable, KeyError for a view without a time."""
    time = TIME_OF[view]
    job = Job("", "parquet", [str(path) for path in sources.segments], str(sources.state or ""), 0, MEMORY_BYTES, 0, 0)
    connection = connect(job)
    try:
        connection.execute(f"SET temp_directory={quoted(target / '.tmp')}")
        connection.execute("SET errors_as_json=false")
        aliases, _ = attach(connection, job.segments)
        register(connection, aliases, str(sources.state.parent) if sources.state else "")
        make_views(connection, aliases, job.state, view)
        left_out = "" if payload or TIME_OF[view] == "timestamp" else "EXCLUDE (payload)"
        select = (
            f"SELECT * {left_out}, strftime({time}, '%Y-%m-%d') AS day FROM {view}"  # noqa: S608 - a documented view
            f" WHERE {time} >= make_timestamp({int(since * 1e6)})"
        )
        folder = target / view
        folder.mkdir(parents=True, exist_ok=True)
        done = connection.execute(
            f"COPY ({select}) TO {quoted(folder)} (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (project, day),"
            " OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'part-{i}')"
        ).fetchall()
    except duckdb.Error as error:
        raise Unavailable(f"export: {str(error).splitlines()[0]}") from error
    finally:
        connection.close()
    return int(done[0][0])
