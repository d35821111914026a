"""The LD_PRELOAD shim of shim.c: built once with gcc, then a disk of a real process fails by the lines of a file."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")
COMPILER = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(
    COMPILER is None, reason="gcc is missing: the fault shim cannot be built; .ci/run has it"
)


def build() -> Path:
    """The shared object, compiled when its source changed."""
    assert COMPILER, "gcc is missing"
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"collector-shim-{os.getuid()}-{digest}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory() as folder:  # renamed into place: two test processes may build at once
            made = Path(folder) / "shim.so"
            command = [
                COMPILER,
                "-O2",
                "-Wall",
                "-Werror",
                "-fPIC",
                "-shared",
                "-o",
                str(made),
                str(SOURCE),
                "-lpthread",
            ]
            subprocess.run(command, check=True)
            partial = target.with_suffix(f".{os.getpid()}")
            shutil.copy(made, partial)
            partial.replace(target)
    return target


class Shim:
    """The faults of one collector: rules are lines as shim.c explains them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "faults"
        self.library = build()
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
