"""The LD_PRELOAD shim of shim.c: built once with gcc, then a disk of a real process fails by the lines of a file."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")
COMPILER = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(
    COMPILER is None, reason="gcc is missing: the fault shim cannot be built; .ci/run has it"
)


_built: list[Path] = []


def build(folder: Path) -> Path:
    """The shared object: compiled once by this process, into the folder of the first who asks. It is never taken from a
    place where another user could have put one."""
    assert COMPILER, "gcc is missing"
    if not _built or not _built[-1].exists():
        made = folder / "shim.so"
        subprocess.run(
            [COMPILER, "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o", str(made), str(SOURCE), "-lpthread"],
            check=True,
        )
        _built.append(made)
    return _built[-1]


class Shim:
    """The faults of one collector: rules are lines as shim.c explains them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "faults"
        self.library = build(folder)
        self.set()

    @property
    def environ(self) -> dict[str, str]:
        """What to start the process with."""
        return {"LD_PRELOAD": str(self.library), "DISK_FAULTS": str(self.file)}

    def set(self, *rules: str) -> None:
        """From now on these rules, each counting from zero; none heals the disk."""
        partial = self.file.with_suffix(".new")
        partial.write_text("".join(rule + "\n" for rule in rules))
        partial.replace(self.file)

    def fired(self) -> list[str]:
        """`pid op mode path` of each fault that happened since the beginning."""
        log = Path(f"{self.file}.fired")
        return log.read_text().splitlines() if log.exists() else []
