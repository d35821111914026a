"""The leaves of an event: the raw values that default scrubbing may change, found by one typed decode of the payload.

Everything else (source lines, file names, modules, ids) is skipped without being decoded, and is not even scanned. The
names are those of schema.py whose fields or whose children say YES.
"""

from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any

import msgspec

from collector.scrub.places import ARRAY, OBJECT, Place
from collector.scrub.schema import EVENT
from collector.scrub.settings import ScrubSettings

NOTHING = msgspec.Raw()


class Frame(msgspec.Struct, gc=False):
    vars: msgspec.Raw = NOTHING


class Stacktrace(msgspec.Struct, gc=False):
    frames: list[Frame | None] | None = None


class ExceptionValue(msgspec.Struct, gc=False):
    value: msgspec.Raw = NOTHING
    mechanism: msgspec.Raw = NOTHING
    stacktrace: Stacktrace | None = None
    raw_stacktrace: Stacktrace | None = None


class Thread(msgspec.Struct, gc=False):
    stacktrace: Stacktrace | None = None
    raw_stacktrace: Stacktrace | None = None


class Exceptions(msgspec.Struct, gc=False):
    values: list[ExceptionValue | None] | None = None


class Threads(msgspec.Struct, gc=False):
    values: list[Thread | None] | None = None


class Span(msgspec.Struct, gc=False):
    data: msgspec.Raw = NOTHING
    tags: msgspec.Raw = NOTHING
    sentry_tags: msgspec.Raw = NOTHING


_TYPED: dict[str, Any] = {
    "exception": Exceptions | None,
    "threads": Threads | None,
    "stacktrace": Stacktrace | None,
    "spans": list[Span | None] | None,
}
# An event with a field that is not known, or with another shape in a typed one, is a ValidationError: it is then for
# the deep walk. `_meta` is called so in the struct too.
_Event = msgspec.defstruct(
    "Event",
    [(name, _TYPED[name], None) if name in _TYPED else (name, msgspec.Raw, NOTHING) for name in EVENT.fields],
    forbid_unknown_fields=True,
    gc=False,
)
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Event)
_TOP = ("message", "logentry", "server_name", "user", "request", "contexts", "breadcrumbs", "extra", "csp", "hpkp",
        "expectct", "expectstaple")  # fmt: skip
_NO_ERRORS = (b"", b"null", b"[]")
KEYS = frozenset((*_TOP, "tags", "sdk", "vars", "mechanism", "value", "data", "sentry_tags"))  # of leaves

PathPart = str | int


class Selection:
    """Which leaves of an event the default scrubbing may change, given the settings."""

    def __init__(self, settings: ScrubSettings) -> None:
        strict = settings.preset == "strict" and settings.scrub_data and settings.scrub_defaults
        self.top = (*_TOP, *(("tags",) if strict else ()), *(("sdk",) if settings.scrub_ip_addresses else ()))
        self.of_exception = ("mechanism", "value") if strict else ("mechanism",)
        self.of_span = ("data", *(("tags",) if strict else ()))
        if settings.scrub_ip_addresses:
            self.of_span = (*self.of_span, "sentry_tags")
        self.top_of = attrgetter(*self.top)


class Leaves:
    """The leaves of one event, in a fixed order. `event`: the decoded skeleton, for the fields beside them.

    Raises msgspec.ValidationError for another shape than that of a normalised event, DecodeError when it is no JSON.
    """

    __slots__ = ("_runs", "_selection", "event", "raws")

    def __init__(self, payload: bytes, selection: Selection) -> None:
        self.event = event = _DECODER.decode(payload)
        self._selection = selection
        self.raws: list[msgspec.Raw] = list(selection.top_of(event))
        self._runs: list[tuple[int, tuple[PathPart, ...], tuple[str, ...]]] = []
        if event.exception is not None:
            values = event.exception.values or ()
            self._each(values, selection.of_exception, ("exception", "values"))
            for index, one in enumerate(values):
                self._stacks(one, ("exception", "values", index))
        if event.threads is not None:
            for index, one in enumerate(event.threads.values or ()):
                self._stacks(one, ("threads", "values", index))
        if event.stacktrace is not None:
            self._each(event.stacktrace.frames or (), ("vars",), ("stacktrace", "frames"))
        if event.spans:
            self._each(event.spans, selection.of_span, ("spans",))

    def _stacks(self, holder: Any, path: tuple[PathPart, ...]) -> None:
        if holder is None:
            return
        if holder.stacktrace is not None:
            self._each(holder.stacktrace.frames or (), ("vars",), (*path, "stacktrace", "frames"))
        if holder.raw_stacktrace is not None:
            self._each(holder.raw_stacktrace.frames or (), ("vars",), (*path, "raw_stacktrace", "frames"))

    def _each(self, parts: Any, names: tuple[str, ...], path: tuple[PathPart, ...]) -> None:
        """The fields of these names of every element of the list at `path`."""
        self._runs.append((len(self.raws), path, names))
        if names == ("vars",):
            self.raws += [NOTHING if part is None else part.vars for part in parts]
            return
        for part in parts:
            self.raws += [NOTHING if part is None else getattr(part, name) for name in names]

    @property
    def noted(self) -> bool:
        """Whether there may be original values of invalid fields, in `errors` or in `_meta`."""
        return bytes(self.event.errors) not in _NO_ERRORS or b'"val"' in bytes(self.event._meta)

    def number_of(self, name: str) -> int:
        """The number of the leaf that is a field of the event itself."""
        return self._selection.top.index(name)

    def starts(self) -> list[int]:
        """Where each leaf begins when they are joined with one byte between them."""
        return list(accumulate([len(bytes(raw)) + 1 for raw in self.raws], initial=0))

    def where(self, number: int, root: Place) -> tuple[Place, str, tuple[str, ...]]:
        """Of a leaf: the place of what holds it, its key there, and its path."""
        if number < len(self._selection.top):
            name = self._selection.top[number]
            return root, name, (name,)
        first, path, names = next(run for run in reversed(self._runs) if run[0] <= number)
        index, field = divmod(number - first, len(names))
        steps = (*path, index, names[field])
        place = root
        for step, below in pairwise(steps):
            kind = ARRAY if isinstance(below, int) else OBJECT
            place = place.item(step, kind) if isinstance(step, int) else place.key(step, kind)
        return place, names[field], tuple(map(str, steps))
