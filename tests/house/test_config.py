"""The configuration: every mistake at once, overrides, secrets, and the example file."""

import subprocess
import sys
from pathlib import Path

import pytest

from collector.config import Config, example, load
from collector.errors import ConfigError

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text), environ or {})
    return caught.value.mistakes


def test_the_example_file_is_what_the_code_says() -> None:
    assert (ROOT / "config.example.toml").read_text() == example(), (
        "run: collector check --example > config.example.toml"
    )


def test_the_example_file_is_a_working_configuration() -> None:
    assert load(ROOT / "config.example.toml", {}).project == []


def test_every_mistake_is_listed_in_one_go_with_its_key(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        '[listen]\naddress = 5\nadress = "x"\n[listn]\n[process]\nworker = "thred"\nbatch_linger = "5 parsecs"\n'
        '[[project]]\nid = "x"\nslug = "shop"\n',
    )
    keys = {line.split(":")[0] for line in found}
    assert keys == {
        "listen.address",
        "listen.adress",
        "listn",
        "process.worker",
        "process.batch_linger",
        "project[0].id",
        "project[0].keys",
    }


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    assert mistakes(tmp_path, '[listen]\nadress = "x"\n') == ["listen.adress: unknown key; did you mean address?"]


def test_a_wrong_choice_lists_the_allowed_ones(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, '[process]\nworker = "fork"\n')
    assert "one of child, thread" in line


def test_two_projects_with_one_id_are_refused(tmp_path: Path) -> None:
    one = '[[project]]\nid = 1\nslug = "{}"\nkeys = ["c0ffee00c0ffee00c0ffee00c0ffee00"]\n'
    assert mistakes(tmp_path, one.format("a") + one.format("b")) == ["project[1].id: 1 is used by another project too"]


def test_text_that_is_not_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, "[listen\n")
    assert "line 1" in line


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[process]\nbatch_records = 5\n")
    config = load(path, {"COLLECTOR_PROCESS_BATCH_RECORDS": "7", "COLLECTOR_LISTEN_ADDRESS": "127.0.0.1:1"})
    assert (config.process.batch_records, config.listen.address) == (7, "127.0.0.1:1")


def test_a_bad_environment_value_is_named(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "", {"COLLECTOR_PROCESS_BATCH_RECORDS": "many"})
    assert "COLLECTOR_PROCESS_BATCH_RECORDS" in found[0]


def test_a_secret_comes_from_its_file_and_never_shows(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("http://abc@127.0.0.1:1/1\n")
    config = load(written(tmp_path, '[upstream]\ndsn_file = "dsn"\n'), {})
    assert config.upstream.dsn is not None
    assert config.upstream.dsn.reveal() == "http://abc@127.0.0.1:1/1"
    assert "abc" not in repr(config)


def test_the_data_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    assert load(written(tmp_path, '[data]\ndir = "d"\n'), {}).data.dir == str(tmp_path / "d")


def test_the_worker_reads_back_exactly_what_the_front_loaded(tmp_path: Path) -> None:
    config = load(written(tmp_path, '[upstream]\ndsn = "http://abc@127.0.0.1:1/1"\n'), {})
    assert Config.from_bytes(config.to_bytes()) == config


def test_check_exits_78_and_prints_all(tmp_path: Path) -> None:
    path = written(tmp_path, '[listen]\nadress = 1\n[dta]\ndir = "x"\n')
    done = subprocess.run(
        [sys.executable, "-m", "collector.cli", "check", "--config", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 2


def test_wrong_usage_exits_64() -> None:
    done = subprocess.run([sys.executable, "-m", "collector.cli", "frobnicate"], capture_output=True, text=True)
    assert done.returncode == 64


def test_mistakes_beyond_types_are_listed_in_the_same_go(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        '[listen]\naddress = "nowhere"\n[upstream]\nwindow = "5 parsecs"\ndsn = "nonsense"\n'
        '[[project]]\nid = "x"\nslug = "A B"\nkeys = ["zz", "yy"]\n'
        '[[project]]\nid = 7\nslug = "b"\nkeys = []\n[[project]]\nid = 7\nslug = "b"\n',
    )
    assert sorted(line.split(":")[0] for line in found) == [
        "listen.address",
        "project[0].id",
        "project[0].keys",
        "project[0].keys",
        "project[0].slug",
        "project[1].keys",
        "project[2].id",
        "project[2].keys",
        "project[2].slug",
        "upstream.dsn",
        "upstream.window",
    ]


def test_what_is_no_table_is_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    found = mistakes(tmp_path, 'listen = 5\nproject = ["x", 5]\n[upstream]\ndsn = "nonsense"\n')
    assert [line.split(":")[0] for line in found] == ["listen", "project[0]", "project[1]", "upstream.dsn"]


def test_an_unforeseen_failure_of_a_command_exits_70(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    done = subprocess.run(
        [sys.executable, "-m", "collector.cli", "dsn", "--config", str(path), "--data-dir", "/proc/nowhere"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (70, "")
    assert "/proc/nowhere" in done.stderr and "Traceback" not in done.stderr
