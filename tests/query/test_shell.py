"""The shell at a real terminal and as a script."""

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from collector.query.adhoc import Sources
from collector.query.prompt import Words, is_complete
from collector.query.settings import QuerySettings
from collector.query.shell import Shell
from collector.query.statements import split
from tests.helpers.running import PROJECT
from tests.helpers.terminal import Terminal

ROOT = Path(__file__).parents[2]
FOREVER = "SELECT count(*) FROM range(100000000000) a;\r"


@pytest.fixture
def terminal(sources: Sources, tmp_path: Path) -> Iterator[Terminal]:
    """`collector shell` on a folder that nobody has open."""
    data = sources.segments[0].parents[1]
    config = tmp_path / "collector.toml"
    config.write_text(PROJECT)
    command = [sys.executable, "-m", "collector.cli", "shell", "--config", str(config), "--data-dir", str(data)]
    with Terminal(command, {"XDG_STATE_HOME": str(tmp_path)}, ROOT) as one:
        one.wait_for("sql>")
        yield one


def cancel(terminal: Terminal) -> None:
    """Ctrl-C while a statement runs; in the moment before it does, it is one at the prompt and drops the entry."""
    for pause in (0.5, 2, 8):
        terminal.type(FOREVER)
        terminal.wait_for("a;\r")
        time.sleep(pause)
        terminal.type("\x03")
        with contextlib.suppress(AssertionError):
            terminal.wait_for("cancelled", 5 + pause)
            return
    raise AssertionError(terminal.seen[-500:])


@pytest.mark.process
def test_a_session_at_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """1. A statement of two lines. 2. Tab after FROM and behind a view's alias. 3. A mistake.
    4. Ctrl-C while one runs. 5. The arrow up. 6. .exit
    Result: answers, names, the place of the mistake, the prompt again, the last entry, exit code 0 and a history that
    only its owner can read."""
    terminal.type("SELECT count(*) AS n\r")
    terminal.wait_for("...>")
    terminal.type("FROM issues;\r")
    assert "n\r\n-\r\n6\r\n(1 row)" in terminal.wait_for("(1 row)")
    terminal.wait_for("sql>")
    terminal.type("SELECT count(*) AS c FROM outc\t")
    terminal.wait_for("outcomes")
    terminal.type(";\r")
    terminal.wait_for("(1 row)")
    terminal.wait_for("sql>")
    terminal.type("SELECT\r nope FROM issues;\r")
    assert "(line 2, column 2)" in terminal.wait_for("   ^")
    terminal.wait_for("sql>")
    cancel(terminal)
    terminal.wait_for("sql>")
    terminal.type("\x1b[A")
    terminal.wait_for("range(100000000000)")
    terminal.type("\x03")
    terminal.wait_for("sql>")
    terminal.type(".exit\r")
    assert terminal.ended() == 0
    history = tmp_path / "collector" / "shell_history"
    assert "FROM issues;" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def session(sources: Sources, text: str, settings: QuerySettings | None = None) -> tuple[int, str]:
    out = io.BytesIO()
    shell = Shell(settings or QuerySettings(), lambda since: contextlib.nullcontext(sources), out)
    return shell.read(io.StringIO(text)), out.getvalue().decode()


def test_a_script_prints_every_answer(sources: Sources) -> None:
    text = ".mode csv\nSELECT 1 AS a; SELECT\n2 AS b; -- the end;\n.limit 1\nSELECT unnest([7, 8]) AS c"
    assert session(sources, text) == (0, "a\r\n1\r\nb\r\n2\r\nc\r\n7\r\n")


def test_a_script_ends_at_its_first_mistake(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = session(sources, ".mode csv\nSELECT 1 AS a;\n\nSELECT\n  nope;\nSELECT 2 AS b;\n")
    assert (code, out) == (1, "a\r\n1\r\n")
    said = capsys.readouterr().err
    assert "statement in line 4" in said
    assert "(line 2, column 3)" in said
    assert "    nope;\n    ^\n" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (".nope", "there is no command .nope"),
        (".mode parquet", ".mode is one of table, json, ndjson, csv"),
        (".schema nope", "there is no view 'nope'"),
        (".limit many", ".limit takes a number"),
        (".timeout 0", ".timeout takes seconds"),
        (".since never", "'never' is neither an age"),
        ("DROP TABLE x;", "only SELECT"),
    ],
)
def test_a_wrong_line_is_answered_with_a_sentence(
    sources: Sources, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    assert session(sources, text) == (1, "")
    assert words in capsys.readouterr().err


def test_dot_commands_tell_what_there_is(sources: Sources) -> None:
    code, out = session(sources, ".help\n.views\n.schema issues\n.limits\n.exit\nSELECT nope;")
    assert code == 0
    assert [
        word for word in (".schema VIEW", "one row per stored event", "short_id", "rows: 1000000") if word not in out
    ] == []


def completions(text: str) -> list[str]:
    return [one.text for one in Words().get_completions(Document(text), CompleteEvent())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM iss", ["issues"]),
        ("select * from issues join ex", ["exceptions"]),
        ("SELECT e.pay", []),
        (".sch", [".schema"]),
        (".schema che", ["check_ins"]),
        (".mode n", ["ndjson"]),
        ("SELECT short_id FROM issues WHERE statu", ["status"]),
        ("SELECT QUAL", ["QUALIFY"]),
        ("select qual", ["qualify"]),
    ],
)
def test_what_may_stand_there_is_offered(text: str, expected: list[str]) -> None:
    assert completions(text) == expected


def test_columns_behind_an_alias_are_those_of_its_view() -> None:
    text = "SELECT  FROM events e WHERE e.payload_k"
    assert completions(text) == ["payload_kept"]


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("SELECT 1; SELECT 2", [(1, "SELECT 1;")], " SELECT 2"),
        ("SELECT ';' AS \";\";", [(1, "SELECT ';' AS \";\";")], ""),
        (
            "SELECT 'it''s;';\n-- no;\nSELECT /* ; */ 2;",
            [(1, "SELECT 'it''s;';"), (2, "-- no;\nSELECT /* ; */ 2;")],
            "",
        ),
        ("SELECT $$a;b$$, $x$;$x$;", [(1, "SELECT $$a;b$$, $x$;$x$;")], ""),
        ("\n\n  SELECT $1;", [(3, "SELECT $1;")], ""),
        (";;;", [], ""),
        ("-- only;", [], ""),
        ("SELECT 'open;", [], "SELECT 'open;"),
        ("SELECT /* open;", [], "SELECT /* open;"),
    ],
)
def test_statements_end_at_semicolons_that_mean_it(text: str, statements: list[tuple[int, str]], rest: str) -> None:
    assert split(text) == (statements, rest)


def test_enter_sends_what_is_complete() -> None:
    assert [is_complete(text) for text in ("", ".help", "SELECT 1;", "SELECT 1", "SELECT ';'")] == [
        True, True, True, False, False,
    ]  # fmt: skip
