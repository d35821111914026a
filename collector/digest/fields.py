"""The small fields of an event: level, platform, release, environment, dist, fingerprint, tags. Rules: protocol E5."""

import re
from collections.abc import Iterable
from typing import Any

from collector.digest.clean import Event
from collector.digest.messages import lenient_text
from collector.digest.remarks import Remarks, cut_text

LEVELS = {"debug": "debug", "info": "info", "log": "info", "warning": "warning", "error": "error", "fatal": "fatal",
          "critical": "fatal", 10: "debug", 20: "info", 30: "warning", 40: "error", 50: "fatal",
          "10": "debug", "20": "info", "30": "warning", "40": "error", "50": "fatal"}  # fmt: skip
PLATFORMS = frozenset(("as3", "c", "cfml", "cocoa", "csharp", "elixir", "go", "groovy", "haskell", "java", "javascript",
                       "native", "node", "objc", "other", "perl", "php", "python", "ruby"))  # fmt: skip
SOURCES = frozenset(("custom", "url", "route", "view", "component", "sanitized", "task", "unknown"))
RESERVED_TAGS = frozenset(("release", "dist", "user", "filename", "function", "environment", "device.class"))
NO_RELEASE = frozenset(("latest", ".", ".."))
NO_ENVIRONMENT = frozenset(("none", ".", ".."))
BAD_RELEASE = re.compile(r"[/\\\r\n\t\x0b\x0c]")
BAD_ENVIRONMENT = re.compile(r"[/\\\r\n\t\x0b\x0c]")
GOOD_DIST = re.compile(r"[A-Za-z0-9_.\-]+")
GOOD_TAG_KEY = re.compile(r"[A-Za-z0-9_.:\-]{1,200}")
MAX_REMEMBERED, MAX_TAGS_REMEMBERED = 4096, 64
MAX_RELEASE_CHARS, MAX_ENVIRONMENT_CHARS, MAX_DIST_CHARS, MAX_TAG_CHARS = 200, 64, 64, 200

Pair = list[str | None]


def normalise_level(value: str | int | None, default: str, remarks: Remarks) -> str:
    """One of debug, info, warning, error, fatal."""
    if value is None:
        return default
    level = LEVELS.get(value)
    if level is None:
        remarks.error(("level",), "invalid_data", value, reason="expected a level")
    return level or default


def normalise_platform(value: str | None, remarks: Remarks) -> str:
    """A platform of the protocol; `other` for any other, which is kept in the remarks."""
    if value is None or value in PLATFORMS:
        return value or "other"
    remarks.original(("platform",), value)
    return "other"


def normalise_source(event: Event, remarks: Remarks) -> None:
    """Where the transaction name comes from, in a word of the protocol."""
    info = event.transaction_info
    if info is not None and info.source is not None and info.source not in SOURCES:
        remarks.original(("transaction_info", "source"), info.source)
        info.source = "unknown"


def is_release(text: str) -> bool:
    """Whether a trimmed text may be a release."""
    return (
        bool(text)
        and len(text) <= MAX_RELEASE_CHARS
        and not BAD_RELEASE.search(text)
        and text.lower() not in NO_RELEASE
    )


def is_environment(text: str) -> bool:
    """Whether a trimmed text may be an environment."""
    return (
        bool(text)
        and len(text) <= MAX_ENVIRONMENT_CHARS
        and not BAD_ENVIRONMENT.search(text)
        and text.lower() not in NO_ENVIRONMENT
    )


def _release(event: Event, remarks: Remarks) -> None:
    text = lenient_text(event.release)
    if text is None:
        return
    event.release = text.strip()
    if not is_release(event.release):
        remarks.error(("release",), "invalid_data", text)
        event.release = None


def _environment(event: Event, remarks: Remarks) -> None:
    text = lenient_text(event.environment)
    if text is None:
        return
    event.environment = text.strip()
    if not is_environment(event.environment):
        remarks.error(("environment",), "invalid_data", text)
        event.environment = None


def _dist(event: Event, remarks: Remarks) -> None:
    text = lenient_text(event.dist)
    if text is None:
        return
    trimmed = text.strip()
    event.dist = None
    if len(trimmed) > MAX_DIST_CHARS:
        remarks.error(("dist",), "value_too_long", text)
    elif trimmed and not GOOD_DIST.fullmatch(trimmed):
        remarks.error(("dist",), "invalid_data", text, reason="invalid character in string")
    else:
        event.dist = trimmed or None


Names = tuple[Any, Any, Any]


class KnownNames:
    """Release, environment and dist; an application sends the same few of them again and again."""

    def __init__(self) -> None:
        self._seen: set[Names] = set()  # that stay as they are

    def normalise(self, event: Event, remarks: Remarks) -> None:
        """The three in place; the environment may have come as a tag (see normalise_tags, called before)."""
        given = event.release, event.environment, event.dist
        if given in self._seen:
            return
        if event.release is not None:
            _release(event, remarks)
        if event.environment is not None:
            _environment(event, remarks)
        if event.dist is not None:
            _dist(event, remarks)
        # 1 == 1.0 == True, but none of them is a text, so none stays as it is
        if given == (event.release, event.environment, event.dist):
            if len(self._seen) >= MAX_REMEMBERED:
                self._seen.clear()
            self._seen.add(given)


def normalise_fingerprint(parts: list[Any] | None, remarks: Remarks) -> list[str] | None:
    """Texts only; objects and lists in it are reported."""
    if parts is None:
        return None
    texts = []
    for part in parts:
        text = lenient_text(part)
        if text is not None:
            texts.append(text)
        elif part is not None:
            remarks.error(("fingerprint",), "invalid_data", part, reason="expected a string")
    return texts or None


class KnownTags:
    """The orders of tag names and the pairs seen before: few of them are new in the events of an application."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, ...], list[str] | None] = {}
        self._pairs: set[tuple[str, Any]] = set()  # good names with good texts

    def pairs(self, tags: dict[str, Any]) -> list[Any] | None:
        """The pairs of good names and good texts, the usual case, sorted; None when something needs a closer look."""
        names = tuple(tags)
        order = self._orders.get(names)
        if order is None:
            order = self._order(names)
            if order is None:
                return None
        if not self._pairs.issuperset(tags.items()):
            if len(self._pairs) >= MAX_REMEMBERED:
                self._pairs.clear()
            for pair in tags.items() - self._pairs:
                value = pair[1]
                if type(value) is not str or not 0 < len(value) <= MAX_TAG_CHARS or "\n" in value or value[0] <= " ":
                    return None
                self._pairs.add(pair)
        return [[name, tags[name]] for name in order]

    def _order(self, names: tuple[str, ...]) -> list[str] | None:
        """The names sorted, or None when one of them needs a closer look."""
        if not all(GOOD_TAG_KEY.fullmatch(name) and name not in RESERVED_TAGS for name in names):
            return None
        if "server_name" in names or len(names) > MAX_TAGS_REMEMBERED:
            return None
        if len(self._orders) >= MAX_REMEMBERED:
            self._orders.clear()
        order = self._orders[names] = sorted(names)
        return order


def _given_pairs(event: Event, remarks: Remarks) -> Iterable[Any]:
    tags = event.tags
    if isinstance(tags, dict):
        names = sorted(tags)
        for index, name in enumerate(names):
            remarks.moved(("tags", name), ("tags", index, "1"))
        return ([name, tags[name]] for name in names)
    return tags or ()


def normalise_tags(event: Event, known_tags: KnownTags, remarks: Remarks) -> None:
    """`tags` as a list of [key, value], first of a name wins; reserved names are removed, `environment` moves up."""
    tags = event.tags
    pairs = known_tags.pairs(tags) if isinstance(tags, dict) and not remarks.tree.get("tags") else None
    if pairs is None:
        _look_closely(event, remarks)
    else:
        event.tags = pairs or None
    for name, value in (("server_name", event.server_name), ("site", event.site)):
        if value:
            made = event.tags or []
            if not any(pair and pair[0] == name for pair in made):
                pair: Pair = [name, value]
                if len(value) > MAX_TAG_CHARS or value[0] <= " " or value[-1] <= " " or "\n" in value:
                    pair = [name, _tag_value(value, len(made), remarks)]
                event.tags = [*made, pair]
    event.server_name = event.site = None


def _look_closely(event: Event, remarks: Remarks) -> None:
    """Any tags at all, one by one."""
    pairs: list[Pair | None] = []
    seen: set[str] = set()
    for given in _given_pairs(event, remarks):
        pair = _pair(given, len(pairs), remarks)
        if pair is None:
            pairs.append(None)
            continue
        name = pair[0]
        if name is not None:
            if name == "environment" and event.environment is None:
                event.environment = pair[1]
            if name in seen or name in RESERVED_TAGS:
                continue
            seen.add(name)
        pairs.append(pair)
    event.tags = pairs or None


def _pair(given: Any, index: int, remarks: Remarks) -> Pair | None:
    """One checked pair, or None when it is no pair."""
    if not isinstance(given, list) or len(given) != 2:
        if given is not None:
            remarks.error(("tags", index), "invalid_data", given, reason="expected a tuple")
        return None
    name, value = given
    if type(name) is not str or not GOOD_TAG_KEY.fullmatch(name):
        name = _tag_key(name, index, remarks)
    if type(value) is not str or not value or len(value) > MAX_TAG_CHARS or "\n" in value:
        value = _tag_value(value, index, remarks)
    return [name, value]


def _tag_key(given: Any, index: int, remarks: Remarks) -> str | None:
    name = lenient_text(given)
    path = ("tags", index, 0)
    if name is None:
        if given is not None:
            remarks.error(path, "invalid_data", given, reason="expected a string")
        return None
    name = name.strip().replace(" ", "-")
    if len(name) > MAX_TAG_CHARS:
        name = cut_text(name, MAX_TAG_CHARS, remarks, path)
    if GOOD_TAG_KEY.fullmatch(name):
        return name
    remarks.error(path, "invalid_data", given, reason="invalid character in string")
    return None


def _tag_value(given: Any, index: int, remarks: Remarks) -> str | None:
    value = lenient_text(given)
    path = ("tags", index, 1)
    if value is None:
        if given is not None:
            remarks.error(path, "invalid_data", given, reason="expected a string")
        return None
    value = value.strip()
    if not value or "\n" in value:
        reason = "invalid character in string" if value else "expected a value"
        remarks.error(path, "invalid_data", given, reason=reason)
        return None
    return cut_text(value, MAX_TAG_CHARS, remarks, path) if len(value) > MAX_TAG_CHARS else value
