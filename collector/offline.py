"""What the commands know when no collector runs, and the files a query reads either way. Looking changes nothing."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from collector.config import Config
from collector.errors import Unavailable
from collector.machine.disk import RealDisk
from collector.query.adhoc import Sources, of_snapshot
from collector.store.snapshots import Snapshot

PATIENCE_SECONDS = 15.0
COUNT_RECORDS, COUNT_BYTES = 1000, 16 * 2**20

AskSnapshot = Callable[[str], Any]


def offline_status(config: Config, why: str) -> dict[str, Any]:
    """The status document from the files alone: never ready."""
    from collector.spool.reader import SpoolReader
    from collector.status import Facts, compose
    from collector.store.glance import glance

    data = Path(config.data.dir)
    position, beat = glance(data)
    records = quantity = size = 0
    last = position
    if (data / "spool").is_dir():
        reader = SpoolReader(RealDisk(), data / "spool", position, is_tool=True)
        while batch := reader.read(COUNT_RECORDS, COUNT_BYTES):
            records += len(batch)
            quantity += sum(record.received.quantity + record.lost for record in batch)
            size += sum(record.size_bytes for record in batch)
            last = batch[-1].position
        reader.close()
    spool = {
        "records": records,
        "bytes": size,
        "quantity": quantity,
        "position": list(last),
        "trouble": "",
        "pressure": 0.0,
    }
    document = compose(
        Facts(
            config=config,
            beat={**beat, "position": list(position), "problems": [why]},
            beat_age_seconds=None,
            front_pid=None,
            worker_pid=None,
            worker_restarts=0,
            spool=spool,
            waiting=(records, quantity, size),
            refusals={},
            spooled_refusals={},
            shed_pressure=1.0,
            uptime_seconds=0.0,
            address=config.listen.address,
            dsns=[],
            answers={},
        )
    )
    return {**document, "ready": False, "healthy": False, "problems": [why]}


@contextlib.contextmanager
def snapshot_of(config: Config, ask_snapshot: AskSnapshot) -> Iterator[tuple[Snapshot, Path]]:
    """Files that hold everything and do not change, and a folder for temporary ones.

    A running collector's snapshot, else the folder itself. Raises Unavailable when there is no data folder, or a
    collector runs but its worker does not answer within PATIENCE_SECONDS.
    """
    data = Path(config.data.dir)
    if not data.is_dir():
        raise Unavailable(f"there is no data folder {data}")
    # Beside the data where we may write: a copy then is as private as the original. A read-only folder: the system's.
    beside = data / "tmp" if os.access(data / "tmp", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="query-", dir=beside) as copies:
        yield _snapshot(ask_snapshot, copies) or _at_rest(data, Path(copies)), Path(copies)


@contextlib.contextmanager
def query_sources(config: Config, ask_snapshot: AskSnapshot) -> Iterator[Sources]:
    """The files to query; none where nothing was ever stored. Raises as `snapshot_of`."""
    if not Path(config.data.dir).is_dir():
        yield Sources([], None)
        return
    with snapshot_of(config, ask_snapshot) as (snapshot, _):
        yield of_snapshot(snapshot)


def _at_rest(data: Path, copies: Path) -> Snapshot:
    from collector.store.care import of_folder_at_rest  # brings DuckDB along, which a running collector makes needless

    return of_folder_at_rest(data, copies)


def _snapshot(ask_snapshot: AskSnapshot, copies: str) -> Snapshot | None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            taken = ask_snapshot(copies)
        except Unavailable as error:
            if error.what.startswith("collector: not running"):
                return None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # the worker is being started again
            continue
        active = Path(taken["active"]) if taken["active"] else None
        return Snapshot([Path(path) for path in taken["sealed"]], active, Path(taken["state"]))
