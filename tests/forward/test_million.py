"""The sums at scale: a hot hour and a day of outage, in simulated time.

FORWARD_OCCURRENCES and FORWARD_OUTAGE_HOURS make them as large as one has time for; the defaults are for every run.
"""

import os

from collector.machine.net import NetError
from collector.model.received import Position
from collector.model.settings import Size
from collector.store.delta import SUMMARISED, AppliedBatch, Delta, Occurrence
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge

OCCURRENCES = int(os.environ.get("FORWARD_OCCURRENCES", "1000000"))
OUTAGE_HOURS = float(os.environ.get("FORWARD_OUTAGE_HOURS", "2"))
ISSUES = 40
MINUTES = 60
COMMITS_A_MINUTE = 6
DOWN = NetError("refused", False, "127.0.0.1:9 refuses the connection")


def counted(edge: Edge, issue_id: int, number: int, count: int) -> Occurrence:
    """Occurrences beyond the rate of their issue, as the store tells them: alike ones are one with a count."""
    now = edge.clock.now()
    flags = SUMMARISED
    return Occurrence(issue_id, PROJECT, number.to_bytes(16, "big"), now, number % 97, "error", flags, count, now + 0.5)


def commit_counts(edge: Edge, occurrences: list[Occurrence]) -> None:
    batch = AppliedBatch(
        no=1,
        position=Position(1, 1, 1),
        committed_at=edge.clock.now(),
        delta=Delta(occurrences=occurrences),
        replayed=False,
        event=lambda occurrence: None,
        payload=lambda occurrence: None,
    )
    edge.apply(batch)
    edge.ingested += sum(one.count for one in occurrences)


def test_an_hour_of_a_million_leaves_as_one_event_an_issue_and_minute_that_add_up(make_edge: MakeEdge) -> None:
    """1. 40 issues are new. 2. An hour of commits, restarted with kill -9 in between. Result: at most 40 * 60 + 40
    events whose counts add up, and so do the client reports."""
    edge = make_edge()
    edge.commit([(issue_id, edge.event(issue_id)) for issue_id in range(1, ISSUES + 1)])
    rest, commits = OCCURRENCES - ISSUES, MINUTES * COMMITS_A_MINUTE
    began = edge.clock.now()
    for number in range(commits):
        due = rest * (number + 1) // commits - rest * number // commits
        share = [due * (one + 1) // ISSUES - due * one // ISSUES for one in range(ISSUES)]
        commit_counts(edge, [counted(edge, one + 1, number * 100 + one, count) for one, count in enumerate(share)])
        edge.clock.advance(3600.0 / commits)
        edge.step(3)
        [edge.forward.committed, edge.restart][number % 50 == 49]()
    assert edge.clock.now() - began >= 3599.0
    edge.finish()
    events = edge.net.received.events
    assert edge.ingested == OCCURRENCES
    assert len(events) <= ISSUES * MINUTES + ISSUES
    assert edge.net.counted == OCCURRENCES
    assert edge.net.reported("collector_summarised") == OCCURRENCES - len(events)
    assert edge.net.received.duplicates == []


def test_a_day_of_outage_at_fifty_a_second_fits_the_outbox_without_a_loss(make_edge: MakeEdge) -> None:
    """64 MiB a day, and as much of it as the stretch that runs. One kept event an issue and window carries 15 kB that
    hardly compress; the others are counted."""
    budget = 64 * 2**20 * OUTAGE_HOURS / 24
    edge = make_edge(max_outbox_bytes=Size(f"{budget / 1024:.0f} KiB"))
    edge.net.behave = lambda request: DOWN
    largest = 0
    for number in range(int(OUTAGE_HOURS * 60)):
        edge.commit([(one, edge.event(one, padding=15_000)) for one in range(1, ISSUES + 1)])
        edge.payloads.clear()
        share = 3000 // ISSUES - 1
        commit_counts(edge, [counted(edge, one, number * 100 + one, share) for one in range(1, ISSUES + 1)])
        edge.clock.advance(60.0)
        edge.step(2)
        largest = max(largest, edge.forward.status()["outbox"]["bytes"])
    assert largest <= budget
    assert edge.totals()["folded"] > 0
    assert not any(name.startswith("dropped") for name in edge.totals())
    assert edge.left() == edge.ingested == int(OUTAGE_HOURS * 60) * 3000
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.finish()
    assert edge.net.counted == edge.ingested
    assert edge.net.received.duplicates == []
