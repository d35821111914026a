"""A collector whose disk fails on command, and what was acknowledged by it so far."""

import http.client
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.audit import ISSUE_OFF, Verdict, audit
from tests.faults.shim import Shim
from tests.helpers.running import Collector, envelope, error_event, wait_for

# Small files and a checkpoint a second: everything that happens now and then happens within a test.
CONFIG = ISSUE_OFF + '[store]\ncheckpoint_interval = "1 s"\n[spool]\nfile_bytes = "64 KiB"\n'
BULK = "b" * 6000


class Victim:
    """The real command under the shim. `acked` are the ids that got 200, over all its lives."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.shim = Shim(folder)
        self.running = Collector(folder, config, self.shim.environ)
        self.acked: list[str] = []
        self.answers: Counter[int] = Counter()
        self.refusal: dict[str, str] = {}

    def start(self) -> "Victim":
        self.running.start()
        return self

    def send(self, count: int = 1, **fields: Any) -> list[int]:
        """So many events, one after the other; the answers, 0 where there was none."""
        codes = []
        for number in range(count):
            event = error_event(f"number {number}", "FaultError", **fields)
            try:
                code, headers, _ = self.running.send(envelope(event))
            except (OSError, http.client.HTTPException):
                code, headers = 0, {}
            if code == 200:
                self.acked.append(event["event_id"])
            elif code:
                self.refusal = headers
            codes.append(code)
        self.answers.update(codes)
        return codes

    def fails(self, *rules: str, seconds: float = 20.0) -> set[int]:
        """Set the rules, send until one fires, and a few more after that; the answers."""
        before = len(self.shim.fired())
        self.shim.set(*rules)
        seen: set[int] = set()

        def fired() -> bool:
            seen.update(self.send(extra={"bulk": BULK}))
            return len(self.shim.fired()) > before

        wait_for(fired, seconds, f"a fault of {rules}")
        seen.update(self.send(3))
        return seen

    def heals(self, seconds: float = 30.0) -> None:
        """No fault any more; wait until events are taken again. A front that dies of it is started again, whenever."""
        self.shim.set()

        def taken() -> bool:
            if self.running.process is not None and self.running.process.poll() is not None:
                self.running.kill()
            if self.running.process is None:
                self.running.start()
            return self.send() == [200]

        wait_for(taken, seconds, "an acknowledgement after the fault")

    def audit(self, restart: bool = False) -> Verdict:
        return audit(self.running, self.acked, restart=restart)

    def pause_worker(self) -> int:
        """SIGSTOP; its pid."""
        pid = wait_for(lambda: self.running.status()["worker"]["pid"], what="a worker")
        os.kill(pid, signal.SIGSTOP)
        return int(pid)
