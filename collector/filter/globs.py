"""Globs as Sentry reads them, run by a linear-time engine.

`*` any text (slashes and newlines too), `?` one character, `[abc]` `[a-c]` `[!a]`, `{a,b}` one of (not nested),
backslash escapes. The empty pattern matches nothing, not even the empty text. Source: reference page, section D.
"""

import re
from collections.abc import Iterable
from typing import Any

import re2


class GlobError(ValueError):
    """The pattern is not a glob; the sentence holds the pattern, the place and the reason."""


def to_regex(pattern: str) -> str:
    """The regular expression (re2 syntax, unanchored) of a glob. Raises GlobError."""
    out: list[str] = []
    group_at, at = -1, 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "[":
            piece, at = _char_class(pattern, at)
            out.append(piece)
        elif char == "{":
            if group_at >= 0:
                raise GlobError(f"glob {pattern!r}: {{ at {at - 1} inside another {{")
            group_at = at - 1
            out.append("(?:")
        elif char == "}":
            if group_at < 0:
                raise GlobError(f"glob {pattern!r}: }} at {at - 1} without {{")
            group_at = -1
            out.append(")")
        elif char == "," and group_at >= 0:
            out.append("|")
        elif char == "]":
            raise GlobError(f"glob {pattern!r}: ] at {at - 1} without [")
        elif char == "\\":
            if at == len(pattern):
                raise GlobError(f"glob {pattern!r}: nothing after the backslash at the end")
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    if group_at >= 0:
        raise GlobError(f"glob {pattern!r}: {{ at {group_at} is not closed")
    return "".join(out)


def _char_class(pattern: str, at: int) -> tuple[str, int]:
    """The class whose `[` stands before `at`; returns its regular expression and the place behind its `]`."""
    start = at - 1
    negated = pattern.startswith("!", at)
    at += negated
    members: list[str] = []
    dash_pending = False
    while True:
        if at >= len(pattern):
            raise GlobError(f"glob {pattern!r}: [ at {start} is not closed")
        char = pattern[at]
        at += 1
        if char == "]":
            break
        if char == "[":
            raise GlobError(f"glob {pattern!r}: [ at {at - 1} inside a class needs a backslash")
        if char == "-" and members and not dash_pending:
            dash_pending = True
            continue
        if char == "\\":
            if at >= len(pattern):
                raise GlobError(f"glob {pattern!r}: nothing after the backslash at the end")
            char = pattern[at]
            at += 1
        if dash_pending:
            low = members.pop()
            if low > char:
                raise GlobError(f"glob {pattern!r}: the range {low}-{char} at {at - 3} is backwards")
            members.append(low + char)
            dash_pending = False
        else:
            members.append(char)
    if dash_pending:
        members.append("-")
    if not members:
        return (".", at) if negated else (r"[^\x00-\x{10FFFF}]", at)
    body = "".join("-".join(f"\\x{{{ord(c):X}}}" for c in member) for member in members)
    return f"[{'^' if negated else ''}{body}]", at


class Globs:
    """A list of globs matched at once against whole texts. Raises GlobError for a broken pattern."""

    def __init__(self, patterns: Iterable[str], *, ignore_case: bool = True) -> None:
        pieces = [to_regex(pattern) for pattern in patterns if pattern]
        self.empty = not pieces
        options = re2.Options()
        options.never_capture = True
        options.dot_nl = True
        options.case_sensitive = not ignore_case
        options.log_errors = False
        self._regex: Any = None
        if pieces:
            try:
                self._regex = re2.compile("|".join(f"(?:{piece})" for piece in pieces), options)
            except re2.error as error:
                raise GlobError(f"globs too large for one list: {error}") from error

    def match(self, text: str) -> bool:
        """Whether any glob covers the whole text."""
        return self._regex is not None and self._regex.fullmatch(text) is not None
