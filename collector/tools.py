"""The commands for people who test their rules: group, rules, normalise, scrub. Like cli: parsing and printing only."""

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from collector.config import Config, ProjectConfig
from collector.errors import ConfigError

Loader = Callable[[argparse.Namespace], Config]
Query = Callable[[Config, str, BinaryIO], None]


def _lines(name: str) -> Iterator[str]:
    """The lines of a file, or of stdin for "-"; what is no UTF-8 comes as U+FFFD."""
    if name == "-":
        yield from io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
        return
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise ConfigError([f"{name}: cannot be read: {error.strerror}"]) from error


def _text(name: str | None, otherwise: str = "") -> str:
    return "".join(_lines(name)) if name else otherwise


class Tools:
    """The commands. `load` reads the configuration, `query` runs SQL into a file."""

    def __init__(self, load: Loader, query: Query) -> None:
        self.load = load
        self.query = query

    def project_of(self, args: argparse.Namespace, config: Config) -> ProjectConfig:
        for project in config.project:
            if args.project in (project.slug, str(project.id)):
                return project
        known = ", ".join(project.slug for project in config.project) or "none"
        raise ConfigError([f"--project: {args.project!r} is not configured; known: {known}"])

    def group(self, args: argparse.Namespace) -> int:
        """Say by which hashes events are grouped, and why."""
        from collector.group.console import Options, group_lines, parameterize_lines

        if args.parameterize:
            return _print(parameterize_lines(_lines(args.file)))
        options = Options(stack_trace_rules=_text(args.rules), fingerprint_rules=_text(args.fingerprints))
        if args.grouping_config:
            options = Options(args.grouping_config, options.stack_trace_rules, options.fingerprint_rules)
        if args.raw:
            from collector.digest.console import normalise_event

            options = Options(options.config, options.stack_trace_rules, options.fingerprint_rules, normalise_event)
        return _print(group_lines(_lines(args.file), options, as_json=args.json))

    def rules(self, args: argparse.Namespace) -> int:
        """Evaluate, test and try stack trace and fingerprint rules."""
        from collector.group.console import Options, eval_lines, test_lines, try_rules

        if args.action == "eval":
            return _print(eval_lines(_lines(args.file)))
        options = Options(stack_trace_rules=_text(args.rules), fingerprint_rules=_text(args.fingerprints))
        if args.action == "test":
            ok = True
            for checked in test_lines(_lines(args.file), options):
                ok = ok and checked.ok
                print(checked.line)
            return 0 if ok else 1
        config = self.load(args)
        project = self.project_of(args, config) if args.project else next(iter(config.project), None)
        before = project.grouping if project else None
        now = Options(before.config, before.stack_trace_rules, before.fingerprint_rules) if before else Options()
        after = Options(now.config, _text(args.rules, now.stack_trace_rules),
                        _text(args.fingerprints, now.fingerprint_rules))  # fmt: skip
        where = f" AND project_id = {project.id}" if project else ""
        answer = io.BytesIO()
        self.query(config, f"SELECT payload FROM events WHERE payload IS NOT NULL{where}", answer)  # noqa: S608 - a number
        rows = json.loads(answer.getvalue())
        return _print(try_rules((_payload(row["payload"]) for row in rows), now, after))

    def normalise(self, args: argparse.Namespace) -> int:
        """Print events as they would be normalised."""
        from collector.digest.console import normalise_lines

        return _answer(normalise_lines(_lines(args.file), kind=_kind(args)))

    def scrub(self, args: argparse.Namespace) -> int:
        """Print events as they would be stored: normalised and scrubbed by a project's settings."""
        from collector.digest.console import scrub_lines
        from collector.scrub.settings import ScrubSettings

        settings = self.project_of(args, self.load(args)).scrubbing if args.project else ScrubSettings()
        return _answer(scrub_lines(_lines(args.file), settings, kind=_kind(args)))


def add_tools(add: Callable[..., argparse.ArgumentParser], tools: Tools) -> None:
    """Add the commands to the command line."""
    sub = add("group", tools.group)
    sub.add_argument("file", metavar="FILE", help='events as JSON or JSON lines; "-" is stdin')
    sub.add_argument("--grouping-config", metavar="C", help="grouping configuration, else the default one")
    sub.add_argument("--rules", metavar="FILE", help="stack trace rules")
    sub.add_argument("--fingerprints", metavar="FILE", help="fingerprint rules")
    sub.add_argument("--raw", action="store_true", help="events as sent: normalise first")
    sub.add_argument("--json", action="store_true", help="one JSON answer a line")
    sub.add_argument("--parameterize", action="store_true", help="lines are JSON strings: replace their variable parts")
    sub = add("rules", tools.rules)
    sub.add_argument("action", choices=("eval", "test", "try"))
    sub.add_argument("file", metavar="FILE", nargs="?", default="-", help='questions or expectations; "-" is stdin')
    sub.add_argument("--rules", metavar="FILE", help="stack trace rules (try: the new ones)")
    sub.add_argument("--fingerprints", metavar="FILE", help="fingerprint rules (try: the new ones)")
    sub.add_argument("--project", metavar="SLUG", help="try: whose events and present rules")
    sub = add("normalise", tools.normalise)
    sub.add_argument("file", metavar="FILE", help='events as JSON or JSON lines; "-" is stdin')
    _add_kind(sub)
    sub = add("scrub", tools.scrub)
    sub.add_argument("file", metavar="FILE", help='events as JSON or JSON lines; "-" is stdin')
    sub.add_argument("--project", metavar="SLUG", help="whose scrubbing settings; else the defaults")
    _add_kind(sub)


def _add_kind(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--kind", default="event", help="what a line is: event, feedback, log, span, session, check_in, ..."
    )


def _kind(args: argparse.Namespace) -> str:
    from collector.digest.console import KINDS

    kind: str = args.kind
    if kind not in KINDS:
        raise ConfigError([f"--kind: {kind!r} is not one of {', '.join(KINDS)}"])
    return kind


def _payload(value: object) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def _answer(lines: Iterator[str]) -> int:
    """Print one answer an event; 1 when there was something that is no event."""
    from collector.digest.console import is_refusal

    code = 0
    for line in lines:
        print(line)
        code = 1 if is_refusal(line) else code
    return code


def _print(lines: Iterator[str]) -> int:
    """Print answers; 1 when one of them is an error."""
    from collector.group.console import is_error

    code = 0
    try:
        for line in lines:
            print(line)
            code = 1 if is_error(line) else code
    except ValueError as error:  # what stands in the input is wrong: a rule, or what is no JSON
        print(f"collector: {error}", file=sys.stderr)
        return 1
    return code
