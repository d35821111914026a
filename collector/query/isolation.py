"""What the sandbox process gives up before it reads its first byte: memory, time, priority, and the network.

The network namespace is best effort: a kernel or container may forbid it, and then the Verdict says so. DuckDB opens
nothing by itself either way (collector.query.sandbox); this is for what we do not know of.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from contextlib import suppress

from collector.query.job import GRACE_SECONDS, PROCESS_BYTES, Job

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # sched.h


def leave_network(files: Iterable[str]) -> bool:
    """Moves this process into an empty network namespace; False when the kernel does not let it, or when it would cost
    us one of the `files`: in a user namespace of its own, root can no longer open what belongs to others. Only while
    the process has one thread (unshare(2)), so before DuckDB is asked anything."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) == 0:
        return True
    with suppress(OSError):
        if all(os.stat(path).st_uid == os.geteuid() for path in files):
            return bool(libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
    return False


def limit_process(job: Job) -> None:
    """Caps memory, processor time, files and core dumps of this process; everything else goes first."""
    os.nice(19)
    data = job.memory_limit_bytes + PROCESS_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    seconds = int(job.timeout_seconds + GRACE_SECONDS) + 10  # of the processor; the alarm below is the real limit
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (job.max_result_bytes + PROCESS_BYTES, job.max_result_bytes + PROCESS_BYTES)
    )


def set_alarm(seconds: float) -> None:
    """The kernel ends this process after so long, whatever it computes then: SIGALRM is left to its default."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
