"""The front knows when its event loop was kept busy."""

import asyncio

import uvicorn

from collector.serve import TICKS_A_SECOND, QuietServer
from tests.helpers.clock import FakeClock


def test_a_loop_that_was_busy_while_a_tick_was_due_is_late() -> None:
    clock = FakeClock()
    server = QuietServer(uvicorn.Config("nowhere:app"), clock)

    async def serve() -> None:
        ticking = asyncio.create_task(server.main_loop())
        await asyncio.sleep(0)
        clock.advance(1 / TICKS_A_SECOND + 0.25)
        server.leave()
        await ticking

    asyncio.run(serve())
    assert server.lag.status() == {"now": 250.0, "worst": 250.0}
