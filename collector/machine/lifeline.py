"""A process that ends with the one that started it."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # prctl.h


def die_with_parent(parent: int) -> None:
    """Nobody is left to read the answer: the kernel kills this process when the thread that started it ends. And
    nothing that this process might start gains rights. parent: its process id; exits when that has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)
