"""The way without ASGI says and spools what the general way does, and gives back what it takes."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import collector.accept.direct as direct_module
from collector.accept.body import Inflight
from collector.accept.direct import Direct, Taken
from collector.accept.guard import RawHeaders
from collector.accept.judge import Fate, Judge
from collector.accept.settings import IngestSettings
from collector.admit.admission import Admission
from collector.admit.settings import AdmitSettings, QuotaSettings
from collector.admit.verdict import Limit
from collector.errors import Busy, CollectorError, Unavailable
from collector.model.envelope import Envelope
from collector.model.project import ProjectSettings
from collector.model.received import Position, Received
from collector.model.settings import Rate, Size
from collector.protocol.limits import LimitSettings
from tests.accept.house import AUTH, Answer, hang_up, open_house, play, read_answer, request
from tests.helpers.clock import FakeClock
from tests.protocol.bodies import ENCODERS, EVENT_ID, KEY, envelope

EVENT = envelope(('{"type":"event"}', b'{"message":"hello"}'))
PATH = "/api/42/envelope/"
SHOP = ProjectSettings(id=42, slug="shop", keys=[KEY], allowed_origins=["*.shop.example"])
BY_DSN = f'{{"dsn":"http://{KEY}@h/42","event_id":"{EVENT_ID}"}}'
BIG = envelope(('{"type":"attachment"}', b"line of a log file " * 100_000), ('{"type":"event"}', b"{}"))


def admission(*quotas: QuotaSettings) -> Admission:
    told = Admission(AdmitSettings(), quotas, {42: []}, FakeClock())
    told.learn(42, [Limit(30, ("transaction",), "project", "told")])
    return told


GUARDING = Admission(AdmitSettings(address_rate=Rate("1/m"), address_burst=2), [], {}, FakeClock())
# name: path, headers, body, settings of the house
CASES: dict[str, tuple[str, str, bytes, dict[str, Any]]] = {
    "an event": (PATH, AUTH, EVENT, {}),
    "key in the query": (f"{PATH}?sentry_key={KEY}&sentry_client=x/1", "A: b", EVENT, {}),
    "key in Authorization": (PATH, f"Authorization: Sentry sentry_key={KEY}", EVENT, {}),
    "key in the envelope": (PATH, "A: b", envelope(('{"type":"event"}', b"{}"), header=BY_DSN), {}),
    "tunnel": ("/tunnel/", "A: b", envelope(('{"type":"event"}', b"{}"), header=BY_DSN), {}),
    "dsn of another project": ("/api/43/tunnel/", "A: b", envelope(header=BY_DSN), {}),
    "doubled slashes": ("//api//42//envelope", AUTH, EVENT, {}),
    "escaped path": ("/api/%34%32/envelope/", AUTH, EVENT, {}),
    "whole URL": (f"http://h{PATH}", AUTH, EVENT, {}),
    "what a browser says": (PATH, f"{AUTH}\r\nOrigin: https://a.shop.example\r\nUser-Agent: x\xe9", EVENT,
                            {"projects": (SHOP,)}),
    "foreign origin": (PATH, f"{AUTH}\r\nOrigin: https://evil.example", EVENT, {"projects": (SHOP,)}),
    "proxy": (PATH, f"{AUTH}\r\nX-Forwarded-For: 9.9.9.9, 198.51.100.7", EVENT,
              {"settings": IngestSettings(trusted_proxies=["127.0.0.0/8"])}),
    "two user agents": (PATH, f"{AUTH}\r\nUser-Agent: a\r\nUser-Agent: b", EVENT, {}),
    "long user agent": (PATH, f"{AUTH}\r\nUser-Agent: {'a' * 3000}", EVENT, {}),
    "HTTP/1.0": (PATH, f"{AUTH}\r\nConnection: close", EVENT, {}),
    "gzip": (PATH, f"{AUTH}\r\nContent-Encoding: GZIP", ENCODERS["gzip"](EVENT), {}),
    "br": (PATH, f"{AUTH}\r\nContent-Encoding: br", ENCODERS["br"](EVENT), {}),
    "broken gzip": (PATH, f"{AUTH}\r\nContent-Encoding: gzip", ENCODERS["gzip"](EVENT)[:-1], {}),
    "unknown encoding": (PATH, f"{AUTH}\r\nContent-Encoding: rar", EVENT, {}),
    "large when decoded": (PATH, f"{AUTH}\r\nContent-Encoding: gzip", ENCODERS["gzip"](BIG), {}),
    "large and broken": (PATH, f"{AUTH}\r\nContent-Encoding: gzip", ENCODERS["gzip"](b"x" * 3_000_000), {}),
    "no body": (PATH, AUTH, b"", {}),
    "garbage": (PATH, AUTH, b"\x00\xff" * 99, {}),
    "no items": (PATH, AUTH, b"{}", {}),
    "internal item": (PATH, AUTH, envelope(('{"type":"integration"}', b"x")), {}),
    "unknown item": (PATH, AUTH, envelope(('{"type":"new"}', b"x"), ('{"type":"event"}', b"{}")),
                     {"settings": IngestSettings(accept_unknown_items=False)}),
    "session": (PATH, AUTH, envelope(('{"type":"session"}', b"{}"), header="{}"), {}),
    "unknown project": ("/api/43/envelope/", AUTH, EVENT, {}),
    "unknown key": (PATH, f"X-Sentry-Auth: Sentry sentry_key={'a' * 32}", EVENT, {}),
    "no auth": (PATH, "A: b", EVENT, {}),
    "two keys": (f"{PATH}?sentry_key={KEY}", AUTH, EVENT, {}),
    "body over its limit": (PATH, AUTH, b"x" * 5000, {"limits": LimitSettings(max_envelope_bytes=Size("4 KiB"))}),
    "event over its limit": (PATH, AUTH, envelope(('{"type":"event"}', b"x" * 2000)),
                             {"limits": LimitSettings(max_event_bytes=Size("1 KiB"))}),
    "quota of zero": (PATH, AUTH, envelope(('{"type":"event"}', b"{}"), ('{"type":"session"}', b"{}")),
                      {"admission": admission(QuotaSettings(categories=["error"], limit=0))}),
    "limits ahead": (PATH, AUTH, EVENT, {"admission": admission()}),
    "guarded address": (PATH, AUTH, EVENT, {"admission": GUARDING}),
}  # fmt: skip


CHUNKED = {
    "chunked": (EVENT, {}),
    "chunked and large": (BIG, {}),
    "chunked and empty": (b"", {}),
    "chunked over the limit": (b"x" * 9000, {"limits": LimitSettings(max_envelope_bytes=Size("4 KiB"))}),
}
CASES |= {name: (PATH, f"{AUTH}\r\nTransfer-Encoding: chunked", *case) for name, case in CHUNKED.items()}
GENERAL = {"unknown encoding", "unknown project", "unknown key", "two keys", "body over its limit", "guarded address"}


PLAIN = [name for name, case in CASES.items() if not case[3]]
HOUSES = {"all in one house": PLAIN, **{name: [name] for name in CASES if name not in PLAIN}}


class Seen(NamedTuple):
    """What a house did with its requests."""

    answers: dict[str, Answer]
    spooled: list[tuple[Received, bytes]]
    refused: list[tuple[str, str, str, int, int]]
    counted: dict[int, int]


def sent(case: str) -> list[bytes]:
    """The bytes of a request, in pieces where it is chunked."""
    path, headers, body, _ = CASES[case]
    if case not in CHUNKED:
        return [request(path, body, headers)]
    size = max(1, len(body) // 3)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n".encode()
    return [head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


async def seen(cases: list[str]) -> Seen:
    async with open_house(**CASES[cases[0]][3]) as house:
        answers = {case: await house.say(*sent(case)) for case in cases}
        return Seen(answers, house.spooled, house.reasons(), dict(house.doors.answers))


@pytest.mark.parametrize("name", HOUSES)
def test_both_ways_answer_spool_and_count_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Direct.take
    taken: list[Taken | None] = []
    inflight: list[Inflight] = []

    def take(direct: Direct, url: bytes, headers: RawHeaders, peer: str) -> Taken | None:
        taken.append(really(direct, url, headers, peer))
        inflight.append(direct.inflight)
        return taken[-1]

    async def scene() -> None:
        monkeypatch.setattr(Direct, "take", take)
        here = await seen(HOUSES[name])
        monkeypatch.setattr(Direct, "take", lambda *head: None)
        assert here == await seen(HOUSES[name])
        assert [each is None for each in taken] == [case in GENERAL for case in HOUSES[name]]
        assert inflight[0].held_bytes == 0

    play(scene())


FAILURES = {"full": Busy(7.2, "max_spool_bytes is 1 GiB"), "no disk": Unavailable("disk")}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_spool_that_says_no_at_once_or_later_is_answered_the_same(failure: str, is_late: bool) -> None:
    def tell(received: Received, body: bytes, told: Callable[[Position | CollectorError], None]) -> None:
        if not is_late:
            raise FAILURES[failure]
        asyncio.get_running_loop().call_later(0.01, told, FAILURES[failure])

    async def scene() -> None:
        async with open_house(spool_tell=tell) as house:
            told = await house.post(PATH, EVENT)
        async with open_house() as house:
            house.failure = FAILURES[failure]
            assert told == await house.post(PATH, EVENT)
            assert told.status >= 429

    play(scene())


def test_a_waiter_that_fails_is_a_500_and_the_connection_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fates = [RuntimeError("bug")]

    def fate(judge: Judge, *said: Any) -> Fate:
        monkeypatch.undo()
        raise fates.pop()

    async def scene() -> None:
        async with open_house() as house:
            monkeypatch.setattr(Judge, "fate", fate)
            reader, writer = await house.dial()
            writer.write(request(PATH, EVENT, AUTH) * 2)
            assert [(await read_answer(reader)).status for _ in range(2)] == [500, 200]
            await hang_up(writer)

    play(scene())


def test_a_large_body_that_cannot_be_opened_is_a_500_and_the_connection_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*said: Any) -> Envelope:
        raise RuntimeError("bug")

    async def scene() -> None:
        async with open_house() as house:
            monkeypatch.setattr(direct_module, "open_body", broken)
            reader, writer = await house.dial()
            large = request(PATH, ENCODERS["gzip"](BIG), f"{AUTH}\r\nContent-Encoding: gzip")
            writer.write(large + request(PATH, EVENT, AUTH))
            assert [(await read_answer(reader)).status for _ in range(2)] == [500, 200]
            await hang_up(writer)

    play(scene())


def test_memory_is_given_back_whenever_a_body_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    inflight: set[Inflight] = set()
    really = Direct.take

    def take(direct: Direct, *head: Any) -> Taken | None:
        inflight.add(direct.inflight)
        return really(direct, *head)

    async def scene() -> None:
        monkeypatch.setattr(Direct, "take", take)
        async with open_house() as house:
            half = [await house.dial() for _ in range(5)]
            for _, writer in half:
                writer.write(request(PATH, EVENT, AUTH)[:-1])
                await writer.drain()
            while len(inflight) < 1 or max(inflight, key=id).held_bytes < 5 * (len(EVENT) - 1):
                await asyncio.sleep(0.01)
            for _, writer in half:
                await hang_up(writer)
            while max(inflight, key=id).held_bytes:
                await asyncio.sleep(0.01)
            assert (await house.post(PATH, EVENT)).status == 200
            assert len(house.spooled) == 1

    play(scene())


def test_a_body_that_finds_no_memory_is_503_in_its_middle_and_the_connection_goes_on() -> None:
    settings = IngestSettings(max_inflight_bytes=Size("64 KiB"))
    body = envelope(('{"type":"attachment","length":50000}', b"x" * 50_000))

    async def scene() -> None:
        async with open_house(settings) as house:
            first, second = await house.dial(), await house.dial()
            first[1].write(request(PATH, body, AUTH)[:-1])
            await asyncio.sleep(0.05)
            second[1].write(request(PATH, body, AUTH)[:-1])
            busy = await read_answer(second[0])
            assert (busy.status, busy.headers["retry-after"]) == (503, "5")
            first[1].write(b"\n")
            assert (await read_answer(first[0])).status == 200
            second[1].write(b"\n" + request(PATH, body, AUTH))
            assert (await read_answer(second[0])).status == 200
            assert len(house.spooled) == 2
            await hang_up(first[1])
            await hang_up(second[1])

    play(scene())


@pytest.mark.parametrize("number", [2, 3, 5])
def test_all_requests_of_a_client_that_sends_no_more_are_answered(number: int) -> None:
    def tell(received: Received, body: bytes, told: Callable[[Any], None]) -> None:
        asyncio.get_running_loop().call_later(0.05, told, Position(1, 1, 1))  # the end of the client comes before

    async def scene() -> None:
        async with open_house(spool_tell=tell) as house:
            reader, writer = await house.dial()
            writer.write(request(PATH, EVENT, AUTH) * number)
            writer.write_eof()
            assert [(await read_answer(reader)).status for _ in range(number)] == [200] * number
            await hang_up(writer)

    play(scene())
