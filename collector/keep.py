"""The commands that look after what is kept and what leaves: segments, verify, backup, export, forward and the like.

Each works on a running collector (through a snapshot, without stopping it) and on a folder at rest alike.
"""

import argparse
import contextlib
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collector.config import Config
from collector.model.settings import Duration
from collector.progress import Progress

if TYPE_CHECKING:
    from collector.store.snapshots import Snapshot

Loader = Callable[[argparse.Namespace], Config]
Ask = Callable[[Config, str, Any, float], Any]
SNAPSHOT_SECONDS = 120.0
IN_USE = 73


class Keep:
    """The commands. `load` reads the configuration, `ask` puts a question to a running collector."""

    def __init__(self, load: Loader, ask: Ask) -> None:
        self.load = load
        self.ask = ask

    @contextlib.contextmanager
    def _snapshot(self, args: argparse.Namespace) -> Iterator[tuple["Snapshot", Path]]:
        """Consistent files of everything, and a folder for temporary ones."""
        from collector.offline import snapshot_of

        config = self.load(args)
        with snapshot_of(config, lambda folder: self.ask(config, "snapshot", folder, SNAPSHOT_SECONDS)) as found:
            yield found

    def segments(self, args: argparse.Namespace) -> int:
        """List the segment files, oldest first."""
        with self._snapshot(args) as (snapshot, _):
            files = [(path, "sealed") for path in snapshot.sealed]
            files += [(snapshot.active, "active")] if snapshot.active else []
            rows = [{"name": path.stem, "state": state, "bytes": path.stat().st_size} for path, state in files]
        if args.json:
            print(json.dumps(rows))
        for row in [] if args.json else rows:
            print(f"{row['name']:<14} {row['state']:<7} {row['bytes']:>14}")
        return 0

    def verify(self, args: argparse.Namespace) -> int:
        """Check segments, spool, state database and ledger; exit 1 when something is wrong."""
        from collector.mending import verify_all

        config = self.load(args)
        with self._snapshot(args) as (snapshot, temporary):
            findings = []
            data = Path(config.data.dir)
            step = Progress(sys.stderr, _sizes(snapshot), args.json or not sys.stderr.isatty())
            status = functools.partial(self._status, config)
            for finding in verify_all(data, snapshot, temporary, status, args.deep):
                step(finding.what)
                findings.append(finding._asdict())
                if not args.json:
                    step.close()
                    print(f"{finding.what:<24} {finding.wrong or 'ok'}")
            step.close()
        if args.json:
            print(json.dumps(findings))
        return 1 if any(finding["wrong"] for finding in findings) else 0

    def _status(self, config: Config) -> dict[str, Any]:
        from collector.errors import Unavailable
        from collector.offline import offline_status

        try:
            found: dict[str, Any] = self.ask(config, "status", None, 10.0)
        except Unavailable as error:
            found = offline_status(config, str(error))
        return found

    def repair(self, args: argparse.Namespace) -> int:
        """Set damaged files aside, compute the rest again; exit 1 when something stays wrong, 73 while one runs."""
        from collector.errors import Unavailable
        from collector.machine.disk import RealDisk
        from collector.machine.logs import set_up_logs
        from collector.mending import repair

        set_up_logs("error")
        config = self.load(args)
        data = Path(config.data.dir)
        if not data.is_dir():
            raise Unavailable(f"there is no data folder {data}")
        try:
            lock = RealDisk().lock_folder(data)
        except Unavailable as error:
            print(f"collector: {error}; stop it first: repair needs the folder for itself", file=sys.stderr)
            return IN_USE
        with lock, tempfile.TemporaryDirectory(prefix="query-", dir=_beside(data)) as copies:
            sizes = _file_sizes(data.glob("segments/*.duckdb"))
            step = Progress(sys.stderr, sizes, args.json or not sys.stderr.isatty())
            deeds = repair(config, Path(copies), step)
            step.close()
        told = "\n".join(f"{deed.what}: {deed.did}" for deed in deeds) or "nothing is damaged"
        _done(args, {"deeds": [deed._asdict() for deed in deeds]}, told)
        return 0 if all(deed.is_whole for deed in deeds) else 1

    def snapshot(self, args: argparse.Namespace) -> int:
        """Copy everything, consistent and live, into an empty folder."""
        target = Path(args.folder)
        if target.exists() and any(target.iterdir()):
            print(f"collector: {target} is not empty", file=sys.stderr)
            return 1
        return self.backup(args)

    def backup(self, args: argparse.Namespace) -> int:
        """Bring a backup folder up to date: only segments that it has not are copied."""
        from collector.store.care import backup

        with self._snapshot(args) as (snapshot, _):
            step = Progress(sys.stderr, _sizes(snapshot), args.json)
            copied = backup(snapshot, Path(args.folder), getattr(args, "prune", False), step)
            step.close()
        _done(args, {"copied": copied}, f"{copied} segments copied to {args.folder}")
        return 0

    def restore(self, args: argparse.Namespace) -> int:
        """Put a backup into an empty data folder; the collector must not run."""
        from collector.machine.disk import RealDisk
        from collector.store.care import restore

        data = Path(self.load(args).data.dir)
        disk = RealDisk()
        disk.make_folder(data)
        with disk.lock_folder(data):
            step = Progress(sys.stderr, _file_sizes(Path(args.folder).glob("segments/*.duckdb")), args.json)
            restored = restore(Path(args.folder), data, step)
            step.close()
        _done(args, {"restored": restored}, f"{restored} segments restored into {data}")
        return 0

    def export(self, args: argparse.Namespace) -> int:
        """Write views as Parquet files in folders by project and day."""
        from collector.query.adhoc import of_snapshot
        from collector.query.export import TIME_OF, export_parquet

        since = time.time() - float(Duration(args.since)) if args.since else 0.0
        rows = {}
        step = Progress(sys.stderr, dict.fromkeys(TIME_OF, 1), args.json)
        with self._snapshot(args) as (snapshot, _):
            for view in TIME_OF:
                step(view)
                rows[view] = export_parquet(of_snapshot(snapshot), Path(args.folder), view, since, not args.no_payload)
        step.close()
        _done(args, rows, ", ".join(f"{count} {view}" for view, count in rows.items()) + f" written to {args.folder}")
        return 0

    def forward(self, args: argparse.Namespace) -> int:
        """Show how forwarding goes: its state, or with --dry-run what would be sent now."""
        from collector.tables import forward_text, preview_text

        config = self.load(args)
        names = {str(project.id): project.slug for project in config.project}
        if args.dry_run:
            from collector.forward.preview import preview

            state = Path(config.data.dir) / "state.sqlite"
            shown = preview(state, float(config.upstream.window), time.time())
            _done(args, shown, "" if args.json else preview_text(shown, names))
            return 0
        found = self.ask(config, "status", None, 10.0)["forward"]
        nothing = "nothing is forwarded: neither upstream.dsn nor upstream.hub is set"
        _done(args, found, "" if args.json else forward_text(found, names) if found else nothing)
        return 0


def _beside(data: Path) -> Path:
    """The folder for temporary files of a data folder."""
    folder = data / "tmp"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _sizes(snapshot: "Snapshot") -> dict[str, int]:
    return _file_sizes([*snapshot.sealed, *([snapshot.active] if snapshot.active else [])])


def _file_sizes(paths: Iterable[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in paths if path.exists()}


def _done(args: argparse.Namespace, result: dict[str, Any] | None, sentence: str) -> None:
    print(json.dumps(result) if args.json else sentence)


def add_keep(add: Callable[..., argparse.ArgumentParser], keep: Keep) -> None:
    """Add the commands to the command line."""
    sub = add("segments", keep.segments)
    sub.add_argument("--json", action="store_true", help="machine-readable")
    sub = add("verify", keep.verify)
    sub.add_argument("--json", action="store_true", help="machine-readable")
    sub.add_argument("--deep", action="store_true", help="also unpack every payload")
    sub = add("repair", keep.repair)
    sub.add_argument("--json", action="store_true", help="machine-readable")
    for name, run in (("snapshot", keep.snapshot), ("backup", keep.backup), ("restore", keep.restore)):
        sub = add(name, run)
        sub.add_argument("folder", metavar="DIR")
        if name == "backup":
            sub.add_argument("--prune", action="store_true", help="also remove what retention removed")
        sub.add_argument("--json", action="store_true", help="machine-readable")
    sub = add("forward", keep.forward)
    sub.add_argument("action", nargs="?", choices=("status",), default="status")
    sub.add_argument("--dry-run", action="store_true", help="print what would be sent now, send nothing")
    sub.add_argument("--json", action="store_true", help="machine-readable")
    sub = add("export", keep.export)
    sub.add_argument("folder", metavar="DIR")
    sub.add_argument("--to", choices=("parquet",), default="parquet", help="format")
    sub.add_argument("--since", metavar="AGE", help='only the last AGE, such as "7 d"')
    sub.add_argument("--no-payload", action="store_true", help="typed columns only")
    sub.add_argument("--json", action="store_true", help="machine-readable")
