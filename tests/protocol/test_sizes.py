"""Sizes and counts of items: the defaults of Relay, each refusal with the limit's name and value."""

import pytest

from collector.errors import ProtocolError
from collector.model.envelope import Item
from collector.model.settings import Size
from collector.protocol.kinds import ITEM_KINDS, counts_of, creates_event, is_known
from collector.protocol.limits import LimitSettings
from collector.protocol.sizes import SPAN_CONTAINER, check_sizes

KIB, MIB = 1024, 1024 * 1024


def item(kind: str, size: int = 1, **headers: object) -> Item:
    return Item(kind, {"type": kind, **headers}, bytes(size))


TOO_MUCH = {
    "event": ([item("event", MIB + 1)], "event", "max_event_bytes is 1 MiB"),
    "two events": ([item("event"), item("event")], "event", "holds 1 item of the kind event"),
    "event and transaction": ([item("event"), item("transaction")], "transaction", "holds 1 item of the kind event"),
    "31 attachments": ([item("attachment")] * 31, "attachment:attachment", "max_attachments_count is 30"),
    "attachments in sum": (
        [item("attachment", 1500)] * 2, "attachment:attachment", "max_attachments_bytes is 2000 B",
    ),
    "a minidump": (
        [item("attachment", 2001, attachment_type="event.minidump")], "attachment:minidump", "max_attachments_bytes",
    ),
    "101 sessions": ([item("session")] * 101, "session", "max_sessions_count is 100"),
    "sessions in sum": ([item("session", 6 * MIB), item("sessions", 6 * MIB)], "sessions", "max_sessions_bytes"),
    "client report": ([item("client_report", 101 * KIB)], "client_report", "max_client_report_bytes is 100 KiB"),
    "check-in": ([item("check_in", 101 * KIB)], "check_in", "max_check_in_bytes is 100 KiB"),
    "two check-ins": ([item("check_in"), item("check_in")], "check_in", "holds 1 item"),
    "two log containers": ([item("log"), item("log")], "log", "holds 1 item"),
    "logs on average": ([item("log", 5 * MIB, item_count=2)], "log", "max_log_bytes is 2 MiB"),
    "log container": ([item("log", 13 * MIB, item_count=100)], "log", "max_container_bytes is 12 MiB"),
    "26 spans": ([item("span")] * 26, "span", "max_spans_count is 25"),
    "two span containers": ([item("span", content_type=SPAN_CONTAINER)] * 2, "span", "of the kind span container"),
    "profile": ([item("profile", 50 * MIB + 1)], "profile", "max_profile_bytes is 50 MiB"),
    "recording": ([item("replay_recording", 10 * MIB + 1)], "replay_recording", "max_replay_bytes is 10 MiB"),
    "buckets": ([item("metric_buckets", MIB + 1)], "metric_buckets", "max_metric_buckets_bytes is 1 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_is_413_and_names_limit_and_value(name: str) -> None:
    items, kind, sentence = TOO_MUCH[name]
    with pytest.raises(ProtocolError) as caught:
        check_sizes(items, LimitSettings(max_attachments_bytes=Size("2000 B")))
    error = caught.value
    assert (error.status, error.reason) == (413, f"too_large:{kind}")
    assert error.detail.startswith(f"envelope exceeded size limits for type '{kind}' (https://")
    assert sentence in error.causes[0]


def test_everything_at_its_limit_passes() -> None:
    items = [item("event", MIB), *[item("attachment")] * 29, item("user_report"), *[item("session")] * 100]
    items += [
        *[item("client_report", 100 * KIB)] * 100,
        item("check_in", 100 * KIB),
        item("log", 12 * MIB, item_count=6),
    ]
    items += [
        *[item("span")] * 25,
        item("span", content_type=SPAN_CONTAINER),
        item("profile", 1),
        *[item("from_the_future", 10)] * 200,
    ]
    check_sizes(items, LimitSettings())


COUNTS = {
    "event": (item("event"), (("error", 1),)),
    "attachment": (item("attachment", 5), (("attachment", 5), ("attachment_item", 1))),
    "empty attachment": (item("attachment", 0), (("attachment", 1), ("attachment_item", 1))),
    "log": (item("log", 9, item_count=3), (("log_item", 3), ("log_byte", 9))),
    "log with a lie": (item("log", 9, item_count="x"), (("log_item", 1), ("log_byte", 9))),
    "check-in": (item("check_in"), (("monitor", 1),)),
    "python profile": (
        item("profile", platform="python"), (("profile", 1), ("profile_indexed", 1), ("profile_backend", 1)),
    ),
    "ios profile": (item("profile", platform="cocoa"), (("profile", 1), ("profile_indexed", 1), ("profile_ui", 1))),
    "unknown": (item("from_the_future"), (("default", 1),)),
    "client report": (item("client_report"), (("default", 1),)),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_an_item_is_counted_in_its_categories(name: str) -> None:
    one, counts = COUNTS[name]
    assert counts_of(one) == counts


def test_a_transaction_counts_itself_and_its_spans() -> None:
    payload = b'{"spans":[{},{}],"type":"transaction"}'
    counts = dict(counts_of(Item("transaction", {"type": "transaction"}, payload)))
    assert counts == {"transaction": 1, "transaction_indexed": 1, "span": 3, "span_indexed": 3}
    assert dict(counts_of(item("transaction")))["span"] == 1


def test_crash_attachments_make_events_and_odd_headers_do_no_harm() -> None:
    assert creates_event(item("attachment", attachment_type="event.minidump"))
    assert not creates_event(item("attachment", attachment_type=["event.minidump"]))
    assert not is_known(item("attachment", attachment_type={}))
    assert not is_known(item("attachment", attachment_type="event.future"))
    assert is_known(item("attachment"))
    assert not is_known(item("from_the_future"))


def test_every_limit_of_the_table_is_a_setting() -> None:
    names = {kind.max_bytes for kind in ITEM_KINDS.values()} | {kind.max_group_bytes for kind in ITEM_KINDS.values()}
    names |= {kind.max_count for kind in ITEM_KINDS.values() if isinstance(kind.max_count, str)}
    assert {name for name in names if name} <= set(LimitSettings.__struct_fields__)
