"""The real command on a disk that fails on command: every call that matters, each way of failing, then the audit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.shim import Shim, needs_gcc
from tests.faults.victim import BULK, Victim
from tests.helpers.running import wait_for

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("disk"), needs_gcc]

WORKER_FAULTS = {
    "segment-sync-eio-once": "sync EIO 1 /segments/",
    "wal-write-enospc": "write ENOSPC 1+ .duckdb.wal$",
    "wal-write-eio-once": "write EIO 1 .duckdb.wal$",
    "wal-write-short": "write SHORT %2 .duckdb.wal$",
    "checkpoint-write-enospc": "write ENOSPC 1+ .duckdb$",
    "checkpoint-write-eio-once": "write EIO 1 .duckdb$",
    "checkpoint-sync-eio": "sync EIO 1+ .duckdb$",
    "checkpoint-truncate-eio": "truncate EIO 1 /segments/",
    "state-write-enospc": "write ENOSPC 1+ state.sqlite",
    "state-write-eio-once": "write EIO 1 state.sqlite",
    "state-write-short": "write SHORT 1 state.sqlite",
}
WORKER_DEATHS = {
    "before-the-commit-is-synced": "sync KILL 1 .duckdb.wal$",
    "after-the-commit-is-synced": "sync KILLED 1 .duckdb.wal$",
    "torn-commit": "write TORN 1 .duckdb.wal$",
    "between-commit-and-state": "write KILL 1 state.sqlite-wal$",
    "torn-state": "write TORN 1 state.sqlite-wal$",
    "before-the-checkpoint": "write KILL 1 .duckdb$",
    "in-the-checkpoint": "write KILLED 2 .duckdb$",
    "after-the-checkpoint": "sync KILLED 2 .duckdb$",
}
FRONT_FAULTS = {
    "spool-sync-eio-once": "sync EIO 1 .spool$",
    "spool-sync-eio-always": "sync EIO 1+ /spool/",
    "spool-write-enospc": "write ENOSPC 1+ /spool/",
    "spool-write-eio-once": "write EIO 1 .spool$",
}
QUIET_FAULTS = {
    "spool-write-short": "write SHORT %2 .spool$",
    "spool-sync-slow": "sync SLOW=200 1+ .spool$",
    "spool-checkpoint-eio": "write EIO 1+ /spool/checkpoint",
    "spool-unlink-eio": "unlink EIO 1+ .spool$",
    "everything-short": "write SHORT %3 /data/",
}
FRONT_DEATHS = {
    "torn-record": "write TORN 2 .spool$",
    "before-the-sync": "sync KILL 2 .spool$",
    "after-the-sync": "sync KILLED 2 .spool$",
    "before-the-spool-checkpoint": "write KILL 1 /spool/checkpoint",
    "torn-spool-checkpoint": "write TORN 1 /spool/checkpoint",
    "between-checkpoint-and-unlink": "unlink KILL 1 .spool$",
    "after-the-unlink": "unlink KILLED 1 .spool$",
}


QUICK = {
    "checkpoint-write-enospc",
    "state-write-eio-once",
    "between-commit-and-state",
    "spool-sync-eio-once",
    "spool-write-enospc",
    "everything-short",
    "torn-record",
}


def named(cases: dict[str, str]) -> "pytest.MarkDecorator":
    params = [
        pytest.param(rule, id=name, marks=() if name in QUICK else pytest.mark.long) for name, rule in cases.items()
    ]
    return pytest.mark.parametrize("rule", params)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """One collector that meets them all, so that what one fault left behind meets the next."""
    it = Victim(tmp_path_factory.mktemp("victim")).start()
    it.send(5)
    it.running.drained()
    yield it
    it.running.close()


@named(WORKER_FAULTS)
def test_trouble_of_the_store_never_reaches_a_client_and_loses_nothing(victim: Victim, rule: str) -> None:
    assert victim.fails(rule) == {200}
    victim.heals()
    victim.audit()


@named(WORKER_DEATHS)
def test_a_worker_that_dies_at_the_worst_moment_counts_everything_once(victim: Victim, rule: str) -> None:
    assert victim.fails(rule) == {200}
    victim.heals()
    victim.audit()


@named(FRONT_FAULTS)
def test_what_the_spool_cannot_keep_is_refused_and_nothing_acknowledged_is_lost(victim: Victim, rule: str) -> None:
    """503, also while the disk is down: a 429 would tell clients to be silent for a minute after half a second."""
    assert victim.fails(rule) <= {200, 503}
    assert int(victim.refusal["retry-after"]) > 0
    victim.heals()
    victim.audit()


@named(QUIET_FAULTS)
def test_short_and_slow_writes_and_a_lost_checkpoint_are_nobodys_trouble(victim: Victim, rule: str) -> None:
    assert victim.fails(rule) == {200}
    victim.heals()
    victim.audit()


@named(FRONT_DEATHS)
def test_a_front_that_dies_at_the_worst_moment_keeps_what_it_acknowledged(victim: Victim, rule: str) -> None:
    assert victim.fails(rule) <= {200, 0}
    victim.heals()
    victim.audit()


def test_an_engine_that_gives_up_after_a_failed_sync_is_opened_again_and_no_file_set_aside(victim: Victim) -> None:
    """
    1. Events are stored, checkpointed, and let go from the spool: only the segments have them.
    2. fsync of DuckDB's log fails once: from then on the whole instance refuses every statement.
    Result: what was stored before is still there, nothing is in quarantine, the collector goes on by itself.
    """
    aside = victim.running.drained()["quarantine"]["files"]
    for _ in range(3):
        victim.send(12, extra={"bulk": BULK})
        wait_for(lambda: victim.running.status()["spool"]["records"] == 0, what="a released spool")
    assert victim.fails("sync EIO 1 .duckdb.wal$") == {200}
    victim.heals()
    verdict = victim.audit()
    assert verdict.status["quarantine"]["files"] == aside
    assert verdict.ledger["dropped"].get("damaged", 0) == 0


def test_a_disk_that_never_syncs_makes_health_red_and_reading_goes_on(victim: Victim) -> None:
    victim.fails("sync EIO 1+ /spool/")
    wait_for(lambda: victim.running.get("/healthz")[0] == 503, what="a red health page")
    assert victim.running.query("SELECT count(*) > 0 AS some FROM events") == [{"some": True}]
    victim.heals()
    wait_for(lambda: victim.running.get("/healthz")[0] == 200, what="a green health page")
    victim.audit()


def test_sigterm_while_the_disk_hangs_ends_in_time_and_keeps_what_was_acknowledged(victim: Victim) -> None:
    victim.fails("sync SLOW=700 1+ /spool/")
    assert victim.running.process
    victim.running.process.send_signal(signal.SIGTERM)
    assert victim.running.process.wait(30) == 0
    victim.running.kill()
    victim.heals()
    victim.audit()


def test_after_all_of_it_a_restart_is_clean(victim: Victim) -> None:
    victim.heals()
    verdict = victim.audit(restart=True)
    assert verdict.acked == len(victim.acked)


@pytest.mark.long
def test_clocks_that_jump_delete_nothing_and_count_everything(tmp_path: Path) -> None:
    """
    1. Events. 2. The wall clock jumps back an hour, forward, ten years ahead, and home again; events at each place.
    Result: nothing removed by retention, everything stored once, segments readable, received_at follows the clock.
    """
    victim = Victim(tmp_path).start()
    try:
        victim.send(3)
        for seconds in (-3600, 3600, 10 * 365 * 86400, 0):
            victim.shim.set(f"clock {seconds}")
            assert victim.send(3) == [200, 200, 200]
            time.sleep(1.2)  # retention and rotation look once a second
            victim.running.drained()
        verdict = victim.audit(restart=True)
        assert verdict.acked == 15
        assert verdict.status["store"].get("evicted", 0) == 0
        years = victim.running.query("SELECT count(DISTINCT year(received_at)) AS n FROM events")
        assert years == [{"n": 2}]
    finally:
        victim.running.close()


SIGNALLED = """
import signal, socket, time
ours, theirs = socket.socketpair()
ours.setblocking(False)
signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
until = time.monotonic() + 2
while time.monotonic() < until:
    time.time()
signal.setitimer(signal.ITIMER_REAL, 0)
print("done")
"""


def test_a_signal_in_the_middle_of_a_call_does_not_halt_the_process(tmp_path: Path) -> None:
    """The handler writes to a pipe: the shim meets itself."""
    environ = {**os.environ, **Shim(tmp_path).environ}
    command = [sys.executable, "-c", SIGNALLED]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "done\n"
