"""Verify and repair a whole data folder: segments, state.sqlite, spool files, checkpoint, ledger.

Repair is what a start of the collector does by itself, done for everything and at once, and told: a start only looks at
what it needs. Nothing is ever deleted: what is damaged goes to quarantine/, and a second repair has nothing to do.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from collector.config import Config
from collector.machine.clock import SystemClock
from collector.machine.disk import Disk, RealDisk
from collector.machine.link import ThreadLink
from collector.offline import offline_status
from collector.spool.inspect import FileReport, look_over
from collector.store.buckets import IssueRate, StoredProject
from collector.store.care import Finding, of_folder_at_rest, verify
from collector.store.quarantine import Quarantine
from collector.store.salvage import set_aside
from collector.store.snapshots import Snapshot, wal_of
from collector.store.state import OnApply
from collector.store.store import Store
from collector.work import Work

STATE = "state.sqlite"

Status = Callable[[], dict[str, Any]]


class Deed(NamedTuple):
    """One thing that repair did or could not do. what: file. did: one plain sentence. is_whole: nothing about it is
    wrong any more."""

    what: str
    did: str
    is_whole: bool = True


# -- verify -----------------------------------------------------------------------------------------------------------


def verify_all(data: Path, snapshot: Snapshot, copies: Path, status: Status, deep: bool = False) -> Iterator[Finding]:
    """Everything in a data folder, or in a running collector's: `snapshot` of the store, the spool as it is, and the
    ledger of `status`. Raises Unavailable when the disk cannot be read."""
    yield from verify(snapshot, copies, deep)
    if (data / "spool").is_dir():
        for one in look_over(RealDisk(), data / "spool"):
            yield Finding(f"spool/{one.name}", one.wrong, one.records, one.bytes)
    yield verify_ledger(status()["ledger"])


def verify_ledger(ledger: dict[str, Any]) -> Finding:
    """received = stored + summarised + dropped + in spool."""
    dropped = sum(ledger["dropped"].values())
    found = ledger["stored"] + ledger["summarised"] + dropped + ledger["in_spool"]
    wrong = "" if found == ledger["received"] else (
        f"{ledger['received']} received, but {found} accounted for: {ledger['stored']} stored,"
        f" {ledger['summarised']} summarised, {dropped} dropped, {ledger['in_spool']} in the spool"
    )  # fmt: skip
    return Finding("ledger", wrong)


# -- repair -----------------------------------------------------------------------------------------------------------


def repair(config: Config, copies: Path, step: Callable[[str], None] = lambda name: None) -> list[Deed]:
    """Repairs a folder that the caller has locked; returns what was done, nothing for a whole folder. `copies`: an
    empty folder for temporary files. Raises Unavailable (disk full, not readable), ConfigError (a later format)."""
    data = Path(config.data.dir)
    quarantine = Quarantine(data / "quarantine", int(config.store.max_quarantine_bytes))
    before = set(quarantine.names())
    deeds = list(_repair_spool(data / "spool", quarantine, step))
    wrong = _wrong(data, copies, step)
    for finding in wrong:
        path = data / ("" if finding.what.startswith("attachments/") else "segments") / finding.what
        if finding.what.endswith(".duckdb") and wal_of(path).exists():
            continue  # opening the store tells whether it is the file or its write-ahead log
        if finding.what != STATE and path.is_file():
            quarantine.move(path)
    if any(finding.what == STATE for finding in wrong) and (data / STATE).exists():
        set_aside(data / STATE, quarantine, config.store.max_users_per_issue, "found by repair")
    step("opening the store")
    _open_and_close(config)
    left = {finding.what: finding.wrong for finding in _wrong(data, copies, step)}
    deeds += _told(wrong, left, sorted(set(quarantine.names()) - before))
    ledger = verify_ledger(offline_status(config, "")["ledger"])
    if ledger.wrong:
        deeds.append(Deed("ledger", ledger.wrong, is_whole=False))
    return deeds


def _repair_spool(folder: Path, quarantine: Quarantine, step: Callable[[str], None]) -> Iterator[Deed]:
    if not folder.is_dir():
        return
    step("spool")
    disk: Disk = RealDisk()
    for one in look_over(disk, folder):
        if not one.wrong:
            continue
        if one.is_lost or one.name == "checkpoint":
            yield _set_aside(folder / one.name, one, quarantine)
        else:
            yield Deed(f"spool/{one.name}", f"{one.wrong}; {one.records} records in it are whole: the next start stores"
                                            " them and sets aside the rest")  # fmt: skip


def _set_aside(path: Path, one: FileReport, quarantine: Quarantine) -> Deed:
    now = quarantine.move(path)
    where = f"set aside as quarantine/{now.name}" if now else "it was gone already"
    return Deed(f"spool/{one.name}", f"{one.wrong}; {where}")


def _wrong(data: Path, copies: Path, step: Callable[[str], None]) -> list[Finding]:
    found = []
    for finding in verify(of_folder_at_rest(data, copies), copies):
        step(finding.what)
        if finding.wrong and (finding.what != STATE or (data / STATE).exists() or any(data.glob("segments/*.duckdb"))):
            found.append(finding)
    for path in copies.glob("*.duckdb*"):
        path.unlink()
    return found


def _open_and_close(config: Config) -> None:
    """What a start does: whatever else is damaged is set aside, what SQLite misses is computed from the segments."""
    data = Path(config.data.dir)
    retention = config.retention
    projects = {one.id: StoredProject(one.slug, IssueRate(one.issue_rate.per_second, one.issue_burst), one.max_age)
                for one in config.project}  # fmt: skip
    with RealDisk().lock_folder(data / "segments"), contextlib.ExitStack() as closing:
        store = Store.open(data, config.store, retention, SystemClock(), projects=projects,
                           on_apply=_callbacks(config))  # fmt: skip
        closing.callback(store.close)


def _callbacks(config: Config) -> Sequence[OnApply]:
    """Forward hears of commits that are applied again, as in the worker; nothing is sent."""
    here, there = socket.socketpair()
    with here, there:
        forward = Work(config, ThreadLink(here), SystemClock(), RealDisk()).forward
    return [forward.on_applied] if forward is not None else []


def _told(wrong: Sequence[Finding], left: dict[str, str], moved: Sequence[str]) -> Iterator[Deed]:
    """One sentence a file: what was wrong, where it is, whether it is whole now."""
    named = set()
    for finding in wrong:
        aside = [name for name in moved if name.startswith(Path(finding.what).name)]
        named.update(aside)
        did = f"set aside as quarantine/{', '.join(aside)}" if aside else "entered as it is"
        if finding.what == STATE:
            did += "; computed again from the segments"
        if still := left.pop(finding.what, ""):
            yield Deed(finding.what, f"{finding.wrong}; it could not be repaired: {still}", is_whole=False)
        else:
            yield Deed(finding.what, f"{finding.wrong}; {did}")
    for name in moved:
        if name not in named and not name.startswith(("record-", "spool", "checkpoint")) and ".spool" not in name:
            yield Deed(name, f"damaged; set aside as quarantine/{name}")
    for what, still in left.items():
        yield Deed(what, f"it could not be repaired: {still}", is_whole=False)
