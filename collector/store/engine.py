"""The one DuckDB instance of the worker, in memory; every data file is attached to it.

Most faults in an attached file invalidate only that file (storage.md 4.4). One does not: after a failed fsync of a
write-ahead log every statement of the whole instance fails ("has been invalidated", measured), reading other files
too, although all files are sound. That is Invalidated and never Damaged: the store must be opened afresh.

Checkpoints happen only when we ask for them (`checkpoint_threshold` is out of reach), so a file does not change while
`cp` copies it, and a commit never waits for one.
"""

from pathlib import Path
from typing import Any

import duckdb

from collector.errors import Damaged, Invalidated, Unavailable

NEVER = "1TB"

LOCKED = ("Could not set lock", "Conflicting lock", "already attached by database", "Unique file handle conflict")
NO_SPACE = ("No space left on device", "Disk quota exceeded", "Input/output error", "Too many open files",
            "Cannot allocate memory", "Permission denied", "Read-only file system", "failed to offload")  # fmt: skip
DEAD = "database has been invalidated"
DURABLE = "COMMIT succeeded and is durable"


def connect(memory_limit_bytes: int, temp_folder: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory instance with two threads in all and nothing that reaches for the network."""
    config: dict[str, Any] = {
        "threads": 1,
        "async_threads": 1,
        "memory_limit": f"{memory_limit_bytes}B",
        "temp_directory": str(temp_folder),
        "max_temp_directory_size": "256MB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    connection.execute(f"SET checkpoint_threshold='{NEVER}'")
    connection.execute("SET enable_progress_bar=false")  # it goes to stdout, where children put their answer
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")  # nor at DETACH: a full disk must not stop that
    return connection


def quoted(text: object) -> str:
    """A SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def translate(error: duckdb.Error, path: Path) -> Unavailable | Damaged:
    """The error tree's word for a DuckDB failure at `path`: a full disk or a lock is Unavailable, an instance that has
    given up is Invalidated, anything else says that the file is not what we wrote."""
    text = str(error).split("\n")[0]
    if DEAD in text:
        return Invalidated(f"{path.name}: {text}")
    if isinstance(error, duckdb.OutOfMemoryException) or any(sign in str(error) for sign in (*LOCKED, *NO_SPACE)):
        return Unavailable(f"{path.name}: {text}")
    return Damaged(path, text)
