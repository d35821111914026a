"""Copies of a storm take a short way through the digest: what is counted must be what the long way counts."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.digest.digester import NO_MEMORY, Digester, Memory
from collector.digest.project import ProjectRules
from collector.digest.settings import DigestSettings
from collector.model.event import Digested
from collector.model.received import Position, Received
from collector.protocol.limits import LimitSettings
from collector.scrub.settings import ScrubSettings
from collector.store.buckets import IssueRate, StoredProject
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.store.conftest import kill

NOW = 1_795_219_200.0
BATCH = 40
RATED = {42: StoredProject("shop", IssueRate(0.5, 3))}
TEXTS = ["no route to 10.0.0.7", "no route to 10.0.0.8", "card 4111111111111111 refused", "password=hunter2 refused"]
KINDS = ["ValueError", "KeyError"]
USERS = [None, {"id": "1"}, {"id": "2"}, {"email": "ada@example.net"}, {"ip_address": "203.0.113.7"}, {"username": "x"}]
SQL = (
    "SELECT hash, culprit, count, users, first_seen, last_seen FROM issues ORDER BY hash",
    "SELECT h.hash, hour, sum(n.count) FROM issue_hours n JOIN issues h ON h.id = n.issue_id GROUP BY 1, 2 ORDER BY 1",
    "SELECT key, quantity FROM ledger ORDER BY key",
)


def body(pick: random.Random, number: int) -> bytes:
    frames = [{"function": "pay", "module": "shop.cart", "filename": "cart.py", "lineno": pick.randrange(3),
               "in_app": True, "vars": {"order": number, "password": "hunter2"}}]  # fmt: skip
    stack = {"stacktrace": {"frames": frames}} if pick.random() < 0.4 else {}
    event: dict[str, Any] = {
        "event_id": f"{number:032x}", "platform": "python", "timestamp": NOW + number / 50, "user": pick.choice(USERS),
        "level": pick.choice(["error", "error", "warning"]), "tags": {"tenant": str(pick.randrange(2))},
        "exception": {"values": [{"type": pick.choice(KINDS), "value": pick.choice(TEXTS), **stack}]},
    }  # fmt: skip
    if pick.random() < 0.2:
        del event["exception"]
        event["logentry"] = {"formatted": pick.choice(TEXTS)}
    payload = json.dumps(event).encode()
    return b"{}\n" + json.dumps({"type": "event", "length": len(payload)}).encode() + b"\n" + payload


def run(store: Store, memory: Memory, rules: ProjectRules, seed: int) -> tuple[list[Digested], list[list[Any]]]:
    """Twelve commits; all that was digested, and what the state says in the end."""
    pick = random.Random(seed)
    digester = Digester({42: rules}, DigestSettings(), LimitSettings(), memory=memory)
    everything: list[Digested] = []
    for commit in range(12):
        batch = []
        for number in range(commit * BATCH + 1, (commit + 1) * BATCH + 1):
            received = Received("envelope", 42, NOW + number / 50, quantity=1)
            batch.append(digester.digest(Position(7, number, number), received, body(pick, number)))
        store.commit(batch)
        everything += batch
    return everything, [store._state.rows(sql) for sql in SQL]


@pytest.mark.parametrize("preset", ["default", "strict"])
@pytest.mark.parametrize("seed", range(2))
def test_the_short_way_counts_what_the_long_way_counts(
    tmp_path: Path, clock: FakeClock, seed: int, preset: Any
) -> None:
    rules = ProjectRules(scrubbing=ScrubSettings(preset=preset, scrub_ip_addresses=bool(seed % 2)))
    told = []
    copies = 0
    memories: list[Callable[[Store], Memory]] = [lambda _: NO_MEMORY, lambda one: Memory(is_over=one.is_over)]
    for name, memory in zip("ab", memories, strict=True):
        store = Store.open(tmp_path / name, StoreSettings(), RetentionSettings(), clock, projects=RATED)
        everything, state = run(store, memory(store), rules, seed)
        copies = sum(not row.payload for one in everything for row in one.events)
        assert sum(one.quantity for one in everything) == 12 * BATCH
        told.append(state)
        kill(store)
    assert told[0] == told[1]
    assert copies > BATCH  # of the second run: the short way was taken


def test_a_copy_whose_issue_was_resolved_meanwhile_reopens_it_without_a_payload(
    tmp_path: Path, clock: FakeClock
) -> None:
    store = Store.open(tmp_path / "data", StoreSettings(), RetentionSettings(), clock, projects=RATED)
    everything, _ = run(store, Memory(is_over=store.is_over), ProjectRules(), 1)
    copy = next(row for one in reversed(everything) for row in one.events if not row.payload)
    issue = store._state.rows("SELECT issue_id FROM hashes WHERE hash = ?", (copy.hashes[0],))[0][0]
    store.set_statuses([(issue, "resolved")], "ada")
    copy.event_id = "f" * 32
    done = store.commit([Digested(Position(7, 12 * BATCH + 1, 12 * BATCH + 1), 1, [copy])])
    assert done.stored == 1
    assert store.payload("f" * 32, 42) is None
    assert store._state.rows("SELECT status FROM issues WHERE id = ?", (issue,)) == [("unresolved",)]
    kill(store)
