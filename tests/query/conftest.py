"""A data folder with two sealed days and an active segment, read by every query test."""

import json
import sys
from collections.abc import Iterator

import pytest

from collector.model.event import ItemRow
from collector.model.outcome import RATE_LIMITED, Outcome
from collector.query.adhoc import Sources, of_snapshot
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, SHOP, event, record, records


@pytest.fixture(autouse=True)
def no_stand_in_stays() -> Iterator[None]:
    """The sandbox's stand-ins for numpy and pytz belong to its process; tests that use them in ours must not leave
    them behind: Hypothesis asks whatever is called numpy for its random state."""
    yield
    for name in ("numpy", "numpy._core", "pytz"):
        if name in sys.modules and not hasattr(sys.modules[name], "__file__"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    data = tmp_path_factory.mktemp("data")
    copies = tmp_path_factory.mktemp("copies")
    clock = FakeClock(NOW)
    store = Store.open(data, StoreSettings(), RetentionSettings(), clock, projects=SHOP)
    store.commit(records(1, 50))
    clock.advance(86_400)
    store.maintain()
    store.commit(records(51, 90, at=NOW + 86_400))
    clock.advance(86_400)
    store.maintain()
    limited = Outcome(42, RATE_LIMITED, "key_quota", "error", 5, clock.now(), items=5, public_key="c0ffee")
    session = ItemRow(42, "session", clock.now(), "", '{"type":"session"}', b'{"sid":"1"}')
    picture = ItemRow(42, "attachment", clock.now(), f"{91:032x}", '{"type":"attachment"}', bytes(range(250, 256)) * 50)
    odd = event(91, 9, clock.now(), message="tab\there \x1b[31mred", title="Ümläut — 試験", tags=[])
    store.commit([record(91, odd, before=90), record(92, outcomes=(limited,), before=91),
                  record(97, items=(session, picture), before=96)])  # fmt: skip
    yield of_snapshot(store.snapshot(copies))
    store.close()


STORY = {
    "exception": {"values": [
        {"type": "KeyError", "value": "'sku'"},
        {"type": "ValueError", "value": "bad cart", "mechanism": {"type": "wsgi", "handled": False},
         "stacktrace": {"frames": [
             {"function": "main", "lineno": 3, "in_app": False},
             {"function": "pay", "lineno": 9, "in_app": True, "vars": {"n": "1"}}]}},
    ]},
}  # fmt: skip
TRANSACTION = {
    "event_id": "a" * 32, "transaction": "/pay", "start_timestamp": NOW, "timestamp": "2026-09-21T14:13:21.500Z",
    "contexts": {"trace": {"op": "http.server", "trace_id": "t", "span_id": "s"}},
    "spans": [{"op": "db", "description": "SELECT 1", "start_timestamp": NOW, "timestamp": NOW + 0.25}],
}  # fmt: skip
STREAMED = {
    "name": "/cart", "trace_id": "t", "span_id": "s2", "status": "ok", "start_timestamp": NOW,
    "end_timestamp": NOW + 2.0, "attributes": {"sentry.op": {"value": "pageload", "type": "string"}},
}  # fmt: skip
REMARK = {
    "event_id": f"{2:032x}",
    "contexts": {
        "feedback": {
            "name": "Ada",
            "contact_email": "ada@example.com",
            "message": "cold tea",
            "associated_event_id": f"{1:032x}",
        }
    },
}


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    """One event with a chain of exceptions, and one item of each kind."""
    data = tmp_path_factory.mktemp("stories")
    store = Store.open(data, StoreSettings(), RetentionSettings(), FakeClock(NOW), projects=SHOP)

    def item(kind: str, payload: object, headers: str = "{}") -> ItemRow:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return ItemRow(42, kind, NOW, f"{1:032x}", headers, body)

    items = (
        item("transaction", TRANSACTION),
        item("transaction", b"\xff not json"),
        item("log", {"items": [{"level": "info", "body": "one", "attributes": {"a": {"value": 1}}},
                               {"level": "warn", "body": "two"}]}),
        item("span", {"items": [STREAMED]}),
        item("span", {"op": "rpc", "description": "alone", "start_timestamp": NOW, "timestamp": NOW + 0.5}),
        item("session", {"sid": "s1", "status": "crashed", "attrs": {"release": "shop@1"}}),
        item("check_in", {"monitor_slug": "nightly", "status": "ok", "duration": 12.5}),
        item("user_report", {"name": "Ann", "comments": "it broke"}),
        item("attachment", b"hello", '{"filename":"log.txt","content_type":"text/plain"}'),
    )  # fmt: skip
    row = event(1, payload=json.dumps(STORY).encode(), tags=[('od"d $.k[0]', "v")])
    remark = event(2, type="feedback", payload=json.dumps(REMARK).encode(), tags=[])
    store.commit([record(10, row, items=items, before=0), record(11, remark, before=10)])
    yield of_snapshot(store.snapshot(tmp_path_factory.mktemp("story-copies")))
    store.close()
