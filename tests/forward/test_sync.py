"""Statuses both ways against a web API on real sockets."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from collector.errors import ConfigError
from collector.forward.sender import World
from collector.forward.sentry_api import ApiError, derive_api_url
from collector.forward.settings import UpstreamSettings
from collector.forward.sync import Sync, Wanted
from collector.machine.net import HttpNet, NetSettings
from collector.model.settings import Duration, Secret
from collector.store.outbox import Outbox
from collector.store.schema import STATE_DDL
from collector.store.statuses import PERSON, StatusChange, note_delivered, write_statuses
from tests.helpers.clock import FakeClock
from tests.helpers.mini_sentry_api import TOKEN, MiniSentryApi
from tests.helpers.mini_upstream import KEY


class Here:
    """Our side: issues 1 to 3 in a state.sqlite, upstream's 101 to 103."""

    def __init__(self, folder: Path, api: MiniSentryApi, **settings: Any) -> None:
        self.path = folder / "state.sqlite"
        self.state = sqlite3.connect(self.path, isolation_level=None)
        self.state.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + STATE_DDL)
        self.clock = FakeClock()
        self.api = api
        settings = {"api_token": Secret(TOKEN), **settings}
        dsn = Secret(f"{api.url.replace('://', f'://{KEY}@')}/7")
        self.net = HttpNet(NetSettings(timeout=Duration("5 s")))
        world = World(self.clock, self.net, lambda: 0.0)
        self.sync = Sync(UpstreamSettings(dsn=dsn, **settings), world, self.apply)
        self.outbox: Outbox
        for number in (1, 2, 3):
            self.state.execute(
                "INSERT INTO issues(id, project_id, short_id, hash, title, culprit, level, first_seen, last_seen)"
                " VALUES (?,42,?,'','','','error',0,0)",
                (number, f"SHOP-{number}"),
            )
            self.api.issues[f"10{number}"] = "unresolved"
            self.api.events[f"{number:032x}"] = f"10{number}"
        self.outbox = Outbox.open(self.path)
        with self.outbox.transaction() as cursor:
            note_delivered(cursor, [(number, f"{number:032x}") for number in (1, 2, 3)], self.clock.now() - 60)

    def apply(self, wanted: Sequence[Wanted]) -> None:
        for one in wanted:
            self.set(one.issue_id, one.status, by="upstream")

    def set(self, issue_id: int, status: str, by: str = PERSON) -> None:
        write_statuses(self.state.cursor(), [StatusChange(issue_id, status, self.clock.now(), by)])

    def round(self) -> None:
        self.clock.advance(60)
        self.sync.step(self.outbox, lambda: None)

    def statuses(self) -> list[str]:
        return [row[0] for row in self.state.execute("SELECT status FROM issues ORDER BY id")]

    def close(self) -> None:
        self.outbox.close()
        self.state.close()
        self.net.close()


@pytest.fixture
def api() -> Iterator[MiniSentryApi]:
    with MiniSentryApi() as running:
        yield running


@pytest.fixture
def here(tmp_path: Path, api: MiniSentryApi) -> Iterator[Here]:
    made = Here(tmp_path, api)
    yield made
    made.close()


def test_what_is_resolved_or_ignored_on_one_side_becomes_so_on_the_other(here: Here, api: MiniSentryApi) -> None:
    here.round()
    api.issues["101"] = "resolved"
    here.set(2, "ignored")
    here.round()
    here.round()
    assert here.statuses() == ["resolved", "ignored", "unresolved"]
    assert api.issues == {"101": "resolved", "102": "ignored", "103": "unresolved"}
    here.set(1, "unresolved", by="regression")
    api.issues["102"] = "unresolved"
    here.round()
    here.round()
    assert here.statuses() == ["unresolved", "unresolved", "unresolved"]
    assert api.issues["101"] == "unresolved"
    assert here.sync.status()["totals"]["conflicts"] == 0


def test_few_calls_and_each_issue_is_looked_up_once(here: Here, api: MiniSentryApi) -> None:
    here.round()
    assert [path.split("?")[0] for _, path in api.calls] == [
        "/api/0/projects/", "/api/0/projects/", *(f"/api/0/organizations/acme/eventids/{n:032x}/" for n in (1, 2, 3)),
        "/api/0/organizations/acme/issues/",
    ]  # fmt: skip
    api.calls.clear()
    here.set(1, "resolved")
    here.set(2, "resolved")
    here.round()
    assert [method for method, _ in api.calls] == ["GET", "PUT"]
    api.calls.clear()
    here.round()
    assert [method for method, _ in api.calls] == ["GET"]


@pytest.mark.parametrize(
    ("told", "both"),
    [
        ("2001-01-01T00:00:00Z", "resolved"),  # the change here is later
        ("2099-01-01T00:00:00.500Z", "ignored"),  # upstream's is
        (None, "ignored"),  # upstream does not say: it wins
    ],
)
def test_of_two_changes_the_later_one_holds(here: Here, api: MiniSentryApi, told: str | None, both: str) -> None:
    here.round()
    here.set(1, "resolved")
    api.issues["101"] = "ignored"
    api.changed = {"101": told} if told else {}
    here.round()
    here.round()
    assert (here.statuses()[0], api.issues["101"]) == (both, both)
    assert here.sync.status()["totals"]["conflicts"] == 1


def test_an_issue_nobody_touched_here_takes_over_what_upstream_says(here: Here, api: MiniSentryApi) -> None:
    api.issues["103"] = "ignored"
    api.changed["103"] = "1970-01-01T00:00:00Z"
    here.round()
    assert here.statuses()[2] == "ignored"


def test_an_issue_nobody_touched_upstream_follows_what_was_decided_here(here: Here, api: MiniSentryApi) -> None:
    here.set(1, "resolved")
    here.round()
    assert (here.statuses()[0], api.issues["101"]) == ("resolved", "resolved")


def test_what_is_neither_upstream_is_left_alone_and_what_is_gone_is_looked_for_again(
    here: Here, api: MiniSentryApi
) -> None:
    here.round()
    api.issues["101"] = "reprocessing"
    here.set(2, "resolved")
    del api.issues["102"]
    api.events[f"{2:032x}"] = "103"  # merged there
    here.round()
    here.clock.advance(600)
    here.round()
    assert here.statuses() == ["unresolved", "resolved", "unresolved"]
    assert here.state.execute("SELECT upstream_id FROM upstream_issues ORDER BY issue_id").fetchall() == [
        ("101",), ("103",), ("103",)
    ]  # fmt: skip


def test_an_event_that_upstream_does_not_know_yet_is_looked_for_later(here: Here, api: MiniSentryApi) -> None:
    group = api.events.pop(f"{1:032x}")
    here.round()
    assert here.sync.status()["linked"] == 2
    api.events[f"{1:032x}"] = group
    here.round()
    assert here.sync.status()["linked"] == 2
    here.clock.advance(600)
    here.round()
    assert here.sync.status()["linked"] == 3


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (401, {}, b"{}", "401, it does not know the token"),
        (403, {}, b"{}", "403, the token may not do this"),
        (404, {}, b"{}", "404, there is no such organisation"),
        (429, {"Retry-After": "77"}, b"{}", "429, its rate limit is used up"),
        (503, {}, b"<html>", "503, it fails"),
        (302, {"Location": "/login"}, b"", "302, it redirects"),
        (200, {}, b"<html>sign in", "200 with something that is no Sentry's: '<html>sign in'"),
    ],
)
def test_a_refusal_is_named_and_nothing_changes(
    here: Here, api: MiniSentryApi, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    here.round()
    here.set(1, "resolved")
    api.fail(status, headers, body)
    pause = here.sync._round(here.path, lambda: None)
    shown = here.sync.status()
    assert (shown["state"], said in shown["last_error"]) == ("backing_off", True)
    assert pause >= float(headers.get("Retry-After", 1))
    assert here.statuses()[0] == "resolved"
    api.fail(0)
    assert here.sync._round(here.path, lambda: None) == 60.0
    assert (here.sync.status()["state"], api.issues["101"]) == ("ok", "resolved")


def test_a_wrong_token_and_a_project_it_does_not_show_are_named(tmp_path: Path, api: MiniSentryApi) -> None:
    here = Here(tmp_path, api, api_token=Secret("wrong"))
    with pytest.raises(ApiError, match="401, it does not know the token"):
        here.round()
    here.close()


@pytest.mark.parametrize(
    ("dsn", "url"),
    [
        ("https://k@o1.ingest.sentry.io/7", "https://sentry.io"),
        ("https://k@o1.ingest.us.sentry.io/7", "https://us.sentry.io"),
        ("https://k@o1.ingest.de.sentry.io/7", "https://de.sentry.io"),
        ("http://k@sentry.example.com:9000/prefix/7", "http://sentry.example.com:9000/prefix"),
        ("https://k@[::1]:9000/7", "https://[::1]:9000"),
    ],
)
def test_the_address_of_the_api_follows_from_the_dsn(dsn: str, url: str) -> None:
    assert derive_api_url(dsn) == url


def test_without_dsn_the_address_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="api_url: is missing"):
        derive_api_url("")
