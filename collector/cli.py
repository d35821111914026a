"""The commands: argument parsing and printing, no logic.

Exit codes: 0 done, 1 the answer is no, 2 `plan` found differences, 64 usage, 70 internal, 73 data folder in use,
78 configuration.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from collector import __version__
from collector.ask import Asking, add_asking
from collector.config import Config, Source, data_folder, example
from collector.errors import CollectorError, ConfigError, ProtocolError, Unavailable
from collector.issues import Issues, add_issues
from collector.keep import Keep, add_keep
from collector.tools import Tools, add_tools

DONE, NO, DIFFERS, USAGE, INTERNAL, IN_USE, CONFIG = 0, 1, 2, 64, 70, 73, 78
RELOAD_SECONDS = 150.0  # the last batch of a worker, and the first word of the next
CONFIG_NAMES = ("collector.toml", "config.example.toml")

Command = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """argparse with our exit code for wrong usage."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the mistake, exit 64."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(USAGE)


def _config(args: argparse.Namespace) -> Config:
    return _source(args).load()


def _source(args: argparse.Namespace) -> Source:
    overrides: dict[str, Any] = {}
    if getattr(args, "address", None):
        overrides["listen.address"] = args.address
    if args.data_dir:
        overrides["data.dir"] = str(Path(args.data_dir).resolve())
    return Source(_config_path(args).absolute(), os.environ, overrides)


def _config_path(args: argparse.Namespace) -> Path:
    if args.config:
        return Path(args.config)
    if named := os.environ.get("COLLECTOR_CONFIG"):
        return Path(named)
    for name in CONFIG_NAMES:
        if Path(name).exists():
            return Path(name)
    raise ConfigError([f"--config is not given, COLLECTOR_CONFIG is not set, and there is no {CONFIG_NAMES[0]} here"])


def serve(args: argparse.Namespace) -> int:
    """Run the collector."""
    from collector.reload import Hangups

    hangups = Hangups()
    from collector.machine.logs import set_up_logs
    from collector.serve import serve as run

    source = _source(args)
    config = source.load()
    set_up_logs(config.log.level)
    start_thread = None
    if config.process.worker == "thread":
        from collector.work import work_on

        start_thread = work_on
    return run(config, start_thread, source, hangups)


def check(args: argparse.Namespace) -> int:
    """Validate a configuration: every mistake in one go."""
    if args.example:
        print(example(), end="")
        return DONE
    try:
        path = _config_path(args)
        _config(args)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"valid": False, "mistakes": error.mistakes}))
        else:
            for mistake in error.mistakes:
                print(mistake, file=sys.stderr)
        return CONFIG
    print(json.dumps({"valid": True, "mistakes": []}) if args.json else f"{path}: no mistakes")
    return DONE


def dsn(args: argparse.Namespace) -> int:
    """Print the DSN of every project."""
    from collector.machine.disk import RealDisk
    from collector.serve import dsn_lines, with_default_project

    config = with_default_project(_config(args), RealDisk())
    for line in dsn_lines(config, _address(config)):
        print(line)
    return DONE


def _address(config: Config) -> str:
    """The address in use: a running collector knows its own, which port 0 or `serve --address` may have changed."""
    try:
        document = _ask(config, "status", None, 5.0)
    except Unavailable:
        return config.listen.address
    return str(document["address"])


def _ask(config: Config, kind: str, body: Any, timeout_seconds: float) -> Any:
    from collector.machine.link import ask_front

    return ask_front(Path(config.data.dir), kind, body, timeout_seconds)


def status(args: argparse.Namespace) -> int:
    """Show what runs, what waits and the ledger; exit 1 when not ready."""
    config = _config(args)
    try:
        document = _ask(config, "status", None, 10.0)
    except Unavailable as error:
        from collector.offline import offline_status  # needs DuckDB, which a running collector's answer does not

        document = offline_status(config, str(error))
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        from collector.tables import status_text

        print(status_text(document))
    return DONE if document["ready"] else NO


def reload(args: argparse.Namespace) -> int:
    """Have a running collector read its configuration again; exit 78 when it has mistakes, the old one stays then."""
    from collector.tables import reload_text

    source = _source(args)
    outcome = _ask_about(source, "reload", source.path)
    if args.json:
        print(json.dumps(outcome))
    elif not outcome["mistakes"]:
        print(reload_text(outcome))
    return _told(args, outcome, "not reloaded, the last good configuration stays in force", DONE)


def plan(args: argparse.Namespace) -> int:
    """Show what a file would change in a running collector; exit 2 when something differs, 0 when nothing does."""
    from collector.tables import plan_text

    source = _source(args)
    found = _ask_about(source, "plan", Path(args.file).absolute() if args.file else source.path)
    if args.json:
        print(json.dumps(found))
    elif not found["mistakes"]:
        print(plan_text(found))
    return _told(args, found, "it would not be applied", DIFFERS if found["changes"] else DONE)


def _ask_about(source: Source, kind: str, path: Path) -> dict[str, Any]:
    """Ask the running collector, which is found also where its file has mistakes by now."""
    from collector.machine.link import ask_front

    try:
        answer: dict[str, Any] = ask_front(data_folder(source), kind, str(path), RELOAD_SECONDS)
    except Unavailable:
        source.load(path)  # raises when there are mistakes to tell, which may be why none is found
        raise
    return answer


def _told(args: argparse.Namespace, answer: dict[str, Any], meaning: str, code: int) -> int:
    if not answer["mistakes"]:
        return code
    for mistake in [] if args.json else answer["mistakes"]:
        print(mistake, file=sys.stderr)
    if not args.json:
        print(f"collector: {answer['path']}: {meaning}", file=sys.stderr)
    return CONFIG


def parser() -> Parser:
    """The whole command line."""
    shared = Parser(add_help=False)
    shared.add_argument("--config", metavar="FILE", help="configuration (else $COLLECTOR_CONFIG, collector.toml)")
    shared.add_argument("--data-dir", metavar="DIR", help="data folder, over the one of the configuration")
    top = Parser(prog="collector", description="Self-hosted edge collector for the Sentry protocol.")
    top.add_argument("--version", action="version", version=f"collector {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, run: Command) -> argparse.ArgumentParser:
        text = (run.__doc__ or "").strip()
        sub = commands.add_parser(name, parents=[shared], help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = add("serve", serve)
    sub.add_argument("--address", metavar="HOST:PORT", help="listen address, over the one of the configuration")
    sub = add("check", check)
    sub.add_argument("--json", action="store_true", help="machine-readable")
    sub.add_argument("--example", action="store_true", help="print an example configuration with every setting")
    sub = add("reload", reload)
    sub.add_argument("--json", action="store_true", help="machine-readable")
    sub = add("plan", plan)
    sub.add_argument("file", metavar="FILE", nargs="?", help="as if it stood in the place of the configuration")
    sub.add_argument("--json", action="store_true", help="machine-readable")
    add("dsn", dsn)
    sub = add("status", status)
    sub.add_argument("--json", action="store_true", help="the whole document")
    asking = Asking(_config, _ask)
    add_asking(add, asking)
    add_tools(add, Tools(_config, asking.all_rows))
    add_keep(add, Keep(_config, _ask))
    add_issues(add, Issues(_config, _ask))
    return top


def _unavailable_code(args: argparse.Namespace, error: Unavailable) -> int:
    if args.command != "serve":
        return NO
    from collector.serve import FolderRefused

    return IN_USE if isinstance(error, FolderRefused) else INTERNAL


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return CONFIG
    except Unavailable as error:
        print(f"collector: {error}", file=sys.stderr)
        return _unavailable_code(args, error)
    except ProtocolError as error:
        print(f"collector: {error}", file=sys.stderr)
        return NO
    except CollectorError as error:
        print(f"collector: {error}", file=sys.stderr)
        return INTERNAL
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"collector: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return INTERNAL
    except Exception:  # the command's door: Python's own exit code 1 would say "the answer is no"
        traceback.print_exc()
        return INTERNAL
    return code


if __name__ == "__main__":
    sys.exit(main())
