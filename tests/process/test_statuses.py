"""A collector, an upstream and its web API: statuses both ways."""

from pathlib import Path

import pytest

from tests.helpers.mini_sentry_api import TOKEN, MiniSentryApi
from tests.helpers.mini_upstream import MiniUpstream
from tests.helpers.running import PROJECT, Collector, envelope, error_event, wait_for


@pytest.mark.process
@pytest.mark.slow
def test_resolved_upstream_becomes_resolved_here_and_the_other_way_round(tmp_path: Path) -> None:
    """1. Two issues reach upstream. 2. One is resolved there, the other here. 3. An event of the first comes. Result:
    both are resolved on both sides; then the first is open again on both; a token that is taken back is named."""
    with MiniUpstream() as upstream, MiniSentryApi() as api:
        dsn = upstream.dsn.rpartition("/")[0] + "/7"
        config = f'[upstream]\ndsn = "{dsn}"\nwindow = "1 s"\napi_token = "{TOKEN}"\napi_url = "{api.url}"\n'
        running = Collector(tmp_path, PROJECT + config + 'sync_interval = "1 s"\n')
        try:
            running.start()
            for number, kind in enumerate(("FirstError", "SecondError"), 1):
                event = error_event(kind=kind)
                api.events[event["event_id"]] = f"10{number}"
                api.issues[f"10{number}"] = "unresolved"
                assert running.send(envelope(event))[0] == 200
                wait_for(lambda number=number: len(upstream.received.events) == number, what="the event upstream")  # type: ignore[misc]
            wait_for(
                lambda: b"collector_sync_linked_issues 2" in running.get("/metrics")[1], what="both found upstream"
            )
            api.issues["101"] = "resolved"
            assert running.command("issues", "resolve", "SHOP-2") == "SHOP-2  unresolved -> resolved\n"
            wait_for(lambda: api.issues["102"] == "resolved", what="the second resolved upstream")
            wait_for(lambda: statuses(running) == ["resolved", "resolved"], what="the first resolved here")
            assert running.send(envelope(error_event(kind="FirstError")))[0] == 200
            wait_for(lambda: api.issues["101"] == "unresolved", what="the first open again upstream")
            assert statuses(running) == ["unresolved", "resolved"]
            api.fail(401)
            wait_for(lambda: b"does not know the token" in running.get("/healthz")[1], what="the token named")
            assert running.status()["sync"]["state"] == "backing_off"
            assert "2 issues have a counterpart at" in running.get("/")[1].decode()
        finally:
            running.close()


def statuses(running: Collector) -> list[str]:
    return [row["status"] for row in running.query("SELECT status FROM issues ORDER BY short_id")]
