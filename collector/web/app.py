"""The Starlette application behind the ingest dispatcher: health, metrics and the status page."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from collector.web.metrics import render
from collector.web.sql import SqlDoor

StatusSource = Callable[[], Awaitable[dict[str, Any]]]
LastStatus = Callable[[], dict[str, Any]]

# Nothing of ours needs a script, a frame or another origin.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def build_web(status: StatusSource, last_status: LastStatus, sql: SqlDoor | None = None) -> Starlette:
    """The owner's application. `status` gives the document of `collector status --json`, `last_status` one without
    asking the worker: a probe that waits for a busy worker's batch takes longer than those who ask have patience."""

    async def healthz(request: Request) -> Response:
        """200 while every loop stamps its heartbeat, else 503; the body names each loop and how late the front's is."""
        document = last_status()
        return JSONResponse(_health(document), 200 if document["healthy"] else 503)

    async def readyz(request: Request) -> Response:
        """200 when events can be taken and digested: disk floor, spool room, worker alive."""
        document = last_status()
        return JSONResponse(
            {"ready": document["ready"], "problems": document["problems"]}, 200 if document["ready"] else 503
        )

    async def health_as_relay(request: Request) -> Response:
        """The two probes at the paths where load balancers in front of a Relay look: live and ready."""
        kind = request.path_params["kind"]
        if kind not in ("live", "ready"):
            return JSONResponse({"detail": "invalid health check kind"}, 400)
        good = kind == "live" or bool(last_status()["ready"])
        return JSONResponse({"is_healthy": good}, 200 if good else 503)

    async def live(request: Request) -> Response:
        """What a downstream asks before it sends."""
        return JSONResponse({"is_healthy": True})

    async def metrics(request: Request) -> Response:
        """Prometheus text."""
        return PlainTextResponse(render(await status()), media_type="text/plain; version=0.0.4")

    async def home(request: Request) -> Response:
        """The status page, for the machine itself only."""
        if not _is_local(request):
            return JSONResponse({"detail": "not found"}, 404)
        from collector.web.page import status_page  # templates cost 2 MB: only where somebody looks

        return Response(status_page(await status()), media_type="text/html", headers=PAGE_HEADERS)

    async def style(request: Request) -> Response:
        """The one stylesheet."""
        from collector.web.page import STYLE

        return Response(STYLE, media_type="text/css", headers=PAGE_HEADERS)

    return Starlette(
        routes=[
            Route("/", home),
            Route("/app.css", style),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *([Route("/api/query/", sql.post, methods=["POST"])] if sql else []),
            Route("/api/relay/healthcheck/{kind}/", health_as_relay),
            Route("/api/0/relays/live/", live),
        ],
        exception_handlers={404: _not_found, 405: _not_allowed},
    )


def _health(document: dict[str, Any]) -> dict[str, Any]:
    told = {name: document[name] for name in ("healthy", "problems")}
    return {**told, "loops": document["worker"]["loops"], "loop_lag_ms": document["front"]["loop_lag_ms"]}


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "not found"}, 404)


async def _not_allowed(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "method not allowed"}, 405)


def _is_local(request: Request) -> bool:
    """The peer is this machine and the Host names it: a page elsewhere that rebinds its name to us sees nothing."""
    peer = request.client.host if request.client else ""
    host = request.headers.get("host", "").rsplit(":", 1)[0].strip("[]")
    return peer in LOOPBACK and host in LOOPBACK
