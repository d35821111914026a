"""Globs: of stack trace rules (compiled to regular expressions) and of fingerprint rules (matched by sentry-ophio).

Facts: reference/grouping.md, sections 6.2 and 13.3.
"""

import re
from functools import lru_cache
from typing import Protocol

import re2
from sentry_ophio.glob import is_glob_match

# Where more runs than these could share a text between them, hostile texts would take the standard library for ever;
# RE2 takes linear time (and three times as long for a simple pattern).
MAX_BACKTRACKED_RUNS = 3
UPPER = re.compile(r"[A-Z]+")


class Glob(Protocol):
    """A compiled glob."""

    def fullmatch(self, string: bytes, /) -> object | None:
        """Something when the whole text matches."""
        ...


class GlobError(ValueError):
    """A pattern that is no glob: an unclosed class or an unclosed alternative."""


def text_matches(value: str, pattern: str, *, ignore_case: bool) -> bool:
    """Whether the whole text matches a glob of a fingerprint rule; `*` matches everything, line ends too."""
    return is_glob_match(value, pattern, case_insensitive=ignore_case, allow_newline=True)


def path_matches(value: str, pattern: str) -> bool:
    """Whether the whole path matches, whatever its case and slashes, with or without a slash before it."""
    return _path_matches(value, pattern) or (not value.startswith("/") and _path_matches("/" + value, pattern))


def _path_matches(value: str, pattern: str) -> bool:
    return is_glob_match(
        value, pattern, double_star=True, case_insensitive=True, path_normalize=True, allow_newline=True
    )


@lru_cache(maxsize=4096)
def compile_glob(pattern: str, *, path: bool) -> Glob:
    """The regular expression of a stack trace rule's glob, over UTF-8. Raises GlobError.

    path: `*` and `?` stop at a slash; the texts come as `lowered` leaves them.
    """
    # Only a range such as [!-a] means more when case is ignored; without it, lower case matches twice as fast.
    ranged = path and "[" in pattern
    pattern = pattern.replace("\\", "/") if ranged else lowered(pattern) if path else pattern
    expression = _Translation(pattern, path).expression()
    if expression.count("*") > MAX_BACKTRACKED_RUNS:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1  # bytes are what globs are about
        options.case_sensitive = not ranged
        glob: Glob = re2.compile(expression.encode("latin-1"), options=options)
        return glob
    return re.compile(expression.encode("latin-1"), re.IGNORECASE if ranged else 0)


def lowered(pattern: str) -> str:
    """A pattern of a path in lower case (of ASCII, as the published engine has it) and with slashes only."""
    return UPPER.sub(lambda found: found[0].lower(), pattern).replace("\\", "/")


# What `**` becomes, by where it stands.
PREFIX, INNER, SUFFIX = "(?:/?|.*/)", "(?:/|/.*/)", "/.*"


class _Translation:
    """One pattern on its way to a regular expression: UTF-8 bytes, in Latin-1 clothes."""

    def __init__(self, pattern: str, path: bool) -> None:
        self.text = pattern.encode("utf-8", "replace").decode("latin-1")
        self.at = 0
        self.one, self.run = ("[^/]", "[^/]*") if path else (".", ".*")
        # The tokens so far, and inside of {} those of each alternative so far.
        self.branches: list[list[str]] = [[]]

    def expression(self) -> str:
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == "*":
                self._star()
            elif char == "{":
                if len(self.branches) > 1:
                    raise GlobError("nested alternatives")
                self.branches.append([])
            elif char == "}":
                self._close()
            elif char == "," and len(self.branches) > 1:
                self.branches.append([])
            else:
                self.branches[-1].append(self._single(char))
        if len(self.branches) > 1:
            raise GlobError("unclosed alternatives; missing '}'")
        return ".*" if self.branches[0] == [PREFIX] else "".join(self.branches[0])

    def _single(self, char: str) -> str:
        if char == "?":
            return self.one
        if char == "[":
            return self._class()
        if char == "\\":
            if self.at == len(self.text):
                raise GlobError("dangling backslash")
            char = self.text[self.at]
            self.at += 1
        return _quoted(char)

    def _close(self) -> None:
        """The end of alternatives; an empty one does not count, and a brace that closes nothing is nothing."""
        parts = ["".join(branch) for branch in self.branches[1:]]
        parts = [part for part in parts if part]
        del self.branches[1:]
        self.branches[0].append(f"(?:{'|'.join(parts)})" if parts else "")

    def _star(self) -> None:
        """One star, or a recursive wildcard when two stand alone between slashes."""
        tokens = self.branches[-1]
        before = self.text[self.at - 2] if self.at > 1 else ""
        if not self.text.startswith("*", self.at):
            tokens.append(self.run)
            return
        self.at += 1
        after = self.text[self.at : self.at + 1]
        inside = len(self.branches) > 1
        if not tokens:
            if after in ("", "/"):
                tokens.append(PREFIX)
                self.at += 1
            else:
                tokens += [self.run, self.run]
            return
        ends = not after or (inside and after in (",", "}"))
        if not (ends or after == "/") or not (before == "/" or (inside and before in (",", "{"))):
            tokens += [self.run, self.run]
            return
        if not ends:
            self.at += 1
        last = tokens.pop()
        tokens.append(last if last in (PREFIX, SUFFIX) else SUFFIX if ends else INNER)

    def _class(self) -> str:
        negated = self.text.startswith(("!", "^"), self.at)
        self.at += negated
        end = self.text.find("]", self.at + 1)
        if end < 0:
            raise GlobError("unclosed character class; missing ']'")
        inner, self.at = self.text[self.at : end], end + 1
        ranges: list[list[str]] = []
        open_range = False
        for index, char in enumerate(inner):
            if open_range:
                ranges[-1][1] = char
                if ranges[-1][0] > char:
                    raise GlobError(f"invalid range; {ranges[-1][0]!r} > {char!r}")
                open_range = False
            elif char == "-" and index:
                open_range = True
            else:
                ranges.append([char, char])
        if open_range:
            ranges.append(["-", "-"])
        body = "".join(f"{_quoted(low)}-{_quoted(high)}" for low, high in ranges)
        return f"[{'^' if negated else ''}{body}]"


def _quoted(char: str) -> str:
    """A byte as both regular expression engines read it literally."""
    return char if char.isascii() and char.isalnum() else f"\\x{ord(char):02x}"
