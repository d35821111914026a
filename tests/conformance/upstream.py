"""A receiver that keeps every request and answers as told: what "forwarded" is judged by."""

import gzip
import json
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard

UPSTREAM_KEY = "5e9a7e5e9a7e5e9a7e5e9a7e5e9a7e5e"
CARRIERS = {"client_report"}  # items that carry statistics, not what the case sent


class Upstream:
    """`requests` holds the items of every envelope that was taken, `refused` of those that were not."""

    def __init__(self) -> None:
        self.requests: list[list[tuple[dict[str, Any], bytes]]] = []
        self.refused: list[list[tuple[dict[str, Any], bytes]]] = []
        self.behaviour: Any = "ok"
        self.next_reply: dict[str, Any] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def dsn(self) -> str:
        """Where the collector sends to."""
        return f"http://{UPSTREAM_KEY}@127.0.0.1:{self._server.server_address[1]}/7"

    def __enter__(self) -> "Upstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def arrived(self, with_refused: bool) -> int:
        """Envelopes so far that carry more than statistics."""
        envelopes = [*self.requests, *(self.refused if with_refused else [])]
        return sum(any(head.get("type") not in CARRIERS for head, _ in items) for items in envelopes)

    def reported(self) -> list[dict[str, Any]]:
        """Every entry of every client report, with the name of the list it stood in."""
        entries = []
        for items in list(self.requests):
            for head, payload in items:
                if head.get("type") == "client_report":
                    report = json.loads(payload)
                    entries += [{**one, "list": name} for name, list_ in report.items() if isinstance(list_, list)
                                for one in list_]  # fmt: skip
        return entries

    def wait_for(self, claim: Any, seconds: float) -> bool:
        """Poll until the claim is true; its last value."""
        deadline = time.monotonic() + seconds
        while not claim():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:
            body = self._body()
            if upstream.behaviour == "drop_connections":
                self.close_connection = True
                return
            status, headers = self._reply()
            items = _items(_plain(body, self.headers.get("content-encoding", "")))
            (upstream.requests if status < 400 else upstream.refused).append(items)
            self._answer(status, headers, b"{}")

        do_GET = do_POST

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _reply(self) -> tuple[int, dict[str, str]]:
            reply, upstream.next_reply = upstream.next_reply, None
            if reply is None:
                reply = upstream.behaviour if isinstance(upstream.behaviour, dict) else {}
            return int(reply.get("status", 200)), dict(reply.get("headers") or {})

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler


def _plain(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def _items(body: bytes) -> list[tuple[dict[str, Any], bytes]]:
    items: list[tuple[dict[str, Any], bytes]] = []
    _, _, rest = body.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        try:
            head = json.loads(line)
        except ValueError:
            return [*items, ({"type": "unreadable"}, rest)]
        length = head.get("length")
        end = length if isinstance(length, int) else (rest.find(b"\n") if b"\n" in rest else len(rest))
        items.append((head, rest[:end]))
        rest = rest[end + 1 :]
    return items
