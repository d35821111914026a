"""The format: what is written is read, what is not a batch is named."""

import random
from typing import Any

import msgspec
import pytest
import zstandard

from collector.errors import ProtocolError
from collector.hub.batch import Batch, item_of, read_batch, users_of, write_batch
from tests.hub.making import batch, entry, users


def decoded(made: Batch) -> bytes:
    return zstandard.ZstdDecompressor().decompress(write_batch(made))


def test_what_is_written_is_read() -> None:
    made = batch(entry(1), entry(2, count=7, users=users(3, 9)), entry(3, kind="check_in", headers=b'{"a":1}'))
    assert read_batch(decoded(made)) == made
    assert made.occurrences == 9
    assert users_of(made.entries[1]) == [3, 9]
    assert [item_of(one).type for one in made.entries] == ["event", "event", "check_in"]
    assert item_of(made.entries[2]).headers == {"a": 1}


def test_fields_of_a_later_version_at_the_end_are_passed_over() -> None:
    array = msgspec.msgpack.decode(decoded(batch()))
    array[5][0].append("more of the entry")
    assert read_batch(msgspec.msgpack.encode([*array, "more of the batch"])) == batch()


def flaw(data: bytes) -> tuple[int, str]:
    with pytest.raises(ProtocolError) as refused:
        read_batch(data)
    return refused.value.status, refused.value.causes[0]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"batch_id": b"123"}, "batch_id: has 3 bytes, should have 16"),
        ({"project_id": 0}, "project_id: 0 should be 1 to 2^63-1"),
        ({"entries": []}, "entries: has 0, should have 1 to 1000"),
        ({"made_at": float("inf")}, "made_at: should be a time"),
    ],
)
def test_a_flaw_of_the_batch_is_named(fields: dict[str, Any], cause: str) -> None:
    assert flaw(decoded(batch(**fields))) == (400, cause)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"kind": "k" * 65}, "kind: should have 1 to 64 characters"),
        ({"event_id": "XYZ"}, "event_id: should be 32 hex digits"),
        ({"count": 0}, "count: 0 cannot be that of an entry of kind 'event'"),
        ({"kind": "event", "count": 2}, "count: 2 cannot be that of an entry of kind 'event'"),
        ({"kind": "summary", "count": 2**41}, "count: 2199023255552 cannot be that of an entry of kind 'summary'"),
        ({"first_at": float("nan")}, "first_at: first_at and last_at should be times in order"),
        ({"last_at": 0.0}, "first_at: first_at and last_at should be times in order"),
        ({"users": b"1234"}, "users: has 4 bytes, should be 0 to 512 hashes of 8"),
        ({"users": bytes(16)}, "users: should be ascending hashes of 63 bits, none 0 and none twice"),
        ({"headers": b"[]"}, "headers: should be a JSON object"),
        ({"headers": b" " * 70_000}, "headers: has 70000 bytes, may have 65536"),
    ],
)  # fmt: skip
def test_a_flaw_of_an_entry_is_named_with_its_place(fields: dict[str, Any], cause: str) -> None:
    assert flaw(decoded(batch(entry(1), entry(2, **fields)))) == (400, f"entries[1].{cause}")


def test_damaged_batches_are_refused_or_read_and_nothing_else() -> None:
    pick = random.Random(7)
    whole = decoded(batch(entry(1), entry(2, count=7, users=users(3, 9)), entry(3, kind="log", headers=b'{"a":1}')))
    fates = [fate(damaged(whole, pick)) for _ in range(3000)]
    assert {"read", "400"} <= set(fates) <= {"read", "400", "426"}


def damaged(data: bytes, pick: random.Random) -> bytes:
    place, kind = pick.randrange(len(data)), pick.randrange(3)
    changed = bytes((pick.randrange(256),))
    return (data[:place], data[:place] + changed + data[place:], data[:place] + changed + data[place + 1 :])[kind]


def fate(data: bytes) -> str:
    try:
        for one in read_batch(data).entries:
            item_of(one), users_of(one)
    except ProtocolError as error:
        return str(error.status)
    return "read"


def test_garbage_is_no_batch_and_types_are_named() -> None:
    assert flaw(b"\x00garbage") == (400, "it is no msgpack array that begins with a version")
    assert flaw(msgspec.msgpack.encode([1, 7, b"", 0.0, 1, []])) == (400, "edge: expected `str`, got `int`")
    array = msgspec.msgpack.decode(decoded(batch()))
    array[5][0][2] = "many"
    assert flaw(msgspec.msgpack.encode(array)) == (400, "entries, count: expected `int`, got `str`")


def test_another_version_is_told_which_are_read() -> None:
    assert flaw(msgspec.msgpack.encode([2, "later", "things"])) == (426, "versions read here: 1")
