"""The large known parts of an event, decoded in one pass down to the fields that may be scrubbed.

Everything that is not named here is skipped without being decoded; the names are those of schema.py whose fields or
whose children say YES.
"""

from typing import Any

import msgspec

from collector.scrub.schema import EVENT, FREE_NO

NOTHING = msgspec.Raw()


class Frame(msgspec.Struct):
    vars: msgspec.Raw = NOTHING


class Stacktrace(msgspec.Struct):
    frames: list[Frame | None] | None = None


class Mechanism(msgspec.Struct):
    description: msgspec.Raw = NOTHING
    data: msgspec.Raw = NOTHING


class ExceptionValue(msgspec.Struct):
    value: msgspec.Raw = NOTHING
    mechanism: Mechanism | None = None
    stacktrace: Stacktrace | None = None
    raw_stacktrace: Stacktrace | None = None


class Thread(msgspec.Struct):
    stacktrace: Stacktrace | None = None
    raw_stacktrace: Stacktrace | None = None


class Breadcrumb(msgspec.Struct):
    message: msgspec.Raw = NOTHING
    data: msgspec.Raw = NOTHING


class Exceptions(msgspec.Struct):
    values: list[ExceptionValue | None] | None = None


class Threads(msgspec.Struct):
    values: list[Thread | None] | None = None


class Breadcrumbs(msgspec.Struct):
    values: list[Breadcrumb | None] | None = None


_TYPED: dict[str, Any] = {
    "exception": Exceptions | None,
    "threads": Threads | None,
    "breadcrumbs": Breadcrumbs | None,
    "stacktrace": Stacktrace | None,
}
# An event with a field that is not known, or with another shape in a typed one, is a ValidationError: it is then
# opened level by level instead.
_Event = msgspec.defstruct(
    "Event",
    [(name, _TYPED[name], None) if name in _TYPED else (name, msgspec.Raw, NOTHING) for name in EVENT.fields],
    forbid_unknown_fields=True,
)
EVENT_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Event)
_KINDS = (Frame, Stacktrace, Mechanism, ExceptionValue, Thread, Breadcrumb, Exceptions, Threads, Breadcrumbs)
# The fields to look at, by kind: of an event those that may be scrubbed, or whose children may.
FIELDS: dict[type, tuple[str, ...]] = {
    **{kind: kind.__struct_fields__ for kind in _KINDS},
    _Event: tuple(name for name, node in EVENT.fields.items() if node is not FREE_NO),
}
# Keys below the top of an event that must be found under exactly this name; a mark in front would hide them.
NAMES = frozenset(name for kind in _KINDS for name in kind.__struct_fields__)
