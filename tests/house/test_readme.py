"""The README says what the code does."""

import re
import subprocess
from pathlib import Path

import pytest

from collector import cli
from collector.config import load
from tests.house.readme import PARTS, README, part

TEXT = README.read_text()
ROOT = README.parent


@pytest.mark.parametrize("name", PARTS)
def test_generated_parts_are_fresh(name: str) -> None:
    assert part(TEXT, name) == PARTS[name](), "refresh: .venv/bin/python -m tests.house.readme"


def test_every_exit_code_is_listed() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert listed == {cli.DONE, cli.NO, cli.DIFFERS, cli.USAGE, cli.INTERNAL, cli.IN_USE, cli.CONFIG}


def test_scripts_and_test_folders_that_are_named_exist() -> None:
    named = re.findall(r"`?((?:scripts|tests)/[\w/.]+\w)", TEXT)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_top_level_holds_only_what_it_may() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout; may be absent")
    allowed = {"pyproject.toml", "collector", "tests", "config.example.toml", "scripts", "README.md"}
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= allowed


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL))
def test_each_configuration_of_the_readme_is_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert load(path, {}).project[0].slug == "shop"
