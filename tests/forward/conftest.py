"""Fixtures of the forward tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forward.edge import Edge, FakeNet

MakeEdge = Callable[..., Edge]


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
