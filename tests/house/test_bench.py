"""What scripts/bench says and refuses, without measuring anything."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import against, figures, machine, options
from scripts.loading import ROOT
from scripts.stages import MEANINGS, STAGES
from tests.helpers.load import Load, address_of
from tests.helpers.traffic import Traffic

DSN = "http://key@127.0.0.1:9000/7"
MACHINE = {"cpu": "x", "cores": 2, "kernel": "6", "python": "3.11.7", "load_before": 0.1}
NEW = {"ram_gb": 8.0, "file_system": "ext4", "disk": "vda", "commit": "abc1234", "commit_changed": False,
       "date": "2026-11-21 09:30", "quick": False, "repeats": 2}  # fmt: skip
DRAIN = {"cpu_ms_per_event": 0.7, "cpu_ms_per_event_front": 0.2, "cpu_ms_per_event_worker": 0.5, "yardstick_us": 100,
         "in_yardsticks": 7.0, "stored_per_second": 1300.0, "acked_per_second": 4000, "rss_mb": 200.0,
         "bytes_per_event": 2000.0}  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What the command line is told that cannot be; the sentence after `error: `."""
    with pytest.raises(SystemExit) as ended:
        options.parse(list(argv))
    assert ended.value.code == 2
    return capsys.readouterr().err.rpartition("error: ")[2].strip()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--repeats", "0"], "argument --repeats: '0' should be a whole number, 1 or more"),
        (["--repeats", "-1"], "argument --repeats: '-1' should be a whole number, 1 or more"),
        (["--repeats", "many"], "argument --repeats: 'many' should be a whole number, 1 or more"),
        (["nothing"], "argument SECTION: 'nothing' is no section: floor stages"),
        (["queries", "named"], "a part of queries is asked for by `queries --part named`"),
        (["queries", "--rows", "5"], "argument --rows: '5' is too few rows: at least 1,000"),
        (["queries", "--rows", "-7"], "argument --rows: '-7' is too few"),
        (["queries", "--rows", "infM"], "argument --rows: 'infM' is not a number of rows"),
        (["queries", "--times", "0"], "argument --times: '0' should be a whole number, 1 or more"),
        (["queries", "--rows", "2k", "--segments", "300"], "300 files are too many for 2,000 rows"),
        (["floor", "--rows", "5M"], "--rows: goes with the section queries only"),
        (["--json", "--markdown"], "not allowed with argument"),
        (["--against", "notadsn"], "argument --against: notadsn: this is no DSN; http://KEY@HOST:PORT/PROJECT"),
        (["--against", "https://key@127.0.0.1/7"], "https is not spoken here"),
        (["--against", "http://key@far.example/7"], "far.example: loads go to this machine only"),
        (["--against", "http://127.0.0.1:9000/7"], "the key is missing"),
        (["--against", "http://key@127.0.0.1:9000/"], "the project is missing"),
        (["--against", "http://key@127.0.0.1:99999/7"], "Port out of range"),
        (["--against", f"{DSN}#front"], f"{DSN}#front: 'front' is no process id"),
        (["--against", f"{DSN}#4194999"], f"{DSN}#4194999: no process 4194999 runs here"),  # above the kernel's most
        (["--against", DSN, DSN], "127.0.0.1:9000/7 is given twice"),
        (["--against", DSN, "floor"], "sections do not go with --against"),
        (["drain", "--against", DSN], "drain: does not go with --against"),
        (["--markdown", "--times", "3", "--against", DSN], "--times, --markdown: does not go with --against"),
    ],
)
def test_a_wrong_command_line_is_named(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    assert said in refused(capsys, *argv)


def test_a_folder_of_somebody_else_is_not_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no earlier run of this made it" in refused(capsys, "queries", "--data", str(tmp_path))
    assert "is there already" in refused(capsys, "queries", "--data", str(tmp_path), "--rows", "2k")


def test_options_of_queries_stand_beside_other_sections_and_options() -> None:
    got = options.parse(["queries", "--quick", "--rows", "5k", "floor", "--repeats", "2", "--part", "named"])
    assert (got.sections, got.rows, got.repeats, got.part) == (["queries", "floor"], 5000, 2, ["named"])
    assert options.parse(["--quick"]).repeats == 1
    whole = options.parse([])
    assert (whole.repeats, whole.rows, whole.segments, whole.times) == (3, 1_000_000, 7, 60)


def test_the_help_explains_sections_parts_and_medians() -> None:
    text = options.build_parser("the end").format_help()
    assert all(f"  {name}" in text for name in [*options.SECTIONS, *options.PARTS])
    assert "median of the repeats" in text and "least of the repeats" in text and text.endswith("the end\n")


def test_a_target_tells_its_server_and_its_process() -> None:
    got = options.target(f"http://key@[::1]:9000/under/7#{os.getpid()}")
    assert got == ("::1:9000/under/7", "http://key@[::1]:9000/under/7", os.getpid())


def test_the_load_goes_below_a_prefix_and_spells_the_host() -> None:
    load = Load("http://key@[::1]:9000/under/7", Traffic({"log": 1}), count=1)
    assert load.head.startswith(b"POST /under/api/7/envelope/ HTTP/1.1\r\nHost: [::1]:9000\r\n")
    assert address_of("http://key@localhost/7").port == 80


def test_latencies_of_nothing_are_null() -> None:
    load = Load(DSN, Traffic({"log": 1}), count=1)
    load.started, load.ended = 1.0, 2.0
    assert [load.summary()[key] for key in ("acked", "p50_ms", "p99_ms", "max_ms")] == [0, None, None, None]
    load.latencies = [0.001, 0.002, 0.003]
    assert [load.summary()[key] for key in ("p50_ms", "p99_ms", "max_ms")] == [2.0, 2.0, 3.0]


def run(acked: int, status: str = "200", **more: Any) -> dict[str, Any]:
    """One load of a second, as `once` tells it."""
    times = {"p50_ms": 1.5, "p99_ms": 9.0} if acked else {"p50_ms": None, "p99_ms": None}
    return {"acked": acked, "acked_per_second": float(acked), **times, "answers": {status: acked or 50}, **more}


COMPARED = against.with_floor(
    {
        "floor": [against.summed(8, [run(1000)]), against.summed(32, [run(2000)])],
        "127.0.0.1:9000/7": [
            against.summed(8, [run(300, cpu_ms_per_request=2.0, rss_mb=90.0, backlog_done=False), run(500), run(400)]),
            against.summed(32, [run(1500)]),
        ],
        "127.0.0.1:9001/7": [against.summed(8, [run(0, "403")])],
    }
)


def test_servers_stand_side_by_side_with_medians_and_their_part_of_the_floor() -> None:
    lines = against.side_by_side(COMPARED)
    assert lines[0].split() == ["floor", "127.0.0.1:9000/7", "127.0.0.1:9001/7"]
    cells = {line[:40].split("  ")[0]: line.split()[-3:] for line in lines if "connections, " in line}
    assert cells["8 connections, acknowledged / s"] == ["1,000.0", "400.0", "-"]
    assert cells["8 connections, part of the floor"] == ["1.0", "0.4", "-"]
    assert cells["8 connections, p99 ms"] == ["9.0", "9.0", "-"]
    assert cells["8 connections, CPU ms / request"] == ["-", "2.0*", "-"]
    assert cells["32 connections, part of the floor"] == ["1.0", "0.75", "-"]
    assert len({len(line) for line in lines if line.endswith(("-", "403"))}) == 1  # columns are straight
    answers = next(line for line in lines if line.startswith("8 connections, answers"))
    assert answers.split()[-9:] == ["1000", "x", "200", "1200", "x", "200", "50", "x", "403"]
    assert "* stands behind a figure" in "\n".join(lines)


def test_a_server_that_acknowledges_nothing_is_a_failure() -> None:
    assert against.failures(COMPARED) == ["nothing acknowledged by 127.0.0.1:9001/7 (its answers: 50 x 403)"]


class Watch:
    """CPU seconds of a process that works `busy` seconds and rests then; time passes by sleeping."""

    def __init__(self, busy: float) -> None:
        self.busy, self.now = busy, 0.0

    def used(self) -> float:
        return 5.0 + min(self.now, self.busy)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("busy", "used", "done"), [(0.0, 5.0, True), (7.0, 12.0, True), (1e9, 65.0, False)])
def test_cpu_counts_until_the_backlog_is_digested(busy: float, used: float, done: bool) -> None:
    watch = Watch(busy)
    assert against.until_idle(watch.used, lambda: watch.now, watch.sleep) == (used, done)


def rows(result: dict[str, Any]) -> dict[str, list[str]]:
    """Cells by the beginning of the first."""
    lines = [line for line in figures.markdown(result).splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0][2:20]: line.strip("| ").split(" | ") for line in lines}


def test_a_figure_says_where_its_aim_is_missed() -> None:
    table = rows({"machine": MACHINE, "drain": DRAIN, "idle_rss_mb": 109.9, "storm": DRAIN})
    assert table["CPU per event, acc"][1:3] == ["0.70 ms (0.20 / 0.50)", "0.60 ms, **missed**"]
    assert table["stored per second,"][1:3] == ["1,300", "1,200"]
    assert table["memory (RSS of bot"][1:3] == ["110 / 200 MB", "110 / 240 MB"]
    assert table["one hot issue kept"][2] == "3,000, **missed**"


def test_queries_and_stages_have_a_row_when_they_were_measured() -> None:
    named = {"a": {"p50_ms": 1.0}, "slow": {"p50_ms": 40.0}, "b": {"p50_ms": 2.0}, "rss_mb": 100}
    stages = {"accept": 60.0, "frame": 1.0, "read": 20.0, "scrub": 90.0, "group": 30.0, "row": 25.0, "sum": 226.0}
    table = rows(
        {"machine": MACHINE | NEW, "queries": {"rows": 1_000_000, "named": named}, "stages_us_per_event": stages}
    )
    assert table["named queries of p"][1] == "2.0 / 40.0 ms (slow; 1,000,000 events)"
    assert table["CPU per event of t"][1] == "226 us: scrub 90, accept 60, group 30, row 25, read 20"
    assert "drain" not in str(table)


def test_results_of_before_the_run_was_described_are_still_shown() -> None:
    old = figures.markdown({"machine": MACHINE, "drain": DRAIN, "queries": {"rows": 5}})
    assert old.startswith("2 cores of x, Python 3.11.7, load before the run 0.1.")
    assert "named queries" not in old


def test_a_result_names_the_commit_and_day_that_were_measured() -> None:
    new = figures.markdown({"machine": MACHINE | NEW, "drain": DRAIN})
    assert "8.0 GB of memory, ext4 on vda" in new and "medians of 2, commit abc1234." in new
    assert "| 2026-11-21 | abc1234 | 0.70 ms | 1,300 | - | - | - | 2.0 | - |" in new


def test_a_run_says_on_what_it_was_made() -> None:
    made = machine.machine(quick=True, repeats=4)
    assert {*MACHINE, *NEW} <= set(made) and made["quick"] is True and made["repeats"] == 4
    assert made["ram_gb"] > 0.1 and json.dumps(made)


def test_each_stage_is_explained_once() -> None:
    assert list(MEANINGS) == ["accept", *dict.fromkeys(stage for stage, _, _ in STAGES), "other", "sum"]


STOPPED = """
import os, signal, sys, tempfile
from scripts.options import orderly

def work():
    with tempfile.TemporaryDirectory(dir=sys.argv[1]):
        os.kill(os.getpid(), int(sys.argv[2]))
        return 0

orderly(work)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_clears_up_and_says_so_in_a_line(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, str(tmp_path), str(int(number))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + number, f"stopped by {number.name}, cleaning up\n")
    assert list(tmp_path.iterdir()) == []
