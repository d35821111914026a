"""From a TOML mapping to settings structs and back: every mistake in one go, each named by its `table.key`.

msgspec alone stops at the first mistake; an operator wants the whole list, so the walk over tables is ours and each
leaf goes through msgspec.
"""

import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from collector.model.settings import Duration, Rate, Secret, Settings, Size, decode_typed

S = TypeVar("S", bound=Settings)
Mistakes = list[str]

KIND_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
              dict: "a table", Size: 'a size such as "64 MiB"', Duration: 'a duration such as "90 s"',
              Rate: 'a rate such as "30/m", or "off"', Secret: "a text"}  # fmt: skip


def bare(kind: Any) -> Any:
    """The type without Annotated and without `| None`."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        rest = [part for part in get_args(kind) if part is not type(None)]
        return bare(rest[0]) if len(rest) == 1 else kind
    return kind


def help_of(kind: Any) -> str:
    """The one-line help of an annotated field type, or ""."""
    if get_origin(kind) is Annotated:
        for extra in get_args(kind)[1:]:
            if isinstance(extra, msgspec.Meta) and extra.description:
                return extra.description
    return ""


def is_table(kind: Any) -> bool:
    """True for a settings struct."""
    return isinstance(kind, type) and issubclass(kind, Settings)


def table_list(kind: Any) -> type[Settings] | None:
    """The element type of a `list[SomeSettings]`, else None."""
    if get_origin(kind) is list and is_table(bare(get_args(kind)[0])):
        return bare(get_args(kind)[0])  # type: ignore[no-any-return]
    return None


def fill(kind: type[S], values: object, path: str, mistakes: Mistakes) -> S | None:
    """Build `kind` from a TOML table; returns None when a mistake was added to `mistakes`."""
    if not isinstance(values, Mapping):
        mistakes.append(f"{path}: {values!r} should be a table [{path}]")
        return None
    before = len(mistakes)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key in values:
        if key not in fields:
            mistakes.append(f"{_join(path, key)}: unknown key{nearest(key, fields)}")
    filled: dict[str, Any] = {}
    for key, field in fields.items():
        here = _join(path, key)
        if key in values:
            value = _fill_field(field.type, values[key], here, mistakes)
            if value is not None or values[key] is None:
                filled[field.name] = value
        elif field.required:
            mistakes.append(f"{here}: is missing; it should be {_kind_name(bare(field.type))}")
    mistakes.extend(_join(path, flaw) for flaw in kind.flaws(filled))
    if len(mistakes) > before:
        return None
    try:
        return kind(**filled)
    except (ValueError, TypeError) as error:  # a struct's own __post_init__ check
        mistakes.append(f"{path}: {error}")
        return None


def _fill_field(annotated: Any, value: object, path: str, mistakes: Mistakes) -> Any:
    kind = bare(annotated)
    if is_table(kind):
        return fill(kind, value, path, mistakes)
    element = table_list(kind)
    if element is None:
        return _leaf(annotated, kind, value, path, mistakes)
    if not isinstance(value, list):
        mistakes.append(f"{path}: {value!r} should be a list of tables [[{path}]]")
        return None
    rows = [fill(element, row, f"{path}[{index}]", mistakes) for index, row in enumerate(value)]
    return [row for row in rows if row is not None]


def _leaf(annotated: Any, kind: Any, value: object, path: str, mistakes: Mistakes) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    try:
        return msgspec.convert(value, annotated, dec_hook=decode_typed)
    except (msgspec.ValidationError, ValueError) as error:
        mistakes.append(f"{path}: {_why(kind, value, error)}")
        return None


def _why(kind: Any, value: object, error: Exception) -> str:
    if get_origin(kind) is Literal:
        allowed = [str(choice) for choice in get_args(kind)]
        return f"{value!r} is not allowed; write one of {', '.join(allowed)}{nearest(str(value), allowed)}"
    shown = "the value" if kind is Secret else repr(value)
    if kind in (Size, Duration, Rate) and isinstance(value, str):
        return str(error).removesuffix(" - at `$`")
    text = str(error)
    if text.startswith("Expected `") and ("got" in text) and ">=" not in text and "<=" not in text:
        return f"{shown} should be {_kind_name(kind)}"
    return f"{shown} is not allowed: {text[:1].lower()}{text[1:]}"


def _kind_name(kind: Any) -> str:
    if get_origin(kind) is list:
        inner = bare(get_args(kind)[0])
        return f"a list, each entry {_kind_name(inner)}"
    return KIND_NAMES.get(get_origin(kind) or kind, "a table" if is_table(kind) else "another type")


def nearest(key: str, known: Mapping[str, Any] | list[str]) -> str:
    """The end of a sentence about an unknown key: the nearest known one, or all when there are few."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(sorted(known)[:20])}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def leaves(kind: type[Settings], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf of a settings struct as (path of keys, annotated type); lists of tables are left out."""
    for field in msgspec.structs.fields(kind):
        inner = bare(field.type)
        if is_table(inner):
            yield from leaves(inner, (*path, field.encode_name))
        elif table_list(inner) is None:
            yield (*path, field.encode_name), field.type
