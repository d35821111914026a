"""Targets for long fuzzing: bytes in, nothing out. Whatever is not a ProtocolError is a finding.

Used by tests.fuzz.run (atheris, or Hypothesis where it cannot be had) and by a short test.
"""

import contextlib
from collections.abc import Callable

from zstandard import ZstdDecompressor

from collector.errors import ProtocolError
from collector.hub.batch import item_of, read_batch, users_of, write_batch
from collector.model.received import Received
from collector.protocol.auth import read_auth
from collector.protocol.dsn import parse_dsn
from collector.protocol.encodings import DECODERS, decode, decode_inline
from collector.protocol.envelope import parse_envelope
from collector.protocol.kinds import counts_of
from collector.protocol.limits import LimitSettings
from collector.protocol.ratelimits import read_limits, write_limits
from collector.protocol.records import BODY_FORMS, open_body
from collector.protocol.sizes import check_sizes

LIMITS = LimitSettings()
DOORS = sorted(BODY_FORMS)
ENCODINGS = sorted(DECODERS)
TYPES = ["application/json", "application/x-sentry-envelope", "multipart/form-data; boundary=BB",
         "application/x-protobuf", "application/reports+json", ""]  # fmt: skip
MAX_DECODED_BYTES = 2**20


def envelope(data: bytes) -> None:
    """Split; the payloads are parts of the body, sizes and counts can be told."""
    with contextlib.suppress(ProtocolError):
        found = parse_envelope(data, LIMITS)
        assert sum(len(item.payload) for item in found.items) <= len(data)
        assert all(quantity >= 0 for item in found.items for _, quantity in counts_of(item))
        check_sizes(found.items, LIMITS)


def door(data: bytes) -> None:
    """Any body at any door; opening it twice gives the same items. The first two bytes choose door and type."""
    head = Received(DOORS[data[0] % len(DOORS)] if data else "store", 42, 1.79e9, slug="nightly", query="status=ok",
                    content_type=TYPES[data[1] % len(TYPES)] if len(data) > 1 else "")  # fmt: skip
    with contextlib.suppress(ProtocolError):
        first = open_body(head, data[2:], LIMITS)
        again = open_body(head, data[2:], LIMITS)
        assert [one.type for one in first.items] == [one.type for one in again.items]


def multipart(data: bytes) -> None:
    """A multipart body with a boundary of its own choice at both doors that take one."""
    kind = f"multipart/form-data; boundary={data[:2].decode('latin-1')}" if data[:1] > b"\x80" else TYPES[2]
    for name in ("minidump", "attachments"):
        with contextlib.suppress(ProtocolError):
            found = open_body(Received(name, 42, 1.79e9, content_type=kind, event_id="ab" * 16), data, LIMITS)
            assert sum(len(item.payload) for item in found.items) <= 2 * len(data) + 1024


def auth(data: bytes) -> None:
    """All forms of auth, alone and two at once."""
    for header in (data, b"Sentry " + data, b"Basic " + data, b"sentry sentry_key=" + data):
        with contextlib.suppress(ProtocolError):
            read_auth([header], [])
        with contextlib.suppress(ProtocolError):
            read_auth([], [header], b"sentry_key=" + data)
    with contextlib.suppress(ProtocolError):
        found = read_auth([], [], data, data[:40].decode("latin-1"))
        assert found is None or len(found.public_key) == 32


def dsn(data: bytes) -> None:
    """A DSN of anything is in its bounds."""
    with contextlib.suppress(ProtocolError):
        found = parse_dsn(data.decode("utf-8", "surrogateescape"))
        assert 0 <= found.project_id < 2**63
        assert 0 <= found.port <= 65535


def rate_limits(data: bytes) -> None:
    """What is read is written and read to the same."""
    found = read_limits(data.decode("latin-1"))
    again = read_limits(write_limits(found))
    assert [(one.seconds, one.scope) for one in again] == [(one.seconds, one.scope) for one in found]


def stream(data: bytes) -> None:
    """A compressed stream keeps to its cap. The first byte chooses the encoding."""
    encoding = ENCODINGS[data[0] % len(ENCODINGS)] if data else "gzip"
    with contextlib.suppress(ProtocolError):
        whole = decode(encoding, data[1:], MAX_DECODED_BYTES, 100)
        assert len(whole) <= MAX_DECODED_BYTES
        inline = decode_inline(encoding, data[1:], MAX_DECODED_BYTES)
        assert inline is None or inline == whole


def hub_batch(data: bytes) -> None:
    """A batch of an edge, decompressed: what is read can be taken apart and counted, and is read again the same."""
    with contextlib.suppress(ProtocolError):
        found = read_batch(data)
        assert found.occurrences >= len(found.entries) > 0
        for entry in found.entries:
            assert all(0 < user < 2**63 for user in users_of(entry))
            check_sizes([item_of(entry)], LIMITS)
        assert read_batch(ZstdDecompressor().decompress(write_batch(found))) == found


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (envelope, door, multipart, auth, dsn, rate_limits, stream, hub_batch)
}

KEY = b"c0ffee00c0ffee00c0ffee00c0ffee00"
WORDS = [
    b"{}", b"\n", b"\r\n", b'{"type":"event"}', b'{"type":"event","length":3}', b'{"length":-1,"type":"x"}',
    b'{"type":"log","item_count":2}', b'{"type":"attachment","filename":"a"}', b'{"event_id":"' + KEY + b'"}',
    b"9223372036854775808", b'{"dsn":"http://' + KEY + b'@h/42"}', b"--BB\r\n", b"--BB--", b"\r\n\r\n", b"MDMP",
    b'Content-Disposition: form-data; name="a"; filename="b"', b"sentry_key=", KEY, b"Sentry ", b", ", b"\xff",
    b"https://", b"@", b"/42", b":", b";", b"60:error;transaction:key:reason", b"1e999", b'"\\ud800"', b"NaN", b"[[[[",
    b'{"csp-report":{"document-uri":"x"}}', b'{"resourceLogs":[]}', b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\x00",
    b"sentry_version=7", b'"length"',
]  # fmt: skip
