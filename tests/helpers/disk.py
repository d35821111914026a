"""FakeDisk: a disk in memory that keeps apart what is visible and what is durable, crashes, and fails on demand.

Nastier than any real file system where POSIX allows it: after crash() any prefix or any set of sectors of the unsynced
bytes of each file may be there, the tail may be zeros, each create, rename and unlink whose folder was not synced may
or may not have happened (in any combination). Never: bytes lost after a successful sync. A failed sync behaves as
Linux does: the pages are marked clean, a part of them may have reached the disk, and the next sync says nothing.
"""

import errno
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from collector.errors import Unavailable
from collector.machine.disk import Disk, FolderLock, Space

SECTOR = 512


class Fault(NamedTuple):
    """The nth call of `verb` from now on fails with `errno` (that one only, or `forever` from there)."""

    verb: str
    nth: int = 1
    errno: int = errno.EIO
    forever: bool = False


class Write(NamedTuple):
    offset: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data


class Truncate(NamedTuple):
    size: int

    def apply(self, content: bytearray) -> None:
        del content[self.size :]
        content.extend(bytes(self.size - len(content)))


class Inode:
    """One file: what readers see, what the platter has, and the operations in between."""

    def __init__(self) -> None:
        self.visible = bytearray()
        self.durable = bytearray()
        self.pending: list[Write | Truncate] = []
        self.modified_at = 0.0  # a test may set it

    def do(self, operation: Write | Truncate) -> None:
        operation.apply(self.visible)
        self.pending.append(operation)

    def settle(self, rng: random.Random) -> None:
        """Let the power go: some of the pending operations reach the platter."""
        how = rng.choice(["none", "all", "prefix", "prefix", "sectors", "zeros"])
        if how == "all":
            survivors = list(self.pending)
        elif how == "none":
            survivors = []
        elif how == "sectors":
            survivors = [piece for each in self.pending for piece in sectors(each) if rng.random() < 0.5]
        else:
            survivors = prefix(self.pending, rng)
        for operation in survivors:
            operation.apply(self.durable)
        if how == "zeros" and len(self.durable) < len(self.visible):
            self.durable.extend(bytes(len(self.visible) - len(self.durable)))
        self.pending = []
        self.visible = bytearray(self.durable)


def sectors(operation: Write | Truncate) -> list[Write | Truncate]:
    """The write cut at sector borders: each sector reaches the disk, or not, on its own."""
    if isinstance(operation, Truncate):
        return [operation]
    first = SECTOR - operation.offset % SECTOR
    cuts = [0, *range(first, len(operation.data), SECTOR), len(operation.data)]
    return [Write(operation.offset + a, operation.data[a:b]) for a, b in itertools.pairwise(cuts)]


def prefix(pending: Sequence[Write | Truncate], rng: random.Random) -> list[Write | Truncate]:
    """Some whole operations and the first bytes of the next one."""
    if not pending:
        return []
    whole = rng.randrange(len(pending))
    last = pending[whole]
    if isinstance(last, Write):
        last = Write(last.offset, last.data[: rng.randrange(len(last.data) + 1)])
    return [*pending[:whole], last]


class NameChange(NamedTuple):
    """A create (inode), unlink, or replace (target) whose folder is not synced yet."""

    verb: str
    path: str
    target: str = ""
    inode: Inode | None = None

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


class FakeDisk(Disk):
    """A Disk in memory. `random` decides all that a crash or a failed sync may decide."""

    def __init__(self, seed: int = 0, capacity_bytes: int = 1 << 40) -> None:
        self.random = random.Random(seed)
        self.capacity_bytes = capacity_bytes
        self.calls: Counter[str] = Counter()
        self.fault: Fault | None = None
        self.fault_fired = False
        self.meanwhile: tuple[str, Callable[[], object]] | None = None  # what others do just before the next such call
        self._fault_calls = 0
        self._calls_to_live: int | None = None
        self._visible: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._pending: list[NameChange] = []
        self._handles: dict[int, Inode] = {}
        self._locks: dict[int, Path] = {}
        self._last_handle = 2

    # -- what a test does to it

    def fail(self, fault: Fault) -> None:
        """From now on this fault is armed."""
        self.fault, self.fault_fired, self._fault_calls = fault, False, 0

    def heal(self) -> None:
        """No fault any more."""
        self.fault = None

    def die_after(self, calls: int) -> None:
        """The power goes after so many further calls: nothing reaches the disk any more. crash() follows."""
        self._calls_to_live = calls

    def crash(self, seed: int) -> None:
        """Power loss: handles and locks are gone, of what was not synced a part chosen by `seed` survives."""
        self.random = random.Random(seed)
        self._calls_to_live = None
        for operation in self._pending:
            if self.random.random() < 0.5:
                self._apply_name(operation)
        self._pending = []
        inodes = {id(each): each for each in (*self._visible.values(), *self._durable.values())}
        for inode in inodes.values():
            inode.settle(self.random)
        self._visible = dict(self._durable)
        self.stop()

    def stop(self) -> None:
        """The process ends (kill -9): handles and locks are gone, every byte written is still visible."""
        self._handles = {}
        self._locks = {}

    def corrupt(self, path: Path, offset: int, data: bytes) -> None:
        """Bit rot: these bytes are now at this place of the file, visible and durable."""
        inode = self._visible[str(path)]
        for content in (inode.visible, inode.durable):
            content[offset : offset + len(data)] = data[: max(0, len(content) - offset)]

    def lose(self, path: Path) -> None:
        """Somebody deletes the file by hand, durably."""
        self._visible.pop(str(path), None)
        self._durable.pop(str(path), None)

    def put(self, path: Path, data: bytes) -> None:
        """Somebody puts a file there by hand, durably."""
        inode = Inode()
        inode.visible[:] = inode.durable[:] = data
        self._visible[str(path)] = self._durable[str(path)] = inode

    def content(self, path: Path) -> bytes:
        """What a reader sees."""
        return bytes(self._visible[str(path)].visible)

    @property
    def open_handles(self) -> int:
        return len(self._handles) + len(self._locks)

    # -- Disk

    def make_folder(self, folder: Path) -> None:
        self._call("make_folder")

    def list_names(self, folder: Path) -> list[str]:
        self._call("list_names")
        start = len(str(folder)) + 1
        return [name[start:] for name in sorted(self._visible) if name.startswith(f"{folder}/")]

    def create(self, path: Path) -> int:
        self._call("create")
        if str(path) in self._visible:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        inode = Inode()
        self._visible[str(path)] = inode
        self._pending.append(NameChange("create", str(path), inode=inode))
        return self._new_handle(inode)

    def open(self, path: Path, *, writable: bool = False) -> int:
        self._call("open")
        return self._new_handle(self._find(path))

    def close(self, handle: int) -> None:
        self._handles.pop(handle, None)
        self._locks.pop(handle, None)

    def length(self, handle: int) -> int:
        self._call("length")
        return len(self._inode(handle).visible)

    def read_at(self, handle: int, size_bytes: int, offset: int) -> bytes:
        self._call("read")
        return bytes(memoryview(self._inode(handle).visible)[offset : offset + size_bytes])

    def write_at(self, handle: int, buffers: Sequence[bytes], offset: int) -> int:
        inode = self._inode(handle)
        data = b"".join(buffers)
        try:
            self._call("write")
            self._need(max(0, offset + len(data) - len(inode.visible)))
        except OSError:
            if self._calls_to_live != 0:
                inode.do(Write(offset, data[: self._room(inode, offset, len(data))]))
            raise
        inode.do(Write(offset, data))
        return len(data)

    def truncate(self, handle: int, size_bytes: int) -> None:
        self._call("truncate")
        inode = self._inode(handle)
        self._need(max(0, size_bytes - len(inode.visible)))
        inode.do(Truncate(size_bytes))

    def sync(self, handle: int) -> None:
        inode = self._inode(handle)
        try:
            self._call("sync")
        except OSError:
            if self._calls_to_live != 0:
                for operation in prefix(inode.pending, self.random):
                    operation.apply(inode.durable)
                inode.pending = []
            raise
        for operation in inode.pending:
            operation.apply(inode.durable)
        inode.pending = []

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace")
        self._visible[str(target)] = self._find(source)
        del self._visible[str(source)]
        self._pending.append(NameChange("replace", str(source), str(target)))

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        self._find(path)
        del self._visible[str(path)]
        self._pending.append(NameChange("unlink", str(path)))

    def sync_folder(self, folder: Path) -> None:
        self._call("sync_folder")
        for operation in self._pending:
            if operation.folder == str(folder):
                self._apply_name(operation)
        self._pending = [each for each in self._pending if each.folder != str(folder)]

    def space(self, folder: Path) -> Space:
        self._call("space")
        return Space(max(0, self.capacity_bytes - self._used_bytes()), self.capacity_bytes)

    def modified_at(self, path: Path) -> float:
        return self._find(path).modified_at

    def lock_folder(self, folder: Path) -> FolderLock:
        self._call("lock_folder")
        if folder in self._locks.values():
            raise Unavailable(f"{folder} is in use by another collector")
        self._last_handle += 1
        self._locks[self._last_handle] = folder
        return FolderLock(self, self._last_handle)

    # -- inside

    def _call(self, verb: str) -> None:
        if self._calls_to_live is not None:
            if self._calls_to_live <= 0:
                raise OSError(errno.EIO, "the power is gone")
            self._calls_to_live -= 1
        self.calls[verb] += 1
        if self.meanwhile and self.meanwhile[0] == verb:
            act, self.meanwhile = self.meanwhile[1], None
            act()
        fault = self.fault
        if fault is None or fault.verb != verb:
            return
        self._fault_calls += 1
        if self._fault_calls == fault.nth or (fault.forever and self._fault_calls > fault.nth):
            self.fault_fired = True
            raise OSError(fault.errno, os.strerror(fault.errno))

    def _apply_name(self, change: NameChange) -> None:
        if change.inode is not None:
            self._durable[change.path] = change.inode
        elif change.verb == "unlink":
            self._durable.pop(change.path, None)
        elif change.path in self._durable:
            self._durable[change.target] = self._durable.pop(change.path)

    def _find(self, path: Path) -> Inode:
        if str(path) not in self._visible:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self._visible[str(path)]

    def _inode(self, handle: int) -> Inode:
        if handle not in self._handles:
            raise OSError(errno.EBADF, "bad handle")
        return self._handles[handle]

    def _new_handle(self, inode: Inode) -> int:
        self._last_handle += 1
        self._handles[self._last_handle] = inode
        return self._last_handle

    def _used_bytes(self) -> int:
        inodes = {id(each): each for each in (*self._visible.values(), *self._handles.values())}
        return sum(len(each.visible) for each in inodes.values())

    def _need(self, more_bytes: int) -> None:
        if more_bytes and self._used_bytes() + more_bytes > self.capacity_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _room(self, inode: Inode, offset: int, size: int) -> int:
        """How many bytes of a write that fails are there nevertheless."""
        free = max(0, self.capacity_bytes - self._used_bytes())
        return min(self.random.randrange(size + 1), max(0, len(inode.visible) - offset) + free)
