"""Views made of the base views: one row per exception, frame, tag, transaction, span, log, ... of what is stored.

Each is plain SQL over `events` and `items` (collector.query.views); they unpack payloads, so narrow them by project,
issue or time where you can.
"""

from collector.query.views import VIEWS, Column, View

_WHERE_FROM = [
    Column("event_id", "VARCHAR", "the event it is part of"),
    Column("project", "VARCHAR", "slug of the project"),
    Column("issue_id", "UBIGINT", "issue of the event"),
    Column("timestamp", "TIMESTAMP", "when the event happened"),
]
_ITEM_FROM = [
    Column("received_at", "TIMESTAMP", "when the collector acknowledged it"),
    Column("project", "VARCHAR", "slug of the project"),
]

EXCEPTIONS = View(
    "exceptions",
    "one row per exception of stored events, outermost cause first as the SDK sent them",
    [
        *_WHERE_FROM,
        Column("position", "BIGINT", "1 for the first in the chain; the last one is what was raised"),
        Column("type", "VARCHAR", "class of the exception"),
        Column("value", "VARCHAR", "its text"),
        Column("module", "VARCHAR", "where the class lives"),
        Column("handled", "BOOLEAN", "false when it ended the request or task"),
        Column("mechanism", "VARCHAR", "how the SDK caught it"),
        Column("stacktrace", "JSON", "its stack trace"),
    ],
    body="""SELECT event_id, project, issue_id, timestamp, position, e->>'$.type', e->>'$.value', e->>'$.module',
  TRY_CAST(e->>'$.mechanism.handled' AS BOOLEAN), e->>'$.mechanism.type', e->'$.stacktrace'
  FROM (SELECT event_id, project, issue_id, timestamp, unnest(list) AS e, generate_subscripts(list, 1) AS position
        FROM (SELECT event_id, project, issue_id, timestamp,
                     json_extract(payload, '$.exception.values[*]') AS list FROM events))""",
)

FRAMES = View(
    "frames",
    "one row per stack frame of stored events, innermost call last",
    [
        *_WHERE_FROM,
        Column("exception_type", "VARCHAR", "the exception whose frame it is"),
        Column("position", "BIGINT", "1 for the outermost call"),
        Column("function", "VARCHAR", "function"),
        Column("module", "VARCHAR", "module"),
        Column("filename", "VARCHAR", "path as shown"),
        Column("abs_path", "VARCHAR", "path on the machine"),
        Column("lineno", "BIGINT", "line"),
        Column("in_app", "BOOLEAN", "true when it is the app's own code"),
        Column("context_line", "VARCHAR", "the line of source"),
        Column("vars", "JSON", "local variables, scrubbed"),
    ],
    body="""SELECT event_id, project, issue_id, timestamp, type, position, f->>'$.function', f->>'$.module',
  f->>'$.filename', f->>'$.abs_path', TRY_CAST(f->>'$.lineno' AS BIGINT), TRY_CAST(f->>'$.in_app' AS BOOLEAN),
  f->>'$.context_line', f->'$.vars'
  FROM (SELECT event_id, project, issue_id, timestamp, type, unnest(list) AS f, generate_subscripts(list, 1) AS position
        FROM (SELECT *, json_extract(stacktrace, '$.frames[*]') AS list FROM exceptions))""",
    needs=("exceptions",),
)

TAGS = View(
    "tags",
    "how often each tag has each value, per issue",
    [
        Column("project", "VARCHAR", "slug of the project"),
        Column("issue_id", "UBIGINT", "the issue"),
        Column("key", "VARCHAR", "tag"),
        Column("value", "VARCHAR", "value"),
        Column("count", "BIGINT", "stored events with it"),
        Column("first_seen", "TIMESTAMP", "timestamp of the first of them"),
        Column("last_seen", "TIMESTAMP", "timestamp of the newest of them"),
    ],
    body="""SELECT project, issue_id, key, tags->>('$."' || replace(key, '"', '\\"') || '"') AS value, count(*),
  min(timestamp), max(timestamp)
  FROM (SELECT project, issue_id, timestamp, tags, unnest(json_keys(tags)) AS key FROM events WHERE tags IS NOT NULL)
  GROUP BY ALL""",
)


_WHOLE = "SELECT received_at, project, kind, event_id, TRY_CAST(payload AS JSON) AS whole FROM items WHERE kind IN "


def _of_items(
    name: str, kinds: str, meaning: str, columns: list[tuple[Column, str]], rows: str = "", more: str = ""
) -> View:
    """A view over items of some kinds. `rows`: the list of them when one item holds several. `more`: a SELECT of
    others, in the columns of `_WHOLE`."""
    source = f"({_WHOLE} ({kinds}){f' UNION ALL {more}' if more else ''})"
    part = f"unnest({rows})" if rows else "whole"
    values = ", ".join(sql for _, sql in columns)
    return View(
        name,
        meaning,
        [*_ITEM_FROM, *(column for column, _ in columns)],
        body=f"SELECT received_at, project, {values} FROM (SELECT *, {part} AS j FROM {source})",  # noqa: S608
    )


def _at(path: str) -> str:
    """A protocol timestamp, seconds or ISO text, as TIMESTAMP."""
    value = f"j->>'{path}'"
    return (
        f"coalesce(TRY_CAST(replace({value}, 'Z', '') AS TIMESTAMP),"
        f" make_timestamp((TRY_CAST({value} AS DOUBLE) * 1000000)::BIGINT))"
    )


_TRACE = [
    (Column("trace_id", "VARCHAR", "trace"), "j->>'$.contexts.trace.trace_id'"),
    (Column("span_id", "VARCHAR", "its own span"), "j->>'$.contexts.trace.span_id'"),
]

TRANSACTIONS = _of_items(
    "transactions",
    "'transaction'",
    "one row per stored transaction",
    [
        (Column("event_id", "VARCHAR", "its id"), "coalesce(j->>'$.event_id', event_id)"),
        (Column("transaction", "VARCHAR", "its name"), "j->>'$.transaction'"),
        (Column("op", "VARCHAR", "operation"), "j->>'$.contexts.trace.op'"),
        (Column("status", "VARCHAR", "how it ended"), "j->>'$.contexts.trace.status'"),
        *_TRACE,
        (Column("started_at", "TIMESTAMP", "start, by the client's clock"), _at("$.start_timestamp")),
        (Column("ended_at", "TIMESTAMP", "end, by the client's clock"), _at("$.timestamp")),
        (
            Column("duration_ms", "DOUBLE", "how long it took, milliseconds"),
            f"(epoch_us({_at('$.timestamp')}) - epoch_us({_at('$.start_timestamp')})) / 1000.0",
        ),
        (Column("release", "VARCHAR", "release"), "j->>'$.release'"),
        (Column("environment", "VARCHAR", "environment"), "j->>'$.environment'"),
        (Column("payload", "JSON", "all of it"), "whole"),
    ],
)

# SDKs that stream spans send containers of them and no transaction; older ones sent single loose spans.
_SPAN_LIST = (
    "CASE WHEN kind = 'transaction' THEN json_extract(whole, '$.spans[*]')"
    " WHEN json_exists(whole, '$.items') THEN json_extract(whole, '$.items[*]') ELSE [whole] END"
)
_SPAN_END = f"coalesce({_at('$.timestamp')}, {_at('$.end_timestamp')})"

SPANS = _of_items(
    "spans",
    "'transaction', 'span'",
    "one row per span, of transactions and sent alone",
    [
        (
            Column("event_id", "VARCHAR", "its transaction, when it came in one"),
            "CASE kind WHEN 'transaction' THEN coalesce(whole->>'$.event_id', event_id) END",
        ),
        (Column("trace_id", "VARCHAR", "trace"), "j->>'$.trace_id'"),
        (Column("span_id", "VARCHAR", "its id"), "j->>'$.span_id'"),
        (Column("parent_span_id", "VARCHAR", "span that began it"), "j->>'$.parent_span_id'"),
        (
            Column("op", "VARCHAR", "operation: db, http.client, ..."),
            """coalesce(j->>'$.op', j->>'$.attributes."sentry.op".value')""",
        ),
        (
            Column("description", "VARCHAR", "statement, address, ..."),
            "coalesce(j->>'$.description', j->>'$.name')",
        ),
        (Column("status", "VARCHAR", "how it ended"), "j->>'$.status'"),
        (
            Column("duration_ms", "DOUBLE", "how long it took, milliseconds"),
            f"(epoch_us({_SPAN_END}) - epoch_us({_at('$.start_timestamp')})) / 1000.0",
        ),
    ],
    rows=_SPAN_LIST,
)

LOGS = _of_items(
    "logs",
    "'log', 'otel_log'",
    "one row per structured log line",
    [
        (Column("timestamp", "TIMESTAMP", "when it was written"), _at("$.timestamp")),
        (Column("level", "VARCHAR", "trace, debug, info, warn, error, fatal"), "j->>'$.level'"),
        (Column("body", "VARCHAR", "the line"), "j->>'$.body'"),
        (Column("trace_id", "VARCHAR", "trace"), "j->>'$.trace_id'"),
        (Column("attributes", "JSON", "everything else that was logged"), "j->'$.attributes'"),
    ],
    rows="json_extract(whole, '$.items[*]')",
)

SESSIONS = _of_items(
    "sessions",
    "'session', 'sessions'",
    "one row per session update or aggregate",
    [
        (Column("kind", "VARCHAR", "session (one) or sessions (aggregates)"), "kind"),
        (Column("sid", "VARCHAR", "session id"), "j->>'$.sid'"),
        (Column("did", "VARCHAR", "distinct user or device"), "j->>'$.did'"),
        (Column("status", "VARCHAR", "ok, exited, crashed, abnormal, errored"), "j->>'$.status'"),
        (Column("init", "BOOLEAN", "true for the first update"), "TRY_CAST(j->>'$.init' AS BOOLEAN)"),
        (Column("errors", "BIGINT", "errors so far"), "TRY_CAST(j->>'$.errors' AS BIGINT)"),
        (Column("started_at", "TIMESTAMP", "start of the session"), _at("$.started")),
        (Column("release", "VARCHAR", "release"), "j->>'$.attrs.release'"),
        (Column("environment", "VARCHAR", "environment"), "j->>'$.attrs.environment'"),
        (Column("aggregates", "JSON", "counts per bucket, of sessions"), "j->'$.aggregates'"),
    ],
)

CHECK_INS = _of_items(
    "check_ins",
    "'check_in'",
    "one row per check-in of a monitored job",
    [
        (Column("check_in_id", "VARCHAR", "its id"), "j->>'$.check_in_id'"),
        (Column("monitor_slug", "VARCHAR", "the monitor"), "j->>'$.monitor_slug'"),
        (Column("status", "VARCHAR", "in_progress, ok, error"), "j->>'$.status'"),
        (Column("duration_seconds", "DOUBLE", "how long the job took"), "TRY_CAST(j->>'$.duration' AS DOUBLE)"),
        (Column("environment", "VARCHAR", "environment"), "j->>'$.environment'"),
        (Column("monitor_config", "JSON", "schedule, when it was sent along"), "j->'$.monitor_config'"),
    ],
)

FEEDBACK = _of_items(
    "feedback",
    "'feedback', 'user_report'",
    "one row per user feedback or user report",
    [
        (Column("kind", "VARCHAR", "feedback or user_report"), "kind"),
        (
            Column("event_id", "VARCHAR", "event that it is about; its own id when about none"),
            "replace(coalesce(j->>'$.contexts.feedback.associated_event_id', j->>'$.event_id', event_id), '-', '')",
        ),
        (Column("name", "VARCHAR", "who"), "coalesce(j->>'$.contexts.feedback.name', j->>'$.name')"),
        (Column("email", "VARCHAR", "address"), "coalesce(j->>'$.contexts.feedback.contact_email', j->>'$.email')"),
        (Column("message", "VARCHAR", "what they say"),
         "coalesce(j->>'$.contexts.feedback.message', j->>'$.comments')"),
        (Column("url", "VARCHAR", "page"), "j->>'$.contexts.feedback.url'"),
    ],
    more="SELECT received_at, project, type, event_id, payload FROM events WHERE type = 'feedback'",
)  # fmt: skip

ATTACHMENTS = View(
    "attachments",
    "one row per stored attachment, without its bytes",
    [
        *_ITEM_FROM,
        Column("event_id", "VARCHAR", "event that it belongs to"),
        Column("filename", "VARCHAR", "as the client named it"),
        Column("content_type", "VARCHAR", "as the client said"),
        Column("attachment_type", "VARCHAR", "event.attachment, event.minidump, ..."),
        Column("bytes", "UINTEGER", "its size"),
        Column("hash", "VARCHAR", "SHA-256 of its content, 64 hex digits"),
        Column("path", "VARCHAR", "its content, below the data folder; removed earlier when attachments take too much"),
    ],
    body="""SELECT received_at, project, event_id, headers->>'$.filename', headers->>'$.content_type',
  coalesce(headers->>'$.attachment_type', 'event.attachment'), payload_bytes, content_hash,
  'attachments/' || content_hash[1:2] || '/' || content_hash[3:] FROM items WHERE kind = 'attachment'""",
)

SEGMENTS = View(
    "segments",
    "one row per segment file that the collector has catalogued",
    [
        Column("name", "VARCHAR", "file segments/NAME.duckdb"),
        Column("state", "VARCHAR", "open, sealed, quarantined"),
        Column("created_at", "TIMESTAMP", "when it was begun"),
        Column("sealed_at", "TIMESTAMP", "when it was closed"),
        Column("first_at", "TIMESTAMP", "first commit in it"),
        Column("last_at", "TIMESTAMP", "newest commit in it"),
        Column("events", "BIGINT", "events in it"),
        Column("items", "BIGINT", "other items in it"),
        Column("bytes", "BIGINT", "its size when it was sealed"),
        Column("why", "VARCHAR", "why it was set aside"),
    ],
    state_sql="SELECT name, state, cast(created_at * 1000000 as integer), cast(sealed_at * 1000000 as integer),"
    " cast(first_at * 1000000 as integer), cast(last_at * 1000000 as integer), events, items, bytes, why"
    " FROM segments ORDER BY sequence",
)

FORWARDED = View(
    "forwarded",
    "totals of what went upstream, by name",
    [
        Column("name", "VARCHAR", "what was counted"),
        Column("quantity", "BIGINT", "how often, since the beginning"),
    ],
    state_sql="SELECT name, quantity FROM forward_counts",
)

DERIVED = [EXCEPTIONS, FRAMES, TAGS, TRANSACTIONS, SPANS, LOGS, SESSIONS, CHECK_INS, FEEDBACK, ATTACHMENTS, SEGMENTS,
           FORWARDED]  # fmt: skip

ALL_VIEWS = [*VIEWS, *DERIVED]  # everything that can be asked, in the order of the README
