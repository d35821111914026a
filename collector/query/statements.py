"""Where a statement ends: the text of a prompt or a script cut at the semicolons that are outside of strings, names
and comments."""

from typing import NamedTuple


class Script(NamedTuple):
    """`statements`: complete ones, each with the line it begins in, from 1; `rest`: what is not ended yet."""

    statements: list[tuple[int, str]]
    rest: str


def split(text: str) -> Script:
    """Cuts a text; a statement keeps its semicolon, one that is empty but for comments is left out."""
    found: list[tuple[int, str]] = []
    start = at = 0
    is_empty = True
    while at < len(text):
        if text[at] == ";":
            if not is_empty:
                found.append((_line(text, start), text[start : at + 1].strip()))
            start, is_empty = at + 1, True
            at += 1
            continue
        after = _past(text, at)
        if not _is_comment(text, at) and not text[at].isspace():
            is_empty = False
        at = after
    return Script(found, "" if is_empty else text[start:])


def _line(text: str, start: int) -> int:
    """The line of the first sign after `start` that is no space."""
    while text[start].isspace():
        start += 1
    return text.count("\n", 0, start) + 1


def _is_comment(text: str, at: int) -> bool:
    return text.startswith(("--", "/*"), at)


def _past(text: str, at: int) -> int:
    """Where the token that begins at `at` ends, as far as it matters here; the end of the text when it is open."""
    if text.startswith("--", at):
        return _after(text, "\n", at)
    if text.startswith("/*", at):
        return _after(text, "*/", at + 2)
    if text[at] in "'\"":
        return _past_quoted(text, at)
    if text[at] == "$":
        end = text.find("$", at + 1)
        tag = text[at : end + 1] if end > 0 else ""
        if tag == "$$" or tag[1:-1].isidentifier():
            return _after(text, tag, at + len(tag))
    return at + 1


def _past_quoted(text: str, at: int) -> int:
    quote = text[at]
    end = text.find(quote, at + 1)
    while end >= 0 and text.startswith(quote, end + 1):  # two of them are one that is meant
        end = text.find(quote, end + 2)
    return len(text) if end < 0 else end + 1


def _after(text: str, sign: str, at: int) -> int:
    end = text.find(sign, at)
    return len(text) if end < 0 else end + len(sign)
