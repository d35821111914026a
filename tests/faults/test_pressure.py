"""Too much of everything, with the real command: bursts, maximal envelopes in little memory, crowds of slow clients."""

import contextlib
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.model.outcome import DAMAGED
from tests.faults.audit import ISSUE_OFF, acknowledged, audit
from tests.helpers import proc
from tests.helpers.load import Load
from tests.helpers.running import KEY, Collector, envelope, error_event, wait_for
from tests.helpers.traffic import Traffic
from tests.process.test_crash import load

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pressure")]

QUOTA = (
    ISSUE_OFF + '[[quota]]\nid = "burst"\ncategories = ["error"]\nlimit = 40\nwindow = "1 d"\nreason_code = "burst"\n'
)
MEGABYTE = 2**20


def test_a_burst_far_over_its_limit_is_refused_in_protocol_and_every_event_counted(tmp_path: Path) -> None:
    """
    1. 2,000 events at once where 40 a day are allowed. 2. Silence.
    Result: only 200 and 429, limits told by X-Sentry-Rate-Limits, memory stays, everything counted, nothing waits.
    """
    import uvloop

    running = Collector(tmp_path, QUOTA).start()
    try:
        assert running.process
        running.drained()  # the worker is there with all that it loads
        before = proc.tree(running.process.pid).rss_bytes
        burst = Load(running.dsn, Traffic({"error": 1}), 2000)
        uvloop.run(burst.run(50))
        assert set(burst.answers) == {"200", "429"}
        code, headers, _ = running.send(envelope(error_event()))
        assert code == 429
        assert "error" in headers["x-sentry-rate-limits"]
        assert int(headers["retry-after"]) > 0
        assert proc.tree(running.process.pid).rss_bytes - before < 80 * MEGABYTE
        verdict = audit(running, burst.acked)
        assert verdict.ledger["received"] == 2001
        assert sum(verdict.ledger["dropped"].values()) == 2001 - verdict.acked
    finally:
        running.close()


def test_maximal_envelopes_in_little_memory_are_taken_or_refused_and_nobody_dies(tmp_path: Path) -> None:
    """Events of nearly the allowed size while both processes may only have 420 MB of data: no death, no loss."""
    running = Collector(tmp_path, ISSUE_OFF).start()
    try:
        worker = wait_for(lambda: running.status()["worker"]["pid"], what="a worker")
        assert running.process
        for pid in (running.process.pid, worker):
            resource.prlimit(pid, resource.RLIMIT_DATA, (420 * MEGABYTE, 420 * MEGABYTE))
        acked = []
        answers = set()
        for number in range(12):
            parts = {f"key{one}": [os.urandom(40).hex()] * 10 for one in range(1000)}
            event = error_event(f"{number}", "LargeError", extra=parts)
            code = running.send(envelope(event))[0]
            answers.add(code)
            acked += [event["event_id"]] * (code == 200)
        assert answers <= {200, 413, 429, 503}
        assert acked
        assert running.drained()["worker"]["pid"] == worker
        audit(running, acked, {f"{DAMAGED}:internal": len(acked)})
    finally:
        running.close()


@pytest.mark.long
def test_2000_slow_clients_do_not_keep_others_out_and_are_all_gone(tmp_path: Path) -> None:
    """
    1. 2,000 clients: a third says nothing, a third half a header, a third half a body. 2. A load beside them.
    Result: every request of the load is answered 200; each slow one is closed by its deadline; descriptors come back.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),) * 2)
    running = Collector(tmp_path, ISSUE_OFF).start()
    try:
        assert running.process
        front = running.process.pid
        before = len(os.listdir(f"/proc/{front}/fd"))
        with slow_clients(running, 2000):
            sending = load(running, tmp_path, seconds=4)
            out, _ = sending.communicate(timeout=90)
            assert '"answers": {"200":' in out
            wait_for(lambda: len(os.listdir(f"/proc/{front}/fd")) < before + 50, 120, "the slow clients' descriptors")
        audit(running, acknowledged(tmp_path))
    finally:
        running.close()


@contextlib.contextmanager
def slow_clients(running: Collector, count: int) -> Iterator[list[socket.socket]]:
    """Connected, each stuck at another place of its request."""
    head = f"POST /api/42/envelope/?sentry_key={KEY} HTTP/1.1\r\nHost: h\r\n".encode()
    stuck = [b"", head, head + b"Content-Length: 5000\r\n\r\nabc"]
    sockets = []
    try:
        for number in range(count):
            sockets.append(socket.create_connection(running.address, timeout=30))
            sockets[-1].sendall(stuck[number % 3])
        yield sockets
    finally:
        for one in sockets:
            one.close()


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[Path]:
    """A data folder on a file system that takes 64 names."""
    folder = tmp_path / "data"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=64", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root); may be absent")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_system_without_inodes_is_refused_with_a_sentence_and_works_with_some(
    few_inodes: Path, tmp_path: Path
) -> None:
    taken = []
    with contextlib.suppress(OSError):
        for number in range(100):
            taken.append(few_inodes / f"taken-{number}")
            taken[-1].touch()
    running = Collector(tmp_path, ISSUE_OFF)
    try:
        refused = running.refused()
        assert refused.returncode == 73
        assert "No space left" in refused.stderr
        assert "Traceback" not in refused.stderr
        for path in taken[:30]:
            path.unlink(missing_ok=True)
        running.start()
        event = error_event()
        assert running.send(envelope(event))[0] == 200
        audit(running, [event["event_id"]])
    finally:
        running.close()
