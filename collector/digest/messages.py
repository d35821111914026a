"""Messages: the two forms of a log entry and the two old ways of putting parameters into a text."""

import re
from typing import Any

import msgspec

from collector.digest.clean import NOTHING, LogEntry
from collector.digest.remarks import Remarks, cut_text

MAX_MESSAGE_CHARS, MESSAGE_TOLERANCE_CHARS = 8192, 200
PRINTF = re.compile(r"%(?:\((?P<name>[^)]*)\))?(?P<flags>[-+ #0]*)(?P<width>\d{1,3})?(?:\.(?P<digits>\d{1,2}))?"
                    r"(?P<kind>[a-zA-Z%])")  # fmt: skip
CURLY = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}")


def lenient_text(value: Any) -> str | None:
    """Numbers and booleans as Sentry writes them into a text field; None for what is no scalar.

    Fractions are cut off and a float that no 64-bit integer holds becomes 0: so did the first, Python, implementation.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 2**63 else "0"
    return None


class Missing(Exception):
    """A text asks for a parameter that is not there."""


def _pick(params: Any, name: str | None, index: int) -> Any:
    if isinstance(params, dict):
        if name is None or name not in params:
            raise Missing
        return params[name]
    place = index if not name else int(name) if name.isdigit() else -1
    if not isinstance(params, list) or not 0 <= place < len(params):
        raise Missing
    return params[place]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _printf(message: str, params: Any) -> str:
    index = -1

    def put(hit: re.Match[str]) -> str:
        nonlocal index
        if hit["kind"] == "%":
            return "%"
        if hit["name"] is None:
            index += 1
        value = _pick(params, hit["name"], index)
        if isinstance(value, int | float) and hit["kind"] in "diouxXeEfFgG":
            number = int(value) if hit["kind"] in "diouxX" else value
            digits = f".{hit['digits']}" if hit["digits"] else ""
            return f"%{hit['flags']}{hit['width'] or ''}{digits}{hit['kind']}" % number
        return _shown(value)

    return PRINTF.sub(put, message)


def _curly(message: str, params: Any) -> str:
    index = -1

    def put(hit: re.Match[str]) -> str:
        nonlocal index
        if hit["name"] is None:
            return hit[0][0]
        if not hit["name"]:
            index += 1
        return _shown(_pick(params, hit["name"] or None, index))

    return CURLY.sub(put, message)


def formatted_message(message: str, params: Any) -> str | None:
    """`message` with its parameters, printf style where it holds a percent sign, else with braces; None when one is
    missing or there is nothing to put in."""
    if not isinstance(params, dict | list):
        return None
    try:
        if "%" in message:
            return _printf(message, params)
        if "{" in message:
            return _curly(message, params)
    except (Missing, ValueError, OverflowError, TypeError):
        return None
    return None


def normalise_logentry(entry: str | LogEntry | None, remarks: Remarks) -> LogEntry | None:
    """One log entry with `formatted` set; `message` only when it says something else."""
    if entry is None:
        return None
    if isinstance(entry, str):
        return LogEntry(formatted=entry) if entry else None
    if entry.formatted is None and entry.message is None:
        if entry.params is not NOTHING:
            remarks.error(("logentry",), "missing_attribute")
        return None
    if entry.formatted is None and entry.message is not None and entry.params is not NOTHING:
        text = formatted_message(entry.message, msgspec.json.decode(entry.params))
        if text is not None and len(text) > MAX_MESSAGE_CHARS + MESSAGE_TOLERANCE_CHARS:
            text = cut_text(text, MAX_MESSAGE_CHARS, remarks, ("logentry", "formatted"))
        entry.formatted = text
    if entry.formatted is None or entry.formatted == entry.message:
        entry.formatted, entry.message = entry.message, None
        remarks.moved(("logentry", "message"), ("logentry", "formatted"))
    return entry
