"""The edge's side of the hub protocol against a hub without sockets: each batch once, whatever the answers are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from collector.errors import ConfigError
from collector.forward.hub_sender import HELD_SECONDS
from collector.forward.hub_target import parse_hub
from collector.forward.preview import preview
from collector.forward.settings import UpstreamSettings
from collector.hub.batch import Batch, read_batch
from collector.machine.net import Answer, NetError, Request
from collector.model.event import ItemRow
from collector.model.received import Position
from collector.model.settings import Secret, Size
from collector.store.delta import AppliedBatch, Delta
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge

HUB: dict[str, Any] = {
    "dsn": Secret(""), "hub": "https://hub.example.com", "hub_token": Secret("token-0123456789"), "edge": "berlin",
}  # fmt: skip


class FakeHub:
    """Takes batches as the real one does: each (edge, id) once."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.batches: dict[bytes, Batch] = {}
        self.repeated = 0
        self.behave: Callable[[Batch], Answer | NetError | None] = lambda batch: None
        self.lose_answers = False

    def send(self, request: Request) -> Answer:
        self.requests.append(request)
        batch = read_batch(zstandard.ZstdDecompressor().decompress(request.body))
        answer = self.behave(batch)
        if isinstance(answer, NetError):
            raise answer
        if answer is not None:
            return answer
        self.repeated += batch.batch_id in self.batches
        self.batches[batch.batch_id] = batch
        if self.lose_answers:
            raise NetError("reset", True, "hub closed the connection")
        return Answer(200, {}, json.dumps({"batch": batch.batch_id.hex()}).encode())

    def hurry(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass

    @property
    def entries(self) -> list[Any]:
        return [entry for batch in self.batches.values() for entry in batch.entries]

    @property
    def counted(self) -> int:
        return sum(entry.count for entry in self.entries if entry.kind in ("event", "summary"))


def refuse(status: int, detail: str, *causes: str) -> Answer:
    return Answer(status, {}, json.dumps({"detail": detail, "causes": list(causes)}).encode())


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def edge(make_edge: MakeEdge, hub: FakeHub) -> Edge:
    return make_edge(net=hub, **HUB)


def test_first_events_and_summaries_go_in_batches_whose_counts_add_up(edge: Edge, hub: FakeHub) -> None:
    edge.ingest(1, 50)
    edge.ingest(2, 10)
    edge.finish()
    assert hub.counted == edge.ingested == 60
    assert sorted((entry.kind, entry.count) for entry in hub.entries) == [
        ("event", 1), ("event", 1), ("summary", 9), ("summary", 49)
    ]  # fmt: skip
    assert {batch.project_id for batch in hub.batches.values()} == {PROJECT}
    payloads = [json.loads(entry.payload) for entry in hub.entries]
    assert [one["event_id"] for one in payloads] == [entry.event_id for entry in hub.entries]
    assert not [one for one in payloads if "collector" in one["contexts"]]  # the number is told in `count` alone
    assert edge.totals()["sent_occurrences"] == 60
    headers = hub.requests[0].headers
    assert headers["Authorization"] == "Bearer token-0123456789"
    assert headers["Content-Type"] == "application/x-collector-batch; version=1"


def test_a_batch_is_repeated_byte_for_byte_over_kills_until_the_hub_has_answered(edge: Edge, hub: FakeHub) -> None:
    edge.ingest(1, 5)
    hub.lose_answers = True
    edge.step()
    edge.restart()
    edge.ingest(2, 5)
    edge.step()
    edge.restart()
    hub.lose_answers = False
    edge.finish()
    assert hub.requests[0].body == hub.requests[1].body == hub.requests[2].body
    assert hub.repeated == 2
    assert hub.counted == edge.ingested == 10


def test_reports_and_items_are_told_exactly_once_too(edge: Edge, hub: FakeHub) -> None:
    row = ItemRow(PROJECT, "check_in", edge.clock.now(), "", '{"type":"check_in"}', b'{"status":"ok"}')
    nothing = AppliedBatch(
        2, Position(1, 2, 2), edge.clock.now(), Delta(), False, lambda _: None, lambda _: None, [row]
    )
    edge.apply(nothing)
    edge.state.execute("INSERT INTO forward_reports VALUES ('ratelimit_backoff', 'error', 0, 7)")
    hub.lose_answers = True
    edge.step()
    edge.clock.advance(2)
    edge.step()
    hub.lose_answers = False
    edge.restart()
    edge.finish()
    [check_in] = [entry for entry in hub.entries if entry.kind == "check_in"]
    [report] = [json.loads(entry.payload) for entry in hub.entries if entry.kind == "client_report"]
    assert (check_in.payload, json.loads(check_in.headers)["type"]) == (b'{"status":"ok"}', "check_in")
    assert report["discarded_events"] == [{"reason": "ratelimit_backoff", "category": "error", "quantity": 7}]
    assert edge.records() == 0


def test_a_project_that_the_hub_does_not_know_waits_and_the_others_go_on(edge: Edge, hub: FakeHub) -> None:
    hub.behave = lambda batch: refuse(404, "there is no project 43 at this hub") if batch.project_id == 43 else None
    stranger = edge.event(7, project_id=43)
    edge.commit([(7, stranger)])
    edge.ingest(1, 3)
    edge.finish(max_rounds=3)
    assert (hub.counted, edge.records()) == (3, 1)
    assert edge.status()["last_error"] == "the hub answers 404, there is no project 43 at this hub"
    assert edge.status()["state"] == "sending"
    hub.behave = lambda batch: None
    edge.clock.advance(HELD_SECONDS + 1)
    edge.finish()
    assert hub.counted == edge.ingested == 4


def test_too_large_is_halved_until_it_fits_and_then_slimmed(edge: Edge, hub: FakeHub) -> None:
    def at_most_two_and_small(batch: Batch) -> Answer | None:
        large = len(batch.entries) > 2 or any(len(entry.payload) > 3000 for entry in batch.entries)
        return refuse(413, "request body too large", "max_hub_batch_bytes is 1") if large else None

    hub.behave = at_most_two_and_small
    edge.commit([(number, edge.event(number)) for number in range(1, 8)])
    edge.commit([(9, edge.event(9, padding=5000))])
    edge.finish()
    assert hub.counted == edge.ingested == 8
    assert edge.totals().get("dropped:collector_too_large") is None


def test_what_the_hub_refuses_for_good_is_found_and_dropped_alone_and_counted(edge: Edge, hub: FakeHub) -> None:
    rows = [(number, edge.event(number)) for number in range(1, 10)]
    bad = rows[4][1].event_id

    def refuses_one(batch: Batch) -> Answer | None:
        if any(entry.event_id == bad for entry in batch.entries):
            return refuse(400, "this is not a batch", "entries[4].count: 0")
        return None

    hub.behave = refuses_one
    edge.commit(rows)
    edge.finish()
    assert hub.counted == edge.ingested - 1 == 8
    assert edge.totals()["dropped:collector_refused"] == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refuse(401, "unknown edge token"), "401, unknown edge token"),
        (refuse(403, "the batch is of edge 'a', the token of 'b'"), "403, the batch is of edge 'a'"),
        (refuse(426, "hub protocol version 1 is not understood", "versions: 2"), "426, hub protocol"),
        (refuse(503, "failed to queue envelope", "the disk is full"), "503, failed to queue envelope"),
        (Answer(200, {}, b"<html>sign in"), "200 with something that is no hub's answer: '<html>sign in'"),
        (Answer(200, {}, b'{"batch":"00"}'), "200 with something that is no hub's answer"),
        (Answer(302, {"location": "/login"}, b""), "302 and redirects to '/login'"),
        (Answer(502, {}, b"bad gateway"), "502, 'bad gateway'"),
        (NetError("dns", False, "the name hub.example.com cannot be resolved"), "cannot be resolved"),
    ],
)  # fmt: skip
def test_trouble_is_named_and_nothing_is_lost(edge: Edge, hub: FakeHub, answer: Answer | NetError, said: str) -> None:
    hub.behave = lambda batch: answer
    edge.ingest(1, 3)
    edge.step()
    status = edge.status()
    assert (said in status["last_error"], status["state"]) == (True, "backing_off")
    hub.behave = lambda batch: None
    edge.clock.advance(60)
    edge.finish()
    assert hub.counted == edge.ingested == 3


def test_a_limit_of_the_hub_is_kept_to(edge: Edge, hub: FakeHub) -> None:
    hub.behave = lambda batch: Answer(429, {"retry-after": "30"}, b'{"detail":"too busy at the moment"}')
    edge.ingest(1)
    edge.step()
    asked = len(hub.requests)
    edge.clock.advance(29)
    edge.step(3)
    assert len(hub.requests) == asked
    assert edge.status()["limits"] == {"all": 1.0}
    hub.behave = lambda batch: None
    edge.clock.advance(2)
    edge.finish()
    assert hub.counted == 1


def test_an_outage_folds_what_waits_and_the_counts_stay_exact(make_edge: MakeEdge, hub: FakeHub) -> None:
    edge = make_edge(net=hub, max_outbox_bytes=Size("64 KiB"), **HUB)
    hub.behave = lambda batch: NetError("refused", False, "hub refuses the connection")
    for _ in range(60):
        edge.ingest(1, 5, padding=2000)
        edge.ingest(2, 5, padding=2000)
        edge.clock.advance(61)
        edge.step(2)
    assert edge.queued_bytes() < 64 * 1024
    hub.behave = lambda batch: None
    edge.clock.advance(60)
    edge.finish()
    assert hub.counted == edge.ingested == 600


def test_the_dry_run_shows_a_batch_that_waits(edge: Edge, hub: FakeHub, tmp_path: Path) -> None:
    hub.behave = lambda batch: refuse(401, "unknown edge token")
    edge.ingest(1)
    edge.step()
    [shown] = preview(edge.path, 60.0, edge.clock.now())["entries"]
    assert (shown["kind"], shown["project"], shown["count"]) == ("batch", PROJECT, 1)


def test_settings_that_cannot_work_are_all_listed() -> None:
    with pytest.raises(ConfigError) as wrong:
        parse_hub(UpstreamSettings(hub="hub.example.com", dsn=Secret("https://k@h/1")))
    assert [mistake.partition(":")[0] for mistake in wrong.value.mistakes] == [
        "upstream.hub", "upstream.hub", "upstream.hub_token", "upstream.edge"
    ]  # fmt: skip
    target = parse_hub(msgspec.structs.replace(UpstreamSettings(**HUB), hub="https://hub.example.com:8443/in/"))
    assert target.url == "https://hub.example.com:8443/in/api/hub/batches/"
