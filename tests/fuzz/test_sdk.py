"""The envelope serialiser of the real Python SDK against our parser."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from sentry_sdk.envelope import Envelope as SdkEnvelope
from sentry_sdk.envelope import Item as SdkItem
from sentry_sdk.envelope import PayloadRef

from collector.model.received import Received
from collector.protocol.encodings import DECODERS
from collector.protocol.limits import LimitSettings
from collector.protocol.records import open_body
from tests.protocol.bodies import ENCODERS

ITEM = st.tuples(
    st.sampled_from(["event", "transaction", "session", "client_report", "attachment", "check_in", "log", "x_new"]),
    st.binary(max_size=60) | st.just(b"line\nline\r\n\n"),
    st.dictionaries(st.sampled_from(["filename", "content_type", "é"]), st.text(max_size=8), max_size=2),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(ITEM, max_size=6), st.sampled_from(["", *sorted(DECODERS)]))
def test_what_the_sdk_serialises_is_parsed_to_the_same_items(
    items: list[tuple[str, bytes, dict[str, str]]], encoding: str
) -> None:
    sent = SdkEnvelope(
        headers={"event_id": "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960", "sent_at": "2026-11-21T01:02:03.000000Z"}
    )
    for kind, payload, headers in items:
        sent.add_item(SdkItem(PayloadRef(bytes=payload), type=kind, headers=dict(headers)))
    body = ENCODERS[encoding](sent.serialize())

    found = open_body(Received("envelope", 42, 0.0, encoding=encoding), body, LimitSettings())

    assert [(item.type, bytes(item.payload)) for item in found.items] == [(kind, payload) for kind, payload, _ in items]
    assert [{**item.headers, "length": None} for item in found.items] == [
        {**json.loads(json.dumps(item.headers)), "length": None} for item in sent.items
    ]
    assert found.headers["event_id"] == "5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960"
