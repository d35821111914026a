"""Opening and breaking stores in a temporary data folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.helpers.digested import SHOP

Opener = Callable[..., Store]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_store(tmp_path: Path, clock: FakeClock) -> Iterator[Opener]:
    """Opens the store of `tmp_path`; whatever is open at the end is let go."""
    opened: list[Store] = []

    def opener(settings: StoreSettings | None = None, retention: RetentionSettings | None = None, **more: Any) -> Store:
        more = {"projects": SHOP, **more}
        store = Store.open(
            tmp_path / "data", settings or StoreSettings(), retention or RetentionSettings(), clock, **more
        )
        opened.append(store)
        return store

    yield opener
    for store in opened:
        kill(store)


def kill(store: Store) -> None:
    """As a crash of the process leaves it: nothing flushed, nothing marked clean."""
    store._segments.detach_all()
    store._connection.close()
    store._state.close()


def read(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a plain DuckDB client sees in a sealed or abandoned segment."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def segment_files(data: Path) -> list[Path]:
    return sorted((data / "segments").glob("*.duckdb"), key=lambda path: path.stem)
