"""The hub's part of the configuration: what cannot work is said at once."""

from pathlib import Path

import pytest

from collector.config import load
from collector.errors import ConfigError

EDGE = '[[hub.edge]]\nname = "berlin"\ntoken = "berlin-0123456789"\n'


def mistakes(text: str, folder: Path) -> list[str]:
    path = folder / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as wrong:
        load(path, {})
    return wrong.value.mistakes


def test_edges_with_a_bad_name_a_short_token_or_strange_projects_are_named(tmp_path: Path) -> None:
    text = '[[hub.edge]]\nname = "Berlin!"\ntoken = "short"\nprojects = { one = 0 }\n'
    assert mistakes(text, tmp_path) == [
        "hub.edge[0].name: 'Berlin!' should be lower-case letters, digits, dot, - and _, at most 64",
        "hub.edge[0].token: should have at least 16 characters",
        "hub.edge[0].projects: 'one' = 0 should be project ids, such as \"1\" = 42",
    ]


def test_two_edges_share_neither_name_nor_token_and_no_token_is_shown(tmp_path: Path) -> None:
    found = mistakes(EDGE + EDGE, tmp_path)
    assert found == ["hub.edge[1].name: another edge has the same", "hub.edge[1].token: another edge has the same"]


def test_statuses_need_a_dsn_and_an_address_that_is_one(tmp_path: Path) -> None:
    assert mistakes('[upstream]\napi_token = "t"\napi_url = "sentry.io"\n', tmp_path) == [
        "upstream.api_token: issues are found by what upstream.dsn was sent, and there is no DSN",
        "upstream.api_url: 'sentry.io' should be an address such as https://sentry.example.com",
    ]


def test_a_token_comes_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "berlin.token").write_text("berlin-0123456789\n")
    path = tmp_path / "c.toml"
    path.write_text('[[hub.edge]]\nname = "berlin"\ntoken_file = "berlin.token"\n')
    assert load(path, {}).hub.edge[0].token.reveal() == "berlin-0123456789"
