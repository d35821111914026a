"""The leaves of an event: the raw values that default scrubbing may change, found by one typed decode of the payload.

Everything else (source lines, file names, modules, ids) is skipped without being decoded, and is not even scanned. The
names are those of schema.py whose fields or whose children say YES.
"""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any

import msgspec

from collector.scrub.places import ARRAY, OBJECT, Place
from collector.scrub.schema import EVENT
from collector.scrub.settings import ScrubSettings
from collector.scrub.spans import Fallback

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


class Request(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    url: msgspec.Raw = NOTHING
    method: msgspec.Raw = NOTHING
    protocol: msgspec.Raw = NOTHING
    data: msgspec.Raw = NOTHING
    query_string: msgspec.Raw = NOTHING
    fragment: msgspec.Raw = NOTHING
    cookies: msgspec.Raw = NOTHING
    headers: msgspec.Raw = NOTHING
    body_size: msgspec.Raw = NOTHING
    env: msgspec.Raw = NOTHING
    inferred_content_type: msgspec.Raw = NOTHING
    api_target: msgspec.Raw = NOTHING


_TYPED: dict[str, Any] = {
    "request": Request | None,
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
_TOP = ("message", "logentry", "server_name", "user", "contexts", "breadcrumbs", "extra", "csp", "hpkp",
        "expectct", "expectstaple")  # fmt: skip
OF_REQUEST = ("data", "query_string", "fragment", "cookies", "headers", "env")
_request_leaves = attrgetter(*OF_REQUEST)
_PAIR_FIELDS = tuple(OF_REQUEST.index(name) for name in ("query_string", "cookies", "headers"))
_decode_pairs = msgspec.json.Decoder(list[tuple[str, str | None]]).decode
OF_FRAME = ("vars",)
IN_REQUEST = ("request",)
_MARK = b"\x01"  # no JSON holds it as such
SEPARATOR = b"," + _MARK  # a value is followed by a comma, as the pattern expects
_HOLDER = "holder"
# Keys of leaves that are only looked at under another name: a word in them sends events to the deep walk.
HIDDEN_KEYS = frozenset(("vars", "data", "tags", "sentry_tags"))

PathPart = str | int
Leaf = bytes | msgspec.Raw


def sensitive_words(settings: ScrubSettings) -> list[str]:
    """The additional words that make a key sensitive, in lower case."""
    words = settings.sensitive_fields if settings.scrub_data else ()
    return [word.strip().lower() for word in words if word.strip()]


class Selection:
    """Which leaves of an event the default scrubbing may change, given the settings.

    `always`: names of leaves that are looked at in any case, because the name itself is sensitive.
    """

    def __init__(self, settings: ScrubSettings) -> None:
        strict = settings.preset == "strict" and settings.scrub_data and settings.scrub_defaults
        self.top = (*_TOP, *(("tags",) if strict else ()), *(("sdk",) if settings.scrub_ip_addresses else ()))
        self.of_exception = ("mechanism", "value") if strict else ("mechanism",)
        self.of_span = ("data", *(("tags",) if strict else ()))
        if settings.scrub_ip_addresses:
            self.of_span = (*self.of_span, "sentry_tags")
        self.top_of = attrgetter(*self.top)
        words = sensitive_words(settings)
        self.always = frozenset(name for name in (*self.top, *OF_REQUEST) if any(word in name for word in words))
        self.graphql = settings.scrub_data and settings.scrub_defaults


class Leaves:
    """The leaves of one event, in a fixed order: runs of equal names, the top level first, then the request if any.

    raws: their JSON, empty where there is none. Whoever has them apart adds them in that order (collector.digest.leaves
    does); Skeleton finds them in the bytes of an event.
    """

    __slots__ = ("_runs", "_selection", "raws")

    def __init__(self, selection: Selection, top: Iterable[Leaf]) -> None:
        """top: one leaf for each of selection.top."""
        self._selection = selection
        self.raws: list[Leaf] = list(top)
        self._runs: list[tuple[int, tuple[PathPart, ...], tuple[str, ...]]] = []

    def add(self, path: tuple[PathPart, ...], names: tuple[str, ...], leaves: Iterable[Leaf]) -> int:
        """The leaves of these names of every element of the list at `path`, or of the request; number of the first."""
        first = len(self.raws)
        self._runs.append((first, path, names))
        self.raws += leaves
        return first

    @property
    def _request(self) -> int:
        """The number of the first leaf of the request, 0 when there is none."""
        return self._runs[0][0] if self._runs and self._runs[0][2] is OF_REQUEST else 0

    @property
    def named(self) -> list[int]:
        """The leaves whose own names are sensitive."""
        always = self._selection.always
        numbers = [number for number, name in enumerate(self._selection.top) if name in always]
        if first := self._request:
            numbers += [first + index for index, name in enumerate(OF_REQUEST) if name in always]
        return [number for number in numbers if bytes(self.raws[number])]

    def joined(self) -> bytes:
        """All leaves, SEPARATOR between them: what is scanned.

        In a list of pairs the comma behind a key is written as a colon, so that the pattern sees what is filtered.
        """
        raws: list[Any] = self.raws
        if first := self._request:
            raws = raws.copy()
            for field in _PAIR_FIELDS:
                data = bytes(raws[first + field])
                if data:
                    raws[first + field] = _with_colons(data)
        return SEPARATOR.join(raws)

    def by_number(self, joined: bytes, hits: list[int]) -> dict[int, list[int]]:
        """Hits in the joined leaves by the number of the leaf, counted from where it begins. Raises Fallback."""
        parts = joined.split(_MARK)
        if len(parts) != len(self.raws):
            raise Fallback  # not JSON
        ends = list(accumulate([len(part) + 1 for part in parts]))
        found: dict[int, list[int]] = {}
        for hit in hits:
            number = bisect_right(ends, hit)
            inside = hit - ends[number - 1] if number else hit
            found.setdefault(number, []).append(inside)
        return found

    def where(self, number: int, root: Place) -> tuple[Place, str, tuple[str, ...]]:
        """Of a leaf: the place of what holds it, its key there, and its path."""
        if number < len(self._selection.top):
            name = self._selection.top[number]
            return root, name, (name,)
        first, path, names = next(run for run in reversed(self._runs) if run[0] <= number)
        index, field = divmod(number - first, len(names))
        name = names[field]
        shape = f"{path[0]}.{path[-2]}" if len(path) > 1 else str(path[0])
        place = root.kids.get((shape, _HOLDER)) or _holder(shape, path, root)
        if names is OF_REQUEST:
            return place, name, ("request", name)
        return place, name, (*map(str, path), str(index), name)


class Skeleton(Leaves):
    """The leaves in the bytes of an event, found by one typed decode. `event`: that, for the fields beside them.

    Raises msgspec.ValidationError for another shape than that of a normalised event, DecodeError when it is no JSON.
    """

    __slots__ = ("event",)

    def __init__(self, payload: bytes, selection: Selection) -> None:
        self.event = event = _DECODER.decode(payload)
        super().__init__(selection, selection.top_of(event))
        if event.request is not None:
            self.add(IN_REQUEST, OF_REQUEST, _request_leaves(event.request))
        if event.exception is not None:
            values = event.exception.values or ()
            self._each(values, selection.of_exception, ("exception", "values"))
            for index, one in enumerate(values):
                self._stacks(one, ("exception", "values", index))
        if event.threads is not None:
            for index, one in enumerate(event.threads.values or ()):
                self._stacks(one, ("threads", "values", index))
        if event.stacktrace is not None:
            self._frames(event.stacktrace, ("stacktrace", "frames"))
        if event.spans:
            self._each(event.spans, selection.of_span, ("spans",))

    def _stacks(self, holder: Any, path: tuple[PathPart, ...]) -> None:
        if holder is None:
            return
        if holder.stacktrace is not None:
            self._frames(holder.stacktrace, (*path, "stacktrace", "frames"))
        if holder.raw_stacktrace is not None:
            self._frames(holder.raw_stacktrace, (*path, "raw_stacktrace", "frames"))

    def _frames(self, stack: Stacktrace, path: tuple[PathPart, ...]) -> None:
        self.add(path, OF_FRAME, [NOTHING if frame is None else frame.vars for frame in stack.frames or ()])

    def _each(self, parts: Any, names: tuple[str, ...], path: tuple[PathPart, ...]) -> None:
        self.add(path, names, [NOTHING if part is None else getattr(part, name) for part in parts for name in names])

    @property
    def noted(self) -> bool:
        """Whether there may be original values of invalid fields, in `errors` or in `_meta`."""
        return b'"value"' in bytes(self.event.errors) or b'"val"' in bytes(self.event._meta)

    @property
    def graphql(self) -> tuple[int, int] | None:
        """The leaves with the request's body and the contexts, when it is a GraphQL request and has a body."""
        request = self.event.request
        if request is None or not self._selection.graphql or not bytes(request.api_target) or not bytes(request.data):
            return None
        return self._request + OF_REQUEST.index("data"), self._selection.top.index("contexts")


def _holder(shape: str, path: tuple[PathPart, ...], root: Place) -> Place:
    """The place of what holds the leaves at a path; list elements share theirs."""
    place = root
    for step, below in pairwise((*path, "" if path == IN_REQUEST else 0)):
        kind = ARRAY if isinstance(below, int) else OBJECT
        place = place.item(step, kind) if isinstance(step, int) else place.key(step, kind)
    if path != IN_REQUEST:
        place = place.item(0, OBJECT)
    root.kids[shape, _HOLDER] = place
    return place


def _with_colons(data: bytes) -> bytes:
    """A list of pairs of texts with colons in them, at the same length; anything else as it is."""
    try:
        _decode_pairs(data)
    except msgspec.MsgspecError:
        return data
    return data.replace(b'","', b'":"')
