"""sentry-cli, from shells and cron tables: events, stored envelopes, and jobs that it watches."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.sending import PACKAGES, Seen, needs_node, needs_packages, run
from tests.helpers.running import Collector, balanced, collector, error_event

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("clients-cli"), needs_node, needs_packages]

ENVELOPE_ID = uuid.uuid4().hex
FILE_ID = uuid.uuid4().hex


def sentry_cli(running: Collector, home: Path, *args: str, code: int = 0) -> str:
    """One call as from a clean account; no question about updates."""
    environ = {"SENTRY_DSN": running.dsn, "HOME": str(home), "SENTRY_DISABLE_UPDATE_CHECK": "1"}
    return run(str(PACKAGES / ".bin" / "sentry-cli"), *args, cwd=home, environ=environ, code=code)


def written_envelope(folder: Path) -> Path:
    """A stored envelope with an event and an attachment of bytes that are no text."""
    event = json.dumps({**error_event("from a file"), "event_id": ENVELOPE_ID}).encode()
    binary = bytes(range(256))
    parts = [
        json.dumps({"event_id": ENVELOPE_ID}).encode(),
        json.dumps({"type": "event", "length": len(event)}).encode(),
        event,
        json.dumps({"type": "attachment", "length": len(binary), "filename": "all.bin"}).encode(),
        binary,
    ]
    path = folder / "one.envelope"
    path.write_bytes(b"\n".join(parts) + b"\n")
    return path


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    home = tmp_path_factory.mktemp("home")
    event = home / "event.json"
    event.write_text(json.dumps({**error_event("from JSON"), "event_id": FILE_ID}))
    stored_envelope = written_envelope(home)
    with collector() as running:
        sentry_cli(running, home, "send-event", "-m", "deploy of %s failed", "-a", "shop", "-r", "shop@9", "-E", "prod",
                   "-l", "fatal", "-t", "tenant:acme", "-e", "build:17", "-u", "id:u-9", "--no-environ")  # fmt: skip
        sentry_cli(running, home, "send-event", str(event))
        sentry_cli(running, home, "send-event", "--raw", str(event))
        sentry_cli(running, home, "send-envelope", str(stored_envelope))
        sentry_cli(running, home, "monitors", "run", "-s", "0 3 * * *", "--timezone", "Europe/Warsaw", "backup",
                   "--", "sh", "-c", "exit 0")  # fmt: skip
        sentry_cli(running, home, "monitors", "run", "-e", "staging", "broken-job", "--", "sh", "-c", "exit 3", code=3)
        yield Seen(
            running,
            {"sent": []},
            events="SELECT * FROM events",
            check_ins="SELECT * FROM check_ins",
            attachments="SELECT * FROM attachments",
            outcomes="SELECT outcome, reason, items FROM outcomes",
        )


def test_an_event_of_options_is_stored_with_each_of_them(seen: Seen) -> None:
    event = seen.one("events", message="deploy of shop failed")
    assert (event["level"], event["release"], event["environment"]) == ("fatal", "shop@9", "prod")
    assert (event["tags"]["tenant"], event["payload"]["extra"]["build"]) == ("acme", "17")
    assert (event["user_id"], event["sdk"]) == ("u-9", "sentry-cli/3.8.0")
    assert event["payload"]["logentry"]["message"] == "deploy of %s failed"


def test_an_event_of_a_json_file_is_stored_once_and_its_raw_copy_counted_as_duplicate(seen: Seen) -> None:
    event = seen.one("events", event_id=FILE_ID)
    assert (event["exception_type"], event["exception_value"]) == ("ValueError", "from JSON")
    assert seen.rows["outcomes"] == [{"outcome": "invalid", "reason": "duplicate", "items": 1}]


def test_a_stored_envelope_comes_through_with_its_attachment(seen: Seen) -> None:
    event = seen.one("events", event_id=ENVELOPE_ID)
    assert event["exception_value"] == "from a file"
    (attachment,) = seen.rows["attachments"]
    assert (attachment["event_id"], attachment["filename"], attachment["bytes"]) == (ENVELOPE_ID, "all.bin", 256)


def test_a_watched_job_checks_in_with_its_schedule_and_its_end(seen: Seen) -> None:
    begun = seen.one("check_ins", monitor_slug="backup", status="in_progress")
    done = seen.one("check_ins", monitor_slug="backup", status="ok")
    assert begun["check_in_id"] == done["check_in_id"]
    assert begun["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 3 * * *"},
        "timezone": "Europe/Warsaw",
    }
    assert (done["environment"], done["duration_seconds"] >= 0) == ("production", True)


def test_a_job_that_fails_is_an_error_of_its_monitor_and_keeps_its_exit_code(seen: Seen) -> None:
    failed = seen.one("check_ins", monitor_slug="broken-job", status="error")
    assert failed["environment"] == "staging"
    assert len(seen.rows["check_ins"]) == 4


def test_the_ledger_has_each_item_once(seen: Seen) -> None:
    assert balanced(seen.ledger)
    assert seen.stored == {"attachment": 1, "check_in": 4, "event": 3}
    figures = {name: seen.ledger[name] for name in ("received", "stored", "dropped")}
    assert figures == {"received": 9, "stored": 8, "dropped": {"invalid:duplicate": 1}}
