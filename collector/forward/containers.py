"""Containers of logs, spans and metrics, put together and taken apart without reading their records.

A container is `{"items": [record, ...], ...}` with `item_count` in its item header (protocol B2). Two may become one
when they are of one kind and agree in every other header and in everything beside `items`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from collector.forward.parcel import Parcel, Press

KINDS = ("log", "span", "trace_metric")
MAX_CONTAINER_BYTES = 8 * 2**20  # protocol B2 allows 12 MiB; room for what a receiver adds while it reads
MAX_RECORDS = 20_000

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_ordered = msgspec.json.Encoder(order="sorted").encode


class Container(msgspec.Struct, frozen=True):
    """alike: what another must have in common to join. inside: the records as JSON, without the brackets."""

    alike: bytes
    inside: bytes
    count: int


def read(kind: str, project_id: int, headers: bytes, payload: bytes) -> Container | None:
    """The container in an item; None for a record on its own and for what cannot be read."""
    if kind not in KINDS:
        return None
    try:
        given = msgspec.json.decode(headers, type=dict[str, Any])
        top = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    records = bytes(top.pop("items", b"")).strip()
    count = given.get("item_count")
    if records[:1] != b"[" or not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return None
    shared = {name: value for name, value in given.items() if name not in ("length", "item_count")}
    alike = _ordered([kind, project_id, shared, top])
    return Container(alike, records[1:-1].strip(), count)


def join(parts: Sequence[Container]) -> tuple[bytes, bytes]:
    """(item headers as JSON, payload) of one container with the records of all, which are alike."""
    _, _, shared, top = msgspec.json.decode(
        parts[0].alike, type=tuple[str, int, dict[str, Any], dict[str, msgspec.Raw]]
    )
    count = sum(part.count for part in parts)
    inside = b",".join(part.inside for part in parts if part.inside)
    payload = _encode(top | {"items": msgspec.Raw(b"[" + inside + b"]")})
    return _encode({**shared, "item_count": count}), payload


def halves(container: Container) -> list[Container]:
    """Two containers with half of the records each; [] when there is only one record."""
    try:
        records = _decode_list(b"[" + container.inside + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    if len(records) < 2:
        return []
    middle = len(records) // 2
    parts = (records[:middle], records[middle:])
    return [Container(container.alike, b",".join(bytes(one) for one in part), len(part)) for part in parts]


def groups(containers: Iterable[tuple[int, Container]]) -> list[list[tuple[int, Container]]]:
    """Containers that may be sent as one, in order, within the limits of one; each with its caller's number."""
    made: list[list[tuple[int, Container]]] = []
    latest: dict[bytes, tuple[list[tuple[int, Container]], list[int]]] = {}
    for number, one in containers:
        size = len(one.inside) + 1
        group, taken = latest.get(one.alike, ([], [0, 0]))
        if not group or taken[0] + size > MAX_CONTAINER_BYTES or taken[1] + one.count > MAX_RECORDS:
            group, taken = [], [0, 0]
            made.append(group)
            latest[one.alike] = group, taken
        group.append((number, one))
        taken[0] += size
        taken[1] += one.count
    return made


def of_parcel(parcel: Parcel, press: Press) -> Container | None:
    """The container in an outbox entry. Raises Damaged."""
    return read(parcel.kind, parcel.project_id, parcel.headers, press.unpack(parcel.packed))
