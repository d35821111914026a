"""The SQL section of the README, run as it stands there."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from collector.query.adhoc import Sources
from tests.helpers.running import PROJECT, collector, envelope, error_event
from tests.house.readme import README

SECTION = re.search(r"^## SQL\n(.*?)^<!-- views -->", README.read_text(), re.DOTALL | re.MULTILINE)
assert SECTION
LINES = [line for block in re.findall(r"```sh\n(.*?)```", SECTION[1], re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("collector ")]
[CURL] = [line for line in LINES if line.startswith("curl ")]
[PLAIN] = [line for line in LINES if line.startswith("duckdb ")]
[NOTEBOOK] = re.findall(r"```python\n(.*?)```", SECTION[1], re.DOTALL)


@pytest.fixture(scope="module")
def home(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user of the README stands: a configuration, `data` beside it, `collector` on the PATH."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "collector.toml").write_text(PROJECT)
    shutil.copytree(sources.segments[0].parents[1], folder / "data")
    (folder / "bin").mkdir()
    (folder / "bin/collector").write_text(f'#!/bin/sh\nexec {sys.executable} -m collector.cli "$@"\n')
    (folder / "bin/collector").chmod(0o755)
    return folder


def shell(home: Path, line: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(README.parent), **environ}
    return subprocess.run(["sh", "-c", line], cwd=home, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.process
def test_the_commands_answer_and_the_notebook_shows_what_it_says(home: Path, tmp_path: Path) -> None:
    done = [shell(home, line.replace("/tmp/copy", str(tmp_path / "copy"))) for line in COMMANDS]
    assert [(one.args, one.stderr) for one in done if one.returncode] == []
    printed = dict(zip((line.split()[1] + " " + line.split()[2] for line in COMMANDS), done, strict=True))
    assert "SHOP-1" in printed["issue SHOP-1"].stdout
    assert (tmp_path / "copy").is_dir()
    here = os.getcwd()
    os.chdir(home)
    try:
        parsed = doctest.DocTestParser().get_doctest(NOTEBOOK, {}, "README", "README.md", 0)
        result = doctest.DocTestRunner(verbose=False).run(parsed)
    finally:
        os.chdir(here)
    assert result.attempted == 6
    assert result.failed == 0


def test_the_plain_client_reads_a_sealed_day(home: Path) -> None:
    """With the `duckdb` command where there is one; its SQL through the Python client, the same engine, in any case."""
    sql = PLAIN.split('"')[1]
    path = PLAIN.split()[2]
    with duckdb.connect(str(home / path), read_only=True) as connection:
        assert [row[1] for row in connection.execute(sql).fetchall()] == [10] * 5


@pytest.mark.process
@pytest.mark.skipif(shutil.which("duckdb") is None, reason="no duckdb command here; it may be absent")
def test_the_duckdb_command_reads_a_sealed_day(home: Path) -> None:
    done = shell(home, PLAIN)
    assert (done.returncode, "ValueError: bug" in done.stdout) == (0, True)


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here; it may be absent")
def test_the_call_over_http_is_answered(home: Path) -> None:
    with collector(PROJECT + '\n[query]\ntoken = "a-token-for-the-readme"\n') as running:
        running.send(envelope(error_event()))
        running.drained()
        host, port = running.address
        done = shell(home, CURL.replace("127.0.0.1:9000", f"{host}:{port}"), TOKEN="a-token-for-the-readme")
        assert done.stdout == '[{"n":1}]\n'
