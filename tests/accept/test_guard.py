"""The guarded protocol against hostile and slow clients."""

import asyncio
import subprocess
import sys

import pytest

from collector.accept.settings import IngestSettings
from collector.model.settings import Duration, Size
from collector.protocol.limits import LimitSettings
from tests.accept.house import AUTH, House, hang_up, open_house, play, read_answer, request
from tests.protocol.bodies import EVENT_ID, envelope

EVENT = envelope(('{"type":"event"}', b'{"message":"hello"}'))
PATH = "/api/42/envelope/"
HURRY = IngestSettings(
    header_timeout=Duration("200 ms"),
    body_timeout=Duration("200 ms"),
    keep_alive_timeout=Duration("200 ms"),
    drain_timeout=Duration("200 ms"),
    min_body_rate_bytes=Size("100 KiB"),
)
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n"


async def until_gone(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes; a reset counts as closed."""
    try:
        return await asyncio.wait_for(reader.read(-1), 20)
    except ConnectionError:
        return b""


async def last_words(house: House, *chunks: bytes) -> tuple[int, bytes]:
    """What comes back until the server closes: the first status (0 without one), and all bytes."""
    reader, writer = await house.dial()
    for chunk in chunks:
        writer.write(chunk)
        await asyncio.sleep(0)
    data = await until_gone(reader)
    await hang_up(writer)
    return (int(data.split()[1]) if data else 0), data


LATE = {
    "nothing at all": ([], 0),
    "half a request line": ([b"POST /api"], 408),
    "half a head": ([HEAD.encode()], 408),
    "no body": ([f"{HEAD}Content-Length: 100\r\n\r\n".encode()], 408),
    "half a body": ([f"{HEAD}Content-Length: 100\r\n\r\n".encode(), b"x" * 50], 408),
    "half a chunk": ([f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), b"ff\r\nxx"], 408),
    "idle after an answer": ([request(PATH, EVENT, AUTH)], 200),
    "a second head after an answer": ([request(PATH, EVENT, AUTH), b"POST"], 200),
}


@pytest.mark.parametrize("name", LATE)
def test_a_client_that_stalls_is_gone_at_its_deadline(name: str) -> None:
    chunks, status = LATE[name]

    async def scene() -> None:
        async with open_house(HURRY) as house:
            found, data = await last_words(house, *chunks)
            assert found == status
            assert len(house.spooled) == (status == 200)
            assert b"500" not in data[:12]

    play(scene())


def test_a_slow_body_at_the_minimum_rate_is_let_through() -> None:
    settings = IngestSettings(body_timeout=Duration("200 ms"), min_body_rate_bytes=Size("1 B"))

    async def scene() -> None:
        async with open_house(settings) as house:
            reader, writer = await house.dial()
            whole = request(PATH, EVENT, AUTH)
            for start in range(0, len(whole), 40):
                writer.write(whole[start : start + 40])
                await asyncio.sleep(0.05)
            assert (await read_answer(reader)).status == 200
            writer.close()

    play(scene())


@pytest.mark.parametrize("size", [1, 7, 100])
def test_any_chunking_of_a_request_gives_the_same_result(size: int) -> None:
    async def scene() -> None:
        async with open_house() as house:
            whole = request(PATH, EVENT, AUTH)
            answer = await house.say(*(whole[start : start + size] for start in range(0, len(whole), size)))
            assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
            coded = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
            for start in range(0, len(EVENT), size):
                piece = EVENT[start : start + size]
                coded += b"%x\r\n%s\r\n" % (len(piece), piece)
            assert (await house.say(coded, b"0\r\n\r\n")).status == 200
            assert [body for _, body in house.spooled] == [EVENT, EVENT]

    play(scene())


def test_a_client_that_leaves_in_mid_body_spools_nothing() -> None:
    async def scene() -> None:
        async with open_house() as house:
            for _ in range(20):
                _, writer = await house.dial()
                writer.write(request(PATH, EVENT, AUTH)[:-1])
                await writer.drain()
                await hang_up(writer)
            assert (await house.post(PATH, EVENT)).status == 200
            assert len(house.spooled) == 1

    play(scene())


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_client_that_closes_right_after_sending_loses_nothing(size: int) -> None:
    body = envelope((f'{{"type":"attachment","length":{size}}}', b"x" * size))

    async def scene() -> None:
        async with open_house() as house:
            for _ in range(20):
                _, writer = await house.dial()
                writer.write(request(PATH, body, AUTH))
                await writer.drain()
                await hang_up(writer)
            while len(house.spooled) < 20:
                await asyncio.sleep(0.01)
            assert {len(spooled) for _, spooled in house.spooled} == {len(body)}

    play(scene())


BROKEN = {
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, 400),
    "both lengths": (f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), 400),
    "two lengths": (f"{HEAD}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello".encode(), 400),
    "negative length": (f"{HEAD}Content-Length: -1\r\n\r\n".encode(), 400),
    "length 2^64": (f"{HEAD}Content-Length: 18446744073709551616\r\n\r\n".encode(), 400),
    "broken chunk size": (f"{HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n".encode(), 400),
    "header flood": (HEAD.encode() + b"X-A: b\r\n" * 20_000 + b"\r\n", 431),
    "endless header": (HEAD.encode() + b"X-A: " + b"b" * 200_000, 431),
    "URL of 1 MB": (b"GET /api/42/store/?" + b"a" * 10**6 + b" HTTP/1.1\r\n\r\n", 431),
    "no path": (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 404),
    "raw bytes in the path": (b"POST /api/\xff\xfe/envelope/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_http_is_refused_and_the_door_stays_open(name: str) -> None:
    data, status = BROKEN[name]

    async def scene() -> None:
        async with open_house(HURRY) as house:
            found, _ = await last_words(house, data)
            assert found in (status, 0)
            assert house.spooled == []
            assert (await house.post(PATH, EVENT)).status == 200

    play(scene())


def test_a_refused_body_is_answered_at_once_and_drained() -> None:
    limits = LimitSettings(max_envelope_bytes=Size("100 KiB"))

    async def scene() -> None:
        async with open_house(limits=limits) as house:
            reader, writer = await house.dial()
            writer.write(request(PATH, b"x" * 300_000, AUTH))
            assert (await read_answer(reader)).status == 413
            writer.write(request(PATH, EVENT, AUTH))
            assert (await read_answer(reader)).status == 200
            writer.close()

    play(scene())


@pytest.mark.parametrize("size", ["Content-Length: 100000000", "Transfer-Encoding: chunked"])
def test_a_refused_body_that_goes_on_for_ever_is_cut_off(size: str) -> None:
    limits = LimitSettings(max_envelope_bytes=Size("10 KiB"))

    async def scene() -> None:
        async with open_house(limits=limits) as house:
            reader, writer = await house.dial()
            writer.write(f"{HEAD}{size}\r\n\r\n".encode())
            sent = 0
            while not writer.is_closing() and sent < 50_000_000:
                writer.write(b"ffff\r\n" + b"x" * 65535 + b"\r\n")
                sent += 65535
                try:
                    await writer.drain()
                except ConnectionError:
                    break
            assert sent < 20_000_000
            assert house.spooled == []
            await hang_up(writer)
            reader.feed_eof()

    play(scene())


def test_pipelined_requests_are_answered_in_order() -> None:
    async def scene() -> None:
        async with open_house() as house:
            reader, writer = await house.dial()
            writer.write(request(PATH, EVENT, AUTH) * 3 + request(PATH, b"", AUTH) + request(PATH, EVENT, AUTH))
            statuses = [(await read_answer(reader)).status for _ in range(5)]
            assert statuses == [200, 200, 200, 400, 200]
            writer.close()

    play(scene())


def test_connections_over_the_cap_are_closed_and_the_others_served() -> None:
    settings = IngestSettings(max_connections=3, max_connections_per_address=2)

    async def scene() -> None:
        async with open_house(settings) as house:
            first = await house.dial()
            second = await house.dial()
            await asyncio.sleep(0.05)
            third_reader, third_writer = await house.dial()
            third_writer.write(request(PATH, EVENT, AUTH))
            assert (await read_answer(third_reader)).status == 0
            first[1].write(request(PATH, EVENT, AUTH))
            assert (await read_answer(first[0])).status == 200
            await hang_up(second[1])
            await asyncio.sleep(0.05)
            assert (await house.post(PATH, EVENT)).status == 200
            await hang_up(first[1])
            await hang_up(third_writer)

    play(scene())


def test_memory_for_bodies_is_bounded_and_given_back() -> None:
    settings = IngestSettings(max_inflight_bytes=Size("1 KiB"))
    body = envelope(('{"type":"attachment","length":600}', b"x" * 600))

    async def scene() -> None:
        async with open_house(settings) as house:
            house.gate = asyncio.Event()
            waiting = asyncio.create_task(house.post(PATH, body))
            await asyncio.sleep(0.1)
            busy = await house.post(PATH, body)
            assert (busy.status, busy.headers["retry-after"]) == (503, "5")
            house.gate.set()
            assert (await waiting).status == 200
            assert (await house.post(PATH, body)).status == 200

    play(scene())


def test_500_slow_clients_do_not_keep_others_out_and_are_all_gone() -> None:
    async def scene() -> None:
        async with open_house(HURRY) as house:
            slow = [await house.dial() for _ in range(500)]
            for _, writer in slow:
                writer.write(HEAD.encode())
            assert (await house.post(PATH, EVENT)).status == 200
            data = await asyncio.gather(*(until_gone(reader) for reader, _ in slow))
            assert {words[:12] for words in data} <= {b"HTTP/1.1 408", b""}
            assert house.spooled[0][1] == EVENT
            await asyncio.gather(*(hang_up(writer) for _, writer in slow))

    play(scene())


def test_the_limit_of_open_files_is_raised_as_far_as_allowed_and_never_lowered() -> None:
    script = (
        "import resource; from collector.accept.guard import open_files, guarded\n"
        "from collector.accept.settings import IngestSettings\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 700))\n"
        "print(open_files(200), open_files(500), open_files(9000), guarded(IngestSettings()).settings.max_connections)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["300", "500", "700", "444"]
