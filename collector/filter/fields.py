"""How a rule's field names ("event.tags.customer") find their value in an event, log, span or session.

The event is a normalised one, but the shapes that SDKs send (tags as object, exception as list) are understood too.
Names are dotted; a backslash keeps a dot inside a name. Source: reference page on the protocol, section D.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from collector.filter.releases import parse_release

ROOTS = ("event", "log", "span", "session", "envelope")
EVENT_FIELDS = frozenset((
    "breakdowns", "contexts", "culprit", "dist", "duration", "environment", "event_id", "exception", "extra",
    "fingerprint", "level", "logentry", "logger", "measurements", "message", "modules", "platform", "release",
    "request", "sdk", "sentry_user", "server_name", "tags", "threads", "transaction", "type", "user",
))  # fmt: skip
NAMED_CONTEXTS = frozenset(("os", "browser", "runtime"))

_SPLIT = re.compile(r"(?<!\\)\.")


class Subject:
    """What a condition looks at: `get` one value by name, `each` the elements of a list by name."""

    def __init__(self, item: Any, client_ip: str = "", root: str = "event") -> None:
        self.item = item
        self.client_ip = client_ip
        self.root = root

    def get(self, name: str) -> Any:
        """The value of a field, None when it is missing."""
        root, _, rest = name.partition(".")
        if name == "envelope.client_ip":
            return self.client_ip or None
        if not rest or root not in (self.root, "event"):
            return None
        special = _SPECIAL.get(rest)
        if special is not None:
            return special(self.item)
        return _descend(self.item, split_name(rest))

    def each(self, name: str) -> "Iterator[Element] | None":
        """The elements of a list field; None when it is no list."""
        root, _, rest = name.partition(".")
        value = _listed(_descend(self.item, split_name(rest))) if root in (self.root, "event") else None
        if isinstance(value, dict):
            value = _listed(value)
        return (Element(element) for element in value) if isinstance(value, list) else None


class Element:
    """One element of a list (an exception, a frame, a breadcrumb); names have no root here, `ty` means `type`."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def get(self, name: str) -> Any:
        """The value of a field of this element, None when it is missing; "" is the element itself."""
        if not name:
            return self.item
        return _descend(self.item, split_name("type" if name == "ty" else name))

    def each(self, name: str) -> "Iterator[Element] | None":
        """The elements of a list inside this element."""
        value = _listed(_descend(self.item, split_name(name)))
        return (Element(element) for element in value) if isinstance(value, list) else None


def split_name(name: str) -> list[str]:
    """The parts of a dotted name."""
    if "\\" not in name:
        return name.split(".")
    return [part.replace("\\.", ".") for part in _SPLIT.split(name)]


def entry(container: Any, key: str) -> Any:
    """The value of a key in an object or in a list of [key, value] pairs (first wins; case does not matter there)."""
    if isinstance(container, dict):
        return container.get(key)
    if isinstance(container, list):
        wanted = key.lower()
        for pair in container:
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and pair[0].lower() == wanted:
                return pair[1]
    return None


def text_of(value: Any) -> str | None:
    """The value when it is a text."""
    return value if isinstance(value, str) else None


def exceptions_of(event: Any) -> list[Any]:
    """The exceptions of an event, oldest first."""
    if not isinstance(event, dict):
        return []
    found = _listed(event.get("exception"))
    return found if isinstance(found, list) else []


def header(event: Any, name: str) -> str | None:
    """A request header of an event."""
    request = event.get("request") if isinstance(event, dict) else None
    headers = request.get("headers") if isinstance(request, dict) else None
    if isinstance(headers, dict):
        headers = [[key, value] for key, value in headers.items()]
    return text_of(entry(headers, name))


def message_of(event: Any) -> str | None:
    """The formatted message, else the raw one."""
    logentry = event.get("logentry") if isinstance(event, dict) else None
    if logentry is None and isinstance(event, dict):
        logentry = event.get("message")
    if isinstance(logentry, dict):
        return text_of(logentry.get("formatted")) or text_of(logentry.get("message"))
    return text_of(logentry)


def _listed(value: Any) -> Any:
    return value["values"] if isinstance(value, dict) and isinstance(value.get("values"), list) else value


def _descend(value: Any, parts: list[str]) -> Any:
    for index, part in enumerate(parts):
        if isinstance(value, dict):
            whole = ".".join(parts[index:])
            if whole in value:
                return value[whole]
            if part not in value and part == "values":
                return None
            value = value.get(part)
        elif isinstance(value, list):
            if part == "values":
                continue
            return entry(value, ".".join(parts[index:]))
        else:
            return None
    return value


def _duration_ms(event: Any) -> float | None:
    if not isinstance(event, dict) or event.get("type") != "transaction":
        return None
    start, end = event.get("start_timestamp"), event.get("timestamp")
    if isinstance(start, int | float) and isinstance(end, int | float) and start <= end:
        return (end - start) * 1000.0
    return None


def _release_part(part: str) -> Callable[[Any], str | None]:
    def read(event: Any) -> str | None:
        try:
            release = parse_release(event["release"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        if part == "build":
            return release.build_hash or None
        if part == "package":
            return release.package or None
        return ".".join(release.version.parts) if release.version else None

    return read


def _context_name(key: str) -> Callable[[Any], Any]:
    def read(event: Any) -> Any:
        context = _descend(event, ["contexts", key])
        return (context.get(key) or context.get("name")) if isinstance(context, dict) else None

    return read


def _level(event: Any) -> Any:
    value = event.get("level") if isinstance(event, dict) else None
    return value if value is not None else ("info" if event.get("type") == "transaction" else "error")


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "platform": lambda event: text_of(event.get("platform")) or "other",
    "level": _level,
    "message": message_of,
    "duration": _duration_ms,
    "sentry_user": lambda event: _descend(event, ["user", "sentry_user"]),
    "transaction.source": lambda event: _descend(event, ["transaction_info", "source"]),
    "release.build": _release_part("build"),
    "release.package": _release_part("package"),
    "release.version.short": _release_part("version"),
    **{f"contexts.{key}": _context_name(key) for key in NAMED_CONTEXTS},
}
