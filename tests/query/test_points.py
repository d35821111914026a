"""One event and one issue, as a user names them."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from collector import cli
from collector.errors import ProtocolError
from collector.query import adhoc
from collector.query.adhoc import Ask, Limits, Sources
from collector.query.cards import event_card, issue_card, sparkline
from collector.query.settings import QuerySettings
from tests.helpers.digested import NOW
from tests.helpers.running import PROJECT

LIMITS = Limits.of(QuerySettings())


def ask(sources: Sources, named: str, **values: Any) -> dict[str, Any]:
    out = io.BytesIO()
    adhoc.run(Ask(named=named, values=values), sources, LIMITS, "json", out)
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def id_of(number: int) -> str:
    return f"{number:032x}"


@pytest.mark.parametrize(
    ("key", "step", "number", "issue"),
    [
        (id_of(7), "", 7, 2),
        ("00000000-0000-0000-0000-00000000005B", "", 91, 6),
        (f" {id_of(7).upper()} ", "", 7, 2),
        ("SHOP-2", "", 87, 2),
        ("shop-2", "latest", 87, 2),
        ("2", "oldest", 2, 2),
        (id_of(52), "next", 57, 2),
        (id_of(52), "previous", 47, 2),
        (id_of(52), "oldest", 2, 2),
        (id_of(52), "latest", 87, 2),
        ("shop-2", "previous", 82, 2),
    ],
)
def test_an_event_is_found_however_it_is_named(sources: Sources, key: str, step: str, number: int, issue: int) -> None:
    found = ask(sources, "event", key=key, step=step)
    assert found["event_id"] == id_of(number)
    assert (found["issue_id"], found["issue"]["short_id"]) == (issue, f"SHOP-{issue}")


def test_an_event_is_whole(sources: Sources) -> None:
    found = ask(sources, "event", key=id_of(52))
    assert (found["project"], found["tags"]["tenant_id"], found["level"]) == ("shop", "t1", "error")
    assert found["payload"]["event_id"] == id_of(52)
    assert [found[name] for name in ("previous", "next", "oldest", "newest")] == [id_of(n) for n in (47, 57, 2, 87)]


@pytest.mark.parametrize(
    ("named", "key", "step", "status", "words"),
    [
        ("event", "f" * 32, "", 404, "there is no stored event ffff"),
        ("event", "ffffff", "", 404, "there is no event whose id begins with ffffff"),
        ("event", id_of(0x5A)[:31], "", 404, "several events begin with 0000"),
        ("event", "nope", "", 400, "'nope' is neither an event id"),
        ("event", "' OR 1=1 --", "", 400, "neither an event id"),
        ("event", id_of(87), "next", 404, "there is no next event"),
        ("event", id_of(87), "sideways", 400, "is no step"),
        ("issue", "SHOP-99", "", 404, "there is no issue 'SHOP-99'"),
    ],
)
def test_what_is_not_there_is_said(
    sources: Sources, named: str, key: str, step: str, status: int, words: str
) -> None:  # fmt: skip
    with pytest.raises(ProtocolError) as caught:
        ask(sources, named, key=key, step=step)
    assert words in caught.value.detail
    assert caught.value.status == status


def test_nothing_stored_at_all_is_said() -> None:
    with pytest.raises(ProtocolError, match="nothing is stored yet"):
        ask(Sources([], None), "issue", key="SHOP-1")


def test_an_issue_tells_its_day_its_tags_and_its_ends(sources: Sources) -> None:
    found = ask(sources, "issue", key="shop-2", now=NOW + 86_400 + 7200)
    assert (found["count"], found["stored"], found["oldest"], found["newest"]) == (18, 18, id_of(2), id_of(87))
    assert found["tags"]["browser"] == {"Firefox": 18}
    assert len(found["hours"]) == 24
    assert [count for _, count in found["hours"] if count] == [8]


def test_cards_show_hostile_texts_harmlessly(sources: Sources) -> None:
    card = event_card(ask(sources, "event", key=id_of(91)))
    assert "Ümläut — 試験" in card
    assert "\x1b" not in card
    assert "\\x1b[31mred" in card
    shown = issue_card(ask(sources, "issue", key="SHOP-2", now=NOW + 86_400 + 7200))
    assert "SHOP-2  ValueError: bug" in shown
    assert "kept         18 of its events" in shown


def test_a_card_shows_the_stack_innermost_last(stories: Sources) -> None:
    card = event_card(ask(stories, "event", key=id_of(1)))
    assert card.index("KeyError: 'sku'") < card.index("ValueError: bad cart")
    assert card.index("in main") < card.index("> ?:9 in pay")


def test_a_sparkline_is_as_high_as_its_numbers() -> None:
    assert sparkline([0, 1, 4, 8, 1000]) == " ▁▁▁█"
    assert sparkline([]) == ""


@pytest.mark.process
def test_the_commands_print_cards_and_json(
    sources: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    config = tmp_path / "collector.toml"
    config.write_text(PROJECT)
    place = ["--config", str(config), "--data-dir", str(sources.segments[0].parents[1])]
    assert cli.main(["event", "SHOP-2", "--oldest", *place]) == 0
    assert f"event        {id_of(2)}" in capsys.readouterr().out
    assert cli.main(["issue", "shop-3", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out)["short_id"] == "SHOP-3"
    assert cli.main(["event", "nope", *place]) == 1
    assert "neither an event id" in capsys.readouterr().err
