"""Supervised loops: seen, restarted, or fatal."""

import threading

from collector.machine.loops import Beat, Loop, Supervisor
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
