"""The envelope and store doors: who gets 200, when, and what is spooled."""

import asyncio
import base64
import json
import zlib

import pytest

from collector.accept.settings import IngestSettings
from collector.errors import Busy, Unavailable
from collector.model.project import ProjectSettings
from collector.model.settings import Size
from collector.protocol.encodings import DECODERS
from collector.protocol.limits import LimitSettings
from collector.protocol.records import open_body
from tests.accept.house import AUTH, open_house, play, read_answer, request
from tests.protocol.bodies import ENCODERS, EVENT_ID, KEY, envelope

EVENT = envelope(('{"type":"event"}', b'{"message":"hello"}'))
PATH = "/api/42/envelope/"


@pytest.mark.parametrize("encoding", ["", *sorted(DECODERS)])
def test_an_envelope_in_any_encoding_is_spooled_as_it_came(encoding: str) -> None:
    async def scene() -> None:
        async with open_house() as house:
            body = ENCODERS[encoding](EVENT)
            answer = await house.post(PATH, body, f"Content-Encoding: {encoding}", "User-Agent: curl")
            assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
            [(received, spooled)] = house.spooled
            assert spooled == body
            assert (received.encoding, received.quantity, received.event_id) == (encoding, 1, EVENT_ID)
            assert (received.public_key, received.client, received.user_agent) == (KEY, "test/1.0", "curl")
            assert open_body(received, spooled, LimitSettings()).items[0].payload == b'{"message":"hello"}'

    play(scene())


def test_the_answer_waits_until_the_spool_says_durable() -> None:
    async def scene() -> None:
        async with open_house() as house:
            house.gate = asyncio.Event()
            reader, writer = await house.dial()
            writer.write(request(PATH, EVENT, AUTH))
            early = asyncio.create_task(reader.read(1))
            await asyncio.wait({early}, timeout=0.2)
            assert not early.done()
            house.gate.set()
            assert await early == b"H"
            assert (await read_answer(reader)).json == {"id": EVENT_ID}
            writer.close()

    play(scene())


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (Busy(7.2, "max_spool_bytes is 1 GiB"), 429, "8"),
        (Busy(3, "disk", 503), 503, "3"),
        (Unavailable("disk"), 503, "10"),
    ],
)
def test_a_spool_that_takes_nothing_is_told_with_retry_after(failure: Exception, status: int, retry_after: str) -> None:
    async def scene() -> None:
        async with open_house() as house:
            house.failure = failure
            answer = await house.post(PATH, EVENT)
            assert (answer.status, answer.headers["retry-after"]) == (status, retry_after)
            assert answer.json["detail"]

    play(scene())


REFUSED = {
    "unknown project": ("/api/43/envelope/", AUTH, EVENT, 403, "event submission rejected with_reason: ProjectId"),
    "unknown key": (PATH, f"X-Sentry-Auth: Sentry sentry_key={'a' * 32}", EVENT, 403, "event submission rejected"),
    "no auth": (PATH, "X-A: b", EVENT, 401, "bad envelope authentication header"),
    "project is no number": ("/api/shop/envelope/", AUTH, EVENT, 400, "bad project path parameter"),
    "project of 40 digits": (f"/api/{'9' * 40}/envelope/", AUTH, EVENT, 400, "bad project path parameter"),
    "project in other digits": ("/api/%D9%A4%D9%A2/envelope/", AUTH, EVENT, 400, "bad project path parameter"),
    "empty body": (PATH, AUTH, b"", 400, "empty request body"),
    "garbage": (PATH, AUTH, b"\x00\xff" * 99, 400, "invalid event envelope"),
    "internal item": (PATH, AUTH, envelope(('{"type":"integration"}', b"x")), 400, "envelope contains internal items"),
    "unknown encoding": (PATH, AUTH + "\r\nContent-Encoding: rar", EVENT, 415, "unsupported content encoding"),
    "two encodings": (PATH, AUTH + "\r\nContent-Encoding: gzip, br", EVENT, 415, "unsupported content encoding"),
    "not gzip": (PATH, AUTH + "\r\nContent-Encoding: gzip", EVENT, 400, "invalid compressed body"),
    "two keys": (PATH + f"?sentry_key={KEY}", AUTH, EVENT, 401, "multiple authorization payloads detected"),
    "store without auth": ("/api/42/store/", "X-A: b", b"{}", 401, "missing authorization information"),
    "store of garbage": ("/api/42/store/", AUTH, b"hello world!", 400, "invalid request body"),
    "store of deep JSON": ("/api/42/store/", AUTH, b'{"a":' * 50_000, 400, "invalid JSON data"),
    "store of NaN": ("/api/42/store/", AUTH, b'{"a":NaN}', 400, "invalid JSON data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_json_with_a_detail_and_spools_nothing(name: str) -> None:
    path, headers, body, status, detail = REFUSED[name]

    async def scene() -> None:
        async with open_house() as house:
            answer = await house.say(request(path, body, headers))
            assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
            assert answer.json["detail"].startswith(detail)
            assert house.spooled == []

    play(scene())


def test_the_dsn_of_the_envelope_is_enough_and_must_agree() -> None:
    async def scene() -> None:
        async with open_house() as house:
            lone = envelope(('{"type":"event"}', b"{}"), header=f'{{"dsn":"http://{KEY}@h/42"}}')
            other = envelope(('{"type":"event"}', b"{}"), header=f'{{"dsn":"http://{KEY}@h/43"}}')
            stranger = envelope(('{"type":"event"}', b"{}"), header=f'{{"dsn":"http://{"b" * 32}@h/42"}}')
            assert (await house.say(request(PATH, lone))).status == 200
            assert (await house.post(PATH, lone)).status == 200
            assert (await house.say(request(PATH, stranger))).status == 403
            mismatch = await house.post(PATH, other)
            assert (mismatch.status, mismatch.json["detail"]) == (400, "invalid event envelope")
            assert mismatch.json["causes"][0].startswith("project id header mismatch")
            keys = await house.post(PATH, stranger)
            assert keys.json["causes"][0].startswith("public key header mismatch")
            assert [received.public_key for received, _ in house.spooled] == [KEY, KEY]

    play(scene())


def test_event_ids_come_from_the_header_then_the_payload_then_are_made() -> None:
    async def scene() -> None:
        async with open_house() as house:
            inner = b'{"event_id":"7a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"}'
            assert (await house.post(PATH, envelope(('{"type":"event"}', inner)))).json == {"id": EVENT_ID}
            kept = await house.post(PATH, envelope(('{"type":"event"}', inner), header="{}"))
            assert kept.json == {"id": "7a1b2c3d4e5f60718293a4b5c6d7e8f9"}
            made = await house.post(PATH, envelope(('{"type":"event"}', b"garbage"), header="{}"))
            assert len(bytes.fromhex(made.json["id"])) == 16
            assert (await house.post(PATH, envelope(('{"type":"session"}', b"{}"), header="{}"))).json == {}
            ids = [open_body(r, b, LimitSettings()).headers.get("event_id", "") for r, b in house.spooled]
            assert ids == [EVENT_ID, kept.json["id"], made.json["id"], ""]

    play(scene())


def test_an_envelope_without_items_is_answered_and_not_spooled() -> None:
    async def scene() -> None:
        async with open_house() as house:
            assert (await house.post(PATH, b"{}")).json == {}
            assert house.spooled == []

    play(scene())


def test_store_takes_json_base64_zlib_an_envelope_and_the_pixel() -> None:
    event = json.dumps({"event_id": EVENT_ID, "message": "x"}).encode()
    packed = base64.b64encode(zlib.compress(event))

    async def scene() -> None:
        async with open_house() as house:
            for body in (event, base64.b64encode(event), packed):
                assert (await house.post("/api/42/store/", body)).json == {"id": EVENT_ID}
            answer = await house.post("/api/store/", EVENT, "Content-Type: application/x-sentry-envelope")
            assert answer.json == {"id": EVENT_ID}
            query = f"sentry_key={KEY}&sentry_data=%7B%22message%22%3A%22x%22%7D"
            pixel = await house.say(request(f"/api/42/store/?{query}", b"", method="GET"))
            assert (pixel.status, pixel.headers["content-type"], pixel.body[:3]) == (200, "image/gif", b"GIF")
            opened = [open_body(received, body, LimitSettings()).items[0] for received, body in house.spooled]
            assert [json.loads(bytes(item.payload)).get("message") for item in opened] == ["x", "x", "x", "hello", "x"]
            assert {received.project_id for received, _ in house.spooled} == {42}

    play(scene())


def test_nan_and_lone_surrogates_are_repaired_where_sdks_send_them() -> None:
    async def scene() -> None:
        async with open_house() as house:
            python = f"X-Sentry-Auth: Sentry sentry_client=sentry-python/1.0, sentry_key={KEY}"
            assert (await house.say(request("/api/42/store/", b'{"a":NaN,"b":-Infinity}', python))).status == 200
            assert (await house.post("/api/42/store/", b'{"a":"\\ud800"}')).status == 200
            payloads = [bytes(open_body(r, b, LimitSettings()).items[0].payload) for r, b in house.spooled]
            assert payloads == [b'{"a":null,"b":null}', b'{"a": "?"}']

    play(scene())


def test_bodies_and_items_over_their_limits_are_413_and_counted() -> None:
    limits = LimitSettings(max_envelope_bytes=Size("4 KiB"), max_event_bytes=Size("1 KiB"))

    async def scene() -> None:
        async with open_house(limits=limits) as house:
            long = await house.post(PATH, b"x" * 5000)
            assert (long.status, long.json["causes"]) == (413, ["max_envelope_bytes is 4 KiB, this has 5000 bytes"])
            bomb = await house.post(PATH, ENCODERS["gzip"](b"0" * 9000), "Content-Encoding: gzip")
            assert (bomb.status, bomb.json["causes"]) == (413, ["max_envelope_bytes is 4 KiB"])
            item = await house.post(PATH, envelope(('{"type":"event"}', b"x" * 1025), ('{"type":"session"}', b"{}")))
            assert (item.status, item.json["causes"]) == (413, ["max_event_bytes is 1 KiB, this has 1025 bytes"])
            reason = "too_large:event"
            unread = ("invalid", "too_large:request", "default", 1, 1)
            items = [("invalid", reason, "error", 1, 1), ("invalid", reason, "session", 1, 1)]
            assert house.reasons() == [unread, unread, *items]
            assert house.spooled == []

    play(scene())


def test_a_large_body_is_decoded_off_the_loop_and_accepted() -> None:
    payload = b"line of a log file\n" * 200_000

    async def scene() -> None:
        async with open_house() as house:
            head = f'{{"type":"attachment","length":{len(payload)}}}'
            body = ENCODERS["gzip"](envelope((head, payload)))
            assert (await house.post(PATH, body, "Content-Encoding: gzip")).status == 200
            assert house.spooled[0][1] == body

    play(scene())


def test_origins_that_are_not_allowed_are_403_and_counted() -> None:
    project = ProjectSettings(id=42, slug="shop", keys=[KEY], allowed_origins=["*.shop.example"])

    async def scene() -> None:
        async with open_house(projects=(project,)) as house:
            assert (await house.post(PATH, EVENT)).status == 200
            assert (await house.post(PATH, EVENT, "Origin: https://www.shop.example")).status == 200
            refused = await house.post(PATH, EVENT, "Origin: https://evil.example")
            assert (refused.status, refused.json["detail"]) == (403, "event submission rejected with_reason: Cors")
            assert (await house.post(PATH, EVENT, "Referer: https://evil.example/page")).status == 403
            assert house.reasons() == [("invalid", "cors", "error", 1, 1)] * 2

    play(scene())


def test_a_disabled_key_is_403() -> None:
    project = ProjectSettings(id=42, slug="shop", keys=[KEY], disabled_keys=[KEY])

    async def scene() -> None:
        async with open_house(projects=(project,)) as house:
            assert (await house.post(PATH, EVENT)).status == 403

    play(scene())


def test_unknown_items_are_kept_or_dropped_and_counted_as_configured() -> None:
    body = envelope(('{"type":"from_the_future"}', b"x"), ('{"type":"event"}', b"{}"))

    async def scene() -> None:
        async with open_house() as house:
            await house.post(PATH, body)
            assert (house.spooled[0][0].quantity, house.spooled[0][0].skip) == (2, ())
        async with open_house(IngestSettings(accept_unknown_items=False)) as house:
            assert (await house.post(PATH, body)).status == 200
            assert (house.spooled[0][0].quantity, house.spooled[0][0].skip) == (1, (0,))
            assert house.reasons() == [("filtered", "unknown-item", "default", 1, 1)]

    play(scene())


def test_the_tunnel_takes_envelopes_for_our_own_projects_only() -> None:
    def to(dsn: str) -> bytes:
        return envelope(('{"type":"event"}', b"{}"), header=f'{{"event_id":"{EVENT_ID}","dsn":"{dsn}"}}')

    async def scene() -> None:
        async with open_house() as house:
            ours = to(f"https://{KEY}@any.example/42")
            for path in ("/tunnel", "/tunnel/", "/api/42/tunnel/"):
                answer = await house.say(request(path, ours, "Origin: https://shop.example"))
                assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
                assert answer.headers["access-control-allow-origin"] == "*"
            for dsn in (f"https://{KEY}@any.example/43", f"https://{'b' * 32}@sentry.example/42"):
                assert (await house.say(request("/tunnel/", to(dsn)))).status == 403
            assert (await house.say(request("/tunnel/", EVENT))).status == 401
            assert (await house.say(request("/api/43/tunnel/", ours))).status == 400
            assert {(received.door, received.project_id) for received, _ in house.spooled} == {("envelope", 42)}
            assert len(house.spooled) == 3

    play(scene())
