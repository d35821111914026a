"""A look at what would be sent changes nothing."""

from collector.forward.preview import preview
from tests.forward.conftest import MakeEdge


def test_preview_shows_entries_and_ended_windows_and_changes_nothing(make_edge: MakeEdge) -> None:
    edge = make_edge()
    (first,) = edge.ingest(1)
    edge.ingest(1, 4, user_id="ann")
    edge.clock.advance(61)
    edge.ingest(2)
    before = list(edge.state.iterdump())
    shown = preview(edge.path, 60.0, edge.clock.now())
    assert [(one["kind"], one["issue"], one["count"]) for one in shown["entries"]] == [("event", 1, 1), ("event", 2, 1)]
    assert shown["entries"][0]["event_id"] == first
    (window,) = shown["windows"]
    assert (window["issue"], window["title"], window["count"], window["users"]) == (1, "Oops: issue 1", 4, 1)
    assert before == list(edge.state.iterdump())
    assert edge.net.requests == []
    edge.finish()
    assert edge.net.counted == edge.ingested


def test_preview_of_a_damaged_entry_says_so(make_edge: MakeEdge) -> None:
    edge = make_edge()
    edge.ingest(1)
    edge.state.execute("UPDATE outbox SET body = x'00'")
    assert [one["kind"] for one in preview(edge.path, 60.0, edge.clock.now())["entries"]] == ["damaged"]
