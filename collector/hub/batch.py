"""The batch as bytes: written at the edge, checked and read at the hub. Format: the docstring of this room."""

import itertools
import math
import re
import struct
from collections.abc import Iterator

import msgspec
import zstandard

from collector.errors import ProtocolError
from collector.model.envelope import Item

VERSION = 1
VERSIONS = (VERSION,)  # those that a hub of this version reads
MEDIA_TYPE = "application/x-collector-batch"
CONTENT_TYPE = f"{MEDIA_TYPE}; version={VERSION}"
ENCODING = "zstd"
PATH = "/api/hub/batches/"

MAX_ENTRIES = 1000
MAX_COUNT = 2**40  # occurrences of one entry: a thousand years at 50/s; the sum of a batch fits 63 bits
MAX_KIND_CHARS, MAX_HEADERS_BYTES, MAX_USERS = 64, 64 * 1024, 512
MAX_PROJECT_ID = 2**63 - 1
EVENT, SUMMARY = "event", "summary"

_HEX32 = re.compile(r"[0-9a-f]{32}")


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One event, summary or item; field by field as the room's docstring says."""

    kind: str
    event_id: str
    count: int
    first_at: float
    last_at: float
    users: bytes
    headers: bytes
    payload: bytes


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """What one request brings."""

    version: int
    edge: str
    batch_id: bytes
    made_at: float
    project_id: int
    entries: list[Entry]

    @property
    def occurrences(self) -> int:
        """Ledger quantity: what all entries stand for."""
        return sum(entry.count for entry in self.entries)


class _Head(msgspec.Struct, array_like=True):
    version: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_headers = msgspec.json.Decoder(dict[str, object]).decode


def write_batch(batch: Batch) -> bytes:
    """The body of a request, compressed."""
    return zstandard.ZstdCompressor(level=3).compress(_encode(batch))


def read_batch(decoded: bytes) -> Batch:
    """A decompressed body, checked as a whole. Raises ProtocolError 400 naming entry and field, 426 for a version."""
    try:
        head = _decode_head(decoded)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _bad("it is no msgpack array that begins with a version") from None
    if head.version not in VERSIONS:
        raise unknown_version(str(head.version))
    try:
        batch = _decode(decoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(_place(str(error))) from None
    for flaw in _flaws(batch):
        raise _bad(flaw)
    return batch


def check_content_type(value: str) -> None:
    """Raises ProtocolError 415 for another type, 426 for another version."""
    kind, _, rest = value.partition(";")
    if kind.strip().lower() != MEDIA_TYPE:
        raise ProtocolError(
            415, f"unsupported content type, use {MEDIA_TYPE}", "content_type", [f"this is {value[:100]!r}"]
        )
    name, _, version = rest.strip().partition("=")
    if name.strip().lower() == "version" and version.strip() not in {str(one) for one in VERSIONS}:
        raise unknown_version(version.strip()[:20])


def item_of(entry: Entry) -> Item:
    """The entry as the envelope item that it was."""
    headers = _headers(entry.headers) if entry.headers else {}
    return Item(EVENT if entry.kind == SUMMARY else entry.kind, headers, entry.payload)


def users_of(entry: Entry) -> list[int]:
    """Its user hashes."""
    return list(struct.unpack(f">{len(entry.users) // 8}Q", entry.users))


def unknown_version(found: str) -> ProtocolError:
    """The refusal of a version that is not read here."""
    known = ", ".join(str(one) for one in VERSIONS)
    return ProtocolError(
        426, f"hub protocol version {found} is not understood", "hub_version", [f"versions read here: {known}"]
    )


def _bad(why: str) -> ProtocolError:
    return ProtocolError(400, "this is not a batch", "hub_batch", [why])


_PLACE = re.compile(r"(.*) - at `\$(?:\[(\d+)\])?(?:\[(\d+|\.\.\.)\])?(?:\[(\d+)\])?`")


def _place(text: str) -> str:
    """msgspec's "$[5][...][2]" in the words of the format."""
    match = _PLACE.fullmatch(text)
    if match is None or match[2] is None:
        return text
    fields = Batch.__struct_fields__
    where = fields[int(match[2])] if int(match[2]) < len(fields) else f"field {match[2]}"
    if match[4] is not None and int(match[4]) < len(Entry.__struct_fields__):
        where += f", {Entry.__struct_fields__[int(match[4])]}"
    return f"{where}: {match[1][:1].lower()}{match[1][1:]}"


def _flaws(batch: Batch) -> Iterator[str]:
    if len(batch.batch_id) != 16:
        yield f"batch_id: has {len(batch.batch_id)} bytes, should have 16"
    if not 0 < batch.project_id <= MAX_PROJECT_ID:
        yield f"project_id: {batch.project_id} should be 1 to 2^63-1"
    if not 0 < len(batch.entries) <= MAX_ENTRIES:
        yield f"entries: has {len(batch.entries)}, should have 1 to {MAX_ENTRIES}"
    if not math.isfinite(batch.made_at):
        yield "made_at: should be a time"
    for index, entry in enumerate(batch.entries):
        for flaw in _entry_flaws(entry):
            yield f"entries[{index}].{flaw}"


def _entry_flaws(entry: Entry) -> Iterator[str]:
    is_event = entry.kind in (EVENT, SUMMARY)
    if not 0 < len(entry.kind) <= MAX_KIND_CHARS:
        yield f"kind: should have 1 to {MAX_KIND_CHARS} characters"
    if not _HEX32.fullmatch(entry.event_id) and (is_event or entry.event_id):
        yield "event_id: should be 32 hex digits"
    if not 0 < entry.count <= (MAX_COUNT if entry.kind == SUMMARY else 1):
        yield f"count: {entry.count} cannot be that of an entry of kind {entry.kind[:MAX_KIND_CHARS]!r}"
    if not (math.isfinite(entry.first_at) and math.isfinite(entry.last_at) and entry.first_at <= entry.last_at):
        yield "first_at: first_at and last_at should be times in order"
    yield from _user_flaws(entry.users)
    if len(entry.headers) > MAX_HEADERS_BYTES:
        yield f"headers: has {len(entry.headers)} bytes, may have {MAX_HEADERS_BYTES}"
    elif entry.headers and not _is_object(entry.headers):
        yield "headers: should be a JSON object"


def _user_flaws(users: bytes) -> Iterator[str]:
    if len(users) % 8 or len(users) > 8 * MAX_USERS:
        yield f"users: has {len(users)} bytes, should be 0 to {MAX_USERS} hashes of 8"
    elif users:
        hashes = struct.unpack(f">{len(users) // 8}Q", users)
        if hashes[0] == 0 or hashes[-1] >= 2**63 or any(a >= b for a, b in itertools.pairwise(hashes)):
            yield "users: should be ascending hashes of 63 bits, none 0 and none twice"


def _is_object(headers: bytes) -> bool:
    try:
        _headers(headers)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
