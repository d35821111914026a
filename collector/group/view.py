"""What grouping sees of a normalised event, decoded straight from its JSON bytes.

The structs name only the fields that grouping, titles and fingerprints read; everything else in the payload is skipped
by the decoder. `decode` takes the typed fast path; when any field has a type that the protocol does not allow, it takes
the lenient path, which keeps what is usable and drops the rest, so that no payload can make grouping fail.

A room that needs more of the event subclasses `View`, adds fields (JSON types, each with a default) and passes its
class to `decode`.
"""

import json
from functools import lru_cache
from typing import Any, TypeVar, overload

import msgspec
from msgspec import Struct
from msgspec import inspect as typed


class FrameData(Struct, frozen=True, gc=False):
    """`data` of a frame. orig_in_app: -1 for null, else 0 or 1: the flag before an earlier run of the rules."""

    category: str | None = None
    orig_in_app: int | None = None
    sourcemap: str | None = None


class FrameView(Struct, frozen=True, gc=False):
    """One stack frame; hashable, because whole stacks are keys of the memo."""

    function: str | None = None
    module: str | None = None
    filename: str | None = None
    abs_path: str | None = None
    in_app: bool | None = None
    lineno: int | None = None
    colno: int | None = None
    context_line: str | None = None
    package: str | None = None
    raw_function: str | None = None
    platform: str | None = None
    data: FrameData | None = None


class StackView(Struct, frozen=True, gc=False):
    """A stack trace: frames from the outermost caller to the crash."""

    frames: tuple[FrameView | None, ...] | None = None


class NsErrorView(Struct, frozen=True, gc=False):
    """`mechanism.meta.ns_error`."""

    domain: str | None = None
    code: int | float | str | None = None


class MechanismMeta(Struct, frozen=True, gc=False):
    """`mechanism.meta`."""

    ns_error: NsErrorView | None = None


class MechanismView(Struct, frozen=True, gc=False):
    """`mechanism` of an exception: how it was caught and where it stands in the tree of exceptions."""

    type: str | None = None
    synthetic: bool | None = None
    exception_id: int | None = None
    parent_id: int | None = None
    is_exception_group: bool | None = None
    source: str | None = None
    meta: MechanismMeta | None = None


class ExceptionView(Struct, gc=False):
    """One exception of the chain."""

    type: str | None = None
    value: str | None = None
    module: str | None = None
    mechanism: MechanismView | None = None
    stacktrace: StackView | None = None


class ExceptionsView(Struct, gc=False):
    """The `exception` interface; the last value is the outermost one."""

    values: list[ExceptionView | None] | None = None


class ThreadView(Struct, frozen=True, gc=False):
    """One thread."""

    id: int | str | None = None
    name: str | None = None
    state: str | None = None
    crashed: bool | None = None
    current: bool | None = None
    stacktrace: StackView | None = None


class ThreadsView(Struct, gc=False):
    """The `threads` interface."""

    values: list[ThreadView | None] | None = None


class LogentryView(Struct, gc=False):
    """The `logentry` interface."""

    formatted: str | None = None
    message: str | None = None


class TemplateView(Struct, gc=False):
    """The `template` interface."""

    filename: str | None = None
    context_line: str | None = None


class CspView(Struct, gc=False):
    """The `csp` interface."""

    effective_directive: str | None = None
    violated_directive: str | None = None
    blocked_uri: str | None = None
    document_uri: str | None = None


class HostView(Struct, gc=False):
    """The `hpkp`, `expectct` and `expectstaple` interfaces."""

    hostname: str | None = None


class SdkView(Struct, gc=False):
    """The `sdk` interface."""

    name: str | None = None
    version: str | None = None


class RequestView(Struct, gc=False):
    """The `request` interface."""

    url: str | None = None


class NelView(Struct, gc=False):
    """The `nel` context."""

    error_type: str | None = None


class FeedbackView(Struct, gc=False):
    """The `feedback` context: what a user wrote."""

    message: str | None = None
    contact_email: str | None = None
    name: str | None = None
    url: str | None = None
    source: str | None = None
    associated_event_id: str | None = None


class ContextsView(Struct, gc=False):
    """The contexts that grouping reads."""

    nel: NelView | None = None
    feedback: FeedbackView | None = None


class View(Struct, kw_only=True):
    """What grouping reads of one normalised event."""

    event_id: str | None = None
    type: str | None = None
    platform: str | None = None
    level: str | None = None
    logger: str | None = None
    transaction: str | None = None
    release: str | None = None
    checksum: str | None = None
    message: str | None = None
    title: str | None = None
    fingerprint: list[str | None] | None = None
    tags: list[tuple[str | None, str | None] | None] | None = None
    exception: ExceptionsView | None = None
    stacktrace: StackView | None = None
    threads: ThreadsView | None = None
    logentry: LogentryView | None = None
    template: TemplateView | None = None
    csp: CspView | None = None
    hpkp: HostView | None = None
    expectct: HostView | None = None
    expectstaple: HostView | None = None
    sdk: SdkView | None = None
    request: RequestView | None = None
    contexts: ContextsView | None = None


V = TypeVar("V", bound=View)


@lru_cache(maxsize=16)
def _decoder(kind: type[View]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@lru_cache(maxsize=16)
def _shape(kind: type[View]) -> typed.Type:
    return typed.type_info(kind)


@overload
def decode(payload: bytes) -> View: ...
@overload
def decode(payload: bytes, kind: type[V]) -> V: ...
def decode(payload: bytes, kind: type[View] = View) -> View:
    """The view of one event. A field of a wrong type is coerced or dropped; what is no object is an empty view.

    Raises ValueError when the payload is not JSON at all.
    """
    try:
        try:
            view: View = _decoder(kind).decode(payload)
        except msgspec.DecodeError:
            view = lenient(_tree(payload), kind)
    except RecursionError as error:
        raise ValueError("the event is nested too deeply") from error
    return view


def _tree(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:  # halves of surrogate pairs, NaN and numbers beyond any float
        return json.loads(payload)


@overload
def lenient(event: Any) -> View: ...
@overload
def lenient(event: Any, kind: type[V]) -> V: ...
def lenient(event: Any, kind: type[View] = View) -> View:
    """The view of an event that is already decoded, whatever is in its fields."""
    found = _coerce(event if isinstance(event, dict) else {}, _shape(kind))
    return found if isinstance(found, kind) else kind()


def _coerce(value: Any, shape: typed.Type) -> Any:
    """`value` as `shape` wants it, or None."""
    if value is None or isinstance(shape, typed.AnyType):
        return value
    if isinstance(shape, typed.UnionType):
        return _coerce_union(value, shape)
    if isinstance(shape, typed.StructType):
        return _coerce_struct(value, shape)
    if isinstance(shape, typed.VarTupleType | typed.ListType | typed.TupleType):
        return _coerce_items(value, shape)
    return _coerce_scalar(value, shape)


def _coerce_union(value: Any, shape: typed.UnionType) -> Any:
    """The first member that takes the value as it is, else the first one that can be made of it."""
    members = [member for member in shape.types if not isinstance(member, typed.NoneType)]
    exact = {bool: typed.BoolType, int: typed.IntType, float: typed.FloatType}.get(type(value))
    if exact and any(isinstance(member, exact) for member in members):
        return value
    return next((made for member in members if (made := _coerce(value, member)) is not None), None)


def _coerce_struct(value: Any, shape: typed.StructType) -> Any:
    fields = {field.encode_name: field for field in shape.fields}
    if isinstance(value, list) and "values" in fields:  # old SDKs send the list without its wrapper
        value = {"values": value}
    if not isinstance(value, dict):
        return None
    made = {}
    for key, field in fields.items():
        found = _coerce(value.get(key), field.type)
        if found is not None:
            made[field.name] = found
    return shape.cls(**made)


def _coerce_items(value: Any, shape: typed.VarTupleType | typed.ListType | typed.TupleType) -> Any:
    if isinstance(shape, typed.TupleType):
        if not isinstance(value, list | tuple) or len(value) != len(shape.item_types):
            return None
        return tuple(_coerce(item, kind) for item, kind in zip(value, shape.item_types, strict=True))
    if isinstance(value, dict):  # tags as an object
        value = list(value.items())
    if not isinstance(value, list):
        return None
    items = [made for item in value if (made := _coerce(item, shape.item_type)) is not None]
    return tuple(items) if isinstance(shape, typed.VarTupleType) else items


def _coerce_scalar(value: Any, shape: typed.Type) -> Any:
    if isinstance(shape, typed.BoolType):
        return value if isinstance(value, bool) else None
    if isinstance(shape, typed.StrType):
        if isinstance(value, str):
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        return msgspec.json.encode(value).decode() if isinstance(value, bool | int | float) else None
    if isinstance(value, bool):
        return None
    if isinstance(shape, typed.IntType):
        return int(value) if isinstance(value, int) or (isinstance(value, float) and value.is_integer()) else None
    if isinstance(shape, typed.FloatType):
        return float(value) if isinstance(value, int | float) else None
    return None
