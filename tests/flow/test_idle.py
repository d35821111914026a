"""The front and an idle worker leave each other alone."""

import asyncio
from types import SimpleNamespace

import pytest

from collector.model.received import Position
from collector.serve import Front


@pytest.mark.parametrize(
    ("here", "at", "is_woken"),
    [
        (Position(7, 0, 0), Position(0, 0, 0), False),  # nothing was ever received
        (Position(7, 3, 9), Position(7, 3, 9), False),
        (Position(7, 4, 9), Position(7, 3, 9), True),
        (Position(9, 0, 0), Position(7, 3, 9), False),  # a new spool, and nothing in it
        (Position(9, 1, 1), Position(7, 3, 9), True),
    ],
)
def test_a_worker_that_says_it_is_idle_is_woken_for_records_behind_its_position_only(
    here: Position, at: Position, is_woken: bool
) -> None:
    told: list[str] = []
    front = Front.__new__(Front)
    front.spool = SimpleNamespace(position=here)  # type: ignore[assignment]
    front.worker = SimpleNamespace(link=SimpleNamespace(notify=told.append))  # type: ignore[assignment]
    asyncio.run(front.on_frame("idle", list(at)))
    assert told == ["wake"] * is_woken
    assert front.worker_is_idle is not is_woken
