"""What scripts/bench is told, checked before anything starts, and how it ends when it is stopped."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from tests.helpers.arguments import whole
from tests.helpers.load import address_of

# What each section measures. The order is the order of a run.
SECTIONS = {
    "floor": "a bare HTTP server that reads a body and answers: what this machine can do at most, by the same load",
    "stages": "CPU per event of each stage from the request to the stored row, in one process (explained below)",
    "start": "seconds from exec to the first 200",
    "idle": "memory and CPU of a collector that waits",
    "ack": "durable acknowledgements by connections, and latency beside an idle and a saturated worker; with the\n"
    "            section floor their part of the floor's, too",
    "drain": "from the first request to the last event stored: CPU, memory and bytes per event, stored per second",
    "storm": "the same with one hot issue",
    "mixed": "the same with errors, transactions, sessions, logs and check-ins",
    "queries": "how fast stored events are asked, on synthetic rows",
    "upstream": "what forwarding costs, and acknowledgements beside a hanging upstream",
}
PARTS = {
    "named": "the queries that pages and the API ask, in the worker's process",
    "adhoc": "one `collector query` each, from the snapshot to the answer, with its process",
    "start": "opening the folder after an unclean end, 4,000 events in the write-ahead log",
    "beside": "acknowledgements and digest of a running collector, alone and beside a heavy query all the time",
}
QUERY_OPTIONS = ("part", "rows", "segments", "times", "payload_bytes", "data")
LEAST_ROWS = 1_000  # fewer give segments and issues without events
ABOUT = """scripts/bench: what the collector costs on this machine, on real envelopes, in one run.

What is given is the median of the repeats. Exceptions: every CPU figure of drain, storm, mixed, stages and upstream
(cpu_*, *_us) is the least of the repeats, which neighbours on the machine disturb least; rss_mb of one run is its
peak. A named or ad-hoc query is asked --times times after a first one, whatever --repeats says (p50, p95).
"""


class Target(NamedTuple):
    """A server to compare with. pid: whose process tree's CPU is read; None for nobody's."""

    name: str
    dsn: str
    pid: int | None


def rows(text: str) -> int:
    """1M, 5M, 200k or plain digits. Raises ArgumentTypeError."""
    scale = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    try:
        number = int(float(text[:-1] if scale > 1 else text) * scale)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows: 200k, 1M, 5M or plain digits") from None
    if number < LEAST_ROWS:
        raise argparse.ArgumentTypeError(f"{text!r} is too few rows: at least {LEAST_ROWS:,}")
    return number


def section(text: str) -> str:
    """A section's name. Raises ArgumentTypeError."""
    if text in SECTIONS:
        return text
    hint = f"; a part of queries is asked for by `queries --part {text}`" if text in PARTS else ""
    raise argparse.ArgumentTypeError(f"{text!r} is no section: {' '.join(SECTIONS)}{hint}")


def target(text: str) -> Target:
    """DSN or DSN#PID. Raises ArgumentTypeError."""
    dsn, mark, pid = text.partition("#")
    try:
        address = address_of(dsn)
    except ValueError as error:
        hint = ", and sections do not go with --against" if text in SECTIONS else ""
        raise argparse.ArgumentTypeError(f"{text}: {error}{hint}") from None
    if mark and not (pid.isascii() and pid.isdigit() and int(pid) > 0):
        raise argparse.ArgumentTypeError(f"{text}: {pid!r} is no process id; DSN#PID is wanted")
    if mark and not Path(f"/proc/{pid}").exists():
        raise argparse.ArgumentTypeError(f"{text}: no process {pid} runs here")
    name = f"{address.host}:{address.port}{address.prefix}/{address.project}"
    return Target(name, dsn, int(pid) if mark else None)


def add_query_options(parser: Any) -> None:
    """Those that only the section `queries` reads; None where they are not given."""
    parser.add_argument("--part", action="append", choices=[*PARTS], help="only this one; may be given again (all)")
    parser.add_argument("--rows", type=rows, help="events to ask over: 200k, 5M, ... (1M; 100k with --quick)")
    parser.add_argument("--segments", type=whole(), help="files they lie in (7; 30 from 5M rows on)")
    parser.add_argument("--times", type=whole(), help="how often each query is asked (60; 20 with --quick); queries"
                        " by hour a quarter, ad-hoc ones a tenth of it, but 5 and 3 at least")  # fmt: skip
    parser.add_argument("--payload-bytes", type=whole(), help="size of a stored payload (400)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="build the rows here and keep them, or ask those that"
                        " an earlier run kept here (a temporary folder)")  # fmt: skip


def build_parser(more: str = "") -> argparse.ArgumentParser:
    """more: what --help says in the end."""
    listed = "\n".join(f"  {name:<9} {about}" for name, about in SECTIONS.items())
    parts = "\n".join(f"  {name:<9} {about}" for name, about in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        usage="scripts/bench [options] [SECTION ...]\n       scripts/bench [options] --against DSN[#PID] ...",
        description=f"{ABOUT}\nsections (all when none is named):\n{listed}\n\nparts of queries:\n{parts}",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("sections", nargs="*", type=section, metavar="SECTION", help="one of the above")
    parser.add_argument("--repeats", type=whole(), help="how often everything is measured (3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a first look: less of everything, once")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    form.add_argument("--markdown", action="store_true", help="as the tables of the README")
    parser.add_argument("--against", nargs="+", type=target, metavar="DSN[#PID]", help="the same load on other servers"
                        " of this machine, on a collector of our own and on the floor, side by side. With the id of"
                        " its main process the CPU of that process tree is read, too")  # fmt: skip
    add_query_options(parser.add_argument_group("options of the section queries"))
    return parser


def parse(argv: list[str] | None = None, more: str = "") -> argparse.Namespace:
    """The options, defaults filled in. Exits 2 with a sentence when they are wrong."""
    parser = build_parser(more)
    args = parser.parse_intermixed_args(argv)
    args.sections = list(dict.fromkeys(args.sections))
    given = [f"--{name.replace('_', '-')}" for name in QUERY_OPTIONS if getattr(args, name) is not None]
    if args.against:
        beside = [*args.sections, *given, *(["--markdown"] if args.markdown else [])]
        if beside:
            parser.error(f"{', '.join(beside)}: does not go with --against")
        names = [one.name for one in args.against]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            parser.error(f"argument --against: {twice} is given twice")
    if given and args.sections and "queries" not in args.sections:
        parser.error(f"{', '.join(given)}: goes with the section queries only")
    args.repeats = args.repeats or (1 if args.quick else 3)
    complete(parser, args)
    return args


def complete(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Defaults of the options of queries, and what must hold between them."""
    if args.data is not None and args.data.exists():
        extra = [name for name in ("rows", "segments", "payload_bytes") if getattr(args, name) is not None]
        if extra:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in extra)
            parser.error(f"{names}: says how to build a folder, but {args.data} is there already")
        if not ((args.data / MADE).is_file() and (args.data / "state.sqlite").is_file()):
            parser.error(f"argument --data: {args.data} is there, but no earlier run of this made it; measuring writes"
                         " into it")  # fmt: skip
    args.rows = args.rows or (100_000 if args.quick else 1_000_000)
    args.segments = args.segments or (30 if args.rows >= 5_000_000 else 7)
    if args.segments > args.rows // 100:
        parser.error(f"argument --segments: {args.segments} files are too many for {args.rows:,} rows (at least 100 in"
                     " each)")  # fmt: skip
    args.times = args.times or (20 if args.quick else 60)
    args.payload_bytes = args.payload_bytes or 400


MADE = "made-by-scripts-bench.json"  # in a folder that `queries` built: its rows, segments and payload_bytes


def orderly(work: Callable[[], int]) -> NoReturn:
    """Run it and leave with its exit code. When it is stopped from outside everything open is closed first: 128 and
    the signal's number, no traceback."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)  # once is enough; the end must not be cut short
        print(f"stopped by {signal.Signals(number).name}, cleaning up", file=sys.stderr)
        raise SystemExit(128 + number)

    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, stop)
    try:
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    raise SystemExit(code)
