"""scripts/conformance: run the cases of a file and tell per area what passed, failed or was skipped."""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tests.conformance.cases import load
from tests.conformance.differences import BY_DESIGN, OPEN
from tests.conformance.play import Result, play

CASES = Path(__file__).parents[1] / "data" / "protocol_cases.json"
OUTCOMES = ("passed", "failed", "skipped")


def main(argv: list[str] | None = None) -> int:
    """Exit 0 when no contract case failed that is not in the table of differences."""
    args = _parser().parse_args(argv)
    cases = [case for case in load(args.cases) if not args.area or case.area in args.area]
    cases = [case for case in cases if not args.id or case.id in args.id]
    order = {case.id: number for number, case in enumerate(cases)}
    results = sorted(play(cases, args.exact), key=lambda result: order[result.id])
    if args.json:
        rows = [{key: getattr(one, key) for key in ("id", "area", "outcome", "detail")} for one in results]
        print(json.dumps({"results": rows}, ensure_ascii=False))
    else:
        _print(results)
    return 1 if any(unexplained(one) for one in results) else 0


def unexplained(result: Result) -> bool:
    """A contract case that failed and stands in no table."""
    return result.outcome == "failed" and result.tier == "contract" and result.id not in BY_DESIGN | OPEN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    parser.add_argument("--cases", type=Path, default=CASES, metavar="FILE", help="cases (default: the committed ones)")
    parser.add_argument("--area", action="append", help="only this area; may be repeated")
    parser.add_argument("--id", action="append", help="only this case; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--exact", action="store_true", help="a collector for each case, and not a byte of it changed")
    return parser


def _print(results: list[Result]) -> None:
    for one in results:
        if one.outcome != "passed":
            reason = {**BY_DESIGN, **OPEN}.get(one.id, "")
            print(
                f"{one.outcome:8}{one.tier:9} {one.id}: {one.detail}" + (f"\n        known: {reason}" if reason else "")
            )
    print(f"\n{'area':20}{'tier':10}" + "".join(f"{name:>9}" for name in OUTCOMES))
    counts = Counter((one.area, one.tier, one.outcome) for one in results)
    for area, tier in sorted({(one.area, one.tier) for one in results}):
        print(f"{area:20}{tier:10}" + "".join(f"{counts[area, tier, name]:9}" for name in OUTCOMES))
    for tier in sorted({one.tier for one in results}):
        sums = [sum(n for key, n in counts.items() if key[1:] == (tier, name)) for name in OUTCOMES]
        print(f"{'all':20}{tier:10}" + "".join(f"{one:9}" for one in sums))


if __name__ == "__main__":
    sys.exit(main())
