"""How far a long command is: a bar on a terminal, one plain line a file otherwise, nothing for scripts."""

from collections.abc import Mapping
from typing import TextIO

WIDTH = 24
CLEAR = "\r\x1b[K"


class Progress:
    """`sizes`: bytes of the files to come, by name; a name that is not in it weighs nothing. Call it with the name of
    each file before it is worked on, `close` at the end."""

    def __init__(self, out: TextIO, sizes: Mapping[str, int], is_quiet: bool = False) -> None:
        self._out = out
        self._sizes = sizes
        self._total = sum(sizes.values())
        self._done = 0
        self._current = 0
        self._is_quiet = is_quiet
        self._is_terminal = out.isatty()

    def __call__(self, name: str) -> None:
        self._done += self._current
        self._current = self._sizes.get(name, 0)
        if self._is_quiet:
            return
        if not self._is_terminal:
            print(name, file=self._out)
            return
        print(f"{CLEAR}{self.bar()} {name}", end="", file=self._out, flush=True)

    def bar(self) -> str:
        """[######------------------]  25 % of 512 MB."""
        share = min(1.0, self._done / self._total) if self._total else 0.0
        full = int(share * WIDTH)
        return f"[{'#' * full}{'-' * (WIDTH - full)}] {share:4.0%} of {shown(self._total)}"

    def close(self) -> None:
        """Leaves the line to what comes next."""
        if self._is_terminal and not self._is_quiet:
            print(CLEAR, end="", file=self._out, flush=True)


def shown(size_bytes: int) -> str:
    """A size for people: 512 MB."""
    size, unit = float(size_bytes), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}"
