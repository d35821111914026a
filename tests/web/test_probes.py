"""Probes answer from what the worker told last: whoever asks for health has little patience."""

import asyncio
from typing import Any

import pytest

from collector.web.app import build_web

WELL = {"healthy": True, "ready": True, "problems": [], "worker": {"loops": {}}, "front": {"loop_lag_ms": None}}
ILL = {"healthy": False, "ready": False, "problems": ["why"], "worker": {"loops": {}}, "front": {"loop_lag_ms": None}}


async def _busy_worker() -> dict[str, Any]:
    raise AssertionError("the worker was asked")


def answer(path: str, document: dict[str, Any]) -> int:
    """The status code of GET `path` beside a worker that cannot be asked."""
    codes: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        codes.extend([message["status"]] if message["type"] == "http.response.start" else [])

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(build_web(_busy_worker, lambda: document)(scope, receive, send))
    return codes[0]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/relay/healthcheck/ready/"])
def test_a_probe_does_not_wait_for_the_worker(path: str) -> None:
    assert [answer(path, document) for document in (WELL, ILL)] == [200, 503]
