"""What people read of the room: `collector forward`, its dry run and the sentences of the status."""

from collector.forward.mishaps import TOLD_SECONDS
from collector.forward.preview import preview
from collector.forward.settings import ForwardSettings
from collector.machine.net import Answer, NetError
from collector.model.settings import Size
from collector.tables import forward_text, preview_text
from tests.forward.conftest import MakeEdge
from tests.forward.edge import PROJECT, Edge

DOWN = NetError("refused", False, "127.0.0.1:9 refuses the connection")
NAMES = {str(PROJECT): "shop"}


def read(edge: Edge) -> str:
    return forward_text(edge.status(), NAMES)


def test_a_quiet_collector_is_a_few_lines_without_a_warning(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.ingest(1, 4)
    edge.settle()
    text = read(edge)
    assert text.startswith("upstream 127.0.0.1:9/7  sending\n")
    assert "!" not in text
    assert "open, with 4 occurrences" in text
    assert "for 1 occurrences" in text


def test_an_outage_shows_why_breaker_and_next_attempt(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.net.behave = lambda request: DOWN
    edge.ingest(1)
    edge.settle()
    text = read(edge)
    assert "  ! 127.0.0.1:9 refuses the connection\n" in text
    assert "breaker open, next attempt in 0 s" in text
    edge.clock.advance(2)
    assert edge.status()["breaker"] == "half_open"
    edge.net.behave = lambda request: None
    edge.settle()
    assert edge.status()["breaker"] == "closed"


def test_a_limit_is_a_sentence_as_long_as_it_lasts(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.net.behave = lambda request: Answer(429, {"x-sentry-rate-limits": "20:error:key"}, b"{}")
    edge.ingest(1)
    edge.settle()
    assert edge.status()["last_error"] == "upstream has limited what it takes (429): error for 20 s"
    assert "limit error" in read(edge)
    edge.clock.advance(21)
    assert edge.status()["last_error"] == ""


def test_a_full_outbox_is_a_sentence_until_there_is_room(make_edge: MakeEdge) -> None:
    edge = make_edge(max_outbox_bytes=Size("60 KiB"), when_full="drop_oldest")
    edge.net.behave = lambda request: DOWN
    for issue_id in range(1, 60):
        edge.ingest(issue_id, padding=8000)
        edge.settle()
    told = edge.status()["last_error"]
    assert told.startswith("127.0.0.1:9 refuses the connection; the outbox is full, ")
    assert "of 61440 bytes: the oldest of what matters least are dropped" in told
    edge.net.behave = lambda request: None
    edge.clock.advance(61)
    edge.settle()
    edge.clock.advance(11)
    edge.settle()
    assert edge.status()["last_error"] == ""


def test_a_clock_that_was_set_is_told_for_a_while(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.settle()
    edge.clock.jump(-3600.0)
    edge.settle()
    status = edge.status()
    assert status["last_error"] == "the clock of this machine was set back by 3600 s"
    assert (status["clock_stepped_seconds"], status["totals"]["clock_steps"]) == (-3600.0, 1)
    edge.clock.advance(TOLD_SECONDS + 1)
    edge.settle()
    assert edge.status()["last_error"] == ""


def test_a_damaged_entry_is_told_although_the_next_went_well(make_edge: MakeEdge) -> None:
    edge = make_edge()
    for issue_id in (1, 2, 3):
        edge.ingest(issue_id)
    edge.state.execute("UPDATE outbox SET body = x'00ff' WHERE id = 1")
    edge.settle()
    assert "an entry of the outbox is damaged" in edge.status()["last_error"]
    assert "dropped collector damaged" in read(edge)


def test_modes_and_budgets_are_shown_by_the_name_of_the_project(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.modes[PROJECT] = ForwardSettings(mode="events", max_events_per_hour=2, max_bytes_per_day=Size("1 MiB"))
    edge.restart()
    edge.ingest(1)
    edge.ingest(1, 9)
    edge.clock.advance(61)
    edge.settle()
    text = read(edge)
    assert "projects: shop events" in text
    assert "of 2 events an hour" in text
    assert "of 1.0 MiB a day" in text
    assert "summaries wait for it, with 9 occurrences" in text
    edge.clock.advance(61)
    assert preview_text(preview(edge.path, 60.0, edge.clock.now()), NAMES).endswith(" (waits for the budget)")


def test_dry_run_reads_as_sentences(make_edge: MakeEdge) -> None:
    edge = make_edge()
    (first,) = edge.ingest(1)
    edge.ingest(1, 4, user_id="ann")
    edge.clock.advance(61)
    text = preview_text(preview(edge.path, 60.0, edge.clock.now()), NAMES)
    assert text.startswith("1 entry would be sent now, standing for 1:\n  shop ")
    assert first in text
    assert "1 window ended, each would become one summary:" in text
    assert "4 times, 1 user," in text and text.endswith(": Oops: issue 1")
    assert preview_text({"entries": [], "windows": []}, {}) == "nothing would be sent now"
