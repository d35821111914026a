"""Tables of the forward room that came after the first format of state.sqlite: each is made when it is missing.

`forward_facts`, `forward_spent`: collector.store.spending. `forward_sessions`, `forward_session_counts`:
collector.store.sessions. `forward_withheld`: windows that ended and wait for a budget, by issue and `window_at`.
"""

FORWARD_DDL = """
CREATE TABLE IF NOT EXISTS forward_facts(key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forward_spent(
  project_id INTEGER NOT NULL, what TEXT NOT NULL, slot INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY(project_id, what, slot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forward_withheld(
  issue_id INTEGER NOT NULL, window_at REAL NOT NULL, project_id INTEGER NOT NULL,
  PRIMARY KEY(issue_id, window_at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forward_sessions(
  project_id INTEGER NOT NULL, sid TEXT NOT NULL, seen_at REAL NOT NULL, errored INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY(project_id, sid));
CREATE INDEX IF NOT EXISTS forward_sessions_by_time ON forward_sessions(seen_at);
CREATE TABLE IF NOT EXISTS forward_session_counts(
  project_id INTEGER NOT NULL, release TEXT NOT NULL, environment TEXT NOT NULL, minute INTEGER NOT NULL,
  did TEXT NOT NULL, exited INTEGER NOT NULL, errored INTEGER NOT NULL, abnormal INTEGER NOT NULL,
  crashed INTEGER NOT NULL, unhandled INTEGER NOT NULL, opened_at REAL NOT NULL,
  PRIMARY KEY(project_id, release, environment, minute, did)) WITHOUT ROWID;
"""
