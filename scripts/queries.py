"""The section `queries` of scripts/bench: how fast stored events are asked, on synthetic rows with realistic shapes.

Makes a data folder (7 segments a million rows, 30 from five million on; 2,000 issues by a power law; typed columns of
usual cardinalities), then measures with the worker's own limits (128 MB, one thread); scripts/options.py lists the
parts. A folder that is kept (--data) holds a file MADE with its rows, segments and payload_bytes.
"""

# ruff: noqa: S608 - generated names only

import argparse
import contextlib
import functools
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from collector.machine.clock import SystemClock
from collector.query import adhoc, named
from collector.query.adhoc import Limits, of_snapshot
from collector.query.settings import QuerySettings
from collector.store.buckets import StoredProject
from collector.store.schema import SEGMENT_DDL, SEGMENT_FORMAT
from collector.store.segment import ATTACH_OPTIONS, BLOCK_BYTES
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.state import State
from collector.store.store import Store
from scripts.loading import child, taken
from scripts.options import MADE, PARTS, add_query_options, complete, orderly
from tests.helpers.arguments import whole
from tests.helpers.digested import event, record
from tests.helpers.running import PROJECT, Collector, wait_for

Result = dict[str, Any]
ISSUES = 2_000
RARE = ISSUES - 7  # about 125 events in a million
PROJECT_ID = 42
DAY = 86_400
MEMORY = "128 MB"
HEAVY = "SELECT level, count(DISTINCT user_id), count(DISTINCT event_id), max(length(payload)) FROM events GROUP BY 1"

# hash(n, k) are independent streams of numbers; u is uniform in [0, 1). Issues follow a power law; a fifth of them is
# always there, the others live for two to six days, as bugs do that a release brings and another one ends.
EVENTS = """INSERT INTO seg.events BY NAME
WITH numbered AS (
  SELECT n, hash(n, 1) AS a, hash(n, 2) AS b, hash(n, 3) AS c,
         (hash(n, 4) % 1000000)::DOUBLE / 1000000 AS u,
         $first + (n - $from)::DOUBLE * $seconds / $count AS moment
  FROM range($from, $from + $count) r(n)),
drawn AS (SELECT *, 1 + floor($issues * u * u * u * u)::UBIGINT AS wanted FROM numbered),
known AS (SELECT *, CASE WHEN wanted <= $issues // 5 OR wanted = $rare
  OR $day - (hash(wanted) % $days)::BIGINT BETWEEN 0 AND 1 + (wanted % 5)::BIGINT
  THEN wanted ELSE 1 + (hash(wanted, $day) % ($issues // 5)::UBIGINT) END AS issue FROM drawn)
SELECT (format('{:016x}{:016x}', a, b))::UUID AS event_id, $project::UBIGINT AS project_id, issue AS issue_id,
  make_timestamp((moment * 1000000)::BIGINT - (c % 900000)::BIGINT) AS timestamp,
  make_timestamp((moment * 1000000)::BIGINT) AS received_at,
  'error' AS type, ['error', 'error', 'error', 'warning', 'fatal'][1 + (issue % 5)::BIGINT] AS level,
  ['python', 'javascript', 'node'][1 + (issue % 3)::BIGINT] AS platform,
  'shop@1.' || (n * 40 // ($from + $count)) AS release,
  ['production', 'staging'][1 + (b % 10 // 9)::BIGINT] AS environment,
  '/api/' || (issue % 97) AS transaction, 'web-' || (c % 12) AS server_name, 'shop.' || (issue % 31) AS logger,
  'user-' || (b % 20000) AS user_id, 'order ' || (a % 100000) || ' failed' AS message,
  'shop.module' || (issue % 211) || ' in function' || (issue % 1013) AS culprit,
  ['ValueError', 'KeyError', 'TimeoutError', 'TypeError'][1 + (issue % 4)::BIGINT] AS exception_type,
  'order ' || (a % 100000) || ' failed' AS exception_value, 'ValueError: order ' || issue AS title,
  ('{"tenant_id":"t' || (c % 300) || '","browser":"Firefox ' || (b % 9) || '","region":"eu-' || (a % 4) || '"}')::JSON
    AS tags,
  format('{:016x}{:016x}', b, c) AS trace_id, 'sentry.python/2.75.0' AS sdk, md5(issue::VARCHAR) AS hash,
  '[]'::JSON AS frames, $payload_bytes::UINTEGER AS raw_bytes, 0::UTINYINT AS enc,
  ('{"event_id":"' || format('{:016x}{:016x}', a, b) || '","extra":"' ||
   repeat(format('{:016x}', a), $payload_bytes // 16) || '"}')::BLOB AS payload
FROM known"""


def build(data: Path, rows: int, segments: int, payload_bytes: int) -> None:
    """A data folder as a collector that ran for `segments` days leaves it; it is there when it is whole."""
    data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{data.name}-", dir=data.parent) as folder:
        made = Path(folder) / data.name
        before = time.perf_counter()
        _rows(made, rows, segments, payload_bytes)
        size = sum(path.stat().st_size for path in (made / "segments").iterdir())
        seconds = round(time.perf_counter() - before, 1)
        about = {"rows": rows, "segments": segments, "payload_bytes": payload_bytes, "build_seconds": seconds,
                 "bytes_per_row": round(size / rows)}  # fmt: skip
        (made / MADE).write_text(json.dumps(about))
        made.rename(data)


def _rows(data: Path, rows: int, segments: int, payload_bytes: int) -> None:
    (data / "segments").mkdir(parents=True)
    today = int(time.time()) // DAY * DAY
    each = rows // segments
    facts = []
    for number in range(segments):
        day = today - (segments - 1 - number) * DAY
        count = each if number < segments - 1 else rows - number * each
        name = datetime.fromtimestamp(day, UTC).strftime("%Y%m%d")
        seconds = DAY if number < segments - 1 else max(60.0, time.time() - day - 30)
        path = data / "segments" / f"{name}.duckdb"
        values = {"from": number * each, "count": count, "first": float(day), "seconds": float(seconds),
                  "issues": ISSUES, "project": PROJECT_ID, "payload_bytes": payload_bytes, "rare": RARE,
                  "days": segments, "day": number}  # fmt: skip
        _segment(path, number + 1, values)
        facts.append((name, number + 1, day, day + seconds, count, path.stat().st_size))
    _state(data, facts)


def _segment(path: Path, number: int, values: Result) -> None:
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("SET preserve_insertion_order=true")
        connection.execute(f"ATTACH '{path}' AS seg ({ATTACH_OPTIONS}, BLOCK_SIZE {BLOCK_BYTES})")
        for statement in SEGMENT_DDL:
            connection.execute(statement.format(seg="seg"))
        for key, value in {"format": SEGMENT_FORMAT, "sequence": number, "created_at": values["first"]}.items():
            connection.execute("INSERT INTO seg.seg_info VALUES (?, ?)", [key, str(value).encode()])
        connection.execute(EVENTS, values)
        done = (number, 1, number * values["count"], number * values["count"], values["count"], values["count"])
        connection.execute(
            "INSERT INTO seg.progress SELECT ?, ?, ?, ?, make_timestamp(?), ?, 0, ?, ''::BLOB",
            [*done[:4], int((values["first"] + values["seconds"]) * 1e6), *done[4:]],
        )
        connection.execute("CHECKPOINT seg")


def _state(data: Path, facts: Sequence[tuple[str, int, float, float, int, int]]) -> None:
    """state.sqlite with what the deltas of those rows would have made."""
    state = State.open(data / "state.sqlite", 1024, check=False)
    state.name_projects({PROJECT_ID: "shop"})
    source = duckdb.connect(":memory:", config={"threads": 1})
    for name, *_ in facts:
        source.execute(f"ATTACH '{data}/segments/{name}.duckdb' AS s{name} (READ_ONLY)")
    union = " UNION ALL ".join(f"SELECT * FROM s{name}.events" for name, *_ in facts)
    issues = source.execute(
        "SELECT issue_id, min(hash), min(title), min(culprit), min(level), count(*), count(DISTINCT user_id),"
        f" epoch(min(timestamp)), epoch(max(timestamp)) FROM ({union}) GROUP BY 1"
    ).fetchall()
    hours = source.execute(
        f"SELECT issue_id, epoch(date_trunc('hour', timestamp))::BIGINT, count(*) FROM ({union}) GROUP BY 1, 2"
    ).fetchall()
    source.close()
    with state.transaction() as cursor:
        cursor.executemany(
            "INSERT INTO issues(id, project_id, short_id, hash, title, culprit, level, count, users, first_seen,"
            f" last_seen) VALUES (?1, {PROJECT_ID}, 'SHOP-' || ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", issues,
        )  # fmt: skip
        cursor.executemany("INSERT INTO hashes VALUES (?,?,?)", [(PROJECT_ID, row[1], row[0]) for row in issues])
        cursor.executemany("INSERT INTO issue_hours VALUES (?,?,?)", hours)
        cursor.execute("UPDATE projects SET last_short_no = ?", (ISSUES,))
        cursor.executemany(
            "INSERT INTO segments(name, sequence, state, created_at, sealed_at, first_at, last_at, events, stored,"
            " bytes, no) VALUES (?1,?2,?7,?3,?4,?3,?4,?5,?5,?6,?2)",
            [(*row, "open" if row is facts[-1] else "sealed") for row in facts],
        )
        total = sum(row[4] for row in facts)
        cursor.execute("INSERT OR REPLACE INTO ledger VALUES ('stored', ?)", (total,))
        for place in ("mark", "released"):
            values = {"no": facts[-1][1], "epoch": 1, "seq": total, "total": total}
            cursor.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)",
                               [(f"{place}_{key}", value) for key, value in values.items()])  # fmt: skip
    state.close()


def opened(data: Path) -> Store:
    """The store as the worker has it."""
    settings = StoreSettings(memory_limit=type(StoreSettings().memory_limit)(MEMORY))
    return Store.open(data, settings, RetentionSettings(), SystemClock(), projects={PROJECT_ID: StoredProject("shop")})


def timed(ask: Callable[[], object], times: int) -> dict[str, float]:
    """p50 and p95 in milliseconds after one warm-up, whose time is `first_ms`; `cpu_ms` is the median of the processor
    time, children included: what neighbours on the machine do not change."""
    wall, cpu = [], []
    for _ in range(times + 1):
        used, before = _cpu(), time.perf_counter()
        ask()
        wall.append((time.perf_counter() - before) * 1000)
        cpu.append((_cpu() - used) * 1000)
    rest = sorted(wall[1:])
    return {"p50_ms": round(statistics.median(rest), 2), "p95_ms": round(rest[int(len(rest) * 0.95) - 1], 2),
            "cpu_ms": round(statistics.median(cpu[1:]), 2), "first_ms": round(wall[0], 1)}  # fmt: skip


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def some_ids(store: Store, count: int) -> Iterator[str]:
    """Ids of stored events, from all segments, without end. Exits when nothing is stored."""
    rows = store.reads.ask_all(f"SELECT event_id FROM {{events}} USING SAMPLE {count} (reservoir, 7)", {})
    ids = [row["event_id"].hex for row in rows]
    if not ids:
        raise SystemExit("scripts/bench queries: no event is stored in this folder")
    while True:
        random.Random(1).shuffle(ids)
        yield from ids


def found_event(store: Store, event_id: str) -> None:
    """One that is there."""
    row = named.event(store, event_id)
    assert row and row["event_id"] == event_id and row["payload"]


def named_queries(data: Path, times: int) -> Result:
    """The bars of the pages, in one process with the worker's limits."""
    store = opened(data)
    now = time.time()
    ids = some_ids(store, 200)
    list_of: Result = {"project_id": None, "status": None, "text": None, "now": now, "limit": 100}
    offsets = iter(range(1_000_000))

    def list_issues(**more: Any) -> object:
        return named.ask(store, "issue_list", **{**list_of, "offset": next(offsets) % 50, **more})

    def newest(issue: int) -> object:
        return named.ask(store, "issue_events", issue_id=issue, before=now, level=None, limit=100)

    asked: dict[str, Callable[[], object]] = {
        "issue_list": list_issues,
        "issue_list_of_project": lambda: list_issues(project_id=PROJECT_ID),
        "issue_list_search": lambda: list_issues(text="%99%"),
        "issue_by_short_id": lambda: named.issue(store, f"shop-{1 + next(offsets) % ISSUES}"),
        "event_by_id": lambda: found_event(store, next(ids)),
        "event_by_id_absent": lambda: named.event(store, uuid.uuid4().hex),
        "latest_100_of_a_rare_issue": lambda: newest(RARE),
        "latest_100_of_a_hot_issue": lambda: newest(1),
        "ends_of_an_issue": lambda: named.ask(store, "issue_ends", issue_id=RARE),
        "tags_of_an_issue": lambda: named.ask(store, "issue_tags", issue_id=RARE, limit=10),
        "counts_per_issue_and_hour": lambda: named.ask(store, "issues_by_hour", since=0.0),
        "events_by_hour": lambda: named.ask(store, "events_by_hour", project_id=None, since=0.0),
    }
    for _ in range(16):  # the filters of all segments are made by the first of these; timed tells the first one's cost
        named.event(store, uuid.uuid4().hex)
    found: Result = {name: timed(ask, max(5, times // 4) if "hour" in name else times) for name, ask in asked.items()}
    found["rss_mb"] = round(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    store.close()
    return found


ADHOC = {
    "select_1": "SELECT 1",
    "event_by_id": "SELECT * FROM events WHERE event_id = '{id}'",
    "latest_100_of_a_rare_issue": f"SELECT * EXCLUDE payload FROM events WHERE issue_id = {RARE}"
    " ORDER BY timestamp DESC LIMIT 100",
    "counts_per_issue_and_hour": "SELECT issue_id, date_trunc('hour', received_at) h, count(*) n FROM events"
    " GROUP BY ALL",
    "heavy": HEAVY,
}


def adhoc_queries(data: Path, times: int) -> Result:
    """The same from outside: process, attach, views, answer."""
    store = opened(data)
    one = next(some_ids(store, 1))
    limits = Limits.of(QuerySettings())
    found: Result = {}
    with tempfile.TemporaryDirectory(dir=data / "tmp") as folder:
        sources = of_snapshot(store.snapshot(Path(folder)))
        for name, sql in ADHOC.items():
            text = sql.replace("{id}", one)
            ask = functools.partial(adhoc.run, text, sources, limits, "json", io.BytesIO())
            found[name] = timed(ask, max(3, times // 10))
    store.close()
    return found


def unclean_start(data: Path, repeats: int) -> Result:
    """Seconds to open the folder after a kill, 4,000 events in the write-ahead log; medians."""
    seconds, cpu, ready = [], [], []
    for _ in range(repeats):
        subprocess.run([sys.executable, "-m", "scripts.queries", "--leave-unclean", str(data)], check=True)
        used, before = _cpu(), time.perf_counter()
        store = opened(data)
        seconds.append(time.perf_counter() - before)
        cpu.append(_cpu() - used)
        store.close()
        subprocess.run([sys.executable, "-m", "scripts.queries", "--leave-unclean", str(data)], check=True)
        with running(data) as collector:
            before = time.perf_counter()
            collector.start()
            wait_for(lambda: collector.get("/readyz")[0] == 200)
            ready.append(time.perf_counter() - before)
    return {
        "open_seconds": round(statistics.median(seconds), 3),
        "open_cpu_seconds": round(statistics.median(cpu), 3),
        "serve_to_ready_seconds": round(statistics.median(ready), 3),
    }


def leave_unclean(data: Path) -> None:
    """Commits, then ends without a goodbye."""
    store = opened(data)
    seq = store.position.seq
    payload = json.dumps({"extra": [uuid.uuid4().hex for _ in range(400)]}).encode()
    for _ in range(20):
        rows = [event(uuid.uuid4().int, 1 + seq % 50, time.time(), payload=payload) for _ in range(200)]
        store.commit([record(seq + 1 + number, row, epoch=store.position.epoch, before=store.position.total + number)
                      for number, row in enumerate(rows)])  # fmt: skip
        seq = store.position.seq
    os._exit(0)


@contextlib.contextmanager
def running(data: Path) -> Iterator[Collector]:
    """A collector on that folder, not started yet."""
    with tempfile.TemporaryDirectory(prefix="collector-bench-") as folder:
        collector = Collector(Path(folder), PROJECT + f'\n[data]\ndir = "{data}"\n')
        collector.data = data
        try:
            yield collector
        finally:
            collector.close()


def beside(data: Path, repeats: int, seconds: float) -> Result:
    """Acks and digest with and without a heavy query all the time, alternating."""
    with running(data) as collector:
        collector.start()
        collector.drained(60)
        _traffic(collector, 2.0)
        alone, busy, queries = [], [], []
        for _ in range(repeats):
            alone.append(_traffic(collector, seconds))
            with heavy(collector) as count:
                time.sleep(0.5)
                busy.append(_traffic(collector, seconds))
            queries.append(len(count))
    keys = alone[0]
    return {
        "alone": {key: round(statistics.median(run[key] for run in alone), 2) for key in keys},
        "beside_a_heavy_query": {key: round(statistics.median(run[key] for run in busy), 2) for key in keys},
        "heavy_queries": sum(queries),
    }


@contextlib.contextmanager
def heavy(collector: Collector) -> Iterator[list[int]]:
    """A heavy query, again and again."""
    stop = threading.Event()
    done: list[int] = []

    def again() -> None:
        while not stop.is_set():
            collector.command("query", "--format", "csv", HEAVY, code=None)
            done.append(1)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


def _traffic(collector: Collector, seconds: float) -> dict[str, float]:
    """Events at a fixed rate from another process; beside it, how long one takes from its 200 to the store."""
    rate = 100
    delays = []
    options = ("--dsn", collector.dsn, "-n", str(int(rate * seconds)), "-c", "8", "--rate", str(rate))
    with child("tests.helpers.load", *options, stdout=subprocess.PIPE) as load:
        while load.poll() is None:
            before = time.perf_counter()
            received = collector_status(collector)["ledger"]["received"]
            while _digested(collector_status(collector)) < received:
                time.sleep(0.005)
            delays.append((time.perf_counter() - before) * 1000)
        text, _ = load.communicate()
    summary = taken(json.loads(text))
    ordered = sorted(delays)
    return {
        "ack_p50_ms": summary["p50_ms"], "ack_p99_ms": summary["p99_ms"],
        "digest_p50_ms": statistics.median(ordered), "digest_p99_ms": ordered[int(len(ordered) * 0.99) - 1],
    }  # fmt: skip


def _digested(status: Result) -> int:
    return int(status["ledger"]["received"] - status["ledger"]["in_spool"])


def collector_status(collector: Collector) -> Result:
    """The status document over the control socket, without a process of its own."""
    from collector.machine.link import ask_front

    document: Result = ask_front(collector.data, "status", None, 10.0)
    return document


def measure(data: Path, options: argparse.Namespace) -> Result:
    """What was asked for, on a folder that is there."""
    result: Result = json.loads((data / MADE).read_text())
    ways: dict[str, Callable[[], Result]] = {
        "named": lambda: named_queries(data, options.times),
        "adhoc": lambda: adhoc_queries(data, options.times),
        "start": lambda: unclean_start(data, options.repeats),
        "beside": lambda: beside(data, options.repeats, 3.0 if options.quick else 8.0),
    }
    for part in options.part or PARTS:
        print(f"... queries: {part}", file=sys.stderr, flush=True)
        result[part] = ways[part]()
    return result


def run(options: argparse.Namespace) -> int:
    """Builds rows where there are none, measures, prints JSON."""
    shape = (options.rows, options.segments, options.payload_bytes)
    with tempfile.TemporaryDirectory(prefix="collector-bench-") as folder:
        data = options.data or Path(folder) / "data"
        if not data.exists():
            build(data, *shape)
        print(json.dumps(measure(data, options)))
    return 0


def main(argv: list[str] | None = None) -> None:
    """A part of scripts/bench, which asks for it; --leave-unclean is for itself."""
    parser = argparse.ArgumentParser(prog="scripts/bench queries", description=__doc__)
    add_query_options(parser)
    parser.add_argument("--repeats", type=whole(), default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--leave-unclean", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.leave_unclean:
        leave_unclean(options.leave_unclean)
    complete(parser, options)
    orderly(functools.partial(run, options))


if __name__ == "__main__":
    main()
