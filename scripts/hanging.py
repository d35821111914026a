"""What a hanging upstream costs those who send: acknowledgements beside a collector that forwards nothing.

Both run at the same time and take short turns under the same steady load, so that whatever else the machine does hits
both. The upstream takes every connection and never answers.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.mini_upstream import MiniUpstream
from tests.helpers.running import PROJECT, Collector, collector, wait_for

ROOT = Path(__file__).parents[1]
TURNS = 8  # of each collector in one repeat
STEADY = ("-n", "100000", "-c", "32", "--rate", "150", "--seconds", "2")
Result = dict[str, Any]


def turn(running: Collector) -> Result:
    """One short steady load; all of it must be taken."""
    command = [sys.executable, "-m", "tests.helpers.load", "--dsn", running.dsn, *STEADY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result: Result = json.loads(done.stdout)
    assert set(result["answers"]) == {"200"}, result
    return result


def hanging(repeats: int) -> Result:
    """Acknowledgement latency of both, and the median of their ratios turn by turn."""
    with MiniUpstream(validate=False) as upstream:
        upstream.behave("hang")
        more = f'[upstream]\ndsn = "{upstream.dsn}"\nwindow = "1 s"\n'
        with collector() as plain, collector(more + PROJECT) as waiting:
            turn(plain)
            turn(waiting)
            wait_for(lambda: waiting.status()["outbox"]["last_error"], what="an upstream that hangs")
            pairs = []
            for number in range(TURNS * repeats):  # who goes first changes
                order = (plain, waiting) if number % 2 == 0 else (waiting, plain)
                took = {id(one): turn(one) for one in order}
                pairs.append((took[id(plain)], took[id(waiting)]))
            assert upstream.received.bodies == []
    told: Result = {}
    for name in ("p50_ms", "p99_ms"):
        told[f"off_{name}"] = round(statistics.median(off[name] for off, _ in pairs), 2)
        told[f"hanging_{name}"] = round(statistics.median(on[name] for _, on in pairs), 2)
        told[f"{name[:3]}_ratio"] = round(statistics.median(on[name] / off[name] for off, on in pairs), 3)
    return {"hanging_upstream": told}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.hanging", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    print(json.dumps(hanging(parser.parse_args().repeats), indent=2))


if __name__ == "__main__":
    main()
