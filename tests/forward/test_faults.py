"""Every fault of an upstream has its sentence in the status within 10 s, is counted or waits, and nothing is lost.

The whole room with its own thread, the real client and real sockets; each row is one way to be broken.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from collector.forward.settings import UpstreamSettings
from collector.model.settings import Duration, Secret, Size
from tests.forward.conftest import Sending
from tests.forward.edge import Edge
from tests.helpers.mini_upstream import KEY, MiniUpstream
from tests.helpers.running import wait_for

NAMED_SECONDS = 10.0
Start = Callable[["Fault"], Edge]


class Fault(NamedTuple):
    """behave: of the mini upstream, with options. dsn: instead of its own. said: part of the sentence.
    before: what happens to state.sqlite first."""

    said: str
    behave: str = "ok"
    options: dict[str, Any] = {}
    dsn: str = "http://{key}@127.0.0.1:{port}/7"
    state: str = "backing_off"
    settings: dict[str, Any] = {}
    before: str = ""


FAULTS = {
    "unknown host": Fault("upstream.invalid cannot be resolved", dsn="http://{key}@upstream.invalid/7"),
    "nobody listens": Fault("refuses the connection", dsn="http://{key}@127.0.0.1:1/7"),
    "TLS failure": Fault("TLS with 127.0.0.1", dsn="https://{key}@127.0.0.1:{port}/7"),
    "redirect": Fault("redirects to 'http://127.0.0.1:1/else'", "redirect", {"location": "http://127.0.0.1:1/else"}),
    "401": Fault("401, it does not know the key", "status", {"code": 401}),
    "403": Fault("403, the key is revoked", "status", {"code": 403}),
    "404": Fault("404, there is no such project", "status", {"code": 404}),
    "429": Fault("(429): error for", "limited", {"limits": "60:error:key"}, state="limited"),
    "429 without a time": Fault("(429): everything for", "limited", {}, state="limited"),
    "503": Fault("answers 503", "status", {"code": 503}),
    "garbage 200": Fault("no Sentry answer: '<html>please log in", "garbage"),
    "reset": Fault("closed the connection", "take_reset"),
    "hanging": Fault("did not answer within 0.5 s", "hang", settings={"timeout": Duration("500 ms")}),
    "full outbox": Fault("the outbox is full", "status", {"code": 503}, settings={"max_outbox_bytes": Size("8 KiB")}),
}


FAULTS["damaged entry"] = Fault(
    "an entry of the outbox is damaged", state="sending", before="UPDATE outbox SET body = x'00ff' WHERE id = 1"
)


@pytest.fixture
def upstream() -> Iterator[MiniUpstream]:
    with MiniUpstream(validate=False) as running:
        yield running


@pytest.fixture
def start(sending: Sending, upstream: MiniUpstream) -> Start:
    """Starts the room's thread with eight new issues waiting."""

    def begin(fault: Fault) -> Edge:
        def before(edge: Edge) -> None:
            for issue_id in range(1, 9):
                edge.ingest(issue_id, padding=4000)
            edge.state.executescript(fault.before)

        dsn = Secret(fault.dsn.format(key=KEY, port=upstream.port))
        return sending(UpstreamSettings(dsn=dsn, **fault.settings), before)

    return begin


def accounted(edge: Edge) -> int:
    """What waits, was sent, or is counted as dropped."""
    row = edge.state.execute(
        "SELECT (SELECT coalesce(sum(quantity), 0) FROM outbox)"
        " + (SELECT coalesce(sum(events), 0) FROM forward_windows)"
        " + (SELECT coalesce(sum(quantity), 0) FROM forward_counts"
        " WHERE name = 'sent_occurrences' OR name LIKE 'dropped:%')"
    ).fetchone()
    return int(row[0])


def is_named(fault: Fault, status: dict[str, Any]) -> bool:
    return fault.said in status["last_error"] and status["state"] == fault.state


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_and_everything_is_accounted_for(
    start: Callable[[Fault], Edge], upstream: MiniUpstream, fault: Fault
) -> None:
    upstream.behave(fault.behave, **fault.options)
    edge = start(fault)
    wait_for(lambda: is_named(fault, edge.forward.status()), NAMED_SECONDS, f"{fault.state}: {fault.said}")
    assert KEY not in str(edge.forward.status())
    assert accounted(edge) == edge.ingested


def test_a_hanging_upstream_is_named_in_time_by_default_as_well() -> None:
    assert float(UpstreamSettings().timeout) < NAMED_SECONDS - 1
