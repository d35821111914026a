"""The whole room with its own thread, real sockets and the real clock."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.errors import ConfigError
from collector.forward.settings import UpstreamSettings
from collector.forward.target import parse_dsn
from collector.model.settings import Duration, Secret
from tests.forward.conftest import Sending
from tests.forward.edge import Edge
from tests.helpers.mini_upstream import MiniUpstream

Start = Callable[..., Edge]


@pytest.fixture
def upstream() -> Iterator[MiniUpstream]:
    with MiniUpstream() as running:
        yield running


@pytest.fixture
def start(sending: Sending, upstream: MiniUpstream) -> Start:
    """Starts a collector's forward thread against the mini upstream."""
    return lambda **settings: sending(UpstreamSettings(dsn=Secret(upstream.dsn), window=Duration("1 s"), **settings))


def test_first_event_arrives_at_once_and_then_one_summary(start: Start, upstream: MiniUpstream) -> None:
    edge = start()
    (first,) = edge.ingest(1)
    assert upstream.wait_for(lambda: first in upstream.received.events)
    edge.ingest(1, 9)
    assert upstream.wait_for(lambda: upstream.reported("collector_summarised") == 8)
    assert upstream.counted() == 10
    assert len(upstream.received.events) == 2
    assert upstream.received.complaints == []
    assert upstream.connections <= 4


def test_flapping_upstream_gets_everything_once(start: Start, upstream: MiniUpstream) -> None:
    edge = start(max_backoff=Duration("1 s"))
    upstream.behave("flap", good=3, bad=1)
    for issue_id in range(1, 13):
        edge.ingest(issue_id)
    assert upstream.wait_for(lambda: upstream.counted() == 12)
    assert upstream.received.duplicates == []


def test_lost_answers_are_repeated_and_recognised(start: Start, upstream: MiniUpstream) -> None:
    edge = start()
    upstream.behave("take_reset", times=1)
    edge.ingest(1)
    edge.ingest(2)
    assert upstream.wait_for(lambda: upstream.counted() == 2 and len(upstream.received.duplicates) == 1)


def test_hanging_upstream_holds_up_no_commit_and_no_shutdown(start: Start, upstream: MiniUpstream) -> None:
    """1. Upstream hangs. 2. Commits go on. 3. Stop. Result: every commit took effect, the thread ends in its budget."""
    edge = start(timeout=Duration("60 s"))
    upstream.behave("hang")
    edge.ingest(1)
    assert upstream.wait_for(lambda: upstream.posts == 1)
    for issue_id in range(2, 50):
        edge.ingest(issue_id, 3)
    assert edge.left() == edge.ingested


def test_trouble_upstream_is_named_in_the_status(start: Start, upstream: MiniUpstream) -> None:
    edge = start()
    upstream.behave("status", code=403)
    edge.ingest(1)
    assert upstream.wait_for(lambda: upstream.posts == 1)
    wait = threading.Event()
    assert any(edge.forward.status()["state"] == "backing_off" or wait.wait(0.05) for _ in range(100))
    status = edge.forward.status()
    assert "403" in status["last_error"]
    assert status["upstream"] == f"127.0.0.1:{upstream.port}/7"


def test_new_state_file_is_opened_after_the_old_one_was_set_aside(
    start: Start, upstream: MiniUpstream, tmp_path: Path
) -> None:
    edge = start()
    edge.ingest(1)
    assert upstream.wait_for(lambda: upstream.counted() == 1)
    aside = tmp_path / "aside"
    aside.mkdir()
    edge.state.close()
    for path in tmp_path.glob("state.sqlite*"):
        path.rename(aside / path.name)
    edge.reopen()
    edge.ingest(2)
    assert upstream.wait_for(lambda: upstream.counted() == 2)


@pytest.mark.parametrize(
    ("dsn", "url"),
    [("https://k@sentry.example/1", "https://sentry.example/api/1/envelope/"),
     ("http://k:secret@10.0.0.1:9000/base/12", "http://10.0.0.1:9000/base/api/12/envelope/"),
     ("http://k@[::1]:9000/1/", "http://[::1]:9000/api/1/envelope/")],
)  # fmt: skip
def test_dsn_gives_the_envelope_door(dsn: str, url: str) -> None:
    assert parse_dsn(dsn).url == url


@pytest.mark.parametrize(
    "dsn", ["ftp://k@h/1", "http://h/1", "http://k@h/", "http://k@h/x", "http://k@h:port/1", "nonsense"]
)
def test_unusable_dsn_is_a_mistake_of_the_configuration_without_its_key(dsn: str) -> None:
    with pytest.raises(ConfigError, match=r"upstream\.dsn") as caught:
        parse_dsn(dsn)
    assert "k@" not in str(caught.value)
