"""Paths, methods and CORS."""

import pytest

from collector.accept.routes import find_place
from tests.accept.house import open_house, play, request
from tests.protocol.bodies import EVENT_ID, KEY, envelope

EVENT = envelope(('{"type":"event"}', b'{"message":"hello"}'))

PLACES = {
    "/api/42/envelope/": ("envelope", "42"),
    "/api/42/envelope": ("envelope", "42"),
    "//api//42///store//": ("store", "42"),
    "/api/store/": ("store", ""),
    "/api/42/security/": ("security", "42"),
    "/api/42/csp-report": ("security", "42"),
    "/api/42/nel/": ("nel", "42"),
    "/api/42/minidump": ("minidump", "42"),
    f"/api/42/events/{EVENT_ID}/attachments/": ("attachments", "42"),
    "/tunnel": ("envelope", ""),
    "//tunnel/": ("envelope", ""),
    "/api/42/tunnel/": ("envelope", "42"),
    "/api/42/cron/nightly": ("cron", "42"),
    f"/api/42/cron/nightly/{KEY}/": ("cron", "42"),
    "/api/42/integration/otlp/v1/logs": ("otlp_logs", "42"),
    "/api/42/integration/otlp/v1/traces/": ("otlp_traces", "42"),
}


@pytest.mark.parametrize("path", PLACES)
def test_a_path_leads_to_its_door(path: str) -> None:
    place = find_place(path)
    assert place is not None
    assert (place.form.name, place.project) == PLACES[path]


@pytest.mark.parametrize(
    "path", ["/", "/api/", "/api/envelope/", "/api/42/", "/api/42/envelopes/", "/api/0/projects/", "/x/api/42/store/"]
)
def test_any_other_path_belongs_to_the_fallback(path: str) -> None:
    assert find_place(path) is None


def test_other_paths_are_answered_by_the_fallback_app() -> None:
    async def scene() -> None:
        async with open_house() as house:
            assert (await house.post("/issues", b"")).body == b"page"

    play(scene())


def test_a_browser_gets_its_preflight_and_sees_the_limit_headers() -> None:
    async def scene() -> None:
        async with open_house() as house:
            headers = ("Origin: https://shop.example", "Access-Control-Request-Method: GET")
            preflight = await house.say(request("/api/42/envelope/", b"", *headers, method="OPTIONS"))
            assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (200, "POST")
            assert preflight.headers["access-control-allow-origin"] == "*"
            assert "x-sentry-auth" in preflight.headers["access-control-allow-headers"]
            answer = await house.post("/api/42/envelope/", EVENT, "Origin: https://shop.example")
            assert answer.headers["access-control-allow-origin"] == "*"
            exposed = answer.headers["access-control-expose-headers"]
            assert all(name in exposed for name in ("x-sentry-error", "x-sentry-rate-limits", "retry-after"))
            refused = await house.say(request("/api/42/envelope/", EVENT, "Origin: https://shop.example"))
            assert refused.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in refused.headers

    play(scene())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_a_wrong_method_is_405(method: str) -> None:
    async def scene() -> None:
        async with open_house() as house:
            reader, writer = await house.dial()
            writer.write(request("/api/42/envelope/", b"", method=method))
            assert (await reader.readline()).startswith(b"HTTP/1.1 405 ")
            writer.close()

    play(scene())
