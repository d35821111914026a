"""What becomes of a batch behind the door: exact counts, once each, under the name of its edge."""

import json
from collections.abc import Callable

from collector.filter.settings import FilterSettings
from collector.hub.batch import Batch
from collector.model.event import Standing
from collector.store.buckets import IssueRate
from tests.hub.conftest import Hub
from tests.hub.making import NOW, batch, entry, event, event_id, users

MakeHub = Callable[..., Hub]


def with_id(number: int, *entries: object) -> Batch:
    return batch(*entries, batch_id=number.to_bytes(16, "big"))  # type: ignore[arg-type]


def test_an_event_of_an_edge_keeps_its_id_and_says_where_it_came_from(make_hub: MakeHub) -> None:
    digested = make_hub().digest(batch(entry(7, payload=event(1, tags=[["tier", "gold"], ["collector.edge", "liar"]]))))
    [row] = digested.events
    stored = json.loads(row.payload)
    assert (row.event_id, stored["event_id"]) == (event_id(7), event_id(7))
    assert row.tags == [("collector.edge", "berlin"), ("tier", "gold")]
    assert "10.0.0.7" not in row.payload.decode()  # the address of the edge is not that of a user
    assert digested.told is not None and digested.told.edge == "berlin"


def test_a_summary_counts_all_that_it_stands_for_in_issue_ledger_and_forward(make_hub: MakeHub) -> None:
    hub = make_hub()
    assert hub.digest(batch(entry(9, count=3))).standings == {0: Standing(3, NOW - 60, NOW - 5, [])}
    hub = make_hub()
    hub.take(with_id(1, entry(1), entry(2, count=40)), with_id(2, entry(3, count=1000)))
    assert hub.counted() == hub.forwarded() == hub.received == 1041
    status = hub.store.status()
    assert (status.ledger["stored"], status.ledger["summarised"], status.dropped) == (3, 1038, {})
    assert hub.is_balanced()


def test_users_are_counted_once_where_edges_share_them(make_hub: MakeHub) -> None:
    hub = make_hub()
    hub.take(with_id(1, entry(1, count=40, users=users(5, 6, 7))))
    hub.take(with_id(2, entry(2, count=9, users=users(6, 7, 8))), edge="oslo")
    [[counted]] = hub.store._state.rows("SELECT users FROM issues")
    assert counted == 4
    assert hub.counted() == 49


def test_a_batch_is_stored_once_however_often_it_comes_and_whoever_is_killed(make_hub: MakeHub) -> None:
    hub = make_hub()
    first = with_id(1, entry(1), entry(2, count=40))
    hub.take(first, first)
    hub.restart()
    hub.take(first, with_id(2, entry(3, count=5)))
    assert hub.counted() == hub.forwarded() == 46
    assert hub.store.status().dropped == {"invalid:duplicate": 82}
    assert hub.is_balanced()
    edge = hub.store.edges()["berlin"]
    assert (edge["batches"], edge["repeated"], edge["occurrences"], edge["entries"]) == (2, 2, 46, 3)


def test_the_batch_id_of_another_edge_means_nothing(make_hub: MakeHub) -> None:
    hub = make_hub()
    hub.take(with_id(1, entry(1, count=3)))
    hub.take(with_id(1, entry(2, count=4)), edge="oslo")
    assert hub.counted() == 7
    assert {name: edge["occurrences"] for name, edge in hub.store.edges().items()} == {"berlin": 3, "oslo": 4}


def test_ids_outlive_state_sqlite(make_hub: MakeHub) -> None:
    hub = make_hub()
    first = with_id(1, entry(1, count=40))
    hub.take(first)
    hub.store.close()
    hub.store.state_path.unlink()
    hub.open()
    hub.take(first)
    assert hub.counted() == 40
    assert hub.store.edges()["berlin"]["repeated"] == 1


def test_an_event_that_came_in_another_batch_is_a_duplicate_with_all_it_stands_for(make_hub: MakeHub) -> None:
    hub = make_hub()
    hub.take(with_id(1, entry(1, count=10)))
    hub.take(with_id(2, entry(1, count=10), entry(2)))
    assert hub.counted() == 11
    assert hub.store.status().dropped == {"invalid:duplicate": 10}
    assert hub.is_balanced()


def test_what_the_hub_filters_is_dropped_with_all_it_stands_for(make_hub: MakeHub) -> None:
    hub = make_hub(filters=FilterSettings(error_messages=["*bad*"]))
    hub.take(with_id(1, entry(1, count=10), entry(2, kind="check_in", payload=b'{"status":"ok"}')))
    status = hub.store.status()
    assert (sum(status.dropped.values()), status.ledger["stored"], hub.counted()) == (11, 0, 0)
    assert hub.is_balanced()


def test_beyond_the_rate_of_its_issue_a_summary_is_counted_without_a_row(make_hub: MakeHub) -> None:
    hub = make_hub(rate=IssueRate(1 / 60, 1))
    hub.take(with_id(1, entry(1, count=10), entry(2, count=20), entry(3)))
    status = hub.store.status()
    assert (status.events, status.ledger["stored"], status.ledger["summarised"]) == (1, 1, 30)
    assert hub.counted() == hub.forwarded() == 31
    assert hub.is_balanced()


def test_an_entry_that_is_no_event_is_counted_and_the_others_stay(make_hub: MakeHub) -> None:
    hub = make_hub()
    hub.take(with_id(1, entry(1, count=10, payload=b"garbage"), entry(2, count=5)))
    assert hub.store.status().dropped == {"invalid:invalid_json": 10}
    assert hub.counted() == 5
    assert hub.is_balanced()


def test_items_pass_as_from_an_sdk_and_reports_are_told(make_hub: MakeHub) -> None:
    hub = make_hub()
    report = (
        b'{"timestamp":%d,"discarded_events":[{"reason":"ratelimit_backoff","category":"error","quantity":3}]}' % NOW
    )
    check_in = json.dumps({"check_in_id": "a" * 32, "monitor_slug": "night", "status": "ok"}).encode()
    digested = hub.digest(
        batch(entry(1, kind="check_in", payload=check_in), entry(2, kind="client_report", payload=report))
    )
    assert [item.kind for item in digested.items] == ["check_in", "client_report"]
    assert [(one.reason, one.quantity, one.items) for one in digested.outcomes] == [("ratelimit_backoff", 3, 0)]
