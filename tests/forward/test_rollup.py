"""Counts add up exactly, whatever happens between two transactions."""

import random

import pytest

from collector.forward.event import utc
from collector.forward.settings import ForwardSettings
from collector.forward.users import KEPT, distinct, join, join_packed
from tests.forward.conftest import MakeEdge
from tests.forward.edge import Edge
from tests.helpers.mini_upstream import count_of


def test_first_event_goes_at_once_in_full_and_under_its_own_id(make_edge: MakeEdge) -> None:
    edge = make_edge()
    (event_id,) = edge.ingest(1)
    edge.settle()
    event = edge.net.received.events[event_id]
    assert event["exception"] == {"values": [{"type": "Oops", "value": "issue 1"}]}
    assert event["extra"]["number"] == 1
    assert "collector" not in event["contexts"]
    assert "project" not in event, "what only we use stays here"


def test_later_occurrences_of_a_window_become_one_summary(make_edge: MakeEdge) -> None:
    edge = make_edge()
    first_at = edge.clock.now()
    edge.ingest(1)
    edge.ingest(1, 4, user_id="ann")
    edge.clock.advance(30)
    last_ids = edge.ingest(1, 5, user_id="bob")
    edge.settle()
    assert len(edge.net.received.events) == 1
    edge.clock.advance(31)
    edge.settle()
    (summary,) = [event for event in edge.net.received.events.values() if count_of(event) > 1]
    context = summary["contexts"]["collector"]
    assert context["count"] == 9
    assert context["users"] == 2
    assert context["first_seen"] == utc(first_at)
    assert context["last_seen"] == utc(first_at + 30)
    assert context["window_seconds"] == 60
    assert context["name"] == "collector" and context["version"] and context["sampled"] is True
    assert summary["contexts"]["error_sampling"] == {"client_sample_rate": 1 / 9}
    assert summary["contexts"]["trace"]["trace_id"] == "a" * 32
    assert summary["timestamp"] == first_at + 30
    assert summary["extra"]["number"] == int(last_ids[-1], 16), "the latest of equally informative ones"
    assert edge.net.reported("collector_summarised") == 8


def test_exemplar_is_the_most_informative_event(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    (best,) = edge.ingest(1, level="fatal", frames='[{"function":"f"}]')
    edge.ingest(1, level="fatal", tags=[("tenant", "x")])
    edge.ingest(1, level="error", frames='[{"function":"f"}]', tags=[("tenant", "x")])
    edge.finish()
    (summary,) = [event for event in edge.net.received.events.values() if count_of(event) > 1]
    assert summary["extra"]["number"] == int(best, 16)


def test_counts_of_all_forwarded_events_add_up(make_edge: MakeEdge) -> None:
    edge = make_edge()
    pick = random.Random(7)
    for _ in range(300):
        edge.ingest(pick.randrange(1, 12), pick.randrange(1, 30))
        edge.clock.advance(pick.choice([0.1, 1, 7, 61]))
        edge.step()
    edge.finish()
    assert edge.net.counted == edge.ingested
    assert edge.net.received.duplicates == []
    summarised = edge.ingested - len(edge.net.received.events)
    assert edge.net.reported("collector_summarised") == summarised


def test_an_hour_of_forty_issues_stays_under_a_summary_a_minute_each(make_edge: MakeEdge) -> None:
    edge = make_edge()
    for _ in range(360):
        edge.commit([(number % 40 + 1, edge.event(number % 40 + 1)) for number in range(120)])
        edge.clock.advance(10)
        edge.settle()
    edge.finish()
    assert edge.net.counted == edge.ingested == 43_200
    assert len(edge.net.received.events) <= 40 * 60 + 40


def test_rolled_back_commit_leaves_no_trace(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.ingest(1, 5)
    edge.commit([(1, edge.event(1)), (2, edge.event(2))], rollback=True)
    edge.finish()
    assert edge.net.counted == edge.ingested == 6


def test_replayed_commit_that_was_rolled_back_counts_once(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    batch = edge.commit([(1, edge.event(1)), (2, edge.event(2))], rollback=True)
    edge.restart()
    edge.apply(batch)
    edge.finish()
    assert edge.net.counted == 3


def test_lost_state_replayed_from_all_commits_sends_the_same_ids_again(make_edge: MakeEdge) -> None:
    edge, again = make_edge(), make_edge()
    batches = []
    for _ in range(20):
        batches.append(edge.commit([(number % 3 + 1, edge.event(number % 3 + 1)) for number in range(7)]))
        edge.clock.advance(25)
        edge.settle()
    edge.finish()
    again.payloads = edge.payloads
    again.clock.jump(edge.clock.now() - again.clock.now())
    for batch in batches:
        again.apply(batch)
    again.finish()
    assert set(again.net.received.events) == set(edge.net.received.events)
    assert again.net.counted == edge.net.counted == edge.ingested


def test_history_of_a_lost_state_is_not_told_again(make_edge: MakeEdge) -> None:
    edge, again = make_edge(), make_edge()
    old = edge.commit([(1, edge.event(1)), (1, edge.event(1))], replayed=True)
    edge.clock.advance(7200)
    young = edge.commit([(1, edge.event(1))], replayed=True)
    again.payloads = edge.payloads
    again.clock.jump(edge.clock.now() - again.clock.now())
    again.apply(old)
    again.apply(young)
    again.finish()
    assert again.net.counted == 1
    assert again.totals()["replayed_untold"] == 2


def test_late_replay_into_a_state_that_knows_of_sent_events_is_told(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.settle()
    batch = edge.commit([(1, edge.event(1)), (2, edge.event(2))], rollback=True, replayed=True)
    edge.clock.advance(7200)
    edge.apply(batch)
    edge.finish()
    assert edge.net.counted == 3


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_exact_across_kills_at_random_moments(make_edge: MakeEdge, seed: int) -> None:
    edge = make_edge()
    pick = random.Random(seed)
    edge.net.behave = Killer(edge, pick)
    for _ in range(150):
        edge.ingest(pick.randrange(1, 5), pick.randrange(1, 9))
        edge.clock.advance(pick.choice([1, 20, 70]))
        step_or_die(edge)
    edge.net.behave = lambda request: None
    edge.restart()
    edge.finish()
    assert edge.net.counted == edge.ingested
    assert edge.left() == 0


class Killed(BaseException):
    """kill -9: nothing of the code that runs may handle it."""


class Killer:
    """Dies before the request reaches upstream, after it was taken, or not at all."""

    def __init__(self, edge: Edge, pick: random.Random) -> None:
        self.edge = edge
        self.pick = pick

    def __call__(self, request: object) -> None:
        fate = self.pick.choice(["before", "after", "fine", "fine", "fine"])
        taken = fate == "after" and self.edge.net.take(request)
        if fate != "fine":
            raise Killed(taken)


def step_or_die(edge: Edge) -> None:
    try:
        edge.step(3)
    except Killed:
        edge.restart()


def test_kill_between_close_and_send_loses_and_doubles_nothing(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.ingest(1, 9)
    edge.settle()
    edge.clock.advance(61)
    assert edge.forward.close_due(edge.outbox, edge.clock.now()) == 1
    edge.restart()
    edge.finish()
    assert edge.net.counted == 10


def test_exemplar_is_the_newest_of_its_rank_and_after_a_kill_the_one_on_disk(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1, 2)
    newest = edge.ingest(1)
    edge.settle()
    edge.clock.advance(61)
    edge.settle()
    assert list(edge.net.received.events.values())[-1]["extra"]["number"] == int(newest[0], 16)
    kept = edge.ingest(1)
    edge.ingest(1)
    edge.restart()
    edge.payloads.clear()
    edge.finish()
    assert list(edge.net.received.events.values())[-1]["extra"]["number"] == int(kept[0], 16)
    assert edge.net.counted == edge.ingested
    assert edge.state.execute("SELECT count(*) FROM forward_exemplars").fetchone() == (0,)


def test_summary_goes_out_even_when_no_payload_is_left(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.ingest(1, 4)
    edge.state.execute("DELETE FROM forward_exemplars")
    edge.restart()
    edge.finish()
    (summary,) = [event for event in edge.net.received.events.values() if count_of(event) > 1]
    assert summary["logentry"] == {"formatted": "Oops: issue 1"}
    assert summary["fingerprint"] == [f"{1:032x}"]
    assert edge.net.counted == edge.ingested


def test_window_closes_although_the_clock_was_set_back(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.ingest(1, 2)
    edge.clock.jump(-3600)
    edge.settle()
    assert edge.net.counted == 3


def test_projects_that_are_off_send_nothing_and_events_mode_sends_all(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.modes.update({1: ForwardSettings(mode="off"), 2: ForwardSettings(mode="events")})
    edge.restart()
    edge.ingest(1, 3, project_id=1)
    edge.ingest(2, 3, project_id=2)
    edge.finish()
    assert [event["exception"]["values"][0]["value"] for event in edge.net.received.events.values()] == ["issue 2"] * 3
    assert edge.net.reported("collector_summarised") == 0


def test_distinct_users_are_exact_up_to_the_limit_and_close_beyond() -> None:
    pick = random.Random(3)
    users = [pick.getrandbits(63) for _ in range(20_000)]
    assert distinct(join(b"", users[:KEPT])) == KEPT
    assert distinct(join(join(b"", users[:200]), users[100:300])) == 300
    packed = join_packed(join(b"", users[:15_000]), join(b"", users[5_000:]))
    assert 0.85 * 20_000 < distinct(packed) < 1.15 * 20_000
    assert distinct(join(b"", [0, 0])) == 0
