"""The door of the hub on a real server: what is taken, what is refused, and who is told."""

from collections.abc import Callable
from typing import Any

import zstandard

from collector.accept.doors import Doors
from collector.accept.hub import HubApp, build_hub
from collector.errors import Busy
from collector.hub.batch import CONTENT_TYPE, Batch, write_batch
from collector.hub.edges import Edges
from collector.model.settings import Size
from collector.protocol.limits import LimitSettings
from tests.accept.house import Answer, House, open_house, page, play, request
from tests.hub.making import BATCH_ID, BERLIN, EDGES, OSLO, batch, entry

PATH = "/api/hub/batches/"


def opened(edges: Edges, **more: Any) -> Any:
    def behind(doors: Doors, page: Any) -> Any:
        return build_hub(doors, edges, page)

    return open_house(behind=behind, **more)


async def send(
    house: House, body: bytes | Batch, token: str = BERLIN, kind: str = CONTENT_TYPE, encoding: str = "zstd"
) -> Answer:
    raw = write_batch(body) if isinstance(body, Batch) else body
    headers = (f"Authorization: Bearer {token}", f"Content-Type: {kind}", f"Content-Encoding: {encoding}")
    return await house.say(request(PATH, raw, *headers))


def told(scene: Callable[[House, Edges], Any], **more: Any) -> Edges:
    """Play a scene; the edges after it."""
    edges = Edges(EDGES)

    async def played() -> None:
        async with opened(edges, **more) as house:
            await scene(house, edges)

    play(played())
    return edges


def test_a_batch_is_spooled_as_it_came_with_all_that_it_stands_for() -> None:
    async def scene(house: House, edges: Edges) -> None:
        made = batch(entry(1), entry(2, count=40))
        answer = await send(house, made)
        assert (answer.status, answer.json) == (
            200, {"batch": BATCH_ID.hex(), "entries": 2, "occurrences": 41, "repeated": False}
        )  # fmt: skip
        [(received, body)] = house.spooled
        assert body == write_batch(made)
        assert (received.door, received.project_id, received.quantity, received.slug) == ("hub", 42, 41, "berlin")

    assert told(scene).status()["berlin"] == {"refused": {}, "last_error": ""}


def test_a_repetition_is_answered_and_not_spooled_again_and_ids_belong_to_their_edge() -> None:
    async def scene(house: House, edges: Edges) -> None:
        await send(house, batch())
        assert (await send(house, batch())).json["repeated"] is True
        assert len(house.spooled) == 1
        same_id = await send(house, batch(edge="oslo", project_id=1), OSLO)
        assert (same_id.status, same_id.json["repeated"]) == (200, False)
        assert [received.project_id for received, _ in house.spooled] == [42, 42]

    told(scene)


def test_what_cannot_be_taken_is_refused_in_words_and_counted_for_its_edge() -> None:
    async def scene(house: House, edges: Edges) -> None:
        bomb = zstandard.ZstdCompressor(level=3).compress(bytes(100_000_000))
        stream = zstandard.ZstdCompressor(level=19).compressobj()
        endless = stream.compress(bytes(64_000_000)) + stream.flush()
        cases = [
            (await send(house, batch(), token="not-a-token-of-anybody"), 401, "unknown edge token"),
            (await send(house, batch(edge="oslo")), 403, "the batch is of edge 'oslo', the token of 'berlin'"),
            (await send(house, batch(project_id=7)), 404, "there is no project 7 at this hub"),
            (await send(house, b"garbage"), 400, "invalid compressed body"),
            (await send(house, zstandard.compress(b"garbage")), 400, "this is not a batch"),
            (await send(house, b""), 400, "empty request body"),
            (await send(house, bomb), 413, "request body too large after decompression"),
            (await send(house, endless), 413, "request body too large after decompression"),
            (await send(house, bytes(2_000_000)), 413, "request body too large"),
            (await send(house, batch(), kind="application/json"), 415, "unsupported content type, use"),
            (await send(house, batch(), encoding="gzip"), 415, "unsupported content encoding, use zstd"),
            (await send(house, batch(), kind=CONTENT_TYPE[:-1] + "9"), 426, "hub protocol version 9 is not understood"),
            (await send(house, batch(entry(kind="integration"))), 400, "the batch contains internal items"),
            (await send(house, batch(entry(payload=bytes(1_100_000)))), 413, "envelope exceeded size limits"),
        ]  # fmt: skip
        assert [answer.status for answer, _, _ in cases] == [status for _, status, _ in cases]
        assert [answer.json["detail"][: len(said)] for answer, _, said in cases] == [said for _, _, said in cases]
        assert house.spooled == []
        assert (await send(house, batch())).status == 200

    limits = LimitSettings(max_hub_batch_bytes=Size("1500 KiB"))
    status = told(scene, limits=limits).status()
    assert status["unknown"] == {"refused": {"hub_token": 1}, "last_error": status["unknown"]["last_error"]}
    assert sum(status["berlin"]["refused"].values()) == 13
    assert status["berlin"]["last_error"] == ""  # the last batch was taken


def test_an_edge_without_token_or_with_a_full_hub_is_told_when_to_come_again() -> None:
    async def scene(house: House, edges: Edges) -> None:
        assert (await house.say(request(PATH, write_batch(batch())))).status == 401
        assert (await house.say(request(PATH, b"", method="GET"))).status == 405
        house.failure = Busy(5, "max_spool_bytes is 1 MiB", 503)
        answer = await send(house, batch())
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert edges.status()["berlin"] == {"refused": {"busy": 1}, "last_error": "max_spool_bytes is 1 MiB"}

    told(scene)


def test_a_collector_that_is_no_hub_has_no_such_door() -> None:
    async def scene() -> None:
        async with open_house() as house:
            assert (await send(house, batch())).status == 404

    play(scene())


def test_another_configuration_goes_on_with_what_was_answered_and_refused() -> None:
    async def scene(house: House, edges: Edges) -> None:
        await send(house, batch())
        await send(house, batch(), "nobody's token")
        await send(house, batch(edge="elsewhere"), OSLO)
        others = Edges([edge for edge in EDGES if edge.name == "berlin"])
        others.take_over(edges)
        house.app.take(house.doors, build_hub(house.doors, others, page, hub_of(house)))
        assert (await send(house, batch())).json["repeated"] is True
        assert (await send(house, batch(edge="oslo", project_id=1), OSLO)).status == 401
        assert others.status() == {
            "berlin": {"refused": {}, "last_error": ""},
            "unknown": {"refused": {"hub_token": 2}, "last_error": "unknown edge token"},
        }
        house.app.take(house.doors, page)
        assert (await send(house, batch())).status == 404

    told(scene)


def hub_of(house: House) -> HubApp:
    fallback = house.app._fallback
    assert isinstance(fallback, HubApp)
    return fallback
