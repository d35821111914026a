"""The large known parts of an event, decoded in one pass down to the fields that may be scrubbed.

Everything that is not named here is skipped without being decoded; the names are those of schema.py whose fields or
whose children say YES.
"""

from typing import Any

import msgspec

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


DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "exception": msgspec.json.Decoder(Exceptions),
    "threads": msgspec.json.Decoder(Threads),
    "breadcrumbs": msgspec.json.Decoder(Breadcrumbs),
    "stacktrace": msgspec.json.Decoder(Stacktrace),
}
NAMES = frozenset(DECODERS) | {
    name
    for kind in (Frame, Stacktrace, Mechanism, ExceptionValue, Thread, Breadcrumb, Exceptions)
    for name in kind.__struct_fields__
}
