"""attachments/: the bytes of attachments, each content once, beside the segments that name it.

Format: `attachments/ab/cdef...`, the SHA-256 of the (scrubbed) content in 64 hex digits, cut after two; 0600. The row
in `items` has `enc` 254 and the 32 bytes of the hash as its payload. Order: file durable, its name durable, then the
commit that refers to it; so a crash leaves files without a row, never the reverse, and `sweep` removes those.

A file goes with the last row that names it, or before: the oldest first beyond `max_attachment_bytes`, and those older
than `max_attachment_age`. The row then stays, its content is gone.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from collector.errors import Damaged, Unavailable
from collector.machine.disk import Disk

REFRESH_SECONDS = 86_400.0  # content that comes again is written again, and thereby young, at most once a day
YOUNG_SECONDS = 3600.0  # a file that no row names yet may belong to a commit that is being tried again

log = structlog.get_logger("store")


class Kept(NamedTuple):
    """One file. modified_at: when its content last came, to the day."""

    digest: bytes
    path: Path
    bytes: int
    modified_at: float


def digest_of(content: bytes | memoryview) -> bytes:
    """The name of a content: 32 bytes."""
    return hashlib.sha256(content).digest()


def path_of(digest: bytes) -> Path:
    """Where it lies, relative to the data folder."""
    text = digest.hex()
    return Path("attachments") / text[:2] / text[2:]


class Attachments:
    """The folder. On the store's thread, but for `get`."""

    def __init__(self, disk: Disk, data: Path) -> None:
        self._disk = disk
        self._data = data
        self.folder = data / "attachments"

    def keep(self, contents: Mapping[bytes, bytes], now: float) -> None:
        """Returns when all of them, by digest, are durable. Raises Unavailable."""
        if not contents:
            return
        try:
            folders = {self._write(digest, content, now) for digest, content in contents.items()}
            for folder in folders - {None}:
                assert folder is not None
                self._disk.sync_folder(folder)
        except OSError as error:
            raise Unavailable(f"attachments: {error.strerror or error}") from error

    def _write(self, digest: bytes, content: bytes, now: float) -> Path | None:
        """The folder whose names changed, None when the content is there already."""
        path = self._data / path_of(digest)
        with suppress(FileNotFoundError):
            if abs(now - self._disk.modified_at(path)) < REFRESH_SECONDS and self._disk.size(path) == len(content):
                return None
        self._disk.make_folder(path.parent)
        temporary = path.with_name(path.name + ".tmp")
        self._disk.remove(temporary)
        handle = self._disk.create(temporary)
        try:
            self._disk.write_at(handle, [content], 0)
            self._disk.sync(handle)
        finally:
            self._disk.close(handle)
        self._disk.replace(temporary, path)
        return path.parent

    def get(self, digest: bytes) -> bytes | None:
        """The content; None when it was removed. Raises Damaged when it is not what its name says."""
        path = self._data / path_of(digest)
        try:
            content = self._disk.read_whole(path, 1 << 40)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Damaged(path, str(error.strerror or error)) from error
        if digest_of(content) != digest:
            raise Damaged(path, "its content is not what its name says")
        return content

    def files(self) -> Iterator[Kept]:
        """Every file of ours, in no order."""
        if not self.folder.is_dir():
            return
        for folder in self._disk.list_folder(self.folder):
            if not folder.is_dir():
                continue
            for path in self._disk.list_folder(folder):
                with suppress(ValueError, FileNotFoundError):
                    digest = bytes.fromhex(folder.name + path.name)
                    if len(digest) == 32:
                        yield Kept(digest, path, self._disk.size(path), self._disk.modified_at(path))

    def sweep(self, named: Collection[bytes], now: float) -> int:
        """Removes files that no row names, and what an interrupted write left; returns how many."""
        removed = 0
        for one in list(self.files()):
            if one.digest not in named and now - one.modified_at > YOUNG_SECONDS:
                removed += self._disk.remove(one.path)
        for path in self.folder.glob("??/*.tmp"):
            if now - self._disk.modified_at(path) > YOUNG_SECONDS:
                self._disk.remove(path)
        return removed

    def trim(self, max_bytes: int, max_age_seconds: float, now: float) -> int:
        """Removes the oldest beyond these bounds; returns how many."""
        found = sorted(self.files(), key=lambda one: one.modified_at)
        used = sum(one.bytes for one in found)
        removed = 0
        for one in found:
            if used <= max_bytes and now - one.modified_at <= max_age_seconds:
                break
            self._disk.remove(one.path)
            used -= one.bytes
            removed += 1
        if removed:
            log.info("attachments removed", files=removed, bytes_left=used)
        return removed

    def usage(self) -> tuple[int, int]:
        """(files, bytes)."""
        sizes = [one.bytes for one in self.files()]
        return len(sizes), sum(sizes)
