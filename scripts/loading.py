"""Processes of a measurement: the load generator, the floor, and children that do not outlive it."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 8, 32, 128)
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
Result = dict[str, Any]


@contextmanager
def child(module: str, *arguments: str, **popen: Any) -> Iterator["subprocess.Popen[str]"]:
    """`python -m module` from the checkout. One that still runs in the end is asked to leave, so that it can close what
    it opened; Ctrl-C reaches us alone, for that reason."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **popen)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def answered(module: str, *arguments: str) -> Result:
    """The JSON object that such a program prints; its stderr is ours."""
    with child(module, *arguments, stdout=subprocess.PIPE) as process:
        text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"scripts/bench: {module} ended with {process.returncode}")
    result: Result = json.loads(text)
    return result


def load(dsn: str, count: int, connections: int, *more: str) -> Result:
    """What a load generator of its own process says in the end (tests/helpers/load.py)."""
    return answered("tests.helpers.load", "--dsn", dsn, "-n", str(count), "-c", str(connections), *more)


def taken(run: Result) -> Result:
    """The same, when everything was acknowledged; a figure of a load that was partly refused means nothing."""
    assert set(run["answers"]) == {"200"}, f"not everything was acknowledged: {run}"
    return run


@contextmanager
def bare() -> Iterator[tuple[str, int]]:
    """(DSN, pid) of the floor."""
    with child("scripts.floor", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        port = process.stdout.readline().strip()
        assert port, "the floor did not start"
        yield f"http://{KEY}@127.0.0.1:{port}/42", process.pid
        process.stdin.close()  # it leaves then
        process.wait(10)


def median(runs: Sequence[Result], *keys: str) -> Result:
    """Of each figure; of all when none is named."""
    return {key: round(statistics.median(run[key] for run in runs), 2) for key in keys or runs[0]}
