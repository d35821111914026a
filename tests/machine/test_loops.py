"""Supervised loops: seen, restarted, or fatal."""

import threading

import pytest

from collector.machine.loops import Beat, Loop, LoopLag, Supervisor
from tests.helpers.clock import FakeClock


def test_a_failed_loop_comes_back_and_is_counted() -> None:
    supervisor = Supervisor(FakeClock(), on_fatal=lambda name: None)
    lives: list[int] = []
    settled = threading.Event()

    def work(beat: Beat, stop: threading.Event) -> None:
        lives.append(1)
        beat()
        if len(lives) == 1:
            raise RuntimeError("first life")
        settled.set()
        stop.wait()

    supervisor.start(Loop("w", work))
    assert settled.wait(10)
    health = supervisor.health()["w"]
    supervisor.stop.set()
    assert supervisor.join(10) == []
    assert health["failures"] == 1
    assert health["last_error"] == "RuntimeError: first life"


def test_a_critical_loop_that_fails_is_fatal() -> None:
    fatal: list[str] = []
    supervisor = Supervisor(FakeClock(), on_fatal=fatal.append)

    def work(beat: Beat, stop: threading.Event) -> None:
        raise RuntimeError("broken")

    supervisor.start(Loop("w", work, critical=True))
    supervisor.join(10)
    assert fatal == ["w"]


def test_a_loop_that_stamps_nothing_is_late_after_ten_seconds() -> None:
    clock = FakeClock()
    supervisor = Supervisor(clock, on_fatal=lambda name: None)
    supervisor.start(Loop("w", lambda beat, stop: (stop.wait(), None)[1]))
    assert supervisor.health()["w"]["late"] is False
    clock.advance(10.5)
    assert supervisor.health()["w"]["late"] is True
    supervisor.stop.set()
    supervisor.join(10)


def test_loop_lag_is_the_worst_of_two_seconds_and_of_a_minute() -> None:
    clock = FakeClock()
    lag = LoopLag(clock)
    seen = [lag.status()]
    for seconds, late in ((0.0, 0.004), (1.0, 0.3), (1.0, 0.002), (1.5, -0.001), (58.0, 0.001), (100.0, 0.0)):
        clock.advance(seconds)
        lag.saw(late)
        seen.append(lag.status())
    assert [each["now"] for each in seen] == [0.0, 4.0, 300.0, 300.0, 2.0, 1.0, 0.0]
    assert [each["worst"] for each in seen] == [0.0, 4.0, 300.0, 300.0, 300.0, 2.0, 0.0]
    clock.advance(100.0)
    assert lag.status() == {"now": 0.0, "worst": 0.0}


def test_loop_lag_remembers_no_more_than_its_minute() -> None:
    clock = FakeClock()
    lag = LoopLag(clock)
    for tick in range(2_000):
        clock.advance(0.1)
        lag.saw(1.0 - tick / 10_000)
    assert len(lag._worst) <= 601
    assert lag.worst(60.0) == pytest.approx(1.0 - 1_400 / 10_000, abs=2e-4)
