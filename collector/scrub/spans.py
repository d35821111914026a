"""Where things stand in the bytes of a JSON value: string tokens, values behind keys, ends of values."""

import re

MARK_BASE = 0xF0000  # first private-use character of plane 15; its UTF-8 form begins with MARK_LEAD
MARK_LEAD = b"\xf3"  # one byte, because a search for one byte is many times faster than for two
MAX_MARKS = 0x1000
_MARKS = [chr(MARK_BASE + number).encode() for number in range(MAX_MARKS)]
WINDOW_BYTES = 512  # looked at for the beginning of a string before the whole payload is made plain

_BACKSLASH = 0x5C
_AFTER_NUMBER = (b"", b",", b"]", b"}", b" ", b"\t", b"\r", b"\n")
_REST_OF_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NUMBER = re.compile(rb"[-+.0-9eE]+")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\r\n]*[:,][ \t\r\n]*")


class Fallback(Exception):
    """This payload is for the deep walk."""


class Spans:
    """A JSON value and the string tokens in it that were hit: `tokens` are the places of their opening quotes."""

    def __init__(self, payload: bytes, hits: list[int]) -> None:
        self.payload = payload
        self._plain = b""
        self._counted = self._quotes = 0  # quotes of string tokens before a place
        self.tokens = self._tokens(hits)
        if len(self.tokens) >= MAX_MARKS:
            raise Fallback

    @property
    def plain(self) -> bytes:
        """The payload at the same length, but every quote that is left begins or ends a string token."""
        if not self._plain:
            self._plain = self.payload.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        return self._plain

    def _tokens(self, hits: list[int]) -> list[int]:
        """Where the tokens of the hits begin; JSON numbers are passed over."""
        tokens: list[int] = []
        done = 0
        for hit in hits:
            if hit < done:
                continue
            done = self._number_end(hit)
            if not done:
                tokens.append(self._opening_quote(hit))
                done = self.string_end(tokens[-1])
        return tokens

    def _number_end(self, hit: int) -> int:
        """Behind the JSON number that a hit lies in; 0 when it lies in a string, even one that looks like a number."""
        payload = self.payload
        if payload[hit] not in b"0123456789":
            return 0
        start = hit - 1
        while start >= 0 and payload[start] in b"0123456789.eE+-":
            start -= 1
        number = _NUMBER.match(payload, hit)
        end = number.end() if number else hit
        if (start >= 0 and payload[start] not in b",[: \t\r\n") or payload[end : end + 1] not in _AFTER_NUMBER:
            return 0
        self._quotes += self.plain.count(b'"', self._counted, hit)
        self._counted = hit
        return end if self._quotes % 2 == 0 else 0

    def _opening_quote(self, at: int) -> int:
        """The quote that begins the string token around `at`."""
        start = self.payload.rfind(b'"', 0, at)
        if not start or self.payload[start - 1] != _BACKSLASH:
            return start
        window = self.payload[max(0, at - WINDOW_BYTES) : at]
        whole = window.lstrip(b"\\")
        found = whole.replace(b"\\\\", b"__").replace(b'\\"', b"__").rfind(b'"')
        return at - len(whole) + found if found > 0 else self.plain.rfind(b'"', 0, at)

    def marked(self) -> bytes:
        """The payload with a numbered mark in front of the text of each token that was hit."""
        payload = self.payload
        pieces: list[bytes] = []
        at = 0
        for number, token in enumerate(self.tokens):
            pieces += (payload[at : token + 1], _MARKS[number])
            at = token + 1
        pieces.append(payload[at:])
        return b"".join(pieces)

    def string_end(self, start: int) -> int:
        """Behind the closing quote of the string token at `start`."""
        match = _REST_OF_STRING.match(self.payload, start + 1)
        if match is None:
            raise Fallback
        return match.end()

    def value_start(self, mark: int) -> int:
        """The value behind the key with this mark, or behind the first element of a pair."""
        between = _BETWEEN.match(self.payload, self.string_end(self.tokens[mark]))
        if between is None:
            raise Fallback
        return between.end()

    def value_end(self, start: int) -> int:
        """Behind the string, number, list or object at `start`."""
        first = self.payload[start : start + 1]
        if first == b'"':
            return self.string_end(start)
        if first not in (b"{", b"["):
            number = _NUMBER.match(self.payload, start)
            if number is None:
                raise Fallback
            return number.end()
        depth = 0
        for match in _BRACKETS.finditer(self.payload, start):
            opening = match.group()[:1]
            depth += (opening in b"{[") - (opening in b"]}")
            if depth == 0:
                return match.end()
        raise Fallback
