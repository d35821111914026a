"""Named queries: what pages and API ask, one statement a .sql file, values always bound.

The first line of a file says its purpose, where it runs and its parameters:

- `state`: on state.sqlite;
- `all`: on all segments at once, `{events}` stands for their union;
- `one`: on the row of the event `$event_id` in the newest segment that holds it; `{segment}` and `{rowid}` stand for
  them (as text: DuckDB reads a row 2 ms faster when it knows the number while it plans);
- `newest`: finds rowid and timestamp (microseconds) in one `{segment}`, from the newest on as far as needed;
- `rows`: what `newest` then reads of the rows from `{first}` to `{last}`.

In the worker they run on the store's thread, between two batches; for `collector event` and `collector issue` in the
process of collector.query.points.
"""

import re
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

import msgspec

from collector.store.payload import PayloadCodec
from collector.store.reads import Bound, Reads

NAMES = ("issue_list", "issue_by_id", "issue_hours", "outcomes_by_hour", "event_by_id", "event_ids", "event_lines",
         "issue_events", "issue_ends", "issue_neighbours", "issue_tags", "events_by_hour", "issues_by_hour",
         "project_by_id")  # fmt: skip

EVENT_ID_FORM = re.compile(r"[0-9a-f]{32}")
HEAD = re.compile(r"-- (?P<purpose>[^;]+); (?P<place>state|all|one|newest|rows): (?P<parameters>.*)\n")


class Readable(Protocol):
    """A store, or whatever else has its reading side."""

    @property
    def reads(self) -> Reads: ...


class Query(NamedTuple):
    """One .sql file. `parameters`: their names."""

    name: str
    purpose: str
    place: str
    parameters: tuple[str, ...]
    sql: str


def _read(name: str) -> Query:
    text = files("collector.query").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    head = HEAD.match(text)
    if head is None:
        raise ValueError(f"{name}.sql: its first line should be '-- purpose; place: $parameters'")
    return Query(name, head["purpose"], head["place"], tuple(re.findall(r"\$(\w+)", head["parameters"])),
                 text[head.end() :])  # fmt: skip


QUERIES = {name: _read(name) for name in NAMES}


def event_id_of(text: str) -> str | None:
    """32 lower-case hex digits from any spelling of an event id (dashes, capitals), None for anything else."""
    plain = text.strip().replace("-", "").lower()
    return plain if EVENT_ID_FORM.fullmatch(plain) else None


def ask(store: Readable, name: str, /, since: float | None = None, **values: Any) -> list[dict[str, Any]]:
    """Rows of a named query as dicts. `since` (seconds): segments that end before it are left out; it is also the
    parameter of that name. Raises KeyError for a parameter that is missing, Unavailable, Damaged."""
    query = QUERIES[name]
    if since is not None and "since" in query.parameters:
        values["since"] = since
    bound = {parameter: values[parameter] for parameter in query.parameters}
    if query.place == "state":
        return store.reads.ask_state(query.sql, bound)
    if query.place == "one":
        for segment, rowid in store.reads.locate(values["event_id"]):
            if rows := store.reads.ask_one(segment, query.sql.replace("{rowid}", str(rowid)), bound):
                return rows
        return []
    if query.place == "newest":
        lines = QUERIES["event_lines"]
        fetch = Bound(lines.sql, {parameter: values[parameter] for parameter in lines.parameters})
        return store.reads.ask_newest(Bound(query.sql, bound), fetch, bound["before"], bound["limit"])
    return store.reads.ask_all(query.sql, bound, since)


def event(store: Readable, event_id: str, project_id: int | None = None) -> dict[str, Any] | None:
    """One event by its id in any spelling: its columns, `tags` as a dict, `payload` as JSON bytes (None when it was
    not kept); None when it is not stored."""
    plain = event_id_of(event_id)
    found = ask(store, "event_by_id", event_id=plain, project_id=project_id) if plain else []
    if not found:
        return None
    row = found[0]
    codec: PayloadCodec = row.pop("codec")
    row["payload"] = codec.decode(row.pop("enc"), row["payload"])
    row["tags"] = msgspec.json.decode(row["tags"]) if row["tags"] else {}
    return row


def issue(store: Readable, key: str) -> dict[str, Any] | None:
    """One issue by number or short id."""
    number = int(key) if key.isascii() and key.isdigit() and len(key) < 19 else None
    found = ask(store, "issue_by_id", id=number, short_id=key)
    return found[0] if found else None
