"""scripts/faults: plays fault scenarios with the real command and in models, and prints a table of outcomes."""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.scenarios import SCENARIOS, Scenario

ROOT = Path(__file__).parents[2]


def play(scenario: Scenario, quick: bool, shown: bool) -> dict[str, Any]:
    """Run its tests; what came of them."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-m", "not long"] if quick else []
        command += ["-s"] if shown else []
        began = time.monotonic()
        done = subprocess.run([*command, *scenario.tests], cwd=ROOT, capture_output=not shown, text=True)
        counts, failures = read_report(report)
    outcome = "ok" if done.returncode == 0 and counts["passed"] else "skipped" if not failures else "FAILED"
    if done.returncode not in (0, 1):
        outcome, failures = "FAILED", [*failures, (done.stdout or "")[-800:]]
    return {
        "number": scenario.number,
        "name": scenario.name,
        "outcome": outcome,
        **counts,
        "seconds": round(time.monotonic() - began, 1),
        "failures": failures,
        "differs": scenario.differs,
    }


def read_report(report: Path) -> tuple[Counter[str], list[str]]:
    """Passed, failed and skipped tests, and what the failed ones say."""
    counts: Counter[str] = Counter({"passed": 0, "failed": 0, "skipped": 0})
    failures: list[str] = []
    if not report.exists():
        return counts, ["the tests could not be run"]
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if bad is not None:
            counts["failed"] += 1
            failures.append(f"{case.get('name')}: {(bad.get('message') or '').splitlines()[0][:200]}")
        elif case.find("skipped") is not None:
            counts["skipped"] += 1
        else:
            counts["passed"] += 1
    return counts, failures


def chosen(names: list[str]) -> list[Scenario]:
    """By number or name; all when none is named."""
    wanted = {name.lower() for name in names}
    known = {key for one in SCENARIOS for key in (one.number, one.name)}
    if unknown := wanted - known:
        raise SystemExit(f"no scenario {', '.join(sorted(unknown))}; scripts/faults --list shows them")
    return [one for one in SCENARIOS if not wanted or {one.number, one.name} & wanted]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="numbers or names; all when none is given")
    parser.add_argument("--list", action="store_true", help="show the scenarios")
    parser.add_argument("--loops", type=int, help="kill -9 so often (scenario 1 alone when no other is named)")
    parser.add_argument("--seed", type=int, help="of the kills; a new one each time by default")
    parser.add_argument("--quick", action="store_true", help="only what scripts/test runs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.list:
        for one in SCENARIOS:
            print(f"{one.number:>4}  {one.name:<18} {one.what}")
        return 0
    if args.loops:
        os.environ["COLLECTOR_KILL_LOOPS"] = str(args.loops)
    os.environ["COLLECTOR_KILL_SEED"] = str(args.seed or random.randrange(1, 10**9))
    names = args.names or (["kill-9"] if args.loops else [])
    results = []
    for scenario in chosen(names):
        result = play(scenario, args.quick, shown=bool(args.loops) and not args.json)
        results.append(result)
        if not args.json:
            print(line(result), flush=True)
    if args.json:
        print(json.dumps(results))
    return 1 if any(one["outcome"] == "FAILED" for one in results) else 0


def line(result: dict[str, Any]) -> str:
    """One row of the table, and beneath it what went wrong or is different."""
    counts = f"{result['passed']} passed" + "".join(f", {result[k]} {k}" for k in ("failed", "skipped") if result[k])
    text = f"{result['number']:>4}  {result['name']:<18} {result['outcome']:<8} {counts:<28} {result['seconds']:>7} s"
    notes = [*result["failures"], *([f"differs: {result['differs']}"] if result["differs"] else [])]
    return text + "".join(f"\n      {note}" for note in notes)


if __name__ == "__main__":
    sys.exit(main())
