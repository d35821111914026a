"""The writing side of the spool without threads: files begin, fill up, fail, are released and go.

Order of writing, on which everything rests:
1. a file's header is durable before its name is, both are before its first record is acknowledged;
2. a file is synced before the next one begins, so a file's header proves all acknowledged records before it;
3. records are synced, then sealed, then acknowledged;
4. the checkpoint is durable before any file below it goes.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from collector.machine.clock import Clock
from collector.machine.disk import Disk, FolderLock, Space
from collector.model.received import Position
from collector.spool.active import Active, Submission
from collector.spool.checkpoint import Checkpoint, Mark
from collector.spool.folder import SPARE, Extent, SpoolFile, Survey, extent, file_name, survey, temporary_name
from collector.spool.frame import FRAME_BYTES, FileHeader, encode_file_header
from collector.spool.settings import SpoolSettings
from collector.spool.tape import Tape

GROUP_RECORDS = 64  # beyond it, and beyond 512 KB, one larger writev is no cheaper (reference: measured)
GROUP_BYTES = 512 * 1024
ZEROS = bytes(256 * 1024)
SMALLEST_FILE_BYTES = 64 * 1024
RETRY_SECONDS = 0.5  # after a disk error: a new try costs a file and three syncs
MIN_STORE_BYTES = 8 * 2**20  # empty segment, its log, state.sqlite and a checkpoint, measured about 5 MB
LOOK_SECONDS = 1.0  # how old the figure of free space may be

# The first record after a restart is this far behind the last one found. A store may have committed records that a
# power loss took from the spool (durability "write", a disk that lies, a spool restored from a backup); their numbers
# must not come again, or the reader would take new records for old ones. 1e6 is 30 s (the kernel's write-back age) at
# 33,000 records a second.
RESTART_GAP = 1_000_000


class Kept(NamedTuple):
    """A file that is not written any more and still needed."""

    number: int
    first_seq: int
    last_seq: int
    size_bytes: int


class Spare(NamedTuple):
    """A file of zeros, durable, waiting to become the next one."""

    handle: int
    length_bytes: int


class Journal:
    """Owns the folder. All methods but prepare() run on one thread; plain attributes may be read from any.

    `position`: last durable record. `trouble`: one sentence while the disk does not take records, else "".
    """

    def __init__(self, disk: Disk, folder: Path, settings: SpoolSettings, clock: Clock) -> None:
        self._disk = disk
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._lock: FolderLock | None = None
        self._checkpoint: Checkpoint | None = None
        self._active: Active | None = None
        self._spare: Spare | None = None
        self._is_preparing = False
        self._next_number = 1
        self._first_seq = 1
        self._retry_at = 0.0
        self._looked_at = 0.0
        self._leftovers: list[str] = []
        self._newest_end = 0
        self.kept: tuple[Kept, ...] = ()
        self._kept_bytes = 0
        self.position = self.released = Position(0, 0, 0)
        self.space = Space(0, 0)
        self._others = (-1, 0)  # of a disk of so many bytes, what is left to others: asked for at each request
        self.trouble = ""
        self.foreign: list[str] = []

    # -- start

    def open(self, new_epoch: Callable[[], int]) -> None:
        """Find where the spool ends. Writes nothing. Raises OSError, Unavailable (in use), ConfigError (too new)."""
        self._disk.make_folder(self._folder)
        self._lock = self._disk.lock_folder(self._folder)
        self._checkpoint = Checkpoint(self._disk, self._folder)
        seen = survey(self._disk, self._folder)
        self.foreign = seen.foreign
        self._leftovers = seen.temporary
        epoch = new_epoch() if seen.epoch is None else seen.epoch
        saved = seen.saved if seen.saved and seen.saved.released.epoch == epoch else None
        end = self._find_end(seen, epoch)
        self.position = max(end, saved.noted, saved.released) if saved else end
        # Without a checkpoint: files go only when they are released, so what is before the oldest one was.
        oldest = next((file.header for file in seen.files if file.header), None)
        self.released = Position(epoch, oldest.previous_seq, oldest.total) if oldest else Position(epoch, 0, 0)
        if saved and saved.released <= end:  # one ahead of the files releases nothing: some of them are gone
            self.released = saved.released
        self._first_seq = self.position.seq + 1 + (RESTART_GAP if seen.files else 0)
        self._keep(list(self._extents(seen.files)))
        self._next_number = 1 + seen.last_number
        self.look()

    def begin(self) -> None:
        """Begin a new file behind what was found and clear up. A disk error leaves `trouble`; commit() tries again."""
        for name in self._leftovers:
            self._quietly_remove(self._folder / name)
        self._trim_newest()
        try:
            self._activate(0, zero=True)
        except OSError as error:
            self._fail(error)
        else:
            self._renew_checkpoint()
            self._drop()

    def _renew_checkpoint(self) -> None:
        """What we read of it may be only in the page cache (its sync failed, then the process died): nothing goes on
        its word before it is written again. At the very first start this makes a second place that knows the epoch."""
        if self._checkpoint:
            try:
                self._checkpoint.save(Mark(self.released, self.position))
            except OSError:
                self.released = Position(self.position.epoch, 0, 0)

    def _find_end(self, seen: Survey, epoch: int) -> Position:
        for file in reversed(seen.files):
            found = self._read_extent(file, epoch)
            if file is seen.files[-1]:
                self._newest_end = found.end
            header = file.header
            end = (header.previous_seq, header.total) if header else (-1, 0)
            if max(end[0], found.seq) >= 0:
                return Position(epoch, *max(end, found[:2]))
        return Position(epoch, 0, 0)

    def _read_extent(self, file: SpoolFile, epoch: int) -> Extent:
        handle = self._disk.open(self._folder / file_name(file.number))
        try:
            return extent(Tape(self._disk, handle, file.number, epoch))
        finally:
            self._disk.close(handle)

    def _extents(self, files: Sequence[SpoolFile]) -> Iterator[Kept]:
        first = 1
        for index, file in enumerate(files):
            later = (each.header.previous_seq for each in files[index + 1 :] if each.header)
            last = next(later, self.position.seq)
            if file.header:
                first = file.header.first_seq
            yield Kept(file.number, first, last, file.size_bytes)
            first = max(first, last + 1)

    def _trim_newest(self) -> None:
        """Sync what a crashed writer left behind, and give back the zeros it had written ahead."""
        if not self.kept:
            return
        newest = self.kept[-1]
        try:
            handle = self._disk.open(self._folder / file_name(newest.number), writable=True)
        except OSError:
            return
        try:
            self._disk.sync(handle)
            self._disk.truncate(handle, min(newest.size_bytes, self._newest_end))
            self._keep([*self.kept[:-1], newest._replace(size_bytes=min(newest.size_bytes, self._newest_end))])
        except OSError:
            pass  # nothing in it was acknowledged by us; readers check every byte anyway
        finally:
            self._disk.close(handle)

    # -- records

    def commit(self, batch: Sequence[Submission]) -> tuple[list[Position], str]:
        """Make the records durable, in order. Positions of those that are; why the rest is not ("" when all are)."""
        done: list[Position] = []
        written: list[Position] = []
        try:
            for group, size_bytes in grouped(batch):
                if self._active and not self._active.has_room(size_bytes):
                    self._settle(self._active)
                    done += written
                    written = []
                    self._retire()
                active = self._active or self._activate(size_bytes)
                written += active.append(group)
                self.space = self.space._replace(free_bytes=self.space.free_bytes - size_bytes)
            if self._active:
                self._settle(self._active)
            done += written
        except OSError as error:
            self._fail(error)
            return done, self.trouble
        self.trouble = ""
        self._after_commit()
        return done, ""

    def reopen(self) -> None:
        """After trouble: try whether the disk takes a new file again."""
        if self._active:
            return
        try:
            self._activate(0)
        except OSError as error:
            self._fail(error)
        else:
            self.trouble = ""
            self.look()

    def _settle(self, active: Active) -> None:
        active.settle(sync=self._settings.durability == "fsync")
        self.position = active.durable

    def _after_commit(self) -> None:
        active = self._active
        if active and not active.is_sealed:
            self._retire()  # the next file's header tells readers what the seal could not
        if self._clock.monotonic() - self._looked_at >= LOOK_SECONDS:
            self.look()

    def _fail(self, error: OSError) -> None:
        """Never touch the file again that did not take a write or a sync: a sync repeated on it would lie."""
        self.trouble = f"the spool cannot write: {error.strerror or error}"
        if self._clock.monotonic() >= self._retry_at:  # else nothing was tried: hammering must not put off the retry
            self._retry_at = self._clock.monotonic() + RETRY_SECONDS
        self._retire()

    def _retire(self) -> None:
        """Close the active file; it stays until it is released."""
        active, self._active = self._active, None
        if active is None:
            return
        header = active.header
        self._keep([*self.kept, Kept(header.number, header.first_seq, active.durable.seq, active.close())])
        self._first_seq = active.durable.seq + 1 if active.durable.seq >= header.first_seq else header.first_seq

    # -- files

    def _activate(self, size_bytes: int, zero: bool = False) -> Active:
        """Begin the next file. Raises OSError (also while the last error is too fresh); nothing is left behind then."""
        if self._clock.monotonic() < self._retry_at:
            raise OSError(0, self.trouble.removeprefix("the spool cannot write: "))
        number, self._next_number = self._next_number, self._next_number + 1
        header = FileHeader(number, self.position.epoch, self.position.seq, self._first_seq, self.position.total)
        final = self._folder / file_name(number)
        temporary, spare = self._folder / temporary_name(number), self._spare
        if spare:
            self._spare, temporary = None, self._folder / SPARE
        else:
            spare = Spare(self._disk.create(temporary), 0)
        try:
            length = spare.length_bytes or (self._fill(spare.handle) if zero else 0)
            self._disk.write_at(spare.handle, [encode_file_header(header)], 0)
            self._disk.sync(spare.handle)
            self._disk.replace(temporary, final)
            self._disk.sync_folder(self._folder)
        except OSError:
            self._disk.close(spare.handle)
            self._quietly_remove(temporary)
            self._quietly_remove(final)
            raise
        self._active = Active(self._disk, spare.handle, header, length, length or self._target_bytes())
        return self._active

    def wants_spare(self) -> bool:
        """Whether it is time to call prepare(): a quarter of the active file is used and there is room."""
        active = self._active
        wanted = (
            active is not None
            and self._spare is None
            and not self._is_preparing
            and active.offset * 4 >= active.capacity_bytes
            and self._zeros_bytes() > 0
        )
        self._is_preparing = self._is_preparing or wanted
        return wanted

    def prepare(self) -> None:
        """Make the next file ahead, on any thread; only after wants_spare() said so. A disk error means no spare."""
        path = self._folder / SPARE
        handle = None
        try:
            self._disk.remove(path)
            handle = self._disk.create(path)
            length = self._fill(handle)
            self._disk.sync(handle)
            self._spare = Spare(handle, length) if length else None
        except OSError:
            self._quietly_remove(path)
        finally:
            if handle is not None and self._spare is None:
                self._disk.close(handle)
            self._is_preparing = False

    def _fill(self, handle: int) -> int:
        """Zeros ahead: overwriting allocated blocks halves the cost of a sync (measured 2,407 -> 5,407 acks/s at 16
        connections), reserving them without writing (fallocate) does not. Less than wanted on a disk that fills up."""
        wanted = self._zeros_bytes()
        try:
            for offset in range(0, wanted, len(ZEROS)):
                self._disk.write_at(handle, [ZEROS[: wanted - offset]], offset)
        except OSError:
            self._disk.truncate(handle, 0)
            return 0
        return wanted

    def _target_bytes(self) -> int:
        """Size of a file: the setting, less on a small budget or a small disk, so that files can go one by one."""
        room = self.space.free_bytes - self.floor_bytes
        fits = max(SMALLEST_FILE_BYTES, min(self._settings.max_spool_bytes // 8, room // 8))
        return min(self._settings.file_bytes, fits)

    def _zeros_bytes(self) -> int:
        """How much to write ahead; 0 when the budget or the disk has no room for it."""
        target = self._target_bytes()
        is_roomy = self.used_bytes + 2 * target <= self._settings.max_spool_bytes
        return target if is_roomy and self.space.free_bytes - self.floor_bytes > 4 * target else 0

    # -- release

    def release(self, position: Position) -> None:
        """Remember durably that records up to `position` are not needed, then remove files. Raises OSError."""
        if self._checkpoint is None or position.epoch != self.position.epoch:
            return
        position = min(position, self.position)
        if position > self.released:
            self._checkpoint.save(Mark(position, self.position))
            self.released = position
        self._drop()

    def _drop(self) -> None:
        """Remove files that hold nothing above the released position. The newest stays: it knows where we are."""
        active = self._active
        is_done = active is not None and active.written.seq <= self.released.seq and active.offset > FRAME_BYTES * 4
        if active and is_done and self.used_bytes * 2 > self._settings.max_spool_bytes:
            self._retire()  # a file that fills most of the budget must be able to go
            self.reopen()
        kept = list(self.kept)
        while kept and kept[0].last_seq <= self.released.seq and (self._active or len(kept) > 1):
            try:
                self._disk.remove(self._folder / file_name(kept[0].number))
            except OSError:
                break  # the next release tries again
            kept.pop(0)
        self._keep(kept)

    # -- settings

    def take(self, settings: SpoolSettings) -> None:
        """Other settings from now on; the file that is being written stays as long as it is. From any thread."""
        self._settings = settings
        self._others = self._left_to_others(self.space.total_bytes)

    # -- figures

    @property
    def used_bytes(self) -> int:
        """Bytes of records on disk, released or not, without zeros written ahead."""
        return self._kept_bytes + (self._active.offset if self._active else 0)

    @property
    def floor_bytes(self) -> int:
        """Free space that is not ours to use: what the settings leave to others, and what the worker needs to store
        the records that wait here (about half their bytes; on small disks at least its empty files)."""
        total = self.space.total_bytes
        if total != self._others[0]:
            self._others = self._left_to_others(total)
        return self._others[1] + min(self.used_bytes, total // 2) // 2

    def _left_to_others(self, total: int) -> tuple[int, int]:
        least = max(total // 16, min(MIN_STORE_BYTES, total // 4))
        return total, int(min(self._settings.min_free_bytes, least))

    @property
    def is_down(self) -> bool:
        """Whether there is no file to write to."""
        return self._active is None

    def files(self) -> list[Kept]:
        """All files with records, the active one last."""
        active = self._active
        if active is None:
            return list(self.kept)
        return [*self.kept, Kept(active.header.number, active.header.first_seq, active.durable.seq, active.offset)]

    def look(self) -> None:
        """See how much space there is; on an error the last figure stays."""
        self._looked_at = self._clock.monotonic()
        try:
            self.space = self._disk.space(self._folder)
        except OSError:
            pass

    def close(self) -> None:
        """Sync and close all files but a spare. leave() follows, once nobody prepares a spare any more."""
        active = self._active
        if active:
            try:
                self._settle(active)
            except OSError as error:
                self._fail(error)
        self._retire()
        if self._checkpoint:
            self._checkpoint.close()

    def leave(self) -> None:
        """After close(), on any thread: the spare goes, others may have the folder."""
        if self._spare:
            self._disk.close(self._spare.handle)
            self._quietly_remove(self._folder / SPARE)
            self._spare = None
        if self._lock:
            self._lock.close()

    def _keep(self, files: Sequence[Kept]) -> None:
        self.kept = tuple(files)
        self._kept_bytes = sum(each.size_bytes for each in files)

    def _quietly_remove(self, path: Path) -> None:
        """Clearing up: worth a try, never a failure."""
        try:
            self._disk.remove(path)
        except OSError:
            pass


def grouped(batch: Sequence[Submission]) -> Iterator[tuple[Sequence[Submission], int]]:
    """Slices of the batch that are worth one write call each, with their bytes."""
    start = size_bytes = 0
    for index, each in enumerate(batch):
        record_bytes = FRAME_BYTES + len(each.head) + len(each.body)
        if index > start and (index - start >= GROUP_RECORDS or size_bytes + record_bytes > GROUP_BYTES):
            yield batch[start:index], size_bytes
            start, size_bytes = index, 0
        size_bytes += record_bytes
    if start < len(batch):
        yield batch[start:], size_bytes
