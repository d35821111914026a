"""A program at a real terminal: a pty, keys in, what the screen was sent out."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from tests.helpers.running import PATIENCE_SECONDS

ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>78])")


class Terminal:
    """One program. A context manager; leaving it ends the program."""

    def __init__(self, command: list[str], environ: dict[str, str], cwd: Path) -> None:
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self._ours = ours
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, start_new_session=True, preexec_fn=_take,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1",
                 **environ},
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """The window is closed."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def type(self, keys: str) -> None:
        """Send keys as they are; \\r is Enter, \\x03 Ctrl-C, \\t Tab."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str, seconds: float = PATIENCE_SECONDS) -> str:
        """What came since the last call up to and with `text`, without escape sequences."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > deadline or (not self._read(0.1) and self.process.poll() is not None):
                raise AssertionError(f"{text!r} did not come; there was: {self.seen[-2000:]!r}")
        found, _, self.seen = self.seen.partition(text)
        return found + text

    def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit code."""
        while self._read(0.05):
            pass
        return self.process.wait(seconds)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.seen += ESCAPES.sub(b"", data).decode("utf-8", "replace")
        return bool(data)


def _take() -> None:
    """Make the pty the program's controlling terminal, so that Ctrl-C is a signal and so is its end: also where the
    tests run under nohup or in the background of a script, which ignore these."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
