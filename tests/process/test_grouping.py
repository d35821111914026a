"""Grouping end to end: what is stored is what `collector group --raw` says, and an upgrade splits no issue."""

import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.running import COLLECTOR, KEY, Collector, collector, envelope, error_event

SHARED = Path(__file__).parents[2].parent / "shared"
CASES = SHARED / "conformance" / "grouping_cases.jsonl"
CORPUS = SHARED / "bench" / "corpus"
NEW, OLD = "newstyle:2026-01-20", "newstyle:2023-01-11"
PROJECTS = {NEW: 42, OLD: 43}
CONFIG = "".join(
    f'[[project]]\nid = {number}\nslug = "p{number}"\nkeys = ["{KEY}"]\n[project.grouping]\nconfig = "{name}"\n'
    for name, number in PROJECTS.items()
)

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("grouping")]
needs_cases = pytest.mark.skipif(not SHARED.exists(), reason=f"third-party cases and the corpus are not at {SHARED}")


def case_events() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, configuration, event as sent), each with an id of its own."""
    with CASES.open(encoding="utf-8") as lines:
        for case in map(json.loads, lines):
            given = case["input"]
            plain = not given.get("stack_trace_rules") and not given.get("fingerprint_rules")
            if case["kind"] == "variants" and plain and "event" in given:
                yield case["id"], case["config"], {**given["event"], "event_id": uuid.uuid4().hex}


def corpus_events() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in sorted(CORPUS.glob("*.envelope"))[::5]:
        event = json.loads(path.read_bytes().split(b"\n", 2)[2].split(b"\n")[0])
        yield path.stem, NEW, {**event, "event_id": uuid.uuid4().hex}


def told(events: list[tuple[str, str, dict[str, Any]]]) -> dict[str, str]:
    """Event id -> first hash, as the command says."""
    lines = "".join(
        json.dumps({"id": event["event_id"], "config": config, "event": event}) + "\n" for _, config, event in events
    )
    done = subprocess.run(
        [*COLLECTOR, "group", "--raw", "--json", "-"], input=lines, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {answer["id"]: answer["hashes"][0] for answer in map(json.loads, done.stdout.splitlines())}


@needs_cases
def test_stored_hashes_are_those_that_the_command_tells() -> None:
    events = [*case_events(), *corpus_events()]
    expected = told(events)
    with collector(CONFIG) as running:
        for _, config, event in events:
            assert running.send(envelope(event), path=f"/api/{PROJECTS[config]}/envelope/")[0] == 200
        running.drained(120)
        rows = running.query("SELECT event_id, hash FROM events LIMIT 2000")
    stored = {row["event_id"]: row["hash"] for row in rows}
    assert len(stored) == len(expected) == len(events) > 100
    differs = [name for name, _, event in events if stored[event["event_id"]] != expected[event["event_id"]]]
    assert differs == []


ONE = '[[project]]\nid = 42\nslug = "shop"\nkeys = ["{key}"]\n{more}'


def restarted(folder: Path, more: str) -> Collector:
    return Collector(folder, ONE.format(key=KEY, more=more)).start()


def send(running: Collector, count: int, kind: str) -> None:
    for _ in range(count):
        assert running.send(envelope(error_event(kind=kind)))[0] == 200
    running.drained()


def issues_of(running: Collector) -> dict[str, tuple[str, int]]:
    rows = running.query("SELECT short_id, title, count FROM issues")
    return {row["title"]: (row["short_id"], row["count"]) for row in rows}


def test_issues_of_the_older_configuration_go_on_under_the_new_one_and_after() -> None:
    with tempfile.TemporaryDirectory(prefix="collector-") as name:
        older = restarted(Path(name), f'[project.grouping]\nconfig = "{OLD}"\n')
        try:
            send(older, 2, "KeyError")
            (before,) = older.query("SELECT DISTINCT hash FROM events")
        finally:
            older.close()
        newer = restarted(Path(name), "")
        try:
            send(newer, 3, "KeyError")
            send(newer, 1, "TypeError")
            hashes = {row["hash"] for row in newer.query("SELECT DISTINCT hash FROM events WHERE title LIKE 'KeyE%'")}
            assert before["hash"] in hashes
            assert len(hashes) == 2
            assert issues_of(newer) == {"KeyError: boom": ("SHOP-1", 5), "TypeError: boom": ("SHOP-2", 1)}
        finally:
            newer.close()
        alone = restarted(Path(name), "[project.grouping]\ntransition = false\n")
        try:
            send(alone, 1, "KeyError")
            assert issues_of(alone)["KeyError: boom"] == ("SHOP-1", 6)
        finally:
            alone.close()


def test_going_back_to_the_older_configuration_splits_no_issue() -> None:
    with tempfile.TemporaryDirectory(prefix="collector-") as name:
        newer = restarted(Path(name), "")
        try:
            send(newer, 2, "KeyError")
            (before,) = newer.query("SELECT DISTINCT hash FROM events")
        finally:
            newer.close()
        (Path(name) / "data" / "state.sqlite").unlink()
        older = restarted(Path(name), f'[project.grouping]\nconfig = "{OLD}"\n')
        try:
            send(older, 3, "KeyError")
            hashes = {row["hash"] for row in older.query("SELECT DISTINCT hash FROM events")}
            assert before["hash"] in hashes
            assert len(hashes) == 2
            assert issues_of(older) == {"KeyError: boom": ("SHOP-1", 5)}
        finally:
            older.close()


def test_without_transition_the_new_configuration_makes_new_issues() -> None:
    with tempfile.TemporaryDirectory(prefix="collector-") as name:
        older = restarted(Path(name), f'[project.grouping]\nconfig = "{OLD}"\n')
        try:
            send(older, 1, "KeyError")
        finally:
            older.close()
        newer = restarted(Path(name), "[project.grouping]\ntransition = false\n")
        try:
            send(newer, 1, "KeyError")
            assert [row["short_id"] for row in newer.query("SELECT short_id FROM issues ORDER BY id")] == [
                "SHOP-1",
                "SHOP-2",
            ]
        finally:
            newer.close()


def test_new_rules_are_tried_over_stored_events_with_the_present_ones_kept() -> None:
    more = '[project.grouping]\nfingerprint_rules = "type:OSError -> disk"\n'
    with tempfile.TemporaryDirectory(prefix="collector-") as name:
        running = restarted(Path(name), more)
        try:
            for kind, layer in (("KeyError", "one"), ("KeyError", "one"), ("KeyError", "two"), ("OSError", "one")):
                event = error_event(kind=kind)
                frames = event["exception"]["values"][0]["stacktrace"]["frames"]
                frames.insert(0, {**frames[0], "function": f"layer_{layer}"})
                assert running.send(envelope(event))[0] == 200
            running.drained()
            (Path(name) / "new.txt").write_text("function:layer_* -group\n")
            (Path(name) / "bad.txt").write_text("app:yes -grup\n")
            merging = running.command("rules", "try", "--rules", f"{name}/new.txt")
            unchanged = running.command("rules", "try")
            refused = subprocess.run(
                [*COLLECTOR, "rules", "try", "--config", str(running.config), "--rules", f"{name}/bad.txt"],
                capture_output=True,
                text=True,
            )
        finally:
            running.close()
    first, *parts, total = merging.splitlines()
    assert first.startswith("merge  ")
    assert [line.split(maxsplit=1)[1] for line in parts] == ["2 events  KeyError: boom", "1 event  KeyError: boom"]
    assert total == "4 events: 3 issues before, 2 after; 1 would be merged from several, 0 would split"
    assert unchanged == "4 events: 3 issues before, 3 after; 0 would be merged from several, 0 would split\n"
    assert refused.returncode == 78
    assert "line 1, column 10" in refused.stderr


def issues(running: Collector, *arguments: str) -> Any:
    return json.loads(running.command("issues", *arguments, "--json"))


def refused(running: Collector, *arguments: str) -> str:
    done = subprocess.run(
        [*COLLECTOR, "issues", *arguments, "--config", str(running.config)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    return done.stderr


def test_issues_are_merged_and_split_by_hand_while_it_runs_and_at_rest() -> None:
    """
    1. Three kinds of errors and two feedbacks come in; two of the kinds are merged while the collector runs.
    2. The state is lost, and computed again at the start; events of both kinds join the merged issue.
    3. At rest, the second kind is taken out again; it goes back to its first issue.
    Result: every event counted where it belongs, and each feedback an issue of its own.
    """
    with tempfile.TemporaryDirectory(prefix="collector-") as name:
        running = restarted(Path(name), "")
        try:
            for kind in ("KeyError", "TypeError", "OSError"):
                send(running, 1, kind)
            for message in ("too slow", "too slow"):
                remark = {"contexts": {"feedback": {"message": message}}, "event_id": uuid.uuid4().hex}
                body = envelope(remark).replace(b'"type": "event"', b'"type": "feedback"')
                assert running.send(body)[0] == 200
            running.drained()
            merged = issues(running, "merge", "shop-1", "SHOP-2")
            assert (merged["into"], len(merged["moved"])) == (
                "SHOP-1",
                len(issues(running, "show", "SHOP-1")["hashes"]) - 1,
            )
            assert "there is no issue 'SHOP-9'" in refused(running, "merge", "SHOP-1", "SHOP-9")
        finally:
            running.close()
        (Path(name) / "data" / "state.sqlite").unlink()
        again = restarted(Path(name), "")
        try:
            send(again, 2, "KeyError")
            send(again, 2, "TypeError")
            assert issues(again, "show", "SHOP-1")["issue"]["count"] == 5
        finally:
            again.close()
        moved = [one["hash"] for one in merged["moved"]]
        assert issues(again, "unmerge", "SHOP-1", *moved)["into"] == "SHOP-2"
        assert "is no hash of SHOP-1" in refused(again, "unmerge", "SHOP-1", moved[0])
        counts = {one["short_id"]: (one["count"], one["title"]) for one in issues(again, "list")["issues"]}
        assert counts == {
            "SHOP-1": (5, "TypeError: boom"),
            "SHOP-2": (1, "TypeError: boom"),
            "SHOP-3": (1, "OSError: boom"),
            "SHOP-4": (1, "User Feedback: too slow"),
            "SHOP-5": (1, "User Feedback: too slow"),
        }
