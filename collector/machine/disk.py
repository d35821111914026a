"""Files: the only code that opens, writes, syncs, renames and removes them (database files excepted, see the store).

`Disk` is the seam: the machine's own disk in production, tests/helpers/disk.py FakeDisk (which crashes and fails on
demand) in tests. Methods raise OSError (lock_folder Unavailable as well); a room turns that into its own error at its
border. Files are made 0600 and folders 0700. A handle is a small number, given back with close().

A write is durable only after `sync` of its file, a name only after `sync_folder` of its folder (POSIX promises no
more; OSDI 2014 "All File Systems Are Not Created Equal"). After a failed `sync` the kernel may have dropped the
unwritten pages and marked them clean, so a second sync of that descriptor proves nothing (PostgreSQL "fsyncgate").
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from collector.errors import Unavailable

MAX_IOVEC = 1024  # Linux UIO_MAXIOV: more buffers in one call are refused


class Space(NamedTuple):
    """Bytes an ordinary user may still write, and bytes the file system has in all."""

    free_bytes: int
    total_bytes: int


class FolderLock:
    """A folder that is ours alone until close(). Also a context manager."""

    def __init__(self, disk: "Disk", handle: int) -> None:
        self._disk = disk
        self._handle: int | None = handle

    def close(self) -> None:
        """Let others in."""
        if self._handle is not None:
            self._disk.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Disk(Protocol):
    """What rooms may do with files. Paths are absolute, offsets and sizes are bytes."""

    def make_folder(self, folder: Path) -> None:
        """Make the folder and its parents (0700) where missing; the new names are synced."""
        ...

    def list_names(self, folder: Path) -> list[str]:
        """Names in the folder, sorted."""
        ...

    def create(self, path: Path) -> int:
        """A handle on a new empty file (0600). Raises FileExistsError."""
        ...

    def open(self, path: Path, *, writable: bool = False) -> int:
        """A handle on an existing file. Raises FileNotFoundError."""
        ...

    def close(self, handle: int) -> None:
        """Give the handle back. Never raises."""
        ...

    def length(self, handle: int) -> int:
        """Length of the open file."""
        ...

    def read_at(self, handle: int, size_bytes: int, offset: int) -> bytes:
        """Up to `size_bytes` from `offset`; shorter only at the end of the file."""
        ...

    def write_at(self, handle: int, buffers: Sequence[bytes], offset: int) -> int:
        """Write all buffers in a row from `offset`; the number of bytes. After an error any part may be there."""
        ...

    def truncate(self, handle: int, size_bytes: int) -> None:
        """Cut or extend (with zeros) to this length."""
        ...

    def sync(self, handle: int) -> None:
        """Return when data and length of the file are durable. After an error never call it again on this handle."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Give the file at `source` the name `target`, at once, in place of what is there."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove the name. Raises FileNotFoundError."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in the folder are durable."""
        ...

    def space(self, folder: Path) -> Space:
        """Room on the file system of the folder."""
        ...

    def modified_at(self, path: Path) -> float:
        """When the file was last written, seconds since the epoch."""
        ...

    def lock_folder(self, folder: Path) -> FolderLock:
        """Keep every other process out of the folder. Raises Unavailable when one has it."""
        ...

    # Built of the verbs above; the same on every disk.

    def list_folder(self, folder: Path) -> list[Path]:
        """What is in the folder, sorted."""
        return [folder / name for name in self.list_names(folder)]

    def exists(self, path: Path) -> bool:
        """Whether a file has this name."""
        try:
            self.close(self.open(path))
        except FileNotFoundError:
            return False
        return True

    def size(self, path: Path) -> int:
        """Length of the file."""
        handle = self.open(path)
        try:
            return self.length(handle)
        finally:
            self.close(handle)

    def read_whole(self, path: Path, max_bytes: int = 64 * 2**20) -> bytes:
        """The file, or its first `max_bytes`."""
        handle = self.open(path)
        try:
            return self.read_at(handle, min(max_bytes, self.length(handle)), 0)
        finally:
            self.close(handle)

    def write_whole(self, path: Path, data: bytes) -> None:
        """Put `data` at `path`, durably: after any crash the old or the new content is there, whole."""
        temporary = path.with_name(path.name + ".tmp")
        self.remove(temporary)
        handle = self.create(temporary)
        try:
            self.write_at(handle, [data], 0)
            self.sync(handle)
        finally:
            self.close(handle)
        self.replace(temporary, path)
        self.sync_folder(path.parent)

    def remove(self, path: Path) -> bool:
        """Remove the file if it is there; whether it was."""
        try:
            self.unlink(path)
        except FileNotFoundError:
            return False
        return True


class RealDisk(Disk):
    """The machine's disk."""

    def make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            os.makedirs(each, mode=0o700, exist_ok=True)
            self.sync_folder(each.parent)

    def list_names(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder))

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def open(self, path: Path, *, writable: bool = False) -> int:
        return os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW)

    def close(self, handle: int) -> None:
        try:
            os.close(handle)
        except OSError:
            pass  # the descriptor is gone in either case (close(2)); what mattered was synced before

    def length(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def read_at(self, handle: int, size_bytes: int, offset: int) -> bytes:
        data = os.pread(handle, size_bytes, offset)
        if len(data) == size_bytes or not data:
            return data
        parts = [data]
        got = len(data)
        while got < size_bytes:
            data = os.pread(handle, size_bytes - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def write_at(self, handle: int, buffers: Sequence[bytes], offset: int) -> int:
        if len(buffers) > MAX_IOVEC:
            buffers = [b"".join(buffers)]
        wanted = sum(map(len, buffers))
        written = os.pwritev(handle, buffers, offset)
        if written < wanted:  # short only near a full disk or a signal: finish with one plain buffer
            rest = memoryview(b"".join(buffers))
            while written < wanted:
                written += os.pwrite(handle, rest[written:], offset + written)
        return wanted

    def truncate(self, handle: int, size_bytes: int) -> None:
        os.ftruncate(handle, size_bytes)

    def sync(self, handle: int) -> None:
        os.fdatasync(handle)  # includes a changed length; only times are left out (fdatasync(2))

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def space(self, folder: Path) -> Space:
        stat = os.statvfs(folder)
        return Space(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)

    def modified_at(self, path: Path) -> float:
        return os.stat(path).st_mtime

    def lock_folder(self, folder: Path) -> FolderLock:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise Unavailable(f"{folder} is in use by another collector") from error
        except OSError:
            os.close(handle)
            raise
        return FolderLock(self, handle)
