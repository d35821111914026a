"""Events of real SDKs through the real digest: what leaves is what was stored, and another server takes it."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from werkzeug.serving import make_server

from collector.config import Config
from collector.digest.digester import Digester, ProjectRules
from collector.forward.event import event_json
from collector.forward.parcel import VERSION, Parcel
from collector.machine.net import HttpNet, NetSettings
from collector.model.event import EventRow
from collector.model.received import Position, Received
from collector.model.settings import Secret
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT
from tests.helpers.mini_upstream import _validator as schema_validator

SHARED = Path(__file__).parents[2].parent / "shared"
CORPUS = sorted((SHARED / "bench" / "corpus").glob("*.envelope"))[::5]

pytestmark = pytest.mark.skipif(not CORPUS, reason="the shared corpus is absent")


@pytest.fixture(scope="module")
def rows() -> list[EventRow]:
    config = Config()
    digester = Digester({PROJECT: ProjectRules()}, config.digest, config.limits)
    head = Received("envelope", PROJECT, 1_790_000_000.0)
    digested = [digester.digest(Position(1, 1, 1), head, path.read_bytes()) for path in CORPUS]
    return [row for record in digested for row in record.events]


def test_forwarded_events_validate_against_the_published_schema(rows: list[EventRow]) -> None:
    validator = schema_validator()
    complaints = []
    for row in rows:
        parcel = Parcel(VERSION, "summary", PROJECT, 1, "a" * 32, 5, 1.0, 2.0, 60.0, b"", 0, row.hashes[0], b"")
        event = json.loads(event_json(parcel, row.payload, pin=False))
        bare = {name: value for name, value in event.items() if name not in ("_meta", "message")}
        complaints += [f"{list(error.absolute_path)} {error.message[:200]}" for error in validator.iter_errors(bare)]
    assert len(rows) >= 40
    assert complaints == []


@pytest.fixture
def kent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """kent, the test server from the Python registry; its address."""
    from kent.app import create_app

    server = make_server("127.0.0.1", 0, create_app())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # kent's own connections
def test_kent_receives_field_by_field_what_was_stored(make_edge: MakeEdge, rows: list[EventRow], kent: str) -> None:
    net = HttpNet(NetSettings())
    edge = make_edge(net=net)
    edge.settings = msgspec.structs.replace(edge.settings, dsn=Secret(f"http://public@{kent}/1"))
    edge.restart()
    edge.payloads = {row.event_id: row.payload for row in rows}
    sample = rows[:20]
    edge.commit([(number + 1, row) for number, row in enumerate(sample)])
    edge.settle()
    listed = get(f"http://{kent}/api/eventlist/")["events"]
    bodies = [get(f"http://{kent}/api/event/{one['event_id']}")["payload"]["body"] for one in listed]
    stored = {row.event_id: json.loads(row.payload) for row in sample}
    for event in stored.values():
        event.pop("project", None)
        event.pop("received", None)
    assert {body["event_id"]: body for body in bodies} == stored
    net.close()
