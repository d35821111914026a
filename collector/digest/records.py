"""Items that hold records: logs and spans, one record or a container `{"items": [record, ...]}`.

A record that cannot be one, or that a filter matches, is taken out and counted; the others stay in their item, whose
`item_count` follows. Rules: protocol D, E6.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from collector.digest.about import About, Invalid
from collector.digest.items import json_object
from collector.digest.people import AUTO
from collector.digest.times import seconds_of
from collector.model.envelope import Item
from collector.model.outcome import FILTERED, INVALID
from collector.protocol.logs import attribute

TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "boolean": bool, "integer": int, "double": (int, float)}
ADDRESSES = ("client.address", "user.ip_address")  # attributes that may ask for the address of the sender
NAME_KEYS, VERSION_KEY = ("browser.name", "sentry.browser.name"), "browser.version"

Match = Callable[[dict[str, Any]], str | None]
Browser = Callable[[str], tuple[str, str] | None]
Counts = list[tuple[str, int]]


class Records(msgspec.Struct):
    """What is left of an item. dropped: (outcome, reason) -> (category, quantity) pairs. kept: records left in it."""

    payload: bytes
    headers: dict[str, Any]
    kept: int
    dropped: dict[tuple[str, str], Counts]


def sift(item: Item, about: About, match: Match, browser: Browser) -> Records:
    """The records of a log or span item, normalised, without those that are invalid or filtered.

    `match` gives the reason of a filter for a record, `browser` name and version for a user agent. Raises Invalid when
    the item is not JSON.
    """
    content = json_object(bytes(item.payload))
    given = content.get("items")
    container = isinstance(given, list)
    kept: list[Any] = []
    dropped: dict[tuple[str, str], list[int]] = {}
    for record in given if isinstance(given, list) else [content]:
        verdict = _verdict(item.type, record, about, match, browser)
        if verdict is None:
            kept.append(record)
        else:
            sizes = dropped.setdefault(verdict, [])
            sizes.append(len(msgspec.json.encode(record)))
    headers = item.headers
    if container and dropped:
        headers = {**headers, "item_count": len(kept)}
    payload = msgspec.json.encode({**content, "items": kept} if container else content)
    return Records(payload, headers, len(kept), {key: _counts(item.type, sizes) for key, sizes in dropped.items()})


def _counts(kind: str, sizes: list[int]) -> Counts:
    if kind == "log":
        return [("log_item", len(sizes)), ("log_byte", sum(sizes))]
    return [("span", len(sizes)), ("span_indexed", len(sizes))]


def _verdict(kind: str, record: Any, about: About, match: Match, browser: Browser) -> tuple[str, str] | None:
    try:
        if not isinstance(record, dict):
            raise Invalid(f"invalid_{kind}", "the record is no JSON object")
        CHECKS[kind](record)
    except Invalid as invalid:
        return INVALID, invalid.reason
    attributes = _attributes(record)
    _infer(attributes, about, browser)
    if attributes:
        record["attributes"] = attributes
    data = record.get("data")
    if isinstance(data, dict):
        _resolve_address(data, about)
    reason = match(record)
    return (FILTERED, reason) if reason is not None else None


def _is_id(value: Any, digits: int) -> bool:
    text = value.replace("-", "") if isinstance(value, str) else ""
    return len(text) == digits and text.strip("0") != "" and all(char in "0123456789abcdefABCDEF" for char in text)


def _check_log(record: dict[str, Any]) -> None:
    if not _is_id(record.get("trace_id"), 32):
        raise Invalid("invalid_log", "the log record has no trace id")
    body = record.get("body")
    if body is not None and not isinstance(body, str):
        record["body"] = msgspec.json.encode(body).decode()


def _check_span(record: dict[str, Any]) -> None:
    if not _is_id(record.get("trace_id"), 32) or not _is_id(record.get("span_id"), 16):
        raise Invalid("invalid_span", "the span has no ids")
    start = seconds_of(record.get("start_timestamp"))
    end = seconds_of(record["end_timestamp"] if "end_timestamp" in record else record.get("timestamp"))
    if start is None or end is None or start > end:
        raise Invalid("invalid_span", "the span has no times, or ends before it starts")


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {"log": _check_log, "span": _check_span}


def _attributes(record: dict[str, Any]) -> dict[str, Any]:
    """The attributes as {name: {value, type}}: bare values get a type, a type that lies is put right."""
    given = record.get("attributes")
    if not isinstance(given, dict):
        record.pop("attributes", None)
        return {}
    return {name: made for name, value in given.items() if (made := _attribute(value)) is not None}


def _attribute(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, dict) or "value" not in given:
        return attribute(given)
    value, kind = given["value"], given.get("type")
    known = TYPES.get(kind) if isinstance(kind, str) else None
    if known is None and isinstance(kind, str):
        return given  # a type of a newer protocol
    if known is not None and isinstance(value, known) and (kind == "boolean") == isinstance(value, bool):
        return given
    made = attribute(value)
    return None if made is None else {**given, **made}


def _infer(attributes: dict[str, Any], about: About, browser: Browser) -> None:
    for name in ADDRESSES:
        if name in attributes and attributes[name].get("value") == AUTO:
            if about.infer_ip and about.client_ip:
                attributes[name] = {**attributes[name], "value": about.client_ip}
            else:
                del attributes[name]
    agent = attributes.get("user_agent.original", {}).get("value")
    if isinstance(agent, str) and not any(name in attributes for name in NAME_KEYS):
        found = browser(agent)
        if found is not None:
            attributes[NAME_KEYS[0]] = {"value": found[0], "type": "string"}
            if found[1]:
                attributes[VERSION_KEY] = {"value": found[1], "type": "string"}


def _resolve_address(data: dict[str, Any], about: About) -> None:
    for name in ADDRESSES:
        if data.get(name) == AUTO:
            data[name] = about.client_ip if about.infer_ip and about.client_ip else None
