"""Attachments under rules that name them (`$attachments.'name'`): redacted in place, so that every length stays.

Patterns are looked for in the bytes, and in text written as UTF-16 with ASCII characters. What does not fit is cut,
what is missing is filled with `*`. Source: reference page on the protocol, F4.
"""

import hashlib
import hmac
import re

from collector.scrub.patterns import WHOLE, Pattern
from collector.scrub.rules import Application, Rule
from collector.scrub.selectors import YES
from collector.scrub.selectors import Step as Level
from collector.scrub.text import Keys

_WIDE_TEXT = re.compile(rb"(?:[\t\r\n\x20-\x7e]\x00){5,}")
_ROOT = Level(None, None, frozenset())
_ATTACHMENTS = Level("", None, frozenset(("attachments",)))


def scrub_attachment(data: bytes, name: str, program: list[Application], keys: Keys) -> bytes:
    """The attachment after the rules that apply to its name; the same bytes when none does."""
    levels = [_ROOT, _ATTACHMENTS, Level(name, None, frozenset(("binary",)))]
    rules = [rule for one in program if one.selector.matches(levels, YES) for rule in one.rules]
    fresh = bytearray(data)
    for rule in rules:
        if rule.anything:
            fresh[:] = _fit(rule, bytes(fresh), keys)
            continue
        for pattern in rule.patterns:
            _apply(fresh, rule, pattern, keys)
    return bytes(fresh)


def _apply(data: bytearray, rule: Rule, pattern: Pattern, keys: Keys) -> None:
    for start, end in _spans(bytes(data), pattern):
        data[start:end] = _fit(rule, bytes(data[start:end]), keys)
    for wide in _WIDE_TEXT.finditer(bytes(data)):
        text = wide.group()[::2]
        for start, end in _spans(text, pattern):
            at = wide.start() + 2 * start
            data[at : at + 2 * (end - start) : 2] = _fit(rule, text[start:end], keys)


def _spans(data: bytes, pattern: Pattern) -> list[tuple[int, int]]:
    if pattern.spots == WHOLE:
        return [(0, len(data))] if pattern.regex.search(data) else []
    return [
        match.span(spot)
        for match in pattern.regex.finditer(data)
        if pattern.check is None or pattern.check(match.group(0))
        for spot in pattern.spots
        if 0 <= match.span(spot)[0] < match.span(spot)[1]
    ]


def _fit(rule: Rule, found: bytes, keys: Keys) -> bytes:
    """What stands in the place of `found`, at its length."""
    text = b""
    if rule.redaction.method in ("hash", "pseudonymise"):
        text = hmac.new(keys.hash_key, found, hashlib.sha1).hexdigest().upper().encode()
    elif rule.redaction.method == "replace":
        text = rule.redaction.text.encode()
    return text[: len(found)].ljust(len(found), b"*")
