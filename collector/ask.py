"""The commands that ask what is stored: query, shell, event, issue. Like cli: parsing and printing only.

Each works on a running collector (through a snapshot, without stopping it) and on a folder at rest alike.
"""

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from collector.config import Config
from collector.errors import ProtocolError
from collector.query.job import BINARY, FORMATS

if TYPE_CHECKING:
    from collector.query.adhoc import Ask, Limits, Sources
    from collector.query.job import Verdict

Loader = Callable[[argparse.Namespace], Config]
AskCollector = Callable[[Config, str, Any, float], Any]
SNAPSHOT_SECONDS = 60.0
USAGE = 64


class Asking:
    """The commands. `load` reads the configuration, `ask` puts a question to a running collector."""

    def __init__(self, load: Loader, ask: AskCollector) -> None:
        self.load = load
        self.ask = ask

    def query(self, args: argparse.Namespace) -> int:
        """Answer one SQL query over the stored events."""
        from collector.query.adhoc import Limits

        config = self.load(args)
        limits = Limits.of(config.query, args.limit, args.timeout)
        if args.limits:
            with self.sources(config) as sources:
                verdict = self._run("SELECT 1", sources, limits, "json", io.BytesIO())
            print("\n".join(limits.sentences(verdict.has_network)))
            return 0
        if args.sql is None:
            return _wrong('a statement is missing: collector query "SELECT ...", or - to read it from stdin')
        if args.format in BINARY and sys.stdout.isatty():
            return _wrong(f"--format {args.format} is not for a terminal; send it to a file: > answer.{args.format}")
        sql = sys.stdin.read() if args.sql == "-" else args.sql
        with self.sources(config, args.since) as sources:
            verdict = self._run(sql, sources, limits, args.format, sys.stdout.buffer)
        sys.stdout.flush()
        _remark(verdict)
        return 0

    def shell(self, args: argparse.Namespace) -> int:
        """Ask one statement after another at a prompt, or read them from stdin."""
        from collector.query.shell import Shell

        config = self.load(args)
        shell = Shell(config.query, lambda since: self.sources(config, since), sys.stdout.buffer)
        return shell.interact() if sys.stdin.isatty() else shell.read(sys.stdin)

    def event(self, args: argparse.Namespace) -> int:
        """Show one event: by id in any spelling, by the beginning of it, or the newest of an issue."""
        steps = [step for step in ("latest", "oldest", "next", "previous") if getattr(args, step)]
        document = self._document(args, "event", {"key": args.which, "step": steps[0] if steps else ""})
        if args.json:
            print(document.decode(), end="")
        else:
            from collector.query.cards import event_card

            print(event_card(json.loads(document)), end="")
        return 0

    def issue(self, args: argparse.Namespace) -> int:
        """Show one issue, by short id or number: state, counts, last 24 hours, tags."""
        document = self._document(args, "issue", {"key": args.which})
        if args.json:
            print(document.decode(), end="")
        else:
            from collector.query.cards import issue_card

            print(issue_card(json.loads(document)), end="")
        return 0

    def all_rows(self, config: Config, sql: str, out: BinaryIO) -> None:
        """The answer to a statement of ours, as JSON."""
        from collector.query.adhoc import Limits

        with self.sources(config) as sources:
            _remark(self._run(sql, sources, Limits.of(config.query), "json", out))

    @contextlib.contextmanager
    def sources(self, config: Config, since: str | None = None) -> Iterator["Sources"]:
        """The files to read, those before `since` left out."""
        from collector.offline import query_sources
        from collector.query.adhoc import newer_than, parse_since

        at = parse_since(since) if since else None
        with query_sources(config, lambda body: self.ask(config, "snapshot", body, SNAPSHOT_SECONDS)) as found:
            yield found if at is None else newer_than(found, at)

    def _document(self, args: argparse.Namespace, named: str, values: dict[str, Any]) -> bytes:
        from collector.query.adhoc import Ask, Limits

        config = self.load(args)
        answer = io.BytesIO()
        with self.sources(config) as sources:
            ask = Ask(named=named, values={**values, "now": time.time()})
            _remark(self._run(ask, sources, Limits.of(config.query), "json", answer))
        return answer.getvalue()

    def _run(self, ask: "str | Ask", sources: "Sources", limits: "Limits", format: str, out: BinaryIO) -> "Verdict":
        from collector.query.adhoc import run

        try:
            return run(ask, sources, limits, format, out)
        except ProtocolError as error:
            for line in error.causes:
                print(f"  {line}", file=sys.stderr)
            raise


def _wrong(sentence: str) -> int:
    print(f"collector query: {sentence}", file=sys.stderr)
    return USAGE


def _remark(verdict: "Verdict") -> None:
    if verdict.truncated:
        print(f"collector: only the first {verdict.rows} rows ({verdict.cut_by})", file=sys.stderr)
    for name in verdict.skipped:
        print(f"collector: segment {name} could not be read and is left out", file=sys.stderr)


def _since(text: str) -> str:
    from collector.query.adhoc import parse_since

    try:
        parse_since(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def add_asking(add: Callable[..., argparse.ArgumentParser], asking: Asking) -> None:
    """Add the commands to the command line."""
    sub = add("query", asking.query)
    sub.add_argument("sql", metavar="SQL", nargs="?", help='one SELECT, or "-" to read it from stdin')
    sub.add_argument("--format", choices=FORMATS, default="table")
    sub.add_argument("--limit", type=int, metavar="N", help="at most N rows, within query.max_rows")
    sub.add_argument("--since", metavar="WHEN", type=_since,
                     help='only what was received since then: an age, "2 d", or a time, 2026-11-20T12:00')  # fmt: skip
    sub.add_argument("--timeout", type=float, metavar="SECONDS", help="at most so long, within query.timeout")
    sub.add_argument("--limits", action="store_true", help="say what holds for a query on this machine")
    add("shell", asking.shell)
    sub = add("event", asking.event)
    sub.add_argument("which", metavar="WHICH", help="event id, six or more digits of one, or an issue such as SHOP-1A")
    step = sub.add_mutually_exclusive_group()
    step.add_argument("--latest", action="store_true", help="the newest event of the same issue")
    step.add_argument("--oldest", action="store_true", help="the oldest one that is kept")
    step.add_argument("--next", action="store_true", help="the one after it")
    step.add_argument("--previous", action="store_true", help="the one before it")
    sub.add_argument("--json", action="store_true", help="all of it, machine-readable")
    sub = add("issue", asking.issue)
    sub.add_argument("which", metavar="WHICH", help="short id such as SHOP-1A, or number")
    sub.add_argument("--json", action="store_true", help="machine-readable")
