"""Signals that end a long run early: whatever it started is ended with it."""

import contextlib
import signal
from collections.abc import Iterator


class Interrupted(BaseException):
    """A signal asks for the end."""


class Stopping:
    """The first of the signals raises Interrupted, those after it do nothing: cleaning up is bounded."""

    def __init__(self) -> None:
        self.number = 0
        self._is_held = self._is_over = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        if self.number or self._is_over:
            return
        self.number = number
        if not self._is_held:
            raise Interrupted

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Not in here: a process that was just started would be nobody's."""
        self._is_held = True
        try:
            yield
        except Exception:
            if not self.number:  # the terminal tells its processes, too: one that was being started failed for that
                raise
        finally:
            self._is_held = False
        if self.number:
            raise Interrupted

    def over(self) -> None:
        """From now on signals do nothing: what is left is cleaning up."""
        self._is_over = True
