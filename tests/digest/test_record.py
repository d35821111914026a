"""What becomes of the items of one record that are neither plain events nor plain items."""

import zlib

from tests.digest.test_digester import digest, reasons

REPORT = b'{"csp-report":{"effective-directive":"img-src","blocked-uri":"http://evil.example/"}}'


def test_each_security_report_of_a_record_is_an_event_with_an_id_of_its_own() -> None:
    head = {"type": "raw_security"}
    digested = digest((head, REPORT), (head, REPORT), (head, b'{"type":"deprecation"}'))
    assert [row.type for row in digested.events] == ["csp", "csp"]
    assert len({row.event_id for row in digested.events}) == 2
    assert reasons(digested) == ["invalid:security_report_type"]


def test_an_attachment_that_belongs_to_no_event_is_counted_in_bytes_and_items() -> None:
    digested = digest(({"type": "attachment"}, b"abc"), header={})
    assert digested.items == []
    assert reasons(digested) == ["invalid:invalid_event_id"]
    assert {(one.category, one.quantity) for one in digested.outcomes} == {("attachment", 3), ("attachment_item", 1)}


def test_a_recording_that_unpacks_to_more_than_its_limit_is_refused() -> None:
    kind = {"type": "replay_recording"}
    bomb = zlib.compress(b"0" * (100 * 2**20 + 1), 9)
    digested = digest((kind, b'{"segment_id":0}\n' + bomb))
    assert digested.items == []
    assert reasons(digested) == ["invalid:too_large:replay_recording"]
    good = digest((kind, b'{"segment_id":0}\n' + zlib.compress(b"[]")), (kind, b"{}\nx no stream"))
    assert [item.kind for item in good.items] == ["replay_recording"] * 2
