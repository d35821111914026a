"""SQLite's loop: let the 1st disk call of a kind fail, then the 2nd, ... until a run meets no fault any more."""

import errno
import itertools

import pytest

from tests.helpers.disk import FakeDisk, Fault
from tests.helpers.spool import SpoolWorld

VERBS = [
    "write",
    "sync",
    "read",
    "create",
    "open",
    "replace",
    "unlink",
    "truncate",
    "sync_folder",
    "list_names",
    "length",
]
SCRIPT_SIZES = ([200, 3000], [1500], [40, 40, 9000], [700], [2500, 2500])


def run_script(world: SpoolWorld) -> None:
    """Twenty envelopes, batches and releases in between, a restart of the worker and one of everything."""
    for _ in range(2):
        for sizes in SCRIPT_SIZES:
            world.accept(sizes)
            world.digest(4, 4000)
            world.clock.advance(0.3)
        world.release()
        world.restart_worker()
    world.crash(None)
    world.accept([300])


def survives(verb: str, nth: int, code: int, forever: bool) -> bool:
    """One run with one fault; whether the fault was met."""
    disk = FakeDisk(seed=nth)
    disk.fail(Fault(verb, nth, code, forever))
    world = SpoolWorld(disk)
    try:
        run_script(world)
        fired = disk.fault_fired
        world.audit()
        world.crash(seed=nth)
        world.audit()
    finally:
        world.close()
    return fired


@pytest.mark.parametrize("forever", [False, True], ids=["once", "forever"])
@pytest.mark.parametrize(("verb", "code"), [(verb, errno.EIO) for verb in VERBS] + [("write", errno.ENOSPC)])
def test_every_disk_failure_is_survived(verb: str, code: int, forever: bool) -> None:
    runs = next(nth for nth in itertools.count(1) if not survives(verb, nth, code, forever))
    assert runs > 1, f"the script never calls {verb}"
