"""A Sentry's web API on loopback, as far as statuses of issues need it: real sockets, one thread.

    with MiniSentryApi() as api:
        api.issues["4242"] = "resolved"; api.events["ab…"] = "4242"
        api.fail(429, {"Retry-After": "7"})     # until api.fail(0)

Paging, scopes and shapes are those of the reference. `calls`: (method, path with query) of every request.
"""

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "sntryu_0123456789abcdef"
ORGANISATION, PROJECT = "acme", 7


class MiniSentryApi:
    """issues: id -> status. events: event id -> issue id. changed: issue id -> time of its last change, ISO text."""

    def __init__(self) -> None:
        self.issues: dict[str, str] = {}
        self.events: dict[str, str] = {}
        self.changed: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.failure: tuple[int, dict[str, str], bytes] | None = None
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.serve(self, b"")

            def do_PUT(self) -> None:
                api.serve(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "MiniSentryApi":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, status: int, headers: dict[str, str] | None = None, body: bytes = b'{"detail":"no"}') -> None:
        """Answer everything so; 0: as usual again."""
        self.failure = (status, headers or {}, body) if status else None

    def serve(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        self.calls.append((request.command, request.path))
        status, headers, payload = self.failure or self._answer(request, body)
        request.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(payload)}.items():
            request.send_header(name, str(value))
        request.end_headers()
        request.wfile.write(payload)

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}, b'{"detail":"Invalid token"}'
        parts = urllib.parse.urlsplit(request.path)
        query = urllib.parse.parse_qs(parts.query)
        path = parts.path.strip("/").split("/")[2:]
        if path == ["projects"]:
            return self._projects(query)
        if path[:2] != ["organizations", ORGANISATION]:
            return 404, {}, b'{"detail":"The requested resource does not exist"}'
        return (
            200 if (found := self._of_organisation(request.command, path[2:], query, body)) is not None else 404,
            {},
            (json.dumps(found if found is not None else {"detail": "Event not found"}).encode()),
        )

    def _projects(self, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        """Two pages; ours is on the second."""
        is_first = "cursor" not in query
        rows = [{"id": str(1 if is_first else PROJECT), "slug": "web", "organization": {"slug": ORGANISATION}}]
        link = f'<{self.url}>; rel="previous"; results="false"; cursor="0:0:1", '
        link += f'<{self.url}>; rel="next"; results="{str(is_first).lower()}"; cursor="0:100:0"'
        return 200, {"Link": link}, json.dumps(rows).encode()

    def _of_organisation(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> Any:
        if path[0] == "eventids":
            group = self.events.get(path[1])
            return group and {"organizationSlug": ORGANISATION, "projectSlug": "web", "groupId": group,
                              "eventId": path[1], "event": {"id": path[1]}}  # fmt: skip
        if path[0] == "issues" and len(path) == 2:
            changed = self.changed.get(path[1])
            activity = [{"type": "note", "dateCreated": "2099-01-01T00:00:00Z"}]
            activity += [{"type": "set_ignored", "dateCreated": changed}] if changed else []
            return {"id": path[1], "status": self.issues[path[1]], "activity": activity}
        if method == "PUT":
            self.issues.update(dict.fromkeys(query["id"], json.loads(body)["status"]))
            return json.loads(body)
        return [
            {"id": one, "status": self.issues[one], "title": "x", "count": "1"}
            for one in query["group"]
            if one in self.issues
        ]
