"""Planted secrets: after a run with the real command, nothing outside the spool knows them."""

import copy
import json
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard

from tests.helpers.corpus import templates
from tests.helpers.mini_upstream import MiniUpstream
from tests.helpers.running import PROJECT, Collector, balanced, has_told_all, wait_for

SETTINGS = '[project.scrubbing]\nattachments = true\npreset = "{preset}"\n'
TRACE, SPAN = "a1" * 16, "b2" * 8
CARDS = ["4111 1111 1111 1111", "5500-0000-0000-0004", "371449635398431", "6011000990139424"]
MARKER = b"zq7PLANTED"


def secret(place: str) -> str:
    """A text that exists nowhere else."""
    return f"zq7PLANTED-{place}"


def planted_event(preset: str) -> dict[str, Any]:
    """An event with a secret wherever an SDK may put one and the preset looks."""
    tags = {"tenant": "acme"} | ({"api_token": secret("tag")} if preset == "strict" else {})
    variables = {
        "password": secret("local"),
        "nested": {"config": [{"db_passwd": secret("deep")}], "note": f"Bearer {secret('bearer-in-text')}"},
        "dsn": f"postgres://app:{secret('url')}@db/shop",
        "card": CARDS[0],
        "pem": f"-----BEGIN RSA PRIVATE KEY-----\n{secret('pem')}\n-----END RSA PRIVATE KEY-----",
        "pair": ["api_key", secret("pair")],
    }
    frame = {"function": "pay", "module": "shop", "filename": "shop.py", "lineno": 3, "in_app": True, "vars": variables}
    headers = {
        "Authorization": f"Bearer {secret('header')}",
        "Cookie": f"sessionid={secret('cookie')}",
        "X-Api-Key": secret("api-key"),
    }
    crumb = {"message": f"login with password={secret('crumb')}", "data": {"token": secret("crumb-data")}}
    thread = {"id": 1, "stacktrace": {"frames": [{**frame, "vars": {"auth": secret("thread")}}]}}
    return {
        "platform": "python",
        "timestamp": time.time(),
        "exception": {"values": [{"type": "PayError", "value": "declined", "stacktrace": {"frames": [frame]}}]},
        "logentry": {"message": "card %s", "params": [CARDS[1]], "formatted": f"card {CARDS[1]}"},
        "threads": {"values": [thread]},
        "request": {
            "url": "https://shop.example/pay",
            "method": "POST",
            "headers": headers,
            "cookies": {"csrftoken": secret("cookies")},
            "data": {"card": CARDS[2], "password": secret("form")},
            "query_string": f"page=1&access_token={secret('query')}",
            "env": {"SECRET_KEY": secret("env")},
        },
        "breadcrumbs": {"values": [crumb]},
        "tags": tags,
        "extra": {
            "credentials": {"user": secret("extra-user")},
            "text": f"the card is {CARDS[3]}",
            "private_key": [secret("list")],
        },
        "contexts": {"payment": {"client_secret": secret("context")}},
        "user": {"id": "7", "data": {"passwd": secret("user")}},
    }


def with_secrets(event: dict[str, Any], planted: dict[str, Any]) -> dict[str, Any]:
    """A recorded event that carries the planted parts too."""
    merged = copy.deepcopy(event)
    for name in ("extra", "contexts", "request"):
        merged[name] = {**(merged.get(name) or {}), **planted[name]}
    merged.update({name: planted[name] for name in ("tags", "breadcrumbs", "threads", "user", "timestamp")})
    exceptions = (merged.get("exception") or {}).get("values") or []
    for exception in exceptions:
        for frame in (exception.get("stacktrace") or {}).get("frames") or []:
            frame["vars"] = planted["exception"]["values"][0]["stacktrace"]["frames"][0]["vars"]
    return merged


def body_of(*items: tuple[dict[str, Any], bytes]) -> bytes:
    """An envelope with an id of its own."""
    lines = [json.dumps({"event_id": uuid.uuid4().hex}).encode()]
    for headers, payload in items:
        lines += [json.dumps({**headers, "length": len(payload)}).encode(), payload]
    return b"\n".join(lines) + b"\n"


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def recorded_events(count: int) -> list[dict[str, Any]]:
    """Events of the corpus, without the ids they were sent with."""
    found = []
    for template in templates()[:count]:
        body = template.fresh(compress=False)[1]
        head, payload = body.split(b"\n", 2)[1:]
        if json.loads(head)["type"] == "event":
            event = json.loads(payload.split(b"\n")[0])
            found.append({key: value for key, value in event.items() if key != "event_id"})
    return found


def bodies(preset: str) -> list[bytes]:
    """One envelope a kind of item, and the recorded events with secrets in them."""
    event, now = planted_event(preset), time.time()
    ids = {"trace_id": TRACE, "span_id": SPAN}
    log = {**ids, "timestamp": now, "level": "info", "body": f"sent Bearer {secret('log')}, card {CARDS[0]}",
           "attributes": {"auth": {"value": secret("log-attribute"), "type": "string"}}}  # fmt: skip
    span = {**ids, "start_timestamp": now - 1, "timestamp": now, "op": "db", "description": "SELECT",
            "data": {"db.password": secret("span")}}  # fmt: skip
    inner = {**span, "data": {"http.request.header.authorization": f"Bearer {secret('inner-span')}"}}
    transaction = {key: value for key, value in event.items() if key not in ("exception", "threads", "logentry")}
    transaction |= {"type": "transaction", "transaction": "/pay", "start_timestamp": now - 2, "timestamp": now}
    transaction |= {"contexts": {"trace": {**ids, "op": "http"}, "pay": {"token": secret("tx")}}, "spans": [inner]}
    again = b',"modules":{},"contexts":{"k":{"password":"%s"},"k":1}}' % secret("twice").encode()
    text = f"user=7\npassword={secret('attachment')}\ncard {CARDS[0]}\nAuthorization: Bearer {secret('att-bearer')}\n"
    report = {"event_id": uuid.uuid4().hex, "name": "Ada", "email": "ada@example.com",
              "comments": f"my card is {CARDS[1]}"}  # fmt: skip
    made = [
        body_of(({"type": "event"}, as_json(event)), ({"type": "attachment", "filename": "app.log"}, text.encode())),
        body_of(({"type": "event"}, as_json(event)[:-1] + again)),
        body_of(({"type": "transaction"}, as_json(transaction))),
        body_of(({"type": "log", "item_count": 1}, as_json({"items": [log]}))),
        body_of(({"type": "span"}, as_json(span))),
        body_of(({"type": "user_report"}, as_json(report))),
        body_of(({"type": "event"}, b'{"extra": {"password": "' + secret("broken").encode() + b'"')),
        body_of(({"type": "x_of_tomorrow"}, as_json({"password": secret("unknown-item")}))),
    ]
    return made + [body_of(({"type": "event"}, as_json(with_secrets(one, event)))) for one in recorded_events(20)]


def leaks(data: bytes) -> list[str]:
    """What of the planted texts a file holds: the places of the secrets, or a card."""
    found = [data[at : at + 40].decode("latin-1") for at in places(data, MARKER)]
    return found + [card for card in CARDS if card.encode() in data]


def places(data: bytes, part: bytes) -> list[int]:
    at, found = data.find(part), []
    while at >= 0:
        found.append(at)
        at = data.find(part, at + 1)
    return found


def files_of(folder: Path) -> list[Path]:
    """Every file of the data folder outside the spool."""
    return [path for path in folder.rglob("*") if path.is_file() and "spool" not in path.relative_to(folder).parts]


def unpacked(value: Any) -> bytes:
    """A column's bytes; a payload that is a zstd frame, unpacked."""
    data = value if isinstance(value, bytes) else repr(value).encode()
    with_magic = data[:4] == b"\x28\xb5\x2f\xfd"
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=2**24) if with_magic else data


def rows_of(path: Path) -> Iterator[bytes]:
    """Every value of every table of a segment, as bytes."""
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        for name in names:
            for row in connection.execute(f'SELECT * FROM "{name}"').fetchall():
                for value in row:
                    yield unpacked(value)


@pytest.fixture(scope="module", params=["sentry", "strict"])
def after(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Collector, MiniUpstream, str]]:
    """A collector that digested, forwarded and answered queries about everything, and then stopped."""
    folder = tmp_path_factory.mktemp("secrets")
    with MiniUpstream() as upstream:
        config = '[log]\nlevel = "debug"\n' + PROJECT + SETTINGS.format(preset=request.param)
        running = Collector(folder, config + f'[upstream]\ndsn = "{upstream.dsn}"\nwindow = "1 s"\n')
        running.start()
        sent = bodies(request.param)
        statuses = [running.send(body)[0] for body in sent]
        assert set(statuses) == {200}
        assert balanced(running.drained()["ledger"])
        asked = running.command("query", "--format", "json", "SELECT * FROM events") + running.command(
            "query", "--format", "json", "SELECT * FROM items"
        )
        wait_for(lambda: has_told_all(running), what="an empty outbox")
        assert running.stop() == 0
        yield running, upstream, asked


@pytest.mark.process
@pytest.mark.xdist_group("secrets")
class TestPlantedSecrets:
    def test_the_run_stored_and_forwarded_what_it_should(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        _, upstream, asked = after
        assert asked.count('"event_id"') > 20
        assert "[Filtered]" in asked and "acme" in asked and "tenant" in asked
        assert upstream.counted() >= 2
        assert upstream.received.complaints == []

    def test_no_file_outside_the_spool_holds_one(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        files = files_of(after[0].data)
        assert {path.suffix for path in files} >= {".duckdb", ".sqlite"}
        quarantine = after[0].data / "quarantine"
        found = {path: leaks(path.read_bytes()) for path in files if quarantine not in path.parents}
        assert {path.name: hits for path, hits in found.items() if hits} == {}

    def test_no_column_of_a_segment_unpacks_to_one(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        segments = sorted((after[0].data / "segments").glob("*.duckdb"))
        values = [value for path in segments for value in rows_of(path)]
        assert len(values) > 500
        assert [hits for hits in map(leaks, values) if hits] == []

    def test_no_answer_of_a_query_tells_one(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        assert leaks(after[2].encode()) == []

    def test_no_line_of_the_log_tells_one(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        assert leaks("".join(after[0].log).encode()) == []

    def test_upstream_was_not_told_one(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        received = after[1].received
        told = [*received.bodies, *(json.dumps(headers).encode() for headers in received.requests)]
        assert told
        assert [hits for hits in map(leaks, told) if hits] == []

    def test_what_lies_in_quarantine_is_for_the_owner_only(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        folder = after[0].data / "quarantine"
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} <= {0o600}

    def test_the_spool_is_for_the_owner_only(self, after: tuple[Collector, MiniUpstream, str]) -> None:
        folder = after[0].data / "spool"
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
