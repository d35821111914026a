"""Exceptions, threads and their stack traces. Rules: protocol E4, E5; grouping section 3."""

import re
from urllib.parse import urlsplit

from msgspec import Raw

from collector.digest.about import NeedsRepair
from collector.digest.clean import NOTHING, Event, Exc, Excs, Frame, FrameData, Stack, Thread, Threads
from collector.digest.remarks import Remarks
from collector.digest.trim import are_shallow, fits, trim_raw
from collector.digest.verified import Verified

MAX_FRAMES, OLDEST_FRAMES = 250, 50
MAX_DETAILED_FRAMES = 50  # beyond, variables and source lines are kept in this many frames only
VARS_BAG = (2048, 5)
TYPE_AND_VALUE = re.compile(r"(\w+):(.*)", re.DOTALL)
URL = re.compile(r"https?://", re.IGNORECASE)
EMPTY_DATA = FrameData()
NO_NAMES = ("?", "")
OBJECT, NULL = 0x7B, 0x6E


class Stacks:
    """Normalises the stacks of events; remembers verified source lines between events."""

    def __init__(self) -> None:
        self._lines = Verified(list[str | None], 8192)

    def normalise(self, event: Event, remarks: Remarks) -> None:
        """All stacks of an event, in place. Raises NeedsRepair."""
        exceptions = event.exception
        if exceptions is not None:
            if isinstance(exceptions, list):
                event.exception = exceptions = Excs(exceptions)
                remarks.moved(("exception",), ("exception", "values"))
            if exceptions.values:
                self._exceptions(event, exceptions.values, remarks)
            else:
                event.exception = None
        if event.stacktrace is not None:
            self._stack(event.stacktrace, remarks, ("stacktrace",))
        threads = event.threads
        if threads is not None:
            if isinstance(threads, list):
                event.threads = threads = Threads(threads)
                remarks.moved(("threads",), ("threads", "values"))
            if not threads.values:
                event.threads = None
            for index, thread in enumerate(threads.values or ()):
                if thread is not None:
                    self._both(thread, remarks, ("threads", "values", index))

    def _exceptions(self, event: Event, values: list[Exc | None], remarks: Remarks) -> None:
        for index, exception in enumerate(values):
            if exception is None:
                continue
            if not exception.type:
                _split_type(exception)
            if not exception.type and not exception.value:
                path = ("exception", "values", index)
                remarks.error(path, "missing_attribute", None, attribute="type or value")
                values[index] = None
                continue
            if exception.mechanism is not None:
                mechanism = exception.mechanism
                if not mechanism.type:
                    mechanism.type = None
                    remarks.error(("exception", "values", index, "mechanism", "type"), "missing_attribute")
                if mechanism.data is not NOTHING:
                    mechanism.data = checked_bag(
                        mechanism.data, VARS_BAG, remarks, ("exception", "values", index, "mechanism", "data")
                    )
            self._both(exception, remarks, ("exception", "values", index))
        if len(values) == 1 and event.stacktrace is not None and values[0] is not None and not _has_frames(values[0]):
            values[0].stacktrace, event.stacktrace = event.stacktrace, None
            remarks.moved(("stacktrace",), ("exception", "values", 0, "stacktrace"))
            self._both(values[0], remarks, ("exception", "values", 0))

    def _both(self, holder: Exc | Thread, remarks: Remarks, path: tuple[str | int, ...]) -> None:
        if holder.stacktrace is not None:
            self._stack(holder.stacktrace, remarks, (*path, "stacktrace"))
        if holder.raw_stacktrace is not None:
            self._stack(holder.raw_stacktrace, remarks, (*path, "raw_stacktrace"), raw=True)

    def _stack(self, stack: Stack, remarks: Remarks, path: tuple[str | int, ...], raw: bool = False) -> None:
        frames = stack.frames
        if not frames:
            stack.frames = None
            return
        if len(frames) > MAX_FRAMES:
            remarks.shortened((*path, "frames"), len(frames))
            frames = frames[:OLDEST_FRAMES] + frames[OLDEST_FRAMES - MAX_FRAMES :]
            stack.frames = frames
        if len(frames) > MAX_DETAILED_FRAMES:
            _thin_out(frames)
        bracketed: list[bytes] = []
        seen, lines, nothing = self._lines.seen, self._lines.get, NOTHING
        for index, frame in enumerate(frames):
            if not raw and (frame.filename is None or frame.abs_path is None or frame.function in NO_NAMES):
                _name_file(frame, remarks, (*path, "frames", index))
            lines_before, lines_after, variables = frame.pre_context, frame.post_context, frame.vars
            if lines_before is not nothing and bytes(lines_before) not in seen and lines(lines_before) is None:
                frame.pre_context = nothing
            if lines_after is not nothing and bytes(lines_after) not in seen and lines(lines_after) is None:
                frame.post_context = nothing
            if variables is not nothing:
                data = bytes(variables)
                brackets = data.count(b"{") + data.count(b"[")
                if data[0] != OBJECT or len(data) + 2 * brackets + 2 > VARS_BAG[0]:
                    frame.vars = checked_bag(variables, VARS_BAG, remarks, (*path, "frames", index, "vars"))
                elif brackets >= VARS_BAG[1]:
                    bracketed.append(data)
            if frame.data is not None and frame.data == EMPTY_DATA:
                frame.data = None
        if bracketed and not are_shallow(bracketed, VARS_BAG[1]):
            for index, frame in enumerate(frames):
                frame.vars = checked_bag(frame.vars, VARS_BAG, remarks, (*path, "frames", index, "vars"))


def checked_bag(raw: Raw, bag: tuple[int, int], remarks: Remarks, path: tuple[str | int, ...]) -> Raw:
    """An object within its limits. Raises NeedsRepair when it is no object."""
    if raw is NOTHING:
        return raw
    data = bytes(raw)
    if data[0] == NULL:
        return NOTHING
    if data[0] != OBJECT:
        raise NeedsRepair
    return raw if fits(data, bag) else trim_raw(raw, bag, remarks, list(path))


def _split_type(exception: Exc) -> None:
    hit = TYPE_AND_VALUE.fullmatch(exception.value or "")
    if hit:
        exception.type, exception.value = hit[1][:256], hit[2].strip()


def _has_frames(exception: Exc) -> bool:
    return exception.stacktrace is not None and bool(exception.stacktrace.frames)


def _name_file(frame: Frame, remarks: Remarks, path: tuple[str | int, ...]) -> None:
    """File name and path complete each other; "?" is no function."""
    if frame.function in ("?", ""):
        frame.function = None
    if not frame.abs_path:
        frame.abs_path, frame.filename = frame.filename or None, None
        remarks.moved((*path, "filename"), (*path, "abs_path"))
    if not frame.filename and frame.abs_path:
        frame.filename = path_of(frame.abs_path)


def path_of(location: str) -> str:
    """The path of an http(s) URL without query and fragment; any other text as it is."""
    if not URL.match(location):
        return location
    try:
        return urlsplit(location).path or "/"
    except ValueError:
        return location


def _thin_out(frames: list[Frame]) -> None:
    """Keep variables and source lines where they tell most: in-app frames first, then both ends of the stack."""
    inner = [index for index, frame in enumerate(frames) if frame.in_app]
    outer = [index for index, frame in enumerate(frames) if not frame.in_app]
    half = max(0, MAX_DETAILED_FRAMES - len(inner)) // 2
    drop = outer[half : len(outer) - half]
    missing = max(0, len(frames) - MAX_DETAILED_FRAMES - len(drop))
    if missing:
        half = max(0, len(inner) - missing) // 2
        drop = drop + inner[half : len(inner) - half]
    for index in drop:
        frame = frames[index]
        frame.vars = frame.pre_context = frame.post_context = NOTHING
