"""A process that commits for ever, to be killed: `python -m tests.store.committer DATA SEED`.

Prints the seq of each commit after it returned. Continues from the store's own position, as the worker does.
"""

import random
import sys
from pathlib import Path

from collector.machine.clock import SystemClock
from collector.model.settings import Duration, Size
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.digested import SHOP, event, record


def main(data: Path, seed: int) -> None:
    rng = random.Random(seed)
    settings = StoreSettings(checkpoint_bytes=Size("200 KB"), checkpoint_interval=Duration("50 ms"),
                             max_segment_bytes=Size("3 MB"))  # fmt: skip
    store = Store.open(data, settings, RetentionSettings(), SystemClock(), projects=SHOP)
    print(f"open {store.position.seq}", flush=True)
    while True:
        first = store.position.seq + 1
        last = first + rng.randrange(1, 60)
        store.commit([record(n, event(n, 1 + n % 10, payload=b"x" * (1 + n % 3000))) for n in range(first, last + 1)])
        print(last, flush=True)
        store.maintain()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
