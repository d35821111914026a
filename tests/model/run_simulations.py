"""Days of the whole collector in one process, one a seed. A seed that fails is kept in tests/model/seeds.txt, which the
tests play from then on; the exit code is 1 then."""

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.helpers.arguments import above_zero, whole
from tests.model.seeds import SEEDS, keep
from tests.model.simulation import simulate

MEMORY = Path("/dev/shm")
MAX_HOURS = 24 * 366


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says. Exits with 2 and a sentence when it makes no sense."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=whole(most=10**6), default=10, metavar="N",
                        help="how many new seeds (default: 10)")  # fmt: skip
    parser.add_argument("--seed", type=int, action="append", metavar="S",
                        help="play this one instead of new ones; may be given again")  # fmt: skip
    parser.add_argument("--hours", type=above_zero(MAX_HOURS), default=24.0, metavar="H",
                        help="simulated time of each seed (default: 24)")  # fmt: skip
    return parser.parse_args(given)


def play(seed: int, hours: float) -> tuple[str, str]:
    """One seed: its figures, and what was wrong ("" when nothing was)."""
    # Real files where a sync costs nothing: the simulation's own disk decides what is durable in the spool.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        try:
            return str(simulate(Path(folder), seed, hours)), ""
        except Exception as error:  # whatever stops a day is a find, and the other seeds are still to be played
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            return "", f"{type(error).__name__}: {error}"


def main() -> int:
    args = arguments()
    failed = {}
    try:
        for seed in args.seed or [random.randrange(1000, 10**9) for _ in range(args.seeds)]:
            before = time.perf_counter()
            figures, wrong = play(seed, args.hours)
            told = f"FAILED: {wrong}" if wrong else figures
            print(f"seed {seed}: {args.hours:g} h in {time.perf_counter() - before:.1f} s: {told}", flush=True)
            if wrong:
                failed[seed] = wrong
                keep(seed, args.hours, wrong)
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    finally:
        if failed:
            print(f"failed: {', '.join(map(str, failed))}; kept in {SEEDS.name}, which the tests play from now on")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
