"""Values that were found invalid stand a second time in an event: in `errors` and as `val` in `_meta`.

They are scrubbed as free content under the names of their own path, whatever the rules for a valid value there are.
"""

from collections.abc import Callable
from typing import Any

PLAIN_NAMES = ("transaction",)  # the name before sanitising; names are not scrubbed by default either
MAX_DEPTH = 100

Scrub = Callable[[dict[str, Any]], None]  # in place


def scrub_errors(errors: Any, scrub: Scrub) -> None:
    """Scrub the values in the `errors` of an event, in place."""
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict) and error.get("value") is not None:
            name = error.get("name")
            path = name.split(".") if isinstance(name, str) else ["value"]
            error["value"] = _scrubbed(error["value"], path[:MAX_DEPTH], scrub)


def scrub_values(tree: Any, scrub: Scrub) -> None:
    """Scrub the original values in a `_meta` tree, in place."""
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


def forget_name(before: Any, user: dict[str, Any]) -> bool:
    """`user.sentry_user` repeats what identifies the user: blank it when that was scrubbed. True when it was."""
    kind, mark, value = str(user.get("sentry_user")).partition(":")
    key = "ip_address" if kind == "ip" else kind
    if not mark or not isinstance(before, dict) or before.get(key) != value or user.get(key) == value:
        return False
    user["sentry_user"] = None
    return True
