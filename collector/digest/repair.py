"""The slow path: an event that breaks the types of `clean` is repaired until it fits them.

Derived from the same declarations by `msgspec.inspect`, so whatever comes out decodes. What cannot be read is dropped
with `invalid_data` and the reason, texts are cut, unknown keys removed; every change leaves a remark.
Rules: reference protocol, E4 and E5.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from collector.digest.clean import CONTEXT_KINDS, IMAGE_KINDS, Event, SystemSdk, User
from collector.digest.contexts import is_hex
from collector.digest.remarks import Path, Remarks, cut_text

GONE: Any = object()  # "drop this value", as null is a value
SILENT = frozenset(("metadata", "grouping_config", "location", "hashes", "nodestore_insert"))  # Sentry's own additions
EXPECTED: dict[Any, str] = {
    inspect.StrType: "a string",
    inspect.IntType: "an integer",
    inspect.FloatType: "a number",
    inspect.BoolType: "a boolean",
    inspect.ListType: "an array",
    inspect.DictType: "an object",
    inspect.StructType: "an object",
}
NATIVE: dict[type, tuple[type, ...]] = {
    inspect.StrType: (str,),
    inspect.IntType: (int,),
    inspect.FloatType: (float, int),
    inspect.BoolType: (bool,),
    inspect.ListType: (list,),
    inspect.DictType: (dict,),
    inspect.StructType: (dict,),
}
SURROGATE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)", re.DOTALL)


def read_lenient(payload: bytes) -> Any:
    """JSON as clients really send it: NaN and Infinity become null, lone surrogates and broken UTF-8 become U+FFFD.

    Raises ValueError when it is not JSON at all, RecursionError when it is nested too deep.
    """
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = bytes(payload).decode("utf-8", "replace")
    text = SURROGATE.sub(lambda hit: "\\ufffd" if len(hit[0]) == 6 and hit[0][1] == "u" else hit[0], text)
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_integer, strict=False)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if number - number == 0 else None


def _integer(text: str) -> int | float | None:
    # CPython refuses to parse more than 4300 digits; such a number says nothing
    return int(text) if len(text) < 400 else None


class Repair:
    """One repair of one event; `remarks` collects what was changed."""

    def __init__(self, remarks: Remarks) -> None:
        self.remarks = remarks

    def event(self, tree: dict[str, Any]) -> dict[str, Any]:
        """The event in `tree`, fit for `clean.EVENT`."""
        rule = rule_of(Event)
        known = {field.encode_name: field for field in rule.fields}
        for field in rule.fields:
            for alias in _extra(field.type).get("alias", ()):
                value = tree.pop(alias, None)
                if value is not None and tree.get(field.encode_name) is None:
                    tree[field.encode_name] = value
        for name in [name for name in tree if name not in known]:
            value = tree.pop(name)
            if name not in SILENT:
                self.remarks.error((name,), "invalid_attribute", None)
        return self._fields(rule, tree, [])

    def value(self, rule: Any, value: Any, path: list[str | int], extra: dict[str, Any]) -> Any:
        """`value` as `rule` wants it, or GONE."""
        if isinstance(rule, inspect.Metadata):
            return self.value(rule.type, value, path, {**extra, **(rule.extra or {})})
        if value is None:
            return None
        form: Form | None = FORMS.get(extra.get("form", ""))
        if form is not None:
            value = form(self, value, path)
            if value is None:
                return GONE
        if isinstance(rule, inspect.UnionType):
            return self._union(rule, value, path, extra)
        if isinstance(rule, inspect.RawType):
            return self.value(rule_of(extra["as"]), value, path, {}) if "as" in extra else value
        if isinstance(rule, inspect.AnyType):
            return value
        if not _matches(rule, value):
            return self._wrong(EXPECTED.get(type(rule), "another value"), value, path)
        if isinstance(rule, inspect.StrType):
            return self._text(rule, value, path, extra)
        if isinstance(rule, inspect.IntType):
            return value if _in_bounds(rule, value) else self._wrong("an unsigned integer", value, path)
        if isinstance(rule, inspect.ListType):
            return self._list(rule, value, path)
        if isinstance(rule, inspect.DictType):
            return self._dict(rule, value, path)
        if isinstance(rule, inspect.StructType):
            return self._struct(rule, value, path, extra)
        return value

    def _wrong(self, expected: str, value: Any, path: Path) -> Any:
        self.remarks.error(path, "invalid_data", value, reason=f"expected {expected}")
        return GONE

    def _union(self, rule: inspect.UnionType, value: Any, path: list[str | int], extra: dict[str, Any]) -> Any:
        options = [option for option in rule.types if not isinstance(option, inspect.NoneType)]
        for option in options:
            if _matches(option, value):
                return self.value(option, value, path, extra)
        first = options[0]
        return self.value(first, value, path, extra)

    def _text(self, rule: inspect.StrType, value: str, path: Path, extra: dict[str, Any]) -> Any:
        if rule.pattern is not None and not re.search(rule.pattern, value):
            return self._wrong("another form", value, path)
        if rule.max_length is None or len(value) <= rule.max_length:
            return value
        if extra.get("trim"):
            value = value.strip()
        limit = int(extra.get("limit", rule.max_length))
        return cut_text(value, limit, self.remarks, path) if len(value) > rule.max_length else value

    def _list(self, rule: inspect.ListType, values: list[Any], path: list[str | int]) -> list[Any]:
        nullable = _nullable(rule.item_type)
        fixed: list[Any] = []
        for index, value in enumerate(values):
            path.append(index)
            item = self.value(rule.item_type, value, path, {})
            path.pop()
            if item is GONE or item is None:
                if nullable:
                    fixed.append(None)
                continue
            fixed.append(item)
        return fixed

    def _dict(self, rule: inspect.DictType, values: dict[str, Any], path: list[str | int]) -> dict[str, Any]:
        fixed = {}
        for key, value in values.items():
            path.append(key)
            item = self.value(rule.value_type, value, path, {})
            path.pop()
            if item is not GONE and (item is not None or _nullable(rule.value_type)):
                fixed[key] = item
        return fixed

    def _struct(self, rule: Any, tree: dict[str, Any], path: list[str | int], extra: dict[str, Any]) -> Any:
        known = {field.encode_name for field in rule.fields}
        if known == {"values"} and "values" not in tree:
            tree = {"values": [tree]} if tree else {}
        if rule.forbid_unknown_fields:
            tree = {name: value for name, value in tree.items() if name in known}
        return self._fields(rule, tree, path)

    def _fields(self, rule: Any, tree: dict[str, Any], path: list[str | int]) -> dict[str, Any]:
        for field in rule.fields:
            name = field.encode_name
            if name not in tree:
                continue
            path.append(name)
            fixed = self.value(field.type, tree[name], path, {})
            path.pop()
            if fixed is GONE or fixed is None:
                del tree[name]
            else:
                tree[name] = fixed
        return tree

    # forms: conversions by name

    def as_text(self, value: Any, path: Path) -> Any:
        """Objects and numbers as their JSON text."""
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    def as_logentry(self, value: Any, path: Path) -> Any:
        """A message is a text or an object; numbers become text."""
        return value if isinstance(value, dict | list) else {"formatted": value}

    def as_address(self, value: Any, path: Path) -> Any:
        """An address as 0x… in lower case."""
        try:
            number = value if isinstance(value, int) else int(value, 16 if value[:2].lower() == "0x" else 10)
        except (ValueError, TypeError, AttributeError, KeyError):
            number = -1
        if isinstance(value, bool) or not 0 <= number < 2**64:
            self._wrong("an address", value, path)
            return None
        return hex(number)

    def as_trace_id(self, value: Any, path: Path) -> Any:
        """32 hex digits."""
        if isinstance(value, str) and is_hex(value.replace("-", ""), 32):
            return value
        return self._none(self._wrong("a trace id", value, path))

    def as_span_id(self, value: Any, path: Path) -> Any:
        """16 hex digits."""
        return (
            value if isinstance(value, str) and is_hex(value, 16) else self._none(self._wrong("a span id", value, path))
        )

    def as_user(self, value: Any, path: Path) -> Any:
        """Keys that a user does not have move to its data."""
        if not isinstance(value, dict):
            return value
        known = {field.encode_name for field in rule_of(User).fields}
        rest = {name: item for name, item in value.items() if name not in known}
        if not rest:
            return value
        data = value.get("data")
        value = {name: item for name, item in value.items() if name in known}
        value["data"] = {**(data if isinstance(data, dict) else {}), **rest}
        return value

    def as_contexts(self, value: Any, path: Path) -> Any:
        """Each context is an object; the fields of known kinds have their types."""
        if not isinstance(value, dict):
            return value
        fixed: dict[str, Any] = {}
        for name, context in value.items():
            if context is None:
                continue
            if not isinstance(context, dict):
                self._wrong("an object", context, [*path, name])
                continue
            rule = CONTEXT_KINDS.get(name)
            fixed[name] = self._fields(rule_of(rule), dict(context), [*path, name]) if rule else context
        return fixed

    def as_debug_meta(self, value: Any, path: Path) -> Any:
        """Debug images of a known kind; others are removed."""
        if not isinstance(value, dict):
            self._wrong("an object", value, path)
            return None
        images = value.get("images")
        kept = []
        for index, image in enumerate(images if isinstance(images, list) else ()):
            kind = image.get("type") if isinstance(image, dict) else None
            rule = IMAGE_KINDS.get(kind) if isinstance(kind, str) else None
            if rule is not None:
                place = [*path, "images", index]
                kept.append({**self._struct(rule_of(rule), image, place, {}), "type": kind})
        system = self.value(rule_of(SystemSdk), value.get("sdk_info"), [*path, "sdk_info"], {})
        found = {"images": kept, "sdk_info": None if system is GONE else system}
        return {name: part for name, part in found.items() if part is not None and part != []} or None

    def as_object(self, value: Any, path: Path) -> Any:
        """An object or nothing."""
        return value if isinstance(value, dict) else self._none(self._wrong("an object", value, path))

    def as_array(self, value: Any, path: Path) -> Any:
        """A list or nothing."""
        return value if isinstance(value, list) else self._none(self._wrong("an array", value, path))

    def as_vars(self, value: Any, path: Path) -> Any:
        """Variables by name; a list counts as numbered names."""
        if isinstance(value, list):
            return {str(index): item for index, item in enumerate(value)}
        return self.as_object(value, path)

    def _none(self, _: Any) -> None:
        return None


Form = Callable[[Repair, Any, Path], Any]
FORMS: dict[str, Form] = {
    "json": Repair.as_text,
    "logentry": Repair.as_logentry,
    "address": Repair.as_address,
    "user": Repair.as_user,
    "trace_id": Repair.as_trace_id,
    "span_id": Repair.as_span_id,
    "contexts": Repair.as_contexts,
    "debug_meta": Repair.as_debug_meta,
    "object": Repair.as_object,
    "array": Repair.as_array,
    "vars": Repair.as_vars,
}


@cache
def rule_of(kind: Any) -> Any:
    """The inspected form of a type."""
    return inspect.type_info(kind)


def _extra(rule: Any) -> dict[str, Any]:
    if isinstance(rule, inspect.Metadata):
        return {**_extra(rule.type), **(rule.extra or {})}
    if isinstance(rule, inspect.UnionType):
        return {key: value for option in rule.types for key, value in _extra(option).items()}
    return {}


def _matches(rule: Any, value: Any) -> bool:
    while isinstance(rule, inspect.Metadata):
        rule = rule.type
    if isinstance(rule, inspect.AnyType | inspect.RawType):
        return True
    if isinstance(rule, inspect.UnionType):
        return any(_matches(option, value) for option in rule.types)
    if isinstance(value, bool):
        return isinstance(rule, inspect.BoolType)
    return isinstance(value, NATIVE.get(type(rule), ()))


def _nullable(rule: Any) -> bool:
    while isinstance(rule, inspect.Metadata):
        extra = rule.extra or {}
        rule = rule_of(extra["as"]) if "as" in extra else rule.type
    if isinstance(rule, inspect.UnionType):
        return any(isinstance(option, inspect.NoneType) for option in rule.types)
    return isinstance(rule, inspect.AnyType | inspect.RawType)


def _in_bounds(rule: inspect.IntType, value: int) -> bool:
    return (rule.ge is None or value >= rule.ge) and (rule.le is None or value <= rule.le)
