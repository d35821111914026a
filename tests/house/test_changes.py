"""What differs between two configurations, and where a running collector is looked for."""

from pathlib import Path

import pytest

from collector.changes import Change, changes, pinned, public, same_upstream, worker_part
from collector.config import Config, Source, data_folder, load
from tests.helpers.running import KEY, PROJECT

OTHER = "0ddba11a" * 4
QUOTA = '[[quota]]\nid = "{}"\nlimit = {}\nwindow = "1 d"\n'


def config(folder: Path, text: str) -> Config:
    path = folder / "c.toml"
    path.write_text(text)
    return load(path, {})


def differing(folder: Path, before: str, after: str) -> list[Change]:
    return changes(config(folder, before), config(folder, after))


def test_nothing_differs_between_a_file_and_itself_and_between_two_spellings(tmp_path: Path) -> None:
    assert differing(tmp_path, PROJECT, PROJECT) == []
    assert differing(tmp_path, '[retention]\nmax_age = "2 d"\n', '[retention]\nmax_age = "48 h"\n') == []


def test_a_changed_setting_is_named_with_both_sides(tmp_path: Path) -> None:
    (change,) = differing(tmp_path, PROJECT, PROJECT + 'issue_rate = "3/m"\n')
    assert change == Change("project[42].issue_rate", "changed", '"off"', '"3/m"', False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[listen]\naddress = "127.0.0.1:1"\n', "listen.address"),
        ('[data]\ndir = "elsewhere"\n', "data.dir"),
        ('[process]\nworker = "thread"\n', "process.worker"),
    ],
)
def test_what_needs_a_restart_is_marked_and_a_running_process_keeps_it(tmp_path: Path, text: str, path: str) -> None:
    before, after = config(tmp_path, ""), config(tmp_path, text)
    (change,) = changes(before, after)
    assert (change.path, change.needs_restart) == (path, True)
    assert pinned(after, before) == before


def test_rows_go_by_their_names_whatever_their_place(tmp_path: Path) -> None:
    one, two = QUOTA.format("one", 1), QUOTA.format("two", 2)
    found = differing(tmp_path, one, two + QUOTA.format("one", 5))
    assert [(change.kind, change.path, change.after) for change in found] == [
        ("changed", "quota[one].limit", "5"),
        ("added", "quota[two].id", '"two"'),
        ("added", "quota[two].limit", "2"),
        ("added", "quota[two].window", '"1 d"'),
    ]
    (removed, *_) = differing(tmp_path, one, "")
    assert (removed.kind, removed.before, removed.after) == ("removed", '"one"', None)


def test_another_order_of_the_same_rows_is_a_difference_of_its_own(tmp_path: Path) -> None:
    one, two = QUOTA.format("one", 1), QUOTA.format("two", 2)
    (change,) = differing(tmp_path, one + two, two + one)
    assert (change.path, change.before, change.after) == ("quota", '["one","two"]', '["two","one"]')


def test_secrets_are_compared_and_never_shown(tmp_path: Path) -> None:
    text = '[upstream]\ndsn = "http://{0}@h/1"\nproxy = "http://me:{0}@p:1"\n' + PROJECT
    text += '[project.scrubbing.vars]\nhash_key = "{0}"\n'
    text += '[[hub.edge]]\nname = "berlin"\ntoken = "{0}-16-characters"\n'
    before, after = config(tmp_path, text.format("sesame")), config(tmp_path, text.format("mellon"))
    found = changes(before, after)
    assert [change.path for change in found] == [
        "upstream.dsn", "upstream.proxy", "hub.edge[berlin].token", "project[42].scrubbing.vars.hash_key",
    ]  # fmt: skip
    assert {change.before for change in found} == {'"***"', '"http://***@p:1"'}
    assert b"sesame" not in public(before)
    (gone,) = changes(before, config(tmp_path, text.format("sesame").replace("http://sesame@h/1", "")))
    assert (gone.path, gone.before, gone.after) == ("upstream.dsn", '"***"', '""')


def test_a_secret_in_a_file_and_the_environment_are_read_again(tmp_path: Path) -> None:
    path, token = tmp_path / "c.toml", tmp_path / "token"
    path.write_text('[query]\ntoken_file = "token"\nmax_rows = 5\n')
    token.write_text("sixteen-characters")
    environ = {"COLLECTOR_QUERY_MAX_ROWS": "7"}
    source = Source(path, environ, {"listen.address": "127.0.0.1:1"})
    before = source.load()
    assert (before.query.max_rows, before.listen.address) == (7, "127.0.0.1:1")
    token.write_text("sixteen-others-now")
    environ["COLLECTOR_QUERY_MAX_ROWS"] = "8"
    assert [change.path for change in changes(before, source.load())] == ["query.max_rows", "query.token"]


def test_a_file_elsewhere_is_judged_as_if_it_stood_in_place(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "etc", tmp_path / "draft"
    for folder in (place, elsewhere):
        folder.mkdir()
        (folder / "c.toml").write_text('[data]\ndir = "data"\n')
    source = Source(place / "c.toml", {}, {})
    assert changes(source.load(), source.load(elsewhere / "c.toml")) == []


@pytest.mark.parametrize(
    "text",
    [
        f'disabled_keys = ["{OTHER}"]\nallowed_origins = ["a.example"]\n[[project.quota]]\nlimit = 0\n',
        '[log]\nlevel = "error"\n[spool]\ndurability = "write"\n[admit]\nshed_pressure = 0.5\n',
        '[query]\ntoken = "sixteen-characters"\n[hub]\nenabled = true\n[[quota]]\nlimit = 0\n',
    ],
)
def test_what_only_the_front_needs_to_know_is_kept_from_the_worker(tmp_path: Path, text: str) -> None:
    before, after = config(tmp_path, PROJECT), config(tmp_path, PROJECT + text)
    assert changes(before, after)
    assert worker_part(before).to_bytes() == worker_part(after).to_bytes()
    assert b"sixteen" not in worker_part(after).to_bytes()
    assert KEY.encode() not in worker_part(after).to_bytes()


@pytest.mark.parametrize(
    "text",
    [
        'max_age = "1 d"\n',
        '[upstream]\nwindow = "5 s"\n',
        "[limits]\nmax_envelope_items = 7\n",
        "[project.filters]\nlocalhost = true\n",
        "[project.forward]\nmode = 'off'\n",
    ],
)
def test_what_the_worker_needs_to_know_is_a_reason_for_another_one(tmp_path: Path, text: str) -> None:
    before, after = config(tmp_path, PROJECT), config(tmp_path, PROJECT + text)
    assert worker_part(before).to_bytes() != worker_part(after).to_bytes()


def test_what_an_upstream_refused_holds_where_everything_goes_to_the_same_place(tmp_path: Path) -> None:
    second = f'[[project]]\nid = 43\nslug = "attic"\nkeys = ["{OTHER}"]\n'
    before = config(tmp_path, PROJECT + second)
    after = config(tmp_path, PROJECT + second + '[project.forward]\nmode = "events"\n')
    assert same_upstream(before, after) == {42}
    assert same_upstream(before, config(tmp_path, PROJECT + '[upstream]\ndsn = "http://k@h/1"\n')) == set()


@pytest.mark.parametrize(
    "text",
    [
        '[data]\ndir = "kept"\n',
        '[data]\ndir = "kept"\n[listen\n',
        "[data]  # a comment\n# dir\n  dir='kept'\nx = [",
        "data.dir = 'kept'\n",
    ],
    ids=["whole", "broken", "spaced", "dotted"],
)
def test_the_data_folder_is_found_in_a_broken_file_too(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert data_folder(Source(path, {}, {})) == tmp_path / "kept"


def test_the_data_folder_of_a_file_that_is_gone_is_the_default_or_what_is_said_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    assert data_folder(Source(path, {}, {})) == tmp_path / "data"
    assert data_folder(Source(path, {"COLLECTOR_DATA_DIR": "by-environment"}, {})) == tmp_path / "by-environment"
    assert data_folder(Source(path, {}, {"data.dir": "/by/option"})) == Path("/by/option")
