"""Rate limits as SDKs see them, and what the ledger hears."""

from collector.accept.settings import IngestSettings
from collector.admit.admission import Admission
from collector.admit.settings import AdmitSettings, QuotaSettings
from collector.admit.verdict import Limit
from collector.model.settings import Rate
from tests.accept.house import AUTH, open_house, play, request
from tests.helpers.clock import FakeClock
from tests.protocol.bodies import EVENT_ID, envelope

PATH = "/api/42/envelope/"
EVENT = ('{"type":"event"}', b'{"message":"hello"}')
ATTACHMENT = ('{"type":"attachment","length":5}', b"12345")
SESSION = ('{"type":"session"}', b"{}")


def admission(*quotas: QuotaSettings, pressure: float = 0.0, **settings: object) -> Admission:
    return Admission(AdmitSettings(**settings), quotas, {42: []}, FakeClock(), lambda: pressure)  # type: ignore[arg-type]


def zero(*categories: str) -> QuotaSettings:
    return QuotaSettings(categories=list(categories), limit=0, reason_code="r_code")


def test_a_limited_event_takes_its_attachment_along_and_the_session_stays() -> None:
    async def scene() -> None:
        async with open_house(admission=admission(zero("error"))) as house:
            answer = await house.post(PATH, envelope(EVENT, ATTACHMENT, SESSION))
            assert (answer.status, answer.headers["retry-after"]) == (429, "60")
            assert answer.headers["x-sentry-rate-limits"] == "60:error:organization:r_code"
            assert answer.json["detail"].startswith("Sentry dropped data due to a quota")
            [(received, _)] = house.spooled
            assert (received.quantity, received.skip) == (1, (0, 1))
            assert house.reasons() == [
                ("rate_limited", "r_code", "error", 1, 1),
                ("rate_limited", "r_code", "attachment", 5, 1),
                ("rate_limited", "r_code", "attachment_item", 1, 0),
            ]

    play(scene())


def test_what_is_limited_whole_is_not_spooled() -> None:
    async def scene() -> None:
        async with open_house(admission=admission(zero())) as house:
            answer = await house.post(PATH, envelope(EVENT))
            assert answer.headers["x-sentry-rate-limits"] == "60::organization:r_code"
            assert house.spooled == []

    play(scene())


def test_a_limited_giant_counts_as_limited_not_as_too_large() -> None:
    async def scene() -> None:
        async with open_house(admission=admission(zero("error"))) as house:
            answer = await house.post(PATH, envelope((EVENT[0], b"x" * 2_000_000)))
            assert answer.status == 429
            assert house.reasons() == [("rate_limited", "r_code", "error", 1, 1)]

    play(scene())


def test_limits_that_do_not_concern_the_envelope_are_told_on_200() -> None:
    async def scene() -> None:
        told = admission()
        told.learn(42, [Limit(30, ("transaction",), "project", "told")])
        async with open_house(admission=told) as house:
            answer = await house.post(PATH, envelope(EVENT))
            assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
            assert answer.headers["x-sentry-rate-limits"] == "30:transaction:project:told"
            assert answer.headers["retry-after"] == "30"

    play(scene())


def test_under_pressure_errors_stay_and_attachments_go() -> None:
    async def scene() -> None:
        async with open_house(admission=admission(pressure=0.85)) as house:
            answer = await house.post(PATH, envelope(EVENT, ATTACHMENT))
            assert answer.status == 429
            assert answer.headers["x-sentry-rate-limits"].startswith(
                "60:attachment;attachment_item:organization:pressure"
            )
            assert house.spooled[0][0].skip == (1,)
            assert {reason for _, reason, *_ in house.reasons()} == {"pressure"}

    play(scene())


def test_an_address_behind_a_trusted_proxy_is_guarded_and_a_made_up_one_is_not_believed() -> None:
    fast = {"address_rate": Rate("1/m"), "address_burst": 1}

    async def scene() -> None:
        async with open_house(IngestSettings(trusted_proxies=["127.0.0.0/8"]), admission=admission(**fast)) as house:
            for address, status in (("198.51.100.7", 200), ("198.51.100.7", 429), ("198.51.100.8", 200)):
                answer = await house.post(PATH, envelope(EVENT), f"X-Forwarded-For: 9.9.9.9, {address}")
                assert answer.status == status
        async with open_house(admission=admission(**fast)) as house:
            for address, status in (("198.51.100.7", 200), ("198.51.100.8", 429)):
                answer = await house.say(request(PATH, envelope(EVENT), AUTH, f"X-Forwarded-For: {address}"))
                assert answer.status == status
            assert answer.headers["retry-after"] == "60"
            assert house.spooled[0][0].remote_addr == "127.0.0.1"

    play(scene())
