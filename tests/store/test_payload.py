"""Payload bytes: compressed with dictionaries of the project's own events, readable from each file alone."""

import json
import random
from pathlib import Path

import pytest

from collector.errors import Damaged
from collector.store.payload import SAMPLES, Dictionary, PayloadCodec, Training, read_dictionaries
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import SHOP_AND_BLOG, event, record
from tests.store.conftest import Opener, read, segment_files

WORDS = [f"module_{n}.function_{n}" for n in range(300)]


def body(number: int, seed: str = "app") -> bytes:
    chosen = random.Random(f"{seed}{number % 9}").choices(WORDS, k=30)
    frames = [{"function": word, "lineno": number, "context_line": f"    return {word}({seed})"} for word in chosen]
    return json.dumps({"event_id": f"{number:032x}", "stacktrace": {"frames": frames}}).encode()


def fill(store: Store, first: int, last: int, project_id: int = 42, seed: str = "app") -> None:
    rows = [event(n, project_id=project_id, payload=body(n, seed)) for n in range(first, last + 1)]
    store.commit([record(row_no, row) for row_no, row in enumerate(rows, first)])
    store.maintain()


def stored_bytes(path: Path) -> list[tuple[int, int]]:
    return [(int(enc), int(size)) for enc, size in read(path, "SELECT enc, octet_length(payload) FROM events")]


def test_after_its_first_events_a_project_gets_a_dictionary_that_saves_a_quarter(
    open_store: Opener, tmp_path: Path
) -> None:
    store = open_store()
    fill(store, 1, SAMPLES)
    fill(store, SAMPLES + 1, 2 * SAMPLES)
    store.close()
    sizes = stored_bytes(segment_files(tmp_path / "data")[0])
    before = sum(size for enc, size in sizes if enc == 1)
    after = sum(size for enc, size in sizes if enc == 2)
    assert [enc for enc, _ in sizes] == [1] * SAMPLES + [2] * SAMPLES
    assert after < before * 0.75


def test_every_payload_reads_back_after_restart_and_rotation(open_store: Opener, clock: FakeClock) -> None:
    store = open_store(projects=SHOP_AND_BLOG)
    fill(store, 1, SAMPLES + 5)
    fill(store, 201, 200 + SAMPLES + 5, 43, "blog")
    fill(store, 401, 410)
    clock.advance(86_400)
    store.maintain()
    fill(store, 411, 420)
    store.close()
    again = open_store()
    assert [again.payload(f"{n:032x}", 42) for n in (1, 105, 405, 415)] == [body(n) for n in (1, 105, 405, 415)]
    assert again.payload(f"{203:032x}", 43) == body(203, "blog")


def test_a_new_segment_starts_with_the_dictionaries_and_then_trains_its_own(
    open_store: Opener, clock: FakeClock, tmp_path: Path
) -> None:
    store = open_store()
    fill(store, 1, SAMPLES)
    fill(store, 101, 110)
    clock.advance(86_400)
    store.maintain()
    fill(store, 111, 110 + SAMPLES)
    fill(store, 311, 320)
    store.close()
    assert {enc for enc, _ in stored_bytes(segment_files(tmp_path / "data")[1])} == {2, 3}


def test_a_dictionary_is_not_carried_for_longer_than_a_week() -> None:
    codec = PayloadCodec({1: Dictionary(42, b"x" * 300, 1000.0)})
    assert list(codec.carried(1000.0 + 6 * 86_400)) == [1]
    assert codec.carried(1000.0 + 8 * 86_400) == {}


def test_a_dictionary_that_stopped_fitting_is_trained_again() -> None:
    training = Training()
    for number in range(SAMPLES):
        training.see(42, body(number), 1, 1000)
    first = training.train(42, 1.0)
    assert first is not None
    for number in range(700):
        training.see(42, body(number, "other"), 2, len(body(number, "other")))
    assert training.due() == [42]


def test_small_payloads_are_left_as_they_are() -> None:
    assert PayloadCodec().encode(b"{}", 42) == (0, b"{}")


def test_damaged_payloads_and_dictionaries_are_called_so() -> None:
    codec = PayloadCodec()
    enc, data = codec.encode(b"x" * 1000, 42)
    with pytest.raises(Damaged):
        codec.decode(enc, data[:-3])
    with pytest.raises(Damaged):
        codec.decode(7, data)
    with pytest.raises(Damaged):
        read_dictionaries({"dict:1": b"short"})
