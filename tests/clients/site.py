"""The web server of the shop's page: the page and the packages it imports, nothing else."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.clients.sending import HERE


class _Files(SimpleHTTPRequestHandler):
    extensions_map = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript"}
    protocol_version = "HTTP/1.1"
    timeout = 5  # seconds; browsers open connections that they never use

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=str(HERE))

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "max-age=600")  # the second page takes them from the browser's cache
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves in mid-answer is no error of ours."""


@contextlib.contextmanager
def site() -> Iterator[int]:
    """Its port on loopback."""
    with _Server(("127.0.0.1", 0), _Files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
