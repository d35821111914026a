"""Looking after a store from outside: verify, back up, restore. Works on a Snapshot, live or of a folder at rest.

A backup is a folder of the same shape as the data folder: `segments/`, `attachments/` and `state.sqlite`. A sealed
segment only changes when a project is taken out of it, an attachment never, so a later backup into the same folder
copies only what is new; what retention removed stays in the backup until `prune` is asked for. What is still in the
spool is not part of it: a backup holds what was committed.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import duckdb

from collector.errors import Damaged, Unavailable
from collector.machine.disk import RealDisk
from collector.store.attachments import Attachments, path_of
from collector.store.engine import connect, quoted
from collector.store.payload import PayloadCodec, read_dictionaries
from collector.store.schema import NOT_KEPT
from collector.store.snapshots import Snapshot, copy, copy_database, wal_of

MEMORY_BYTES = 128 << 20
PAYLOAD_PAGE_ROWS = 200

Step = Callable[[str], None]


class Finding(NamedTuple):
    """One thing that was looked at. `wrong`: a sentence, "" when it is as it should be."""

    what: str
    wrong: str
    events: int = 0
    bytes: int = 0


def of_folder_at_rest(data: Path, copies: Path) -> Snapshot:
    """The snapshot of a folder that no collector has open. A file with a write-ahead log is copied into `copies`, so
    that looking changes nothing; without any, nothing is `active`. Raises Unavailable."""
    sealed: list[Path] = []
    active: Path | None = None
    for path in sorted((data / "segments").glob("*.duckdb"), key=lambda one: one.stem):
        if wal_of(path).exists():
            active = copies / path.name
            copy_database(path, active)
        else:
            sealed.append(path)
    return Snapshot(sealed, active, data / "state.sqlite")


# -- verify -----------------------------------------------------------------------------------------------------------


def verify(snapshot: Snapshot, temp_folder: Path, deep: bool = False) -> Iterator[Finding]:
    """Looks at every segment and at state.sqlite: every block read, rows against the file's own progress, both against
    the catalogue; `deep` also unpacks every payload. Never raises for what it finds."""
    known = catalogue(snapshot.state)
    files = [*snapshot.sealed, *([snapshot.active] if snapshot.active else [])]
    for path in files:
        yield _verify_segment(path, temp_folder, known.get(path.stem), deep)
    for name in sorted({*known, *catalogue(snapshot.state, "open")} - {path.stem for path in files}):
        yield Finding(f"{name}.duckdb", "the catalogue has it, the folder does not")
    yield from _verify_attachments(snapshot.state.parent)
    yield _verify_state(snapshot.state)


def _verify_attachments(data: Path) -> Iterator[Finding]:
    """One finding for all that are whole, one for each that is not."""
    attachments = Attachments(RealDisk(), data)
    files = size = 0
    for one in attachments.files():
        try:
            attachments.get(one.digest)
        except Damaged as error:
            yield Finding(str(path_of(one.digest)), error.what, bytes=one.bytes)
        files, size = files + 1, size + one.bytes
    if files:
        yield Finding("attachments", "", files, size)


def catalogue(state: Path, which: str = "sealed") -> dict[str, int]:
    """Events by name of the segments in state `which`."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT name, events FROM segments WHERE state = ?", (which,)).fetchall())
    return {}


def _verify_segment(path: Path, temp_folder: Path, catalogued: int | None, deep: bool) -> Finding:
    connection = connect(MEMORY_BYTES, temp_folder)
    size = path.stat().st_size if path.exists() else 0
    try:
        connection.execute(f"ATTACH {quoted(path)} AS s (READ_ONLY)")
        for table in ("events", "items", "progress", "seg_info"):
            connection.execute(f"SELECT bit_xor(hash(t)) FROM s.{table} t").fetchall()  # noqa: S608 - our names
        found = connection.execute(
            "SELECT (SELECT count(*) FROM s.events), (SELECT count(*) FROM s.items), events, items"
            " FROM s.progress ORDER BY rowid DESC LIMIT 1"
        ).fetchall()
        events = found[0][0] if found else 0
        wrong = _compare(found, catalogued) or (_unpack_all(connection) if deep else "")
    except duckdb.Error as error:
        return Finding(path.name, str(error).split("\n")[0], bytes=size)
    except Damaged as error:
        return Finding(path.name, error.what, bytes=size)
    finally:
        connection.close()
    return Finding(path.name, wrong, events, size)


def _compare(found: list[tuple[int, int, int, int]], catalogued: int | None) -> str:
    if not found:
        return "it has no progress row"
    events, items, said_events, said_items = found[0]
    if (events, items) != (said_events, said_items):
        return f"it holds {events} events and {items} items, its progress says {said_events} and {said_items}"
    if catalogued is not None and events != catalogued:
        return f"it holds {events} events, the catalogue says {catalogued}"
    return ""


def _unpack_all(connection: duckdb.DuckDBPyConnection) -> str:
    codec = PayloadCodec(read_dictionaries(dict(connection.execute("SELECT k, v FROM s.seg_info").fetchall())))
    for table in ("events", "items"):
        rows = connection.execute(
            f"SELECT enc, payload, raw_bytes FROM s.{table} WHERE enc <> {NOT_KEPT}"  # noqa: S608 - our names
        )
        while page := rows.fetchmany(PAYLOAD_PAGE_ROWS):
            for enc, payload, raw_bytes in page:
                unpacked = codec.decode(enc, payload)
                if unpacked is None or len(unpacked) != raw_bytes:
                    return f"a payload of {table} has not the size that was noted"
    return ""


# One read: what the ledger has stored and not evicted, less what the spool is to bring again; what the segments hold.
_KEPT = """SELECT
  (SELECT coalesce(sum(CASE key WHEN 'stored' THEN quantity ELSE -quantity END), 0) FROM ledger
   WHERE key IN ('stored', 'evicted'))
  - (SELECT coalesce(max(value), 0) FROM meta WHERE key = 'lost_quantity'),
  (SELECT coalesce(sum(stored), 0) FROM segments WHERE state IN ('open', 'sealed'))"""


def _verify_state(state: Path) -> Finding:
    if not state.exists():
        return Finding("state.sqlite", "it is missing; the next start computes it again from the segments")
    try:
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            issues = connection.execute("SELECT count(*) FROM issues").fetchone()[0]
            loose = connection.execute(
                "SELECT count(*) FROM hashes h LEFT JOIN issues i ON i.id = h.issue_id WHERE i.id IS NULL"
            ).fetchone()[0]
            kept, held = connection.execute(_KEPT).fetchone()
    except sqlite3.Error as error:
        return Finding("state.sqlite", str(error))
    wrong = "" if found == "ok" else str(found)
    if not wrong and loose:
        wrong = f"{loose} hashes belong to no issue"
    if not wrong and kept != held:
        wrong = f"its ledger says that {kept} stored items are still here, its catalogue says {held}"
    return Finding("state.sqlite", wrong, issues, state.stat().st_size)


# -- backup -----------------------------------------------------------------------------------------------------------


def backup(snapshot: Snapshot, target: Path, prune: bool = False, step: Step = lambda name: None) -> int:
    """Makes `target` a copy of everything; returns how many segments were copied. `prune`: also remove what retention
    removed. `step` hears the name of each file before it is copied. Raises Unavailable."""
    folder = target / "segments"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied = 0
    for path in snapshot.sealed:
        there = folder / path.name
        if not _is_copied(path, there):
            step(path.name)
            _whole(path, there)
            wal_of(there).unlink(missing_ok=True)
            copied += 1
    if snapshot.active is not None:
        step(snapshot.active.name)
        _whole(snapshot.active, folder / snapshot.active.name)
        copy(wal_of(snapshot.active), wal_of(folder / snapshot.active.name))
        copied += 1
    if (snapshot.state.parent / "attachments").is_dir():
        step("attachments")
        _copy_attachments(snapshot.state.parent, target, prune)
    step("state.sqlite")
    _copy_state(snapshot.state, target / "state.sqlite")
    if prune:
        keep = {path.name for path in [*snapshot.sealed, *([snapshot.active] if snapshot.active else [])]}
        for path in folder.glob("*.duckdb"):
            if path.name not in keep:
                path.unlink()
                wal_of(path).unlink(missing_ok=True)
    return copied


def _is_copied(path: Path, there: Path) -> bool:
    """Whether a sealed segment is in the backup as it is now: not before a project was taken out of it."""
    if not there.exists() or wal_of(there).exists():
        return False
    now, then = path.stat(), there.stat()
    return now.st_size == then.st_size and now.st_mtime <= then.st_mtime


def _copy_attachments(source: Path, target: Path, prune: bool = False) -> None:
    """Those that the target has not; a name is a content, so one that is there is right."""
    named = set()
    for one in Attachments(RealDisk(), source).files():
        named.add(one.digest)
        there = target / path_of(one.digest)
        if not there.exists():
            there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _whole(one.path, there)
    for one in Attachments(RealDisk(), target).files() if prune else ():
        if one.digest not in named:
            one.path.unlink(missing_ok=True)


def _whole(source: Path, target: Path) -> None:
    """A copy that is either whole or not there under its name."""
    part = target.with_name(target.name + ".part")
    copy(source, part)
    part.replace(target)


def _copy_state(source: Path, target: Path) -> None:
    """By SQLite's own backup: consistent while others write."""
    if not source.exists():
        return
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=10)) as here,
            closing(sqlite3.connect(part)) as there,
        ):
            here.backup(there)
    except sqlite3.Error as error:
        raise Unavailable(f"backup of state.sqlite: {error}") from error
    part.chmod(0o600)
    part.replace(target)


def restore(saved: Path, data: Path, step: Step = lambda name: None) -> int:
    """Puts a backup into a data folder that has no segments yet; returns how many segments came.
    Raises Unavailable when there is nothing to restore or something in the way."""
    files = sorted((saved / "segments").glob("*.duckdb"), key=lambda one: one.stem)
    if not files:
        raise Unavailable(f"{saved} is not a backup: it has no segments")
    if list((data / "segments").glob("*.duckdb")) or (data / "state.sqlite").exists():
        raise Unavailable(f"{data} already holds a store; restore into an empty folder")
    folder = data / "segments"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in files:
        step(path.name)
        _whole(path, folder / path.name)
        copy(wal_of(path), wal_of(folder / path.name))
    if (saved / "attachments").is_dir():
        step("attachments")
        _copy_attachments(saved, data)
    if (saved / "state.sqlite").exists():
        step("state.sqlite")
        shutil.copyfile(saved / "state.sqlite", data / "state.sqlite")
        (data / "state.sqlite").chmod(0o600)
    return len(files)
