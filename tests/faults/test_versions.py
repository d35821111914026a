"""Data that another version wrote, with the real command: nothing is lost by trying."""

import sqlite3
from pathlib import Path

import pytest

from tests.faults.audit import ISSUE_OFF, audit
from tests.helpers.running import Collector, envelope, error_event, wait_for

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pressure")]


def set_format(running: Collector, number: int) -> int:
    """Write a format into state.sqlite; the one that was there."""
    state = sqlite3.connect(running.data / "state.sqlite")
    with state:
        (before,) = state.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        state.execute("UPDATE meta SET value = ? WHERE key = 'format'", (number,))
    state.close()
    return int(before)


def test_data_of_a_newer_collector_is_named_and_events_wait_for_the_right_one(tmp_path: Path) -> None:
    """
    1. An event; stop; the state is made to look newer. 2. Start, another event. 3. Stop; the right version comes back.
    Result: not ready, with a sentence that says what to do; the event is acknowledged; at the end both are stored.
    """
    running = Collector(tmp_path, ISSUE_OFF).start()
    try:
        first, second = error_event("first"), error_event("second")
        assert running.send(envelope(first))[0] == 200
        running.drained()
        assert running.stop() == 0
        right = set_format(running, 99)
        running.start()
        assert running.send(envelope(second))[0] == 200
        wait_for(lambda: "newer collector" in " ".join(running.status()["problems"]), what="a problem that says it")
        assert running.status()["ready"] is False
        assert running.get("/readyz")[0] == 503
        running.stop()
        set_format(running, right)
        running.start()
        audit(running, [first["event_id"], second["event_id"]])
    finally:
        running.close()
