"""The views that people write SQL against: names, types and meanings are a promise, the tables behind them are not.

`VIEWS` and `collector.query.derived.DERIVED` are the documentation, checked against the real views by a test. All times
are UTC.
"""

from typing import NamedTuple


class Column(NamedTuple):
    """A documented column: `type` is DuckDB's, `sql` what it is read from (the name itself when empty)."""

    name: str
    type: str
    meaning: str
    sql: str = ""


class View(NamedTuple):
    """A documented view. It comes from one of: `source`, a table of the segments; `state_sql`, read from state.sqlite;
    `body`, a SELECT over other views in the order of its columns, of which `needs` are not among the base ones.
    `time`: the column that `--since` looks at, "" for none."""

    name: str
    meaning: str
    columns: list[Column]
    source: str = ""
    state_sql: str = ""
    body: str = ""
    needs: tuple[str, ...] = ()
    time: str = ""


_EVENT_ID = "replace(event_id::VARCHAR, '-', '')"

_EVENT_JSON = "collector_event_json(segment_no, enc, payload)"
_ITEM_TEXT = "collector_item_text(segment_no, enc, payload)"

EVENTS = View(
    "events",
    "one row per stored event",
    [
        Column("event_id", "VARCHAR", "32 hex digits, as the SDK got them", _EVENT_ID),
        Column("project", "VARCHAR", "slug of the project", "coalesce(slug, project_id::VARCHAR)"),
        Column("project_id", "UBIGINT", "number of the project, as in the DSN"),
        Column("issue_id", "UBIGINT", "the issue it was grouped into: issues.id"),
        Column("timestamp", "TIMESTAMP", "when it happened, by the client's clock"),
        Column("received_at", "TIMESTAMP", "when the collector acknowledged it"),
        Column("type", "VARCHAR", "error, default, csp, ..."),
        Column("level", "VARCHAR", "fatal, error, warning, info, debug"),
        Column("platform", "VARCHAR", "python, javascript, ..."),
        Column("release", "VARCHAR", "release of the app"),
        Column("dist", "VARCHAR", "distribution of the release"),
        Column("environment", "VARCHAR", "production, staging, ..."),
        Column("transaction", "VARCHAR", "route or task that ran"),
        Column("server_name", "VARCHAR", "host that sent it"),
        Column("logger", "VARCHAR", "logger that sent it"),
        Column("user_id", "VARCHAR", "user.id, else user name, e-mail or address"),
        Column("message", "VARCHAR", "log message, formatted"),
        Column("culprit", "VARCHAR", "where it happened, in one line"),
        Column("exception_type", "VARCHAR", "class of the last exception"),
        Column("exception_value", "VARCHAR", "text of the last exception"),
        Column("title", "VARCHAR", "first line of the issue list"),
        Column("tags", "JSON", "object of tag and value: tags->>'tenant_id'"),
        Column("trace_id", "VARCHAR", "trace it belongs to"),
        Column("sdk", "VARCHAR", "name/version of the SDK"),
        Column("hash", "VARCHAR", "primary grouping hash"),
        Column("frames", "JSON", "the top in-app frames, as short objects"),
        Column("payload_bytes", "UINTEGER", "size of the whole event as JSON", "raw_bytes"),
        Column(
            "payload_kept", "BOOLEAN", "false when the issue was over its rate: counted, payload not kept", "enc <> 255"
        ),
        Column("payload", "JSON", "the whole event, normalised and scrubbed: payload->>'$.request.url'", _EVENT_JSON),
    ],
    source="events",
    time="received_at",
)

ITEMS = View(
    "items",
    "one row per stored envelope item that is not an event",
    [
        Column("received_at", "TIMESTAMP", "when the collector acknowledged it"),
        Column("project", "VARCHAR", "slug of the project", "coalesce(slug, project_id::VARCHAR)"),
        Column("project_id", "UBIGINT", "number of the project"),
        Column("kind", "VARCHAR", "item type: transaction, session, attachment, ..."),
        Column("event_id", "VARCHAR", "event id of its envelope, 32 hex digits", _EVENT_ID),
        Column("headers", "JSON", "item header as sent"),
        Column("payload_bytes", "UINTEGER", "size of the item", "raw_bytes"),
        Column(
            "content_hash",
            "VARCHAR",
            "SHA-256 of the content that is a file: of attachments",
            "CASE WHEN enc = 254 THEN lower(hex(payload)) END",
        ),
        Column("payload", "VARCHAR", "the item itself; NULL when it is not text", _ITEM_TEXT),
    ],
    source="items",
    time="received_at",
)

ISSUES = View(
    "issues",
    "one row per issue; outlives its events",
    [
        Column("id", "BIGINT", "number of the issue"),
        Column("short_id", "VARCHAR", "SHOP-1A: slug and counter"),
        Column("project", "VARCHAR", "slug of the project"),
        Column("project_id", "BIGINT", "number of the project"),
        Column("hash", "VARCHAR", "first grouping hash"),
        Column("title", "VARCHAR", "of the newest event"),
        Column("culprit", "VARCHAR", "of the newest event"),
        Column("level", "VARCHAR", "of the newest event"),
        Column("status", "VARCHAR", "unresolved, resolved, ignored"),
        Column("count", "BIGINT", "events ever seen, also those not kept"),
        Column("users", "BIGINT", "distinct users; beyond the configured bound an estimate"),
        Column("first_seen", "TIMESTAMP", "timestamp of its first event"),
        Column("last_seen", "TIMESTAMP", "timestamp of its newest event"),
        Column("events_kept", "BIGINT", "events of it that are still stored; 0 when retention has removed all"),
        Column("kept_since", "TIMESTAMP", "its events received until then were removed; NULL when none were"),
    ],
    state_sql="SELECT i.id, i.short_id, coalesce(p.slug, i.project_id), i.project_id, i.hash, i.title, i.culprit,"
    " i.level, i.status, i.count, i.users, cast(round(i.first_seen * 1000000) as integer),"
    " cast(round(i.last_seen * 1000000) as integer), i.kept, cast(round(i.kept_since * 1000000) as integer)"
    " FROM issues i LEFT JOIN projects p ON p.id = i.project_id",
)

_OF_MINUTE = [
    Column("timestamp", "TIMESTAMP", "start of the minute"),
    Column("project", "VARCHAR", "slug of the project"),
    Column("project_id", "BIGINT", "number of the project, 0 when unknown"),
    Column("category", "VARCHAR", "error, transaction, attachment, ..."),
]
_HOW_MANY = [
    Column("quantity", "BIGINT", "how many (bytes for attachments)"),
    Column("items", "BIGINT", "how many envelope items of the ledger"),
]


def _counted(own: str, where: str) -> str:
    return (
        f"SELECT o.minute * 1000000, coalesce(p.slug, o.project_id), o.project_id, o.category, {own},"  # noqa: S608
        f" o.quantity, o.items FROM outcomes o LEFT JOIN projects p ON p.id = o.project_id WHERE {where}"
    )


OUTCOMES = View(
    "outcomes",
    "what was not stored and why, added up by minute; what was is in accepted",
    [
        *_OF_MINUTE,
        Column("key", "VARCHAR", "public key, where it is known"),
        Column("outcome", "VARCHAR", "filtered, rate_limited, invalid, client_discard, ..."),
        Column("reason", "VARCHAR", "why, in the protocol's words"),
        *_HOW_MANY,
    ],
    state_sql=_counted("o.public_key, o.outcome, o.reason", "o.outcome <> 'accepted'"),
    time="timestamp",
)

ACCEPTED = View(
    "accepted",
    "what was taken in, added up by minute; outlives the events",
    [
        *_OF_MINUTE,
        Column("kept", "BOOLEAN", "false for events beyond the rate of their issue: counted only"),
        *_HOW_MANY,
    ],
    state_sql=_counted("o.reason = ''", "o.outcome = 'accepted'"),
    time="timestamp",
)

VIEWS = [EVENTS, ITEMS, ISSUES, OUTCOMES, ACCEPTED]


def after(column: str, since: float) -> str:
    """The condition that something is not older than `since`, wall clock seconds."""
    return f"{_quoted(column)} >= make_timestamp({int(since * 1e6)})"


def segment_view_sql(view: View, aliases: list[str], since: float = 0.0) -> str:
    """CREATE VIEW over the attached segments; without any, an empty view of the same shape. `since`: only what is not
    older, wall clock seconds."""
    names = ", ".join(f"{column.sql or _quoted(column.name)} AS {_quoted(column.name)}" for column in view.columns)
    if not aliases:
        empty = ", ".join(f"NULL::{column.type} AS {_quoted(column.name)}" for column in view.columns)
        return f"CREATE VIEW {view.name} AS SELECT {empty} WHERE false"
    where = f" WHERE {after(view.time, since)}" if since else ""
    tables = " UNION ALL BY NAME ".join(  # by name: older segments may lack a column
        f"SELECT *, {number} AS segment_no FROM {alias}.{view.source}{where}"  # noqa: S608 - our names
        for number, alias in enumerate(aliases)
    )
    return f"CREATE VIEW {view.name} AS SELECT {names} FROM ({tables}) LEFT JOIN project_slugs USING (project_id)"  # noqa: S608


def derived_view_sql(view: View) -> str:
    """CREATE VIEW of one that is made of others; its columns have exactly the documented names and types."""
    names = ", ".join(_quoted(column.name) for column in view.columns)
    casts = ", ".join(f"{_quoted(column.name)}::{column.type} AS {_quoted(column.name)}" for column in view.columns)
    return f"CREATE VIEW {view.name} AS SELECT {casts} FROM ({view.body}) AS made({names})"  # noqa: S608 - our own text


def _quoted(name: str) -> str:
    return f'"{name}"'
