"""scripts/simulate: days of the collector, one a seed; prints each, and at the end the seeds that failed (exit 1)."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.model.simulation import simulate

MEMORY = Path("/dev/shm")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many new seeds")
    parser.add_argument("--seed", type=int, action="append", help="this one instead; may be given again")
    parser.add_argument("--hours", type=float, default=24.0, help="of simulated time a seed")
    args = parser.parse_args()
    failed = []
    for seed in args.seed or [random.randrange(1000, 10**9) for _ in range(args.seeds)]:
        before = time.perf_counter()
        # Real files where a sync costs nothing: the simulation's own disk decides what is durable in the spool.
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            try:
                told = str(simulate(Path(folder), seed, args.hours))
            except AssertionError as error:
                failed.append(seed)
                told = f"FAILED: {error}"
        print(f"seed {seed}: {args.hours:g} h in {time.perf_counter() - before:.1f} s: {told}", flush=True)
    if failed:
        print(f"failed: {failed}; put each into tests/model/seeds.txt as 'SEED {args.hours:g}  what was wrong'")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
