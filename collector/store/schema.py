"""The formats on disk: one DuckDB file a segment, and state.sqlite.

**Segment** `segments/YYYYMMDD[-n].duckdb` (DuckDB storage of 2.0), format version in `seg_info`:

- `events`: one row an event; typed columns for plain SQL, `payload` the whole scrubbed JSON. `enc` says how `payload`
  is written: 0 as it is, 1 a zstd frame, 2 and up a zstd frame with dictionary number `enc - 1` (`seg_info` key
  `dict:N`, see collector.store.payload), 254 the SHA-256 of a file (collector.store.attachments), 255 none. An event
  beyond the rate of its issue is counted and has no row.
- `items`: one row any other envelope item.
- `progress`: one row a commit, in the same transaction as its rows: `no` counts commits over all segments, `epoch`,
  `seq`, `total` are the spool Position reached, `events` and `items` the rows in this file after it, `stored` the
  ledger quantity of this file after it, `delta` what the commit means for state.sqlite (collector.store.delta). The
  first row of a file has an empty delta and carries the position on.
- `seg_info`: key and value; `format`, `sequence` (order of creation), `created_at`, `dict:N`; `removed`: ledger
  quantity that was taken out again (collector.store.rewrite).

No index, no primary key, no DDL after creation: storage.md 1 lists the DuckDB bugs this avoids, and an index costs
2.9 times the file. `payload` and `delta` columns are uncompressed because their values already are compressed:
DuckDB's attempt cost 587 ms a checkpoint.

**state.sqlite** (WAL; `hash_configs`: which grouping configurations made the hashes of a project, "" for hashes from
before that was kept): everything that can be computed from the deltas again, in commit order; `meta.mark_*` is the
last commit it contains. Never needed to read an event.
"""

from collector.store.batches import HUB_DDL
from collector.store.forward_schema import FORWARD_DDL
from collector.store.statuses import STATUS_DDL

SEGMENT_FORMAT = 2  # 1: attachments were payloads
STATE_FORMAT = 1

SEGMENT_DDL = (
    """CREATE TABLE {seg}.events(
  event_id UUID NOT NULL, project_id UBIGINT NOT NULL, issue_id UBIGINT NOT NULL,
  timestamp TIMESTAMP NOT NULL, received_at TIMESTAMP NOT NULL,
  type VARCHAR, level VARCHAR, platform VARCHAR, release VARCHAR, dist VARCHAR, environment VARCHAR,
  transaction VARCHAR, server_name VARCHAR, logger VARCHAR, user_id VARCHAR, message VARCHAR, culprit VARCHAR,
  exception_type VARCHAR, exception_value VARCHAR, title VARCHAR, tags JSON, trace_id VARCHAR, sdk VARCHAR,
  hash VARCHAR, frames JSON, raw_bytes UINTEGER, enc UTINYINT, payload BLOB USING COMPRESSION uncompressed)""",
    """CREATE TABLE {seg}.items(
  received_at TIMESTAMP NOT NULL, project_id UBIGINT NOT NULL, kind VARCHAR NOT NULL, event_id UUID,
  headers JSON, raw_bytes UINTEGER, enc UTINYINT, payload BLOB USING COMPRESSION uncompressed)""",
    """CREATE TABLE {seg}.progress(
  no BIGINT NOT NULL, epoch BIGINT NOT NULL, seq BIGINT NOT NULL, total BIGINT NOT NULL,
  committed_at TIMESTAMP NOT NULL, events BIGINT NOT NULL, items BIGINT NOT NULL, stored BIGINT NOT NULL,
  delta BLOB USING COMPRESSION uncompressed)""",
    "CREATE TABLE {seg}.seg_info(k VARCHAR NOT NULL, v BLOB)",
)

EVENT_COLUMNS = {
    "event_id": "VARCHAR", "project_id": "UBIGINT", "issue_id": "UBIGINT", "timestamp": "BIGINT",
    "received_at": "BIGINT", "type": "VARCHAR", "level": "VARCHAR", "platform": "VARCHAR", "release": "VARCHAR",
    "dist": "VARCHAR", "environment": "VARCHAR", "transaction": "VARCHAR", "server_name": "VARCHAR",
    "logger": "VARCHAR", "user_id": "VARCHAR", "message": "VARCHAR", "culprit": "VARCHAR",
    "exception_type": "VARCHAR", "exception_value": "VARCHAR", "title": "VARCHAR", "tags": "VARCHAR",
    "trace_id": "VARCHAR", "sdk": "VARCHAR", "hash": "VARCHAR", "frames": "VARCHAR", "raw_bytes": "UINTEGER",
    "enc": "UTINYINT", "payload": "BLOB",
}  # fmt: skip

ITEM_COLUMNS = {
    "received_at": "BIGINT", "project_id": "UBIGINT", "kind": "VARCHAR", "event_id": "VARCHAR",
    "headers": "VARCHAR", "raw_bytes": "UINTEGER", "enc": "UTINYINT", "payload": "BLOB",
}  # fmt: skip

CASTS = {"timestamp": "make_timestamp(timestamp)", "received_at": "make_timestamp(received_at)",
         "event_id": "event_id::UUID", "tags": "tags::JSON", "frames": "frames::JSON",
         "headers": "headers::JSON"}  # fmt: skip

ATTACHMENT = "attachment"  # the kind of item whose content is a file
EXTERNAL = 254  # enc of such a one: payload is its hash
NOT_KEPT = 255  # enc of an event whose payload was not kept

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS projects(
  id INTEGER PRIMARY KEY, slug TEXT NOT NULL, last_short_no INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS issues(
  id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL, short_id TEXT NOT NULL, hash TEXT NOT NULL, title TEXT NOT NULL,
  culprit TEXT NOT NULL, level TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'unresolved',
  count INTEGER NOT NULL DEFAULT 0,
  users INTEGER NOT NULL DEFAULT 0, first_seen REAL NOT NULL, last_seen REAL NOT NULL,
  kept INTEGER NOT NULL DEFAULT 0, kept_since REAL);
CREATE INDEX IF NOT EXISTS issues_by_short_id ON issues(short_id);
CREATE INDEX IF NOT EXISTS issues_by_last_seen ON issues(project_id, last_seen);
CREATE TABLE IF NOT EXISTS hashes(
  project_id INTEGER NOT NULL, hash TEXT NOT NULL, issue_id INTEGER NOT NULL,
  PRIMARY KEY(project_id, hash)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hash_configs(
  project_id INTEGER NOT NULL, config TEXT NOT NULL, PRIMARY KEY(project_id, config)) WITHOUT ROWID;
INSERT OR IGNORE INTO hash_configs SELECT id, '' FROM projects WHERE id NOT IN (SELECT project_id FROM hash_configs)
  AND EXISTS (SELECT 1 FROM hashes WHERE project_id = projects.id);
CREATE TABLE IF NOT EXISTS issue_users(
  issue_id INTEGER NOT NULL, user INTEGER NOT NULL, PRIMARY KEY(issue_id, user)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS issue_hours(
  issue_id INTEGER NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(issue_id, hour)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS issue_fills(
  issue_id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL, tokens REAL NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes(
  minute INTEGER NOT NULL, project_id INTEGER NOT NULL, public_key TEXT NOT NULL, category TEXT NOT NULL,
  outcome TEXT NOT NULL, reason TEXT NOT NULL, quantity INTEGER NOT NULL, items INTEGER NOT NULL,
  PRIMARY KEY(minute, project_id, public_key, category, outcome, reason)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger(key TEXT PRIMARY KEY, quantity INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits(
  no INTEGER PRIMARY KEY, segment TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, total INTEGER NOT NULL,
  stored INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS segments(
  name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL, sealed_at REAL,
  first_at REAL, last_at REAL, events INTEGER NOT NULL DEFAULT 0, items INTEGER NOT NULL DEFAULT 0,
  stored INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, no INTEGER NOT NULL DEFAULT 0,
  why TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS outbox(
  id INTEGER PRIMARY KEY AUTOINCREMENT, priority INTEGER NOT NULL, created_at REAL NOT NULL,
  not_before REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, target TEXT NOT NULL, category TEXT NOT NULL, quantity INTEGER NOT NULL,
  key TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_by_turn ON outbox(target, priority, id);
CREATE UNIQUE INDEX IF NOT EXISTS outbox_by_key ON outbox(key) WHERE key <> '';
CREATE TABLE IF NOT EXISTS forward_windows(
  issue_id INTEGER NOT NULL, window_at REAL NOT NULL, project_id INTEGER NOT NULL, events INTEGER NOT NULL,
  first_at REAL NOT NULL, last_at REAL NOT NULL, opener BLOB NOT NULL, exemplar BLOB NOT NULL, rank INTEGER NOT NULL,
  exemplar_at REAL NOT NULL, users BLOB NOT NULL, PRIMARY KEY(issue_id, window_at)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS forward_windows_by_time ON forward_windows(window_at);
CREATE TABLE IF NOT EXISTS forward_exemplars(
  issue_id INTEGER NOT NULL, window_at REAL NOT NULL, packed BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS forward_exemplars_by_window ON forward_exemplars(issue_id, window_at);
CREATE TABLE IF NOT EXISTS forward_reports(
  reason TEXT NOT NULL, category TEXT NOT NULL, in_flight INTEGER NOT NULL, quantity INTEGER NOT NULL,
  PRIMARY KEY(reason, category, in_flight)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forward_counts(name TEXT PRIMARY KEY, quantity INTEGER NOT NULL) WITHOUT ROWID;
"""
STATE_DDL = "".join((_TABLES, FORWARD_DDL, HUB_DDL, STATUS_DDL))
