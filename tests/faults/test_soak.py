"""What a soak must not overlook, without processes: a dead thread, a load that stalls, a late loop, a loss."""

import argparse
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.faults.judging import (
    Bag,
    Lag,
    Watched,
    lag_complaints,
    lag_figures,
    load_complaints,
    lost_behind,
    quantile,
)
from tests.faults.soak import Upstream, new_folder
from tests.faults.stopping import Interrupted, Stopping
from tests.helpers.arguments import above_zero


def test_a_thread_that_dies_is_heard_of_at_once_and_says_why() -> None:
    broken = threading.Event()

    def load() -> None:
        raise RuntimeError("process 3 ended with -9: it said nothing")

    thread = Watched("load", load, broken.set)
    thread.start()
    assert broken.wait(10)
    thread.join(10)
    assert thread.complaints() == ["load: RuntimeError: process 3 ended with -9: it said nothing"]


def test_a_thread_that_ends_is_well_and_one_that_does_not_is_not() -> None:
    broken, over = threading.Event(), threading.Event()

    def wait() -> None:
        over.wait()

    ends, hangs = Watched("sample", lambda: None, broken.set), Watched("load", wait, broken.set)
    for thread in (ends, hangs):
        thread.start()
    ends.join(10)
    found = ends.complaints(), hangs.complaints(), broken.is_set()
    over.set()
    hangs.join(10)
    assert found == ([], ["load: did not end"], False)
    assert hangs.complaints() == []


def test_a_load_that_stalls_or_is_refused_is_a_complaint() -> None:
    assert load_complaints(sent=6_900, acked=6_600, rate=120, due_seconds=60) == []
    assert load_complaints(3_599, 3_599, 120, 60) == ["load: 3599 requests sent, 7200 were due in 60 s"]
    assert load_complaints(0, 0, 120, 60) == ["load: 0 requests sent, 7200 were due in 60 s"]
    assert load_complaints(7_000, 1_700, 120, 60) == ["load: only 1700 of 7000 requests were acknowledged"]
    assert load_complaints(0, 0, 120, 0.0) == []


def test_lag_is_judged_in_the_calm_part_alone() -> None:
    rough = [Lag(at, 900.0, 1_500.0) for at in range(0, 100, 2)]
    calm = [Lag(at, 3.0 + at % 3, 1_500.0) for at in range(100, 400, 2)]
    well = lag_figures(rough + calm, 100.0)
    assert (well["looks"], well["p50"], well["p99"], well["max"]) == (200, 4.0, 900.0, 1_500.0)
    assert (well["calm_looks"], well["calm_p99"], well["calm_max"]) == (150, 5.0, 5.0)
    assert lag_complaints(well) == []
    stalls = [Lag(at, 600.0, 600.0) for at in range(400, 410, 2)]
    assert lag_complaints(lag_figures([*calm, *stalls[:2]], 100.0)) == []
    late = lag_complaints(lag_figures([*calm, *stalls], 100.0))
    assert late == ["front: in 5 of 155 looks of the calm part timers came over 500 ms late"]
    assert lag_complaints(lag_figures([*calm * 4, *stalls], 100.0)) == []
    assert lag_complaints(lag_figures([], float("inf"))) == []


def test_quantiles() -> None:
    values = [float(each) for each in range(101)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.0, 50.0, 99.0, 100.0]
    assert [quantile([], 0.5), quantile([7.0], 0.99)] == [0.0, 7.0]


@pytest.mark.parametrize("seed", range(5))
def test_each_kind_of_fault_comes_once_before_any_comes_again(seed: int) -> None:
    bag = Bag("abcdef", random.Random(seed))
    assert sorted(bag.draw() for _ in range(6)) == list("abcdef")
    assert {bag.draw() for _ in range(200)} == set("abcdef")


def test_faults_come_in_another_order_with_another_seed() -> None:
    orders = {"".join(bag.draw() for _ in range(6)) for bag in (Bag("abcdef", random.Random(n)) for n in range(20))}
    assert len(orders) > 15


def test_retention_excuses_the_oldest_alone() -> None:
    chunks = [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]]
    assert lost_behind(chunks, ["b2", "c1", "c2"]) == []
    assert lost_behind(chunks, ["b2", "c2"]) == ["c1"]
    assert lost_behind(chunks, ["a2", "c1"]) == ["b1", "b2", "c2"]
    assert lost_behind(chunks, []) == []
    assert lost_behind([], ["x"]) == []


def test_the_first_signal_interrupts_and_those_after_it_do_not() -> None:
    stopping = Stopping()
    with pytest.raises(Interrupted):
        stopping._on_signal(signal.SIGTERM, None)
    stopping._on_signal(signal.SIGINT, None)
    assert stopping.number == signal.SIGTERM


def test_a_signal_waits_while_a_process_is_started_and_is_nothing_while_cleaning_up() -> None:
    stopping, late = Stopping(), Stopping()
    with pytest.raises(Interrupted), stopping.held():
        stopping._on_signal(signal.SIGTERM, None)
    late.over()
    late._on_signal(signal.SIGTERM, None)
    assert (stopping.number, late.number) == (signal.SIGTERM, 0)


def test_what_fails_to_start_because_of_the_signal_is_no_failure() -> None:
    stopping = Stopping()

    def start(number: int) -> None:
        with stopping.held():
            stopping._on_signal(number, None)
            raise AssertionError("serve ended with 130")

    with pytest.raises(AssertionError, match="serve ended"):
        start(0)
    with pytest.raises(Interrupted):
        start(signal.SIGINT)


@pytest.mark.parametrize("text", ["0", "-1", "half", "nan", "inf", ""])
def test_minutes_and_rate_are_positive(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="should be a number above 0"):
        above_zero()(text)
    assert above_zero()("0.5") == 0.5


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    assert new_folder(str(tmp_path)) == tmp_path
    assert new_folder(str(tmp_path / "new")) == tmp_path / "new"
    (tmp_path / "data").write_text("")
    for path in (tmp_path, tmp_path / "data"):
        with pytest.raises(argparse.ArgumentTypeError, match="not an empty folder"):
            new_folder(str(path))


def test_the_upstream_of_a_soak_counts_and_keeps_no_envelope() -> None:
    upstream = Upstream(validate=False)
    event_id = "fc6d8c0c43fc4630ad850ee518f1b9d0"
    event = f'{{"event_id":"{event_id}","contexts":{{"collector":{{"count":7}}}}}}'
    body = f'{{"event_id":"{event_id}"}}\n{{"type":"event","length":{len(event)}}}\n{event}'
    auth = {"x-sentry-auth": f"Sentry sentry_key={upstream.dsn[7:39]}"}
    for _ in range(2):
        upstream._accept("POST", "/api/7/envelope/", auth, body.encode())
    assert upstream.counted() == 7
    assert upstream.received.duplicates == [event_id]
    assert not (upstream.received.envelopes or upstream.received.bodies or upstream.received.items)
    upstream._loop.close()
