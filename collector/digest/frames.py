"""Frames of stack traces, bytes in, bytes out. Rules: protocol E4, E5.

A frame of an application comes again and again with other variables only. So each is cut in three, head, variables and
tail; head and tail are looked at once and remembered with the bytes they are written as, and the variables of a whole
stack are checked by one run of the decoder. The cut is guessed (from `,"vars":{` to the last but one closing bracket)
and each guess is proven: head and tail together are a frame, the head is an object if closed there, the variables are
one value. What does not hold goes through the typed form.
"""

import re
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from collector.digest.about import NeedsRepair
from collector.digest.clean import NOTHING, Frame, FrameData, Stack
from collector.digest.remarks import Path, Remarks
from collector.digest.trim import checked_bag, flattened, is_small, shallow_objects, trim_raw
from collector.group.view import FrameView

MAX_FRAMES, OLDEST_FRAMES = 250, 50
MAX_DETAILED_FRAMES = 50  # beyond, variables and source lines are kept in this many frames only
VARS_BAG = (2048, 5)
MAX_REMEMBERED_BYTES = 8 * 2**20
VIEW_BYTES = 1000  # of a remembered frame beside its bytes: what grouping sees of it, mostly
MAX_FRAME_BYTES = 4096
URL = re.compile(r"https?://", re.IGNORECASE)
EMPTY_DATA = FrameData()
NO_NAMES = ("?", "")
VARS = b',"vars":{'
KEY_BYTES = 96  # of a head: the file and most of the function
MAX_HEADS = 64  # with the same first bytes
CLOSING = b"},"
NO_HEADS: tuple["Head", ...] = ()
SMALL_BYTES = (VARS_BAG[0] - 2) // 3  # even if all of it was brackets, it fits

_FRAME = msgspec.json.Decoder(Frame)
_VIEW = msgspec.json.Decoder(FrameView)
_VIEWS = msgspec.json.Decoder(list[FrameView])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LINES = msgspec.json.Decoder(list[str | None] | None)
_SHALLOW = shallow_objects(VARS_BAG[1])
_write = msgspec.json.Encoder().encode


class Known(msgspec.Struct, frozen=True):
    """A frame that was looked at. written: its bytes up to the variables, or up to the closing bracket; bare: the
    latter without source lines. has_moved: the file name became the path. view: what grouping sees of it."""

    written: bytes
    bare: bytes
    has_moved: bool
    view: FrameView


class Trace(msgspec.Struct):
    """The frames of one stack, apart. path: to the list. parts: three a frame, up to its variables, these (empty where
    there are none), and what closes it. views: what grouping sees of each."""

    stack: Stack
    path: tuple[str | int, ...]
    parts: list[bytes]
    views: list[FrameView]

    def join(self) -> None:
        """Write the frames into the stack."""
        self.stack.frames = [Raw(b"".join(self.parts)[:-1])]


class Head(msgspec.Struct, frozen=True):
    """The first part of a frame, up to its variables; what may follow them, and what that makes."""

    text: bytes
    tails: dict[bytes, Known]


Cut = tuple[int, int, Known]  # where the variables begin and end; 0, 0: there are none


class Frames:
    """Normalises lists of frames; remembers frames between events. `raw`: file names stay as sent."""

    def __init__(self, raw: bool = False) -> None:
        self._raw = raw
        self._heads: dict[bytes, list[Head]] = {}  # by their first bytes
        self._whole: dict[bytes, Known] = {}  # frames without variables
        self._room_bytes = MAX_REMEMBERED_BYTES

    def write(self, stack: Stack, remarks: Remarks, path: tuple[str | int, ...]) -> Trace:
        """The frames of a stack become one Raw that holds them joined by commas; path: to them. Raises NeedsRepair."""
        frames = stack.frames
        assert isinstance(frames, list)
        trace = Trace(stack, path, [], [])
        if len(frames) > MAX_FRAMES or not self._remembered(frames, remarks, trace):
            self._one_by_one(frames, remarks, trace)
        trace.join()
        return trace

    def _one_by_one(self, frames: list[Raw], remarks: Remarks, trace: Trace) -> None:
        """Any frames at all. Raises NeedsRepair."""
        wholes = []
        trace.parts = []
        for frame in self._typed(frames, remarks, trace.path):
            variables, frame.vars = frame.vars, NOTHING
            whole = _write(frame)
            wholes.append(whole)
            start = whole[:-1] if variables is NOTHING else _up_to_variables(whole)
            trace.parts += (start, bytes(variables), CLOSING)
        trace.views = _VIEWS.decode(b"[" + b",".join(wholes) + b"]")

    def _remembered(self, frames: list[Raw], remarks: Remarks, trace: Trace) -> bool:
        """Take the frames apart; False when one of them is not as it usually is. Raises NeedsRepair."""
        parts, views, path = trace.parts, trace.views, trace.path
        bags: list[bytes] = []
        bare: list[bytes] = []
        moved: list[int] = []
        places: list[int] = []
        large: list[tuple[int, bytes]] = []
        heads_of, whole_of = self._heads.get, self._whole.get
        for index, frame in enumerate(frames):
            data = bytes(frame)
            for head in heads_of(data[:KEY_BYTES], NO_HEADS):
                if data.startswith(head.text):
                    start = len(head.text) - 1
                    stop = data.rfind(b"}", start, -1) + 1
                    known = head.tails.get(data[stop:]) if stop > start else None
                    break
            else:
                start = stop = 0
                known = whole_of(data)
            if known is None:
                cut = self._look(data)
                if cut is None:
                    return False
                start, stop, known = cut
            views.append(known.view)
            bare.append(known.bare)
            if known.has_moved:
                moved.append(index)
            if not start:
                parts += (known.written, b"", CLOSING)
                continue
            variables = data[start:stop]
            parts += (known.written, variables, CLOSING)
            if len(variables) <= SMALL_BYTES or is_small(variables, VARS_BAG[0]):
                bags.append(variables)
                places.append(index)
            else:
                large.append((index, variables))
        if bags and not _SHALLOW.Match(b",".join(bags)):
            large += [(index, bag) for index, bag in zip(places, bags, strict=True) if not _SHALLOW.Match(bag)]
        if len(frames) > MAX_DETAILED_FRAMES:
            for index in less_telling([view.in_app for view in views]):
                parts[3 * index : 3 * index + 2] = bare[index], b""
                if any(place == index and not _SHALLOW.Match(bag) for place, bag in large):
                    return False  # variables that go may be more than one value, too
            large = [one for one in large if parts[3 * one[0] + 1]]
        if large and not _trim(large, parts, remarks, path):
            return False
        if moved and remarks:
            for index in moved:
                remarks.moved((*path, index, "filename"), (*path, index, "abs_path"))
        return True

    def _look(self, data: bytes) -> Cut | None:
        """A frame seen for the first time; None when its variables are not where they are guessed to be."""
        at = data.find(VARS)
        start = at + len(VARS) - 1
        stop = data.rfind(b"}", start, -1) + 1 if at >= 0 else 0
        if at >= 0 and stop <= start:
            return None
        rest = data[:at] + data[stop:] if at >= 0 else data
        try:
            frame = _FRAME.decode(rest)
            if at >= 0:
                _OBJECT.decode(data[:at] + b"}")
        except msgspec.MsgspecError:
            return None
        if frame.vars is not NOTHING:
            return None
        has_moved = not self._raw and name_file(frame)
        _check(frame)
        whole = _write(frame)
        view, written = _VIEW.decode(whole), whole[:-1] if at < 0 else _up_to_variables(whole)
        frame.pre_context = frame.post_context = NOTHING
        known = Known(written, _write(frame)[:-1], has_moved, view)
        if at < 0:
            if self._has_room(len(data) + len(whole)):
                self._whole[data] = known
            return 0, 0, known
        if self._has_room(start + 1 + len(data) - stop + len(whole)):
            self._remember(data[: start + 1], data[stop:], known)
        return start, stop, known

    def _remember(self, text: bytes, tail: bytes, known: Known) -> None:
        heads = self._heads.setdefault(text[:KEY_BYTES], []) if len(text) >= KEY_BYTES else []
        for head in heads:
            if head.text == text:
                head.tails[tail] = known
                return
        if len(heads) >= MAX_HEADS:
            heads.clear()
        heads.append(Head(text, {tail: known}))

    def _has_room(self, size: int) -> bool:
        """Whether a frame may be remembered; everything is forgotten when there would be too much."""
        if size > MAX_FRAME_BYTES:
            return False
        self._room_bytes -= size + VIEW_BYTES
        if self._room_bytes < 0:
            self._heads.clear()
            self._whole.clear()
            self._room_bytes = MAX_REMEMBERED_BYTES
        return True

    def _typed(self, frames: list[Raw], remarks: Remarks, path: Path) -> list[Frame]:
        """Any frames at all, one by one. Raises NeedsRepair."""
        if len(frames) > MAX_FRAMES:
            remarks.shortened(path, len(frames))
            frames = frames[:OLDEST_FRAMES] + frames[OLDEST_FRAMES - MAX_FRAMES :]
        try:
            typed = [_FRAME.decode(frame) for frame in frames]
        except msgspec.MsgspecError:
            raise NeedsRepair from None
        if len(typed) > MAX_DETAILED_FRAMES:
            for index in less_telling([frame.in_app for frame in typed]):
                typed[index].vars = typed[index].pre_context = typed[index].post_context = NOTHING
        for index, frame in enumerate(typed):
            if not self._raw and name_file(frame):
                remarks.moved((*path, index, "filename"), (*path, index, "abs_path"))
            _check(frame)
            frame.vars = checked_bag(frame.vars, VARS_BAG, remarks, (*path, index, "vars"))
        return typed


def _up_to_variables(whole: bytes) -> bytes:
    """The beginning of a frame that is written without variables, for them to follow."""
    return whole[:-1] + (VARS if len(whole) > 2 else VARS[1:])[:-1]


def _trim(large: list[tuple[int, bytes]], parts: list[bytes], remarks: Remarks, path: Path) -> bool:
    """Cut variables, given with the index of their frame, to their limits. False: one is no single value."""
    try:
        bags = flattened([variables for _, variables in large], VARS_BAG[1])
    except msgspec.MsgspecError:
        return False
    for (index, variables), bag in zip(large, bags, strict=True):
        if not is_small(bag, VARS_BAG[0]):
            bag = bytes(trim_raw(Raw(variables), VARS_BAG, remarks, [*path, index, "vars"]))
        parts[3 * index + 1] = bag
    return True


def _check(frame: Frame) -> None:
    """Source lines are lists of texts, data that says nothing goes. Raises NeedsRepair."""
    try:
        if frame.pre_context is not NOTHING and _LINES.decode(frame.pre_context) is None:
            frame.pre_context = NOTHING
        if frame.post_context is not NOTHING and _LINES.decode(frame.post_context) is None:
            frame.post_context = NOTHING
    except msgspec.MsgspecError:
        raise NeedsRepair from None
    if frame.data is not None and frame.data == EMPTY_DATA:
        frame.data = None


def name_file(frame: Frame) -> bool:
    """File name and path complete each other; "?" is no function. True when the name was the path."""
    if frame.function in NO_NAMES:
        frame.function = None
    has_moved = not frame.abs_path
    if has_moved:
        frame.abs_path, frame.filename = frame.filename or None, None
    if not frame.filename and frame.abs_path:
        frame.filename = path_of(frame.abs_path)
    return has_moved


def path_of(location: str) -> str:
    """The path of an http(s) URL without query and fragment; any other text as it is."""
    if not URL.match(location):
        return location
    try:
        return urlsplit(location).path or "/"
    except ValueError:
        return location


def less_telling(in_app: list[bool | None]) -> list[int]:
    """The frames that keep neither variables nor source lines: not the in-app ones and both ends of the stack."""
    inner = [index for index, own in enumerate(in_app) if own]
    outer = [index for index, own in enumerate(in_app) if not own]
    half = max(0, MAX_DETAILED_FRAMES - len(inner)) // 2
    drop = outer[half : len(outer) - half]
    missing = max(0, len(in_app) - MAX_DETAILED_FRAMES - len(drop))
    if missing:
        half = max(0, len(inner) - missing) // 2
        drop = drop + inner[half : len(inner) - half]
    return drop
