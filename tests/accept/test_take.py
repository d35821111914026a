"""Other doors between two requests: what is under way ends under those it began with."""

import asyncio
from dataclasses import replace

import pytest
from msgspec.structs import replace as with_settings

from collector.accept.settings import IngestSettings
from collector.model.settings import Size
from collector.protocol.limits import LimitSettings
from tests.accept.house import AUTH, House, hang_up, open_house, page, play, read_answer, request

EVENT = b'{}\n{"type":"event"}\n{"message":"hi"}\n'
# Another encoding takes the general way, a plain body the direct one.
WAYS = ["X-Plain: yes", "Content-Type: application/x-sentry-envelope", "Expect: 100-continue"]


async def under_way(house: House, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request whose body has come half-way."""
    reader, writer = await house.dial()
    writer.write(request("/api/42/envelope/", EVENT, AUTH, *headers)[:-10])
    await writer.drain()
    await asyncio.sleep(0.05)
    return reader, writer


@pytest.mark.parametrize("way", WAYS)
def test_a_request_under_way_ends_with_the_doors_it_began_with_and_the_next_one_meets_the_others(way: str) -> None:
    async def scene() -> None:
        async with open_house() as house:
            reader, writer = await under_way(house, way)
            house.app.take(replace(house.doors, projects=()), page)
            writer.write(EVENT[-10:])
            answer = await read_answer(reader)
            if answer.status == 100:
                answer = await read_answer(reader)
            assert answer.status == 200
            writer.write(request("/api/42/envelope/", EVENT, AUTH))
            assert (await read_answer(reader)).status == 403
            await hang_up(writer)
            assert len(house.spooled) == 1

    play(scene())


def test_another_limit_holds_for_the_next_request_of_an_open_connection() -> None:
    async def scene() -> None:
        async with open_house() as house:
            reader, writer = await house.dial()
            writer.write(request("/api/42/envelope/", EVENT, AUTH))
            assert (await read_answer(reader)).status == 200
            house.app.take(replace(house.doors, limits=LimitSettings(max_event_bytes=Size("4 B"))), page)
            writer.write(request("/api/42/envelope/", EVENT, AUTH))
            assert (await read_answer(reader)).status == 413
            await hang_up(writer)

    play(scene())


def test_the_memory_of_bodies_is_one_account_whatever_the_limit_is_now() -> None:
    async def scene() -> None:
        settings = IngestSettings(max_inflight_bytes=Size("1 KiB"))
        async with open_house(settings) as house:
            house.gate = asyncio.Event()
            held = asyncio.create_task(house.post("/api/42/envelope/", EVENT + b" " * 900))
            await asyncio.sleep(0.05)
            assert (await house.post("/api/42/envelope/", EVENT + b" " * 900)).status == 503
            wider = with_settings(settings, max_inflight_bytes=Size("1 MiB"))
            house.app.take(replace(house.doors, settings=wider), page)
            house.gate.set()
            assert (await house.post("/api/42/envelope/", EVENT + b" " * 900)).status == 200
            assert (await held).status == 200
            assert house.doors.answers == {200: 2, 503: 1}

    play(scene())
