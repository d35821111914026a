"""The real collector as a process, and plain HTTP to talk to it."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from collector.ask import Asking
from collector.config import Config, load
from collector.errors import Unavailable
from collector.machine.link import ask_front

COLLECTOR = [sys.executable, "-m", "collector.cli"]
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
PROJECT = f"""
[[project]]
id = 42
slug = "shop"
keys = ["{KEY}"]
"""


PATIENCE_SECONDS = 90.0  # the worker runs at nice 10, its children at 19: on a full machine a start takes 10 s, not one


def wait_for(claim: Callable[[], Any], seconds: float = PATIENCE_SECONDS, what: str = "") -> Any:
    """Ask until the answer is true; the deadline is only there so that a broken product ends the test, and therefore
    never shorter than PATIENCE_SECONDS."""
    seconds = max(seconds, PATIENCE_SECONDS)
    deadline = time.monotonic() + seconds
    while True:
        answer = claim()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or claim}")
        time.sleep(0.05)


class Collector:
    """One collector on one data folder; start it, end it, start it again."""

    def __init__(
        self, folder: Path, config: str = PROJECT, environ: dict[str, str] | None = None, port: int = 0
    ) -> None:
        self.folder = folder
        self.port = port
        folder.mkdir(exist_ok=True)
        self.data = folder / "data"
        self.config = folder / "collector.toml"
        self.config.write_text(f'[listen]\naddress = "127.0.0.1:{port}"\n' + config)
        self.environ = {**os.environ, **(environ or {})}
        self.process: subprocess.Popen[str] | None = None
        self.dsns: list[str] = []
        self.log: list[str] = []
        self._readers: list[threading.Thread] = []

    def start(self, seconds: float = PATIENCE_SECONDS) -> "Collector":
        """Start and wait for the DSN line."""
        self.process = subprocess.Popen(
            [*COLLECTOR, "serve", "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
        )
        self.dsns = []
        lines: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, lines), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.log), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        process = self.process
        try:
            wait_for(
                lambda: any(line.startswith("DATA") for line in lines) or process.poll() is not None,
                seconds,
                "the DSN line",
            )
            assert process.poll() is None, f"serve ended with {process.returncode}: {self.tail()}"
        except BaseException:
            self.close()  # whoever starts it in a fixture has nothing to close yet
            raise
        self.dsns = [line.split()[1] for line in lines if line.startswith("DSN ")]
        return self

    def refused(self) -> "subprocess.CompletedProcess[str]":
        """`serve` where it is expected to refuse."""
        command = [*COLLECTOR, "serve", "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, env=self.environ, timeout=PATIENCE_SECONDS)

    @staticmethod
    def _read(stream: Any, into: list[str]) -> None:
        with contextlib.suppress(ValueError):
            for line in stream:
                into.append(line)

    def tail(self) -> str:
        return "".join(self.log[-40:])

    @property
    def dsn(self) -> str:
        return self.dsns[0]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.dsn)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port

    @property
    def project(self) -> int:
        return int(self.dsn.rsplit("/", 1)[1])

    @property
    def key(self) -> str:
        return urlsplit(self.dsn).username or ""

    def stop(self, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM and wait; the exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self._close()
        return code

    def kill(self) -> None:
        """kill -9 of the front; the worker leaves by itself."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        assert self.process
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        self.process = None

    def close(self) -> None:
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(15)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
            self._close()

    def command(self, *args: str, code: int | None = 0) -> str:
        """Run a command of the CLI with this configuration; its stdout."""
        done = subprocess.run(
            [*COLLECTOR, args[0], "--config", str(self.config), *args[1:]],
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=PATIENCE_SECONDS,
        )
        assert code is None or done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def query(self, sql: str) -> list[dict[str, Any]]:
        """What `collector query --format json` answers; asked from this process, which spares the command's start."""
        config = load(self.config, self.environ)
        out = io.BytesIO()
        Asking(lambda _: config, _ask).all_rows(config, sql, out)
        rows: list[dict[str, Any]] = json.loads(out.getvalue())
        return rows

    def status(self) -> dict[str, Any]:
        """The status document: over the control socket, as the command gets it, or from the command if nobody answers.

        Tests poll it, and a command is a process of its own each time.
        """
        document: dict[str, Any]
        try:
            document = ask_front(self.data, "status", None, 10.0)
        except Unavailable:
            document = json.loads(self.command("status", "--json", code=None))
        return document

    def drained(self, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until nothing is in the spool; the status then."""

        def empty() -> dict[str, Any] | None:
            status = self.status()
            return status if status["ledger"]["in_spool"] == 0 and status["ready"] else None

        try:
            document: dict[str, Any] = wait_for(empty, seconds, "an empty spool")
        except AssertionError as error:
            now = self.status()
            seen = {key: now[key] for key in ("ready", "problems", "worker", "spool", "ledger")}
            raise AssertionError(f"{error}: {seen}\n{self.tail()}") from None
        return document

    def send(
        self, body: bytes, headers: dict[str, str] | None = None, path: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """POST to the envelope door; (status, headers, body)."""
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        auth = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={self.key}, sentry_client=test/1"}
        try:
            connection.request("POST", path or f"/api/{self.project}/envelope/", body, {**auth, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def collector(config: str = PROJECT, environ: dict[str, str] | None = None) -> Iterator[Collector]:
    """A running collector in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="collector-") as folder:
        running = Collector(Path(folder), config, environ)
        try:
            yield running.start()
        finally:
            running.close()


def error_event(message: str = "boom", kind: str = "ValueError", **fields: Any) -> dict[str, Any]:
    """A small error event with one in-app frame."""
    frame = {"filename": "app.py", "module": "app", "function": "handler", "lineno": 1, "in_app": True}
    return {
        "event_id": uuid.uuid4().hex,
        "platform": "python",
        "timestamp": time.time(),
        "exception": {"values": [{"type": kind, "value": message, "stacktrace": {"frames": [frame]}}]},
        **fields,
    }


def envelope(event: dict[str, Any], **headers: Any) -> bytes:
    """An envelope around one event."""
    payload = json.dumps(event).encode()
    head = {"event_id": event["event_id"], **headers}
    return b"\n".join(
        [json.dumps(head).encode(), json.dumps({"type": "event", "length": len(payload)}).encode(), payload, b""]
    )


def _ask(config: Config, kind: str, body: Any, seconds: float) -> Any:
    return ask_front(Path(config.data.dir), kind, body, seconds)


def balanced(ledger: dict[str, Any]) -> bool:
    """The ledger's own sum."""
    done = ledger["stored"] + ledger["summarised"] + sum(ledger["dropped"].values()) + ledger["in_spool"]
    return bool(ledger["received"] == done)


def has_told_all(running: Collector) -> bool:
    """Whether nothing waits for upstream; not known of a worker that has just started."""
    outbox = running.status()["outbox"]
    return bool(outbox["records"] == 0 and outbox["state"] != "starting")


HEX32 = re.compile(r"[0-9a-f]{32}")
