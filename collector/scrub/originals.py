"""Values that were found invalid stand a second time in an event: in `errors` and as `val` in `_meta`.

They are scrubbed as free content under the names of their own path, whatever the rules for a valid value there are.
"""

from collections.abc import Callable
from typing import Any

import msgspec

PLAIN_NAMES = ("transaction",)  # the name before sanitising; names are not scrubbed by default either
MAX_DEPTH = 100

Scrub = Callable[[dict[str, Any]], None]  # in place

_EVENT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def has_originals(payload: bytes) -> bool:
    """Whether there may be any."""
    return b'"errors":' in payload or b'"val":' in payload


def scrub_originals(payload: bytes, scrub: Scrub) -> bytes:
    """The event with its originals scrubbed; the same bytes when nothing changed. Raises msgspec.DecodeError."""
    event = _EVENT.decode(payload)
    changed = False
    for name, work in (("errors", _errors), ("_meta", _meta)):
        if name in event:
            before = msgspec.json.decode(event[name])
            work(before, scrub)
            after = msgspec.json.encode(before)
            if after != msgspec.json.encode(msgspec.json.decode(event[name])):
                event[name], changed = msgspec.Raw(after), True
    return msgspec.json.encode(event) if changed else payload


def _errors(errors: Any, scrub: Scrub) -> None:
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict) and error.get("value") is not None:
            name = error.get("name")
            path = name.split(".") if isinstance(name, str) else ["value"]
            error["value"] = _scrubbed(error["value"], path[:MAX_DEPTH], scrub)


def _meta(tree: Any, scrub: Scrub) -> None:
    waiting: list[tuple[Any, list[str]]] = [(tree, [])]
    while waiting:
        node, path = waiting.pop()
        if not isinstance(node, dict) or len(path) > MAX_DEPTH:
            continue
        for key, inner in node.items():
            if key:
                waiting.append((inner, [*path, key]))
            elif isinstance(inner, dict) and inner.get("val") is not None:
                inner["val"] = _scrubbed(inner["val"], path or ["value"], scrub)


def _scrubbed(value: Any, path: list[str], scrub: Scrub) -> Any:
    """A value as rules leave it under the names of its path."""
    if tuple(path) == PLAIN_NAMES:
        return value
    nested = value
    for key in reversed(path):
        nested = {key: nested}
    scrub(nested)
    for key in path:
        if not isinstance(nested, dict):
            return None
        nested = nested.get(key)
    return nested
