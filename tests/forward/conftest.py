"""Fixtures of the forward tests."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.forward.room import Forward
from collector.forward.sender import World
from collector.forward.settings import UpstreamSettings
from collector.machine.clock import SystemClock
from collector.machine.net import HttpNet
from tests.forward.edge import Edge, FakeNet

MakeEdge = Callable[..., Edge]
Sending = Callable[..., Edge]


@pytest.fixture(autouse=True)
def unknown_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is called *.invalid; the machine's resolver, which may take its time, is not asked."""
    resolve = socket.getaddrinfo

    def answer(host: Any, *rest: Any, **named: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.fixture
def make_edge(tmp_path: Path) -> Iterator[MakeEdge]:
    """Makes collectors with their own state.sqlite; closes them."""
    made: list[Edge] = []

    def make(**settings: Any) -> Edge:
        net = settings.pop("net", None) or FakeNet()
        clock = settings.pop("clock", None)
        folder = tmp_path / f"edge{len(made)}"
        folder.mkdir()
        made.append(Edge(folder, net, clock, **settings))
        return made[-1]

    yield make
    for edge in made:
        edge.close()


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    """Starts the whole room: its own thread, the real clock, real sockets. `before`: what happens to the edge first."""
    stop = threading.Event()
    running: list[tuple[Edge, threading.Thread]] = []

    def begin(settings: UpstreamSettings, before: Callable[[Edge], None] = lambda edge: None) -> Edge:
        edge = Edge(tmp_path, FakeNet())
        edge.clock = SystemClock()  # type: ignore[assignment]
        edge.settings = settings
        edge.forward = Forward(settings, {}, World(edge.clock, HttpNet(settings.net()), lambda: 0.9))
        before(edge)
        thread = threading.Thread(target=edge.forward.run, args=(edge.path, lambda: None, stop))
        thread.start()
        running.append((edge, thread))
        return edge

    yield begin
    stop.set()
    for edge, thread in running:
        edge.forward.hurry()
        thread.join(10)
        assert not thread.is_alive()
        edge.close()
