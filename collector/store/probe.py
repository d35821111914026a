"""Opens one database file in a process of its own, replays its WAL into it and says how that went.

After an unclean end a file may make DuckDB abort the whole process (duckdb-rs#649); here only this child dies.

The child gets file, memory limit in bytes and temporary folder; it prints nothing and exits 0 when the file is good,
or prints DuckDB's sentence and exits 1.
"""

import os
import subprocess
import sys
from pathlib import Path

import duckdb

import collector
from collector.errors import Damaged, Unavailable
from collector.store.engine import connect, quoted, translate

PROBE_SECONDS = 120.0
CHILD = "import sys; from collector.store.probe import main; sys.exit(main(sys.argv[1:]))"


def probe(path: Path, memory_limit_bytes: int, temp_folder: Path) -> None:
    """Runs this module on a file. Raises Damaged when the child says so or dies, Unavailable (lock, disk full)."""
    arguments = [sys.executable, "-c", CHILD, str(path), str(memory_limit_bytes), str(temp_folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(collector.__file__).parents[1])}
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=PROBE_SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise Damaged(path, f"opening it took more than {PROBE_SECONDS:.0f} s") from error
    except OSError as error:
        raise Unavailable(f"cannot start a process to look at {path.name}: {error}") from error
    if done.returncode < 0:
        raise Damaged(path, f"opening it killed the process (signal {-done.returncode})")
    if done.returncode:
        raise translate(duckdb.Error(done.stdout.decode("utf-8", "replace").strip() or "it cannot be opened"), path)


def main(arguments: list[str]) -> int:
    """The child."""
    path, memory_limit_bytes, temp_folder = arguments
    connection = connect(int(memory_limit_bytes), Path(temp_folder))
    try:
        connection.execute(f"ATTACH {quoted(path)} AS probed")
        connection.execute("CHECKPOINT probed")
        connection.execute("DETACH probed")
    except duckdb.Error as error:
        sys.stdout.write(str(error).split("\n")[0])
        return 1
    finally:
        connection.close()
    return 0
