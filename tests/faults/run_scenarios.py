"""scripts/faults: plays fault scenarios with the real command and in models, and prints a table of outcomes.

Exit code 0: every scenario ended as expected; 1: one did not; 130, 143: stopped by a signal; 2: a wrong option.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tests.faults.audit import AUDITS
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.helpers.arguments import whole

ROOT = Path(__file__).parents[2]
LOOPED = "kill-9"  # the scenario that has loops and a seed
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
END_SECONDS = 60.0  # for a test to end its collector and unmount its disk, once it was told to stop


class Ended(BaseException):
    """A signal told us to end; `code` is what to exit with."""

    def __init__(self, code: int) -> None:
        self.code = code


def play(scenario: Scenario, quick: bool, shown: bool) -> dict[str, Any]:
    """Run its tests; what came of them. Their files are kept when one failed, else nothing is left."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    report, book = folder / "report.xml", folder / "audits"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += [f"--basetemp={folder / 't'}", *(["-m", "not long"] if quick else []), *(["-s"] if shown else [])]
    began = time.monotonic()
    ended: Ended | None = None
    code = 0
    try:
        with (folder / "output").open("w") as output:
            environ = {**os.environ, AUDITS: str(book), "TMPDIR": str(folder)}
            code = run([*command, *scenario.tests], environ, None if shown else output)
    except Ended as told:
        ended = told
    counts, failures = read_report(report, bool(ended))
    audits = len(book.read_text().splitlines()) if book.exists() else 0
    if code not in (0, 1) or (not report.exists() and not ended):
        failures = [*failures, f"pytest ended with {code}: " + (folder / "output").read_text()[-800:]]
    outcome = "stopped" if ended else judged(counts, failures, audits, not scenario.alone and not quick)
    if outcome == "FAILED" and not failures:
        failures = ["it ended without the audit"]
    if outcome == "FAILED":
        failures = [*failures, f"its files are kept in {folder}"]
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "number": scenario.number,
        "name": scenario.name,
        "outcome": outcome,
        **counts,
        "audits": audits,
        "seconds": round(time.monotonic() - began, 1),
        "failures": failures,
        "alone": scenario.alone,
        "differs": scenario.differs,
        "ended": ended.code if ended else 0,
    }


def judged(counts: Counter[str], failures: list[str], audits: int, must_audit: bool) -> str:
    """ok, FAILED, or skipped when no test could be played. A scenario with processes has to end with an audit."""
    if failures or counts["failed"]:
        return "FAILED"
    if not counts["passed"]:
        return "skipped"
    return "ok" if audits or counts["skipped"] or not must_audit else "FAILED"


def run(command: list[str], environ: dict[str, str], output: Any) -> int:
    """A command in a process group of its own; its exit code. Raises Ended, when nothing of the group runs any more."""
    child: subprocess.Popen[bytes] | None = None
    try:
        with held():
            child = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
            )  # fmt: skip
        return child.wait()
    except Ended:
        if child:
            child.send_signal(signal.SIGINT)  # to pytest alone: its fixtures end what they have started
            with contextlib.suppress(subprocess.TimeoutExpired, Ended):  # a second signal does not wait
                child.wait(END_SECONDS)
        raise
    finally:
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals that end us wait until this is over: a process that was just started would be nobody's."""
    told: list[int] = []
    before = {number: signal.signal(number, lambda number, _: told.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise Ended(128 + told[0])


def read_report(report: Path, stopped: bool) -> tuple[Counter[str], list[str]]:
    """Passed, failed and skipped tests, and what the failed ones say. Nothing of a run that was stopped: its report
    calls the test in the middle of which it stopped a passed one."""
    counts: Counter[str] = Counter({"passed": 0, "failed": 0, "skipped": 0})
    failures: list[str] = []
    if stopped or not report.exists():
        return counts, failures
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
    """By number or name; all when none is named. Raises ValueError for an unknown one."""
    wanted = {name.lower() for name in names}
    known = {key for one in SCENARIOS for key in (one.number, one.name)}
    if unknown := wanted - known:
        raise ValueError(f"no scenario {', '.join(sorted(unknown))}; scripts/faults --list shows them")
    return [one for one in SCENARIOS if not wanted or {one.number, one.name} & wanted]


def parsed(arguments: list[str]) -> tuple[argparse.Namespace, list[Scenario]]:
    """The options and the scenarios they ask for. Raises SystemExit (2) with a sentence for what cannot be done."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("names", nargs="*", metavar="NAME", help="numbers or names of scenarios; default: all")
    parser.add_argument("--list", action="store_true", help="only show the scenarios, and which no process plays")
    loops = f"kill -9 so often, of scenario 1 ({LOOPED}), which is played alone; default: 15"
    parser.add_argument("--loops", type=whole(), metavar="N", help=loops)
    seeds = "of the moments and victims of scenario 1, to play a run again; default: a new one each time"
    parser.add_argument("--seed", type=whole(0), metavar="N", help=seeds)
    quick = "without the tests marked long, as scripts/test does; default: all tests"
    parser.add_argument("--quick", action="store_true", help=quick)
    shown = "one JSON array at the end; default: a table, a row as each scenario ends"
    parser.add_argument("--json", action="store_true", help=shown)
    args = parser.parse_args(arguments)
    try:
        scenarios = chosen(args.names or ([LOOPED] if args.loops else []))
    except ValueError as error:
        parser.error(str(error))
    others = ", ".join(f"{one.number} ({one.name})" for one in scenarios if one.name != LOOPED)
    if args.loops and others:
        parser.error(f"--loops is for scenario 1 ({LOOPED}); there are none in {others}")
    if args.seed is not None and LOOPED not in {one.name for one in scenarios}:
        parser.error(f"--seed is for scenario 1 ({LOOPED}); there is none in {others}")
    return args, scenarios


def ends(number: int, frame: FrameType | None) -> None:
    raise Ended(128 + number)


def main() -> int:
    args, scenarios = parsed(sys.argv[1:])
    if args.list:
        print("\n".join(map(entry, scenarios)))
        return 0
    for number in SIGNALS:
        signal.signal(number, ends)
    if args.loops:
        os.environ["COLLECTOR_KILL_LOOPS"] = str(args.loops)
    os.environ["COLLECTOR_KILL_SEED"] = str(random.randrange(1, 10**9) if args.seed is None else args.seed)
    results: list[dict[str, Any]] = []
    ended = 0
    try:
        for scenario in scenarios:
            results.append(play(scenario, args.quick, shown=bool(args.loops) and not args.json))
            if not args.json:
                print(line(results[-1]), flush=True)
            if ended := results[-1]["ended"]:
                break
    except Ended as told:  # between two of them
        ended = told.code
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if args.json:
        print(json.dumps(results))
    if ended:
        played = sum(one["outcome"] != "stopped" for one in results)
        print(f"stopped after {played} of {len(scenarios)} scenarios", file=sys.stderr)
        return ended
    return 1 if any(one["outcome"] == "FAILED" for one in results) else 0


def entry(scenario: Scenario) -> str:
    """One scenario of the list."""
    text = f"{scenario.number:>4}  {scenario.name:<18} {scenario.what}"
    return text + (f"\n      in no process: {scenario.alone}" if scenario.alone else "")


def line(result: dict[str, Any]) -> str:
    """One row of the table, and beneath it what went wrong or is different."""
    counts = f"{result['passed']} passed" + "".join(f", {result[k]} {k}" for k in ("failed", "skipped") if result[k])
    counts += f", {result['audits']} audits" if result["audits"] else ""
    text = f"{result['number']:>4}  {result['name']:<18} {result['outcome']:<8} {counts:<32} {result['seconds']:>7} s"
    notes = [*result["failures"], *(f"{key}: {result[key]}" for key in ("alone", "differs") if result[key])]
    return text + "".join(f"\n      {note}" for note in notes)


if __name__ == "__main__":
    sys.exit(main())
