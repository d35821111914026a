"""A collector's forward room on a bench: real state.sqlite, real tables, commits made by hand."""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from collector.forward.room import Forward
from collector.forward.sender import World
from collector.forward.settings import ForwardSettings, UpstreamSettings
from collector.machine.net import Answer, NetError, Request
from collector.model.event import EventRow, ItemRow
from collector.model.received import Position
from collector.model.settings import Secret
from collector.store.delta import NEW, REGRESSED, SUMMARISED, AppliedBatch, Delta, Occurrence, user_hash
from collector.store.outbox import Outbox
from collector.store.schema import STATE_DDL
from tests.helpers.clock import FakeClock
from tests.helpers.mini_upstream import KEY, Received, count_of, decompress, parse_envelope

PROJECT = 42


class FakeNet:
    """An upstream without sockets: answers by `behave`, keeps what it took."""

    def __init__(self) -> None:
        self.received = Received()
        self.requests: list[Request] = []
        self.behave: Callable[[Request], Answer | NetError | None] = lambda request: None

    def send(self, request: Request) -> Answer:
        self.requests.append(request)
        answer = self.behave(request)
        if isinstance(answer, NetError):
            raise answer
        return answer or self.take(request)

    def send_many(self, requests: Sequence[Request]) -> list[Answer | NetError]:
        return [self._or_error(request) for request in requests]

    def _or_error(self, request: Request) -> Answer | NetError:
        try:
            return self.send(request)
        except NetError as error:
            return error

    def take(self, request: Request) -> Answer:
        """Accept the envelope as a receiver that tells repeated event ids apart."""
        body = decompress(request.body, request.headers.get("Content-Encoding", ""))
        envelope, items = parse_envelope(body)
        self.received.envelopes.append((envelope, items))
        self.received.bodies.append(body)
        for item in items:
            if item.type != "event":
                self.received.items.append(item)
            elif envelope["event_id"] in self.received.events:
                self.received.duplicates.append(envelope["event_id"])
            else:
                self.received.events[envelope["event_id"]] = item.json
        return Answer(200, {}, b"{}")

    def hurry(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass

    @property
    def counted(self) -> int:
        return sum(count_of(event) for event in self.received.events.values())

    def reported(self, reason: str) -> int:
        entries = [
            e for item in self.received.items if item.type == "client_report" for e in item.json["discarded_events"]
        ]
        return sum(entry["quantity"] for entry in entries if entry["reason"] == reason)


class Edge:
    """One collector: `ingest` makes a commit, `step` lets the sender work, `restart` is kill -9 and a new process."""

    def __init__(self, folder: Path, net: Any, clock: FakeClock | None = None, **settings: Any) -> None:
        self.clock = clock or FakeClock()
        self.net = net
        self.settings = UpstreamSettings(**{"dsn": Secret(f"http://{KEY}@127.0.0.1:9/7"), **settings})
        self.path = folder / "state.sqlite"
        self.reopen()
        self.payloads: dict[str, bytes] = {}
        self.modes: dict[int, ForwardSettings] = {}
        self.ingested = 0
        self._numbers = itertools.count(1)
        self._issues: set[int] = set()
        self.regressing: set[int] = set()  # issues whose next occurrence is a regression
        self.outbox: Outbox | None = None
        self.restart()

    def reopen(self) -> None:
        """The store's connection to state.sqlite, which is made when it is not there."""
        self.state = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.state.execute("PRAGMA journal_mode=WAL")
        self.state.executescript(STATE_DDL)

    def restart(self) -> None:
        """Everything in memory is gone; the files are as they were."""
        if self.outbox is not None:
            self.outbox.close()
        self.forward = Forward(self.settings, self.modes, World(self.clock, self.net, lambda: 0.5))
        self.outbox = Outbox.open(self.path)
        self.sender = self.forward.open_sender(self.outbox)

    def close(self) -> None:
        if self.outbox is not None:
            self.outbox.close()
        self.state.close()

    def ingest(self, issue_id: int, count: int = 1, **row: Any) -> list[str]:
        """One commit of `count` occurrences of an issue; their event ids."""
        rows = [self.event(issue_id, **row) for _ in range(count)]
        self.commit([(issue_id, one) for one in rows])
        return [one.event_id for one in rows]

    def event(self, issue_id: int, **row: Any) -> EventRow:
        number = next(self._numbers)
        event_id = f"{number:032x}"
        padding = hashlib.shake_128(b"%d" % number).hexdigest(row.pop("padding", 0) // 2)
        payload = {
            "event_id": event_id,
            "timestamp": self.clock.now(),
            "level": row.get("level", "error"),
            "platform": "python",
            "exception": {"values": [{"type": "Oops", "value": f"issue {issue_id}"}]},
            "contexts": {"trace": {"trace_id": "a" * 32, "span_id": "b" * 16}},
            "project": PROJECT,
            "extra": {
                "padding": padding,
                "number": number,
            },
        }
        self.payloads[event_id] = json.dumps(payload).encode()
        return EventRow(
            event_id=event_id,
            project_id=row.pop("project_id", PROJECT),
            timestamp=self.clock.now(),
            received_at=self.clock.now(),
            hashes=[f"{issue_id:032x}"],
            title=f"Oops: issue {issue_id}",
            culprit="shop.cart",
            payload=self.payloads[event_id],
            **row,
        )

    def commit(self, rows: list[tuple[int, EventRow]], rollback: bool = False, replayed: bool = False) -> AppliedBatch:
        """One SQLite transaction, as the store applies a commit."""
        by_id = {bytes.fromhex(row.event_id): row for _, row in rows}
        occurrences = [self._occurrence(issue_id, row) for issue_id, row in rows]
        batch = AppliedBatch(
            no=1,
            position=Position(1, 1, 1),
            committed_at=self.clock.now(),
            delta=Delta(occurrences=occurrences),
            replayed=replayed,
            event=lambda occurrence: None if replayed else by_id.get(occurrence.event_id),
            payload=lambda occurrence: self.payloads.get(occurrence.event_id.hex()),
        )
        self.apply(batch, rollback)
        self.ingested += 0 if rollback else len(rows)
        return batch

    def ingest_items(self, *rows: ItemRow, rollback: bool = False, **fields: Any) -> None:
        """One commit that holds only items."""
        batch = self.commit([], rollback=True)
        self.apply(msgspec.structs.replace(batch, items=rows, **({"no": next(self._numbers)} | fields)), rollback)

    def limit(self, **settings: Any) -> None:
        """What the project sends, from a restart on."""
        self.modes[PROJECT] = ForwardSettings(**settings)
        self.restart()

    def apply(self, batch: AppliedBatch, rollback: bool = False) -> None:
        cursor = self.state.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        self.forward.on_applied(cursor, batch)
        cursor.execute("ROLLBACK" if rollback else "COMMIT")
        self.forward.committed()

    def _occurrence(self, issue_id: int, row: EventRow) -> Occurrence:
        flags = NEW if issue_id not in self._issues else 0
        self._issues.add(issue_id)
        if issue_id in self.regressing:
            self.regressing.remove(issue_id)
            flags = REGRESSED
        self.state.execute(
            "INSERT OR IGNORE INTO issues(id, project_id, short_id, hash, title, culprit, level, first_seen, last_seen)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (issue_id, row.project_id, f"S-{issue_id}", row.hashes[0], row.title, row.culprit, row.level, 0.0, 0.0),
        )
        return Occurrence(
            issue_id,
            row.project_id,
            bytes.fromhex(row.event_id),
            row.timestamp,
            user_hash(row.user_id),
            row.level,
            flags,
        )

    def step(self, times: int = 1) -> float:
        """Let the sender do what it can; the pause it asks for."""
        pause = 0.0
        for _ in range(times):
            pause = self.sender.step(lambda: None)
        return pause

    def settle(self, max_steps: int = 10_000) -> None:
        """Step until nothing is left to do at this moment."""
        next(pause for pause in (self.step() for _ in range(max_steps)) if pause > 0)

    def finish(self, max_rounds: int = 200) -> None:
        """Let time pass until every window is closed and the outbox is empty."""
        rounds = iter(range(max_rounds))
        while self.left() and next(rounds, None) is not None:
            self.settle()
            self.clock.advance(self.settings.window + 1)
        self.settle()

    def left(self) -> int:
        """Occurrences that wait in windows and outbox."""
        queued = self.state.execute("SELECT coalesce(sum(quantity), 0) FROM outbox").fetchone()[0]
        return int(queued) + int(
            self.state.execute("SELECT coalesce(sum(events), 0) FROM forward_windows").fetchone()[0]
        )

    def queued_bytes(self) -> int:
        return int(self.state.execute("SELECT coalesce(sum(length(body)), 0) FROM outbox").fetchone()[0])

    def status(self) -> dict[str, Any]:
        assert self.outbox is not None
        self.forward.look(self.outbox)
        return self.forward.status()

    def totals(self) -> dict[str, int]:
        return self.status()["totals"]

    def records(self) -> int:
        return int(self.state.execute("SELECT count(*) FROM outbox").fetchone()[0])


__all__ = ["PROJECT", "SUMMARISED", "Edge", "FakeNet"]
