from collections.abc import Callable, Iterator

import pytest

from tests.helpers.disk import FakeDisk
from tests.helpers.spool import SMALL, SpoolWorld

MakeWorld = Callable[..., SpoolWorld]


@pytest.fixture
def make_world() -> Iterator[MakeWorld]:
    """Worlds on a disk and with settings of choice; all are closed at the end."""
    worlds = []

    def make(disk: FakeDisk | None = None, settings: object = SMALL) -> SpoolWorld:
        worlds.append(SpoolWorld(disk, settings))  # type: ignore[arg-type]
        return worlds[-1]

    yield make
    for each in worlds:
        each.close()


@pytest.fixture
def world(make_world: MakeWorld) -> SpoolWorld:
    return make_world()
