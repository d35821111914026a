"""The bytes of a case over a socket, and the answer as it came."""

import base64
import gzip
import json
import socket
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import brotli
import zstandard

TIMEOUT_SECONDS = 30.0
ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda body: brotli.compress(body, quality=4),
    "zstd": lambda body: zstandard.ZstdCompressor().compress(body),
}


@dataclass
class Answer:
    """status is None when no answer was read. headers: lower-case name -> values joined by a comma."""

    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body as JSON, None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def body_of(request: Mapping[str, Any]) -> bytes:
    """The body of a request, encoded as it says. Raises KeyError for an encoder nobody knows."""
    body = _plain_body(request)
    encoder = request.get("encode")
    return ENCODERS[encoder](body) if encoder else body


def _plain_body(request: Mapping[str, Any]) -> bytes:
    if "envelope_lines" in request:
        return "".join(line + "\n" for line in request["envelope_lines"]).encode()
    if "body_base64" in request:
        return base64.b64decode(request["body_base64"])
    if "body_parts" in request:
        return b"".join(
            part["text"].encode() if "text" in part else part["repeat_text"].encode() * int(part["count"])
            for part in request["body_parts"]
        )
    if "body_repeat" in request:
        return str(request["body_repeat"]["char"]).encode() * int(request["body_repeat"]["count"])
    return str(request.get("body") or "").encode()


def request_bytes(request: Mapping[str, Any], host: str) -> bytes:
    """The whole request: the case's own headers, and of ours only Host, Content-Length and Connection."""
    body = body_of(request)
    method = request.get("method", "POST")
    headers = [(str(name), str(value)) for name, value in (request.get("headers") or {}).items()]
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        headers.insert(0, ("Host", host))
    if not names & {"content-length", "transfer-encoding"} and (body or method in ("POST", "PUT", "PATCH")):
        headers.append(("Content-Length", str(len(body))))
    if "connection" not in names:
        headers.append(("Connection", "close"))
    head = f"{method} {request['path']} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    return head.encode("utf-8", "surrogateescape") + b"\r\n" + body


def exchange(address: tuple[str, int], request: Mapping[str, Any]) -> Answer:
    """Send one request on a connection of its own and read its answer to the end."""
    data = request_bytes(request, f"{address[0]}:{address[1]}")
    with socket.create_connection(address, timeout=TIMEOUT_SECONDS) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the body was through; the answer may still be there
        if request.get("close_early"):
            return Answer(None)
        return _read(connection)


def _read(connection: socket.socket) -> Answer:
    received = bytearray()
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    except TimeoutError:
        return Answer(None, body=bytes(received))
    head, found, body = bytes(received).partition(b"\r\n\r\n")
    if not found:
        return Answer(None, body=bytes(received))
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return Answer(int(first.split()[1]), headers, body)


def _joined(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        if not length:
            break
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)
