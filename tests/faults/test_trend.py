"""What the soak says about memory: certain of a leak, certain of none, or honest that it cannot tell."""

import random

import pytest

from tests.helpers.proc import block_seconds, trend

Points = list[tuple[float, float]]


def memory(mb_per_hour: float, seconds: int = 800, seed: int = 1) -> Points:
    """RSS by two seconds: a slope, noise, and what a file brings that is filled and sealed every 70 seconds."""
    noise = random.Random(seed)
    return [(at, 140 + mb_per_hour * at / 3600 + 8 * (at % 70) / 70 + noise.gauss(0, 2)) for at in range(0, seconds, 2)]


@pytest.mark.parametrize("seed", range(5))
def test_memory_that_goes_up_and_down_is_flat(seed: int) -> None:
    found = trend(memory(0.0, seed=seed))
    assert found
    assert abs(found.per_hour) <= found.margin + 1
    assert found.judged(20.0) == "flat"


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_a_megabyte_a_minute_is_growth(seed: int) -> None:
    found = trend(memory(60.0, seed=seed))
    assert found
    assert abs(found.per_hour - 60) <= found.margin + 1
    assert found.judged(20.0) == "growing"


def test_a_short_look_and_a_slope_near_the_bound_are_undecided() -> None:
    assert trend(memory(0.0, seconds=100)) is None
    close = trend(memory(20.0))
    assert close
    assert close.judged(20.0) == "undecided"


def test_what_comes_in_long_waves_has_a_wide_margin() -> None:
    quick = trend(memory(0.0))
    slow = trend([(at, 140 + 5 * ((at // 200) % 2)) for at in range(0, 800, 2)])
    assert quick
    assert slow
    assert slow.margin > 3 * quick.margin


@pytest.mark.parametrize(("over_seconds", "block"), [(26, 4.0), (135, 16.875), (240, 30.0), (3600, 30.0)])
def test_a_short_look_has_short_blocks(over_seconds: int, block: float) -> None:
    assert block_seconds(over_seconds) == block
    assert trend(memory(0.0, seconds=over_seconds), block)
