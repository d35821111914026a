"""The head of a request: the few headers that ingest reads, in one pass."""

import re
from collections.abc import Mapping
from typing import Any

from collector.accept.address import Proxies, client_address
from collector.protocol.auth import Auth, read_auth
from collector.protocol.encodings import canonical

MAX_TEXT = 1024  # characters kept of User-Agent, Origin and Content-Type
_ORIGIN_OF_REFERER = re.compile(rb"https?://[^/?#\s]+", re.IGNORECASE)
_SEEN_ONCE = {
    b"content-encoding", b"content-length", b"content-type", b"user-agent", b"origin", b"referer",
}  # fmt: skip


class Head:
    """What one request says before its body. Bytes as sent; texts are made when they are needed."""

    __slots__ = ("_forwarded", "_x_sentry_auth", "authorization", "once", "query", "scope")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.scope = scope
        self.query: bytes = scope["query_string"]
        self.once: dict[bytes, bytes] = {}
        self._x_sentry_auth: list[bytes] = []
        self.authorization: list[bytes] = []
        self._forwarded: list[bytes] = []
        for name, value in scope["headers"]:
            if name in _SEEN_ONCE:
                self.once[name] = value
            elif name == b"x-sentry-auth":
                self._x_sentry_auth.append(value)
            elif name == b"authorization":
                self.authorization.append(value)
            elif name == b"x-forwarded-for":
                self._forwarded.append(value)

    def auth(self, path_key: str = "") -> Auth | None:
        """Raises ProtocolError."""
        if not self._x_sentry_auth and not self.authorization and not self.query and not path_key:
            return None
        return read_auth(self._x_sentry_auth, self.authorization, self.query, path_key)

    def encoding(self) -> str:
        """Canonical content encoding. Raises ProtocolError 415."""
        value = self.once.get(b"content-encoding")
        return canonical(value) if value else ""

    def content_length(self) -> int:
        """The announced length, 0 when there is none (the HTTP parser has checked its form)."""
        value = self.once.get(b"content-length")
        return int(value) if value and value.isdigit() else 0

    def text(self, name: bytes) -> str:
        """A header as text, cut to MAX_TEXT."""
        value = self.once.get(name)
        return value[:MAX_TEXT].decode("utf-8", "replace") if value else ""

    def origin(self) -> str:
        """Origin, else the origin part of an http(s) Referer, else ""."""
        origin = self.text(b"origin")
        if origin:
            return origin
        match = _ORIGIN_OF_REFERER.match(self.once.get(b"referer", b""))
        return match[0][:MAX_TEXT].decode("utf-8", "replace") if match else ""

    def address(self, proxies: Proxies) -> str:
        """The client's address; X-Forwarded-For counts only from a trusted proxy."""
        client = self.scope.get("client")
        return client_address(client[0] if client else "", self._forwarded, proxies)
