"""The seeds that once failed: a line each, `SEED HOURS what was wrong`."""

from pathlib import Path
from typing import NamedTuple

SEEDS = Path(__file__).with_name("seeds.txt")
MAX_REASON_CHARS = 200


class Known(NamedTuple):
    """A seed, and for how many hours it has to be played."""

    seed: int
    hours: float


def known(path: Path = SEEDS) -> list[Known]:
    """Those that are kept, in their order."""
    lines = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [Known(int(words[0]), float(words[1])) for words in lines]


def keep(seed: int, hours: float, wrong: str, path: Path = SEEDS) -> None:
    """Adds a seed, once."""
    if Known(seed, hours) not in known(path):
        with path.open("a") as file:
            file.write(f"{seed} {hours:g}  {' '.join(wrong.split())[:MAX_REASON_CHARS]}\n")
