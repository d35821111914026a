"""SpoolReader: follows the writer from another process, in order, over damage, never past what is durable.

A record is handed out only when something proves that it is durable: a seal or the first record of a later commit in
the same file, or the header of a later file. So whatever the store commits is in the spool after any crash, and the
figures of both agree. Records that were written but never acknowledged (a failed sync, a torn write) and lie behind
what the next file's header calls the last one are passed over: their numbers were given to others.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from collector.errors import Unavailable
from collector.machine.disk import Disk
from collector.model.received import START, Position, Received
from collector.spool.folder import SpoolFile, file_name, first_frame, list_numbers, look_at, survey
from collector.spool.frame import PROOFS, SEAL, Frame, decode_head
from collector.spool.tape import FIRST_FRAME, Search, Tape

MAX_UNSEEN = 1000
Step = Literal["on", "wait", "later", "done"]
NO_RECORD = Received(door="", project_id=0, received_at=0.0, quantity=0)


class SpoolRecord(NamedTuple):
    """One record; or, when `damaged` is not None, a place where acknowledged records cannot be read any more.

    position: after committing it, reading goes on behind it. lost: ledger quantity that is missing before or in this
    place. damaged: the bytes found there (b"" when even the file is gone; cut at read()'s max_bytes). why: where and
    what, one sentence without content.
    """

    position: Position
    received: Received
    body: bytes
    damaged: bytes | None = None
    lost: int = 0
    why: str = ""

    @property
    def size_bytes(self) -> int:
        """What it weighs in memory."""
        return len(self.body) + len(self.damaged or b"")


class Damage:
    """Bytes that made no sense, gathered until the next intact record tells what is missing."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.held_bytes = 0
        self.places: list[str] = []

    def add(self, tape: Tape, start: int, end: int, max_bytes: int) -> None:
        """Note a region of the file and keep its bytes as far as they fit."""
        data = tape.bytes_at(start, min(end - start, max(0, max_bytes - self.held_bytes)))
        self.parts.append(data)
        self.held_bytes += len(data)
        if len(self.places) < 10:
            self.places.append(f"{file_name(tape.number)} {start}..{end}")


class SpoolReader:
    """Reads records behind `after`. One thread at a time; any number of readers beside one writer.

    `is_tool` hands out intact records without proof, for looking at a folder that no writer serves.
    """

    def __init__(self, disk: Disk, folder: Path, after: Position = START, is_tool: bool = False) -> None:
        self._disk = disk
        self._folder = folder
        self._after = after
        self._is_tool = is_tool
        self._epoch: int | None = None
        self._tape: Tape | None = None
        self._handle = 0
        self._number = 0  # of the file being read, or of the last one read
        self._first_seq = 0  # of that file, 0 when its header is damaged
        self._upto_seq: int | None = None  # last acknowledged record of that file, None while it is the newest
        self._offset = 0
        self._proved_seq = 0
        self._proof_offset = 0
        self._seq = self._total = 0
        self._damage = Damage()
        self._ready: list[SpoolRecord] = []
        self._max_bytes = 0
        self.position = after  # of the last record handed out
        self.foreign: list[str] = []

    def read(self, max_records: int, max_bytes: int) -> list[SpoolRecord]:
        """The next records that are durable, none when there is none now. At least one, whatever its size; beyond
        that at most `max_bytes` of bodies. Raises Unavailable when the disk cannot be read; nothing is skipped then.
        """
        self._max_bytes = max_bytes
        records: list[SpoolRecord] = []
        room = max_bytes
        while len(records) < max_records and (room > 0 or not records):
            try:
                record = self._next(room if records else None)
            except OSError as error:
                if records:
                    break
                self._close_file(keep_place=True)
                raise Unavailable(f"the spool cannot be read: {error.strerror or error}") from error
            if record is None:
                break
            records.append(record)
            room -= record.size_bytes
            self.position = record.position
        return records

    @property
    def file_number(self) -> int:
        """Of the file that the last record came from."""
        return self._number

    def close(self) -> None:
        """Give the open file back."""
        self._close_file(keep_place=True)

    # -- from file to file

    def _next(self, room: int | None) -> SpoolRecord | None:
        """The next record, None when there is none now or it is larger than `room`."""
        while not self._ready:
            tape = self._tape or self._enter()
            if tape is None:
                return None
            if self._offset == FIRST_FRAME:
                self._find_bound(tape)  # a file that is complete needs no proof for each commit in it
            if self._ready:
                break
            step = self._step(tape, room)
            if step == "done":
                self._close_file(keep_place=False)
            elif step == "later" or (step == "wait" and not self._find_bound(tape)):
                return None
        return self._ready.pop(0)

    def _enter(self) -> Tape | None:
        """Open the next file, if there is one, or the one that we had to close."""
        if self._epoch is None and not self._locate():
            return None
        if self._offset:
            try:
                return self._open_file(self._number, self._offset)
            except FileNotFoundError:
                self._offset = 0  # released meanwhile: what it held is safe
        file = next(self._later_files(), None)
        return self._begin_file(file) if file else None

    def _later_files(self) -> Iterator[SpoolFile]:
        """The files behind the one that we read, ascending."""
        known = self._number
        for number in list_numbers(self._disk, self._folder):
            if number <= self._number:
                continue
            # A name made while readdir(3) runs may be left out of the list although a later one is in it.
            unseen = range(max(known + 1, number - MAX_UNSEEN), number) if known > 0 else range(0)
            for each in (*unseen, number):
                file = look_at(self._disk, self._folder, each)
                if file and (file.header is None or file.header.epoch == self._epoch):
                    yield file
            known = number

    def _locate(self) -> bool:
        """Which epoch the folder has, and which file holds the first record behind `after`."""
        seen = survey(self._disk, self._folder)
        self.foreign = seen.foreign
        if seen.epoch is None:
            return False
        self._epoch = seen.epoch
        if self._after.epoch == seen.epoch:
            self._seq, self._total = self._after.seq, self._after.total
        below = [each.number for each in seen.files if each.header and each.header.previous_seq <= self._seq]
        self._number = max(below, default=0) - 1
        return True

    def _begin_file(self, file: SpoolFile) -> Tape:
        tape = self._open_file(file.number, FIRST_FRAME)
        self._number, self._first_seq, self._upto_seq = file.number, 0, None
        self._proved_seq = self._proof_offset = 0
        header = file.header
        if header is None:
            self._damage.add(tape, 0, FIRST_FRAME, self._max_bytes)
            return tape
        self._first_seq = header.first_seq
        if header.previous_seq > self._seq or header.total > self._total:
            self._report_loss(header.previous_seq, header.total, is_gap=header.previous_seq > self._seq)
        self._damage = Damage()
        return tape

    def _open_file(self, number: int, offset: int) -> Tape:
        self._handle = self._disk.open(self._folder / file_name(number))
        self._tape = Tape(self._disk, self._handle, number, self._epoch)
        self._offset = offset
        return self._tape

    def _close_file(self, keep_place: bool) -> None:
        if self._tape is not None:
            self._disk.close(self._handle)
            self._tape = None
        if not keep_place:
            self._offset = 0

    def _find_bound(self, tape: Tape) -> bool:
        """Whether a later file tells where this one ends; True when that is news."""
        if self._upto_seq is not None:
            return False
        for file in self._later_files():
            if file.header:
                self._upto_seq = file.header.previous_seq
            elif frame := first_frame(self._disk, self._folder, file.number, self._epoch):
                self._upto_seq = frame.seq - 1
            if self._upto_seq is not None:
                tape.refresh()
                return True
        return False

    # -- from frame to frame

    def _step(self, tape: Tape, room: int | None) -> Step:
        """One frame further. "on": look again, "wait" for the writer, "later": too large now, "done" with this file."""
        frame = tape.frame_at(self._offset)
        if frame is None or frame.kind == SEAL:
            return self._at_break(tape, frame)
        if self._upto_seq is not None and frame.seq > self._upto_seq:
            return "done"
        if frame.seq <= self._seq:
            self._offset = frame.end
            return "on"
        if frame.seq > self._proved_seq and not self._is_proved(tape, frame):
            return "wait"
        if room is not None and frame.body_bytes > room:
            return "later"
        payload = tape.payload(frame)
        received = _decode(payload[0]) if payload else None
        if payload is None or received is None:
            self._skip(tape, frame.end)
            return "on"
        self._offset = frame.end
        self._hand_out(frame, received, payload[1])
        return "on"

    def _at_break(self, tape: Tape, seal: Frame | None) -> Step:
        """No record here: the end for now, the end of the file, or damage to step over."""
        if seal and seal.seq > self._seq and (self._upto_seq is None or seal.seq <= self._upto_seq):
            self._report_loss(seal.seq, seal.total, is_gap=True)
            return "on"
        if self._upto_seq is None and (seal or tape.is_blank(self._offset)):
            return "wait"
        upto = 2**64 if self._upto_seq is None else self._upto_seq
        if self._seq >= upto:
            return "done"
        start = self._offset + 1
        if self._upto_seq is None:
            if tape.find(start, Search(self._seq, upto, PROOFS)) is None:
                return "wait"  # a record half written: its writer is at it, or died
            tape.refresh()
            if tape.frame_at(self._offset):
                return "on"  # it was whole before the proof behind it was written; we had looked too early
        following = tape.find(start, Search(self._seq, upto))
        if following:
            self._skip(tape, following.offset)
            return "on"
        end = tape.data_end(self._offset)
        if end > self._offset and not seal:
            self._skip(tape, end)
        return "wait" if self._upto_seq is None else "done"

    def _is_proved(self, tape: Tape, frame: Frame) -> bool:
        if self._is_tool or self._upto_seq is not None:
            return True
        offset = max(self._proof_offset, frame.end)
        while True:
            later = tape.frame_at(offset)
            if later is None and not tape.is_blank(offset):
                later = tape.find(offset, Search(frame.seq - 1, kinds=PROOFS))
            self._proof_offset = offset
            if later is None:
                return False
            if later.kind in PROOFS:
                self._proved_seq = max(self._proved_seq, later.seq if later.kind == SEAL else later.seq - 1)
                if self._proved_seq >= frame.seq:
                    return True
                if later.kind == SEAL:
                    return False
            offset = later.end

    def _skip(self, tape: Tape, end: int) -> None:
        self._damage.add(tape, self._offset, end, self._max_bytes)
        self._offset = end

    def _hand_out(self, frame: Frame, received: Received, body: bytes) -> None:
        expected = max(self._seq + 1, self._first_seq)
        is_gap = self._first_seq > 0 and frame.seq > expected
        before = frame.total - received.quantity
        if is_gap or before > self._total:
            self._report_loss(frame.seq - 1, before, is_gap)
        self._damage = Damage()
        self._seq, self._total = frame.seq, frame.total
        self._ready.append(SpoolRecord(Position(frame.epoch, frame.seq, frame.total), received, body))

    def _report_loss(self, seq: int, total: int, is_gap: bool) -> None:
        """Account for everything up to `seq` that was not read."""
        assert self._epoch is not None
        lost = max(0, total - self._total)
        seen, self._damage = self._damage, Damage()
        self._seq, self._total = max(self._seq, seq), total
        if not lost and not is_gap:
            return
        where = ", ".join(seen.places) or f"nothing is left of records up to {seq}"
        position = Position(self._epoch, self._seq, total)
        why = f"records are damaged or missing: {where}"
        self._ready.append(SpoolRecord(position, NO_RECORD, b"", b"".join(seen.parts), lost, why))


def _decode(head: bytes) -> Received | None:
    try:
        return decode_head(head)
    except msgspec.DecodeError:  # ValidationError is one, too: a head of a version that we do not know
        return None
