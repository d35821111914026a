"""A data folder with two sealed days and an active segment, read by every query test."""

from collections.abc import Iterator

import pytest

from collector.model.event import ItemRow
from collector.model.outcome import RATE_LIMITED, Outcome
from collector.query.adhoc import Sources, of_snapshot
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import NOW, event, record, records


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    data = tmp_path_factory.mktemp("data")
    copies = tmp_path_factory.mktemp("copies")
    clock = FakeClock(NOW)
    store = Store.open(data, StoreSettings(), RetentionSettings(), clock, slugs={42: "shop"})
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
