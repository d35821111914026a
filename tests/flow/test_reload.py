"""The order of a reload: one after the other, all or nothing, and nothing half-way when something goes wrong."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from collector.config import Config, Source
from collector.errors import Unavailable
from collector.machine.disk import RealDisk
from collector.reload import APPLIED, REFUSED, UNCHANGED, Reloader
from collector.serve import with_default_project
from tests.helpers.clock import FakeClock
from tests.helpers.running import PROJECT


class FakeFront:
    """Notes what it is told. `says`: the answers of replace_worker in turn; `hold`: what a replacement waits for."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.told: list[str] = []
        self.says: list[list[str]] = []
        self.hold: asyncio.Event | None = None
        self.breaks: Callable[[], None] = lambda: None

    def take(self, config: Config) -> None:
        self.breaks()
        self.told.append(f"take {config.retention.max_age}")
        self.config = config

    async def replace_worker(self, config: Config) -> list[str]:
        self.told.append(f"worker {config.retention.max_age}")
        if self.hold:
            await self.hold.wait()
        return self.says.pop(0) if self.says else []


class House:
    """A reloader with its file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "c.toml"
        self.write("30 d")
        source = Source(self.path, {}, {})
        self.front = FakeFront(source.load())
        self.reloader = Reloader(self.front, source, lambda config, may_make: config, FakeClock())
        self.reloader.begin()

    def write(self, age: str, more: str = "") -> None:
        self.path.write_text(f'[retention]\nmax_age = "{age}"\n{more}{PROJECT}')


def play(folder: Path, scene: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await scene(House(folder))

    asyncio.run(run())


def test_the_front_goes_over_when_the_next_worker_works(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        house.write("2 d")
        outcome = await house.reloader.ask()
        assert (outcome.outcome, outcome.generation, outcome.is_worker_replaced) == (APPLIED, 2, True)
        assert house.front.told == ["worker 2 d", "take 2 d"]
        assert (await house.reloader.ask()).outcome == UNCHANGED
        assert house.reloader.status()["reloads"] == {APPLIED: 1, UNCHANGED: 1, REFUSED: 0}

    play(tmp_path, scene)


def test_what_the_worker_need_not_know_leaves_it_alone(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        house.write("30 d", "[admit]\nshed_pressure = 0.5\n")
        assert not (await house.reloader.ask()).is_worker_replaced
        assert house.front.told == ["take 30 d"]

    play(tmp_path, scene)


def test_a_worker_that_does_not_come_up_brings_the_last_good_one_back_and_the_front_never_moved(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        house.front.says = [["ca_file: 'x' cannot be used"]]
        house.write("2 d")
        outcome = await house.reloader.ask()
        assert (outcome.outcome, outcome.generation) == (REFUSED, 1)
        assert outcome.mistakes == ["ca_file: 'x' cannot be used"]
        assert house.front.told == ["worker 2 d", "worker 30 d"]
        assert house.reloader.status()["mistakes"] == outcome.mistakes

    play(tmp_path, scene)


def test_a_bug_on_the_way_is_a_refusal_and_the_worker_goes_back_too(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        def broken() -> None:
            raise ZeroDivisionError("a bug")

        house.front.breaks = broken
        house.write("2 d")
        outcome = await house.reloader.ask()
        assert outcome.outcome == REFUSED and "ZeroDivisionError" in outcome.mistakes[0]
        assert house.front.told == ["worker 2 d", "worker 30 d"]

    play(tmp_path, scene)


def test_those_who_ask_while_one_is_under_way_share_the_next(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        house.front.hold = asyncio.Event()
        house.write("2 d")
        first = house.reloader.ask()
        while not house.front.told:
            await asyncio.sleep(0.001)
        house.write("3 d")
        second, third = house.reloader.ask(), house.reloader.ask()
        assert second is third and second is not first
        house.front.hold.set()
        assert [(await task).generation for task in (first, second)] == [2, 3]
        assert house.front.told == ["worker 2 d", "take 2 d", "worker 3 d", "take 3 d"]

    play(tmp_path, scene)


def test_what_is_asked_for_before_everything_is_up_waits_until_it_is(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        reloader = Reloader(house.front, Source(house.path, {}, {}), lambda config, may_make: config, FakeClock())
        asked = reloader.ask()
        await asyncio.sleep(0.01)
        assert reloader.ask() is asked and reloader.status()["tried_at"] is None
        reloader.begin()
        assert (await asked).outcome == UNCHANGED

    play(tmp_path, scene)


def test_a_stop_ends_what_is_under_way_and_who_asks_is_told(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        house.front.hold = asyncio.Event()
        house.write("2 d")
        asked = asyncio.ensure_future(house.reloader.answer("reload", str(house.path)))
        while not house.front.told:
            await asyncio.sleep(0.001)
        await house.reloader.stop()
        with pytest.raises(Unavailable, match="the collector stops"):
            await asked
        with pytest.raises(Unavailable, match="the collector stops"):
            await house.reloader.answer("plan", str(house.path))
        assert house.front.told == ["worker 2 d"]

    play(tmp_path, scene)


def test_who_asks_about_another_file_is_told_which_one_it_is(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        with pytest.raises(Unavailable, match=f"it runs with {house.path}, not with /etc/other.toml"):
            await house.reloader.answer("reload", "/etc/other.toml")
        link = tmp_path / "link.toml"
        link.symlink_to(house.path)
        assert (await house.reloader.answer("reload", str(link)))["outcome"] == UNCHANGED

    play(tmp_path, scene)


def test_a_plan_changes_nothing_and_tells_what_a_reload_would(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        house.write("2 d")
        planned = await house.reloader.plan(house.path)
        assert [change.path for change in planned.changes] == ["retention.max_age"]
        assert planned.is_worker_replaced and house.front.told == []
        assert planned.changes == (await house.reloader.ask()).changes
        assert (await house.reloader.plan(house.path)).changes == []
        assert "cannot be read" in (await house.reloader.plan(tmp_path / "none.toml")).mistakes[0]

    play(tmp_path, scene)


def test_the_generated_project_stays_the_same_and_a_plan_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("")
    config, disk = Source(path, {}, {}).load(), RealDisk()
    assert with_default_project(config, disk, may_make=False).project == []
    assert not (tmp_path / "data").exists()
    made = with_default_project(config, disk)
    assert made == with_default_project(config, disk) == with_default_project(config, disk, may_make=False)
