"""A normalised event in parts: scrubbed leaf by leaf before it is written, seen by grouping without its frames.

Writing an event only to find its leaves again, and decoding frames that were seen before, took a quarter of the digest.
Whatever is not as usual (spans, invalid values, a GraphQL request, rules of the project) goes by way of the written
event, to the same result.
"""

from typing import Any

import msgspec
from msgspec import Raw

from collector.digest.clean import EVENT_WRITER, NOTHING, Event, Excs
from collector.digest.frames import Trace
from collector.digest.remarks import Remarks
from collector.digest.row import RowView
from collector.group.view import StackView, decode
from collector.scrub.fast import FastScrub
from collector.scrub.skeleton import IN_REQUEST, OF_FRAME, OF_REQUEST, Leaf, Leaves
from collector.scrub.spans import Fallback

_VIEW = msgspec.json.Decoder(RowView)
_EXCEPTIONS = ("exception", "values")

Run = tuple[int, list[Any], tuple[str, ...]]  # first number, who holds the leaves, the names they have there


class Normalised:
    """A normalised event: its typed form, what was remarked, its stacks apart."""

    __slots__ = ("_payload", "event", "remarks", "traces")

    def __init__(self, event: Event, remarks: Remarks, traces: list[Trace]) -> None:
        self.event = event
        self.remarks = remarks
        self.traces = traces
        self._payload = b""

    @property
    def payload(self) -> bytes:
        """The event as JSON; nothing but scrub() may change it after this."""
        if not self._payload:
            self._payload = EVENT_WRITER.encode(self.event)
        return self._payload

    def view(self) -> RowView:
        """What grouping and the columns see of the event as it is now."""
        event, traces = self.event, self.traces
        unread = event.breadcrumbs, event.extra, event.modules
        event.breadcrumbs, event.extra, event.modules = None, NOTHING, NOTHING
        frames = [trace.stack.frames for trace in traces]
        for trace in traces:
            trace.stack.frames = None
        try:
            view = _VIEW.decode(EVENT_WRITER.encode(event))
        except msgspec.DecodeError:
            view = None
        event.breadcrumbs, event.extra, event.modules = unread
        for trace, written in zip(traces, frames, strict=True):
            trace.stack.frames = written
        if view is None:
            return decode(self.payload, RowView)
        for trace in traces:
            _put(view, trace)
        return view

    def scrub(self, rules: FastScrub) -> bool | None:
        """Scrub in place: whether something changed. None: only the written event can be scrubbed."""
        event = self.event
        if event.spans is not NOTHING or b'"val"' in bytes(event.meta):
            return None
        if event.errors and any(problem is not None and problem.value is not None for problem in event.errors):
            return None
        request = event.request
        if request is not None and request.api_target is not None and request.data is not NOTHING:
            return None
        try:
            parted = _Parted(event, self.traces, rules)
            changes = rules.leaves(parted.leaves, bytes(event.meta))
        except (Fallback, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        touched = {id(trace): trace for each in changes.leaves.items() if (trace := parted.put(*each)) is not None}
        for trace in touched.values():
            trace.join()
        if changes.meta is not None:
            event.meta = Raw(changes.meta)
        self._payload = b""  # view() may have needed it before
        return bool(changes.leaves) or changes.meta is not None


class _Parted:
    """The leaves of an event, and where each of them goes back to. Typed leaves are written for good."""

    def __init__(self, event: Event, traces: list[Trace], rules: FastScrub) -> None:
        selection = rules.selection
        self.runs: list[Run] = []
        self.frames: list[tuple[int, Trace]] = []
        self.leaves = leaves = Leaves(selection, _written(event, selection.top))
        self.runs.append((0, [event], selection.top))
        if event.request is not None:
            first = leaves.add(IN_REQUEST, OF_REQUEST, _written(event.request, OF_REQUEST))
            self.runs.append((first, [event.request], OF_REQUEST))
        if isinstance(event.exception, Excs):
            values, names = event.exception.values or [], selection.of_exception
            written = [leaf for value in values for leaf in _written(value, names)]
            self.runs.append((leaves.add(_EXCEPTIONS, names, written), values, names))
        for trace in traces:
            self.frames.append((leaves.add(trace.path, OF_FRAME, trace.parts[1::3]), trace))

    def put(self, number: int, fresh: bytes) -> Trace | None:
        """Another leaf in place of one; the stack that has to be joined anew for it."""
        if self.frames and number >= self.frames[0][0]:
            first, trace = next(run for run in reversed(self.frames) if run[0] <= number)
            trace.parts[3 * (number - first) + 1] = fresh
            return trace
        first, holders, names = next(run for run in reversed(self.runs) if run[0] <= number)
        index, field = divmod(number - first, len(names))
        setattr(holders[index], names[field], Raw(fresh))
        return None


def _written(holder: Any, names: tuple[str, ...]) -> list[Leaf]:
    """The fields of these names as JSON, empty where there is nothing."""
    found: list[Leaf] = []
    for name in names:
        value = getattr(holder, name, None)
        if value is None:
            found.append(b"")
        elif type(value) is Raw:
            found.append(value)
        else:
            made = Raw(EVENT_WRITER.encode(value))
            setattr(holder, name, made)
            found.append(made)
    return found


def _put(view: RowView, trace: Trace) -> None:
    """The frames of a stack into the view of its event."""
    path, seen = trace.path, StackView(tuple(trace.views))
    if path[-2] == "raw_stacktrace":
        return
    if path[0] == "stacktrace":
        view.stacktrace = seen
        return
    index = int(path[2])
    values: list[Any] | None = None
    if path[0] == "exception":
        values = view.exception.values if view.exception else None
    elif view.threads:
        values = view.threads.values
    if values and values[index]:
        values[index] = msgspec.structs.replace(values[index], stacktrace=seen)
