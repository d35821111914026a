"""Exceptions, threads and their stack traces. Rules: protocol E4, E5; grouping section 3."""

import re

from collector.digest.clean import NOTHING, Event, Exc, Excs, Stack, Thread, Threads
from collector.digest.frames import Frames, Trace
from collector.digest.remarks import Remarks
from collector.digest.trim import checked_bag

MECHANISM_BAG = (2048, 5)
Place = tuple[str | int, ...]
TYPE_AND_VALUE = re.compile(r"(\w+):(.*)", re.DOTALL)


class Stacks:
    """Normalises the stacks of events; remembers frames between events. Each `frames` ends as one Raw of all."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._raw_frames = Frames(raw=True)

    def normalise(self, event: Event, remarks: Remarks) -> list[Trace]:
        """All stacks of an event, in place; the same apart. Raises NeedsRepair."""
        self._traces: list[Trace] = []
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
            self._stack(event.stacktrace, self._frames, remarks, ("stacktrace",))
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
        return self._traces

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
                        mechanism.data, MECHANISM_BAG, remarks, ("exception", "values", index, "mechanism", "data")
                    )
            if len(values) == 1 and event.stacktrace is not None and not _has_frames(exception):
                exception.stacktrace, event.stacktrace = event.stacktrace, None
                remarks.moved(("stacktrace",), ("exception", "values", 0, "stacktrace"))
            self._both(exception, remarks, ("exception", "values", index))

    def _both(self, holder: Exc | Thread, remarks: Remarks, path: Place) -> None:
        if holder.stacktrace is not None:
            self._stack(holder.stacktrace, self._frames, remarks, (*path, "stacktrace"))
        if holder.raw_stacktrace is not None:
            self._stack(holder.raw_stacktrace, self._raw_frames, remarks, (*path, "raw_stacktrace"))

    def _stack(self, stack: Stack, frames: Frames, remarks: Remarks, path: Place) -> None:
        if stack.frames:
            self._traces.append(frames.write(stack, remarks, (*path, "frames")))
        else:
            stack.frames = None


def _split_type(exception: Exc) -> None:
    hit = TYPE_AND_VALUE.fullmatch(exception.value or "")
    if hit:
        exception.type, exception.value = hit[1][:256], hit[2].strip()


def _has_frames(exception: Exc) -> bool:
    return exception.stacktrace is not None and bool(exception.stacktrace.frames)
