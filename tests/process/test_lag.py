"""The front knows when its event loop was kept busy."""

import asyncio

import uvicorn

from collector.serve import TICK_SECONDS, QuietServer
from tests.helpers.clock import FakeClock


def test_a_loop_that_was_busy_while_a_tick_was_due_is_late() -> None:
    clock = FakeClock()
    server = QuietServer(uvicorn.Config("nowhere:app"), clock)

    async def serve() -> None:
        ticking = asyncio.create_task(server.main_loop())
        await asyncio.sleep(0)
        clock.advance(TICK_SECONDS + 0.25)
        server.should_exit = True
        await ticking

    asyncio.run(serve())
    assert server.lag.status() == {"now": 250.0, "worst": 250.0}
