"""The commands about issues: list them, show their hashes, merge, split, resolve and ignore them by hand.

Each works on a running collector, through its worker, and on a folder at rest alike.
"""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from collector.config import Config
from collector.errors import ConfigError, Unavailable

Loader = Callable[[argparse.Namespace], Config]
Ask = Callable[[Config, str, Any, float], Any]
ANSWER_SECONDS = 60.0


class Issues:
    """The commands. `load` reads the configuration, `ask` puts a question to a running collector."""

    def __init__(self, load: Loader, ask: Ask) -> None:
        self.load = load
        self.ask = ask

    def run(self, args: argparse.Namespace) -> int:
        """List issues, show one, merge and split them, say which are resolved or ignored."""
        config = self.load(args)
        body = _BODIES[args.action](args, config)
        try:
            answer = self.ask(config, "issues", body, ANSWER_SECONDS)
        except Unavailable as error:
            if not error.what.startswith("collector: not running"):
                raise
            answer = _at_rest(config, body)
        if "error" in answer:
            print(f"collector: {answer['error']}", file=sys.stderr)
            return 1
        if args.json:
            print(json.dumps(answer))
        else:
            for line in _LINES[args.action](answer):
                print(line)
        return 0


def _at_rest(config: Config, body: Any) -> Any:
    from collector.machine.disk import RealDisk
    from collector.serve import with_default_project
    from collector.work import regroup_at_rest

    return regroup_at_rest(with_default_project(config, RealDisk()), body)


def _list_body(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    found = [project.id for project in config.project if args.project in (project.slug, str(project.id))]
    if args.project and not found:
        raise ConfigError([f"--project: {args.project!r} is not configured"])
    return {"do": "list", "limit": args.limit, "project": found[0] if found else None}


_BODIES: dict[str, Callable[[argparse.Namespace, Config], dict[str, Any]]] = {
    "list": _list_body,
    "show": lambda args, _: {"do": "show", "issue": args.issue},
    "merge": lambda args, _: {"do": "merge", "into": args.issue, "issues": args.others},
    "unmerge": lambda args, _: {"do": "unmerge", "issue": args.issue, "hashes": args.hashes, "into": args.into},
    "resolve": lambda args, _: {"do": "set", "status": "resolved", "issues": args.issues},
    "unresolve": lambda args, _: {"do": "set", "status": "unresolved", "issues": args.issues},
    "ignore": lambda args, _: {"do": "set", "status": "ignored", "issues": args.issues},
}


def _list_lines(answer: dict[str, Any]) -> list[str]:
    return [
        f"{one['short_id']:<14} {one['count']:>9}  {_time(one['last_seen'])}  {one['hashes']:>3}  {one['title']}"
        for one in answer["issues"]
    ] or ["no issues yet"]


def _show_lines(answer: dict[str, Any]) -> list[str]:
    one = answer["issue"]
    head = [
        f"{one['short_id']}  {one['title']}",
        f"culprit  {one['culprit'] or '(none)'}",
        f"events   {one['count']}, users {one['users']}, {one['status']}",
        f"seen     {_time(one['first_seen'])} to {_time(one['last_seen'])}",
    ]
    hashes = [f"hash     {digest}{'  (made it)' if digest == one['hash'] else ''}" for digest in answer["hashes"]]
    return head + (hashes or ["hash     none: no event will join it"])


def _moved_lines(answer: dict[str, Any]) -> list[str]:
    into = f"{answer['into']}{' (new)' if answer['new'] else ''}"
    return [f"{one['hash']}  {one['from']} -> {into}" for one in answer["moved"]] or ["nothing to move"]


def _status_lines(answer: dict[str, Any]) -> list[str]:
    return [f"{one['short_id']}  {one['before']} -> {one['status']}" for one in answer["issues"]]


_LINES = {
    "list": _list_lines,
    "show": _show_lines,
    "merge": _moved_lines,
    "unmerge": _moved_lines,
    "resolve": _status_lines,
    "unresolve": _status_lines,
    "ignore": _status_lines,
}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def add_issues(add: Callable[..., argparse.ArgumentParser], issues: Issues) -> None:
    """Add the commands to the command line."""
    sub = add("issues", issues.run)
    actions = sub.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        one.add_argument("--json", action="store_true", help="machine-readable")
        for name in ("--config", "--data-dir"):  # as of every command, also behind the action
            one.add_argument(name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return one

    one = action("list", "the issues with the newest events, newest first: id, events, last seen, hashes, title")
    one.add_argument("--project", metavar="SLUG", help="only of this project")
    one.add_argument("--limit", type=int, metavar="N", default=50, help="at most N issues")
    one = action("show", "one issue with its hashes")
    one.add_argument("issue", metavar="ISSUE", help="short id such as SHOP-1")
    one = action("merge", "from now on, events of the other issues join the first; stored ones stay where they are")
    one.add_argument("issue", metavar="INTO", help="short id such as SHOP-1")
    one.add_argument("others", metavar="ISSUE", nargs="+", help="issues that are the same")
    one = action("unmerge", "events with these hashes leave the issue: for the one they came from, else for a new one")
    one.add_argument("issue", metavar="ISSUE", help="short id such as SHOP-1")
    one.add_argument("hashes", metavar="HASH", nargs="+", help="hashes of the issue, whole or their beginnings")
    one.add_argument("--into", metavar="ISSUE", help="give them to this issue instead")
    for name, text in (
        ("resolve", "done with: an event re-opens it"),
        ("unresolve", "open again"),
        ("ignore", "not wanted: stays so whatever comes"),
    ):
        one = action(name, text)
        one.add_argument("issues", metavar="ISSUE", nargs="+", help="short ids such as SHOP-1")
