"""Days of the whole collector, decided by seeds; and proof that the audit at the end of a day sees what is planted.

COLLECTOR_SIMULATIONS=N runs N new days (scripts/simulate does); it keeps the seeds that fail in seeds.txt.
"""

import os
import random
from pathlib import Path

import pytest

from collector.spool.reader import SpoolReader, SpoolRecord
from tests.model import run_simulations
from tests.model.seeds import SEEDS, Known, keep, known
from tests.model.simulation import simulate, simulation

MORE = int(os.environ.get("COLLECTOR_SIMULATIONS", "0"))
NEW = [(random.randrange(1000, 10**9), 24.0) for _ in range(MORE)]


@pytest.mark.parametrize(("seed", "hours"), [*known(), (11, 3.0), *NEW])
def test_a_day_of_disasters_ends_with_a_clean_audit(seed: int, hours: float, tmp_path: Path) -> None:
    figures = simulate(tmp_path, seed, hours)
    print(seed, figures)
    assert figures["events"] > 0


def test_the_audit_sees_a_record_that_the_worker_forgot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = SpoolReader.read

    def forgetful(self: SpoolReader, max_records: int, max_bytes: int) -> list[SpoolRecord]:
        records = read(self, max_records, max_bytes)
        return records[:-2] + records[-1:]

    monkeypatch.setattr(SpoolReader, "read", forgetful)
    with pytest.raises(AssertionError, match="acknowledged and lost"):
        simulate(tmp_path, 12, 0.5)


def test_one_seed_is_one_history(tmp_path: Path) -> None:
    def history(name: str) -> tuple[object, ...]:
        folder = tmp_path / name
        folder.mkdir()
        with simulation(folder, 13) as day:
            day.run(1)
            return dict(day.history), dict(day.answers), day.acked

    assert history("once") == history("again")


def test_whatever_stops_a_day_is_a_find_and_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, seed: int, hours: float) -> dict[str, int]:
        raise RuntimeError("a line\nand another")

    monkeypatch.setattr(run_simulations, "simulate", broken)
    kept = tmp_path / "seeds.txt"
    kept.write_text(SEEDS.read_text())
    figures, wrong = run_simulations.play(77, 0.25)
    assert (figures, wrong) == ("", "RuntimeError: a line\nand another")
    for _ in range(2):
        keep(77, 0.25, wrong, kept)
    assert known(kept) == [*known(), Known(77, 0.25)]
    assert kept.read_text().endswith("77 0.25  RuntimeError: a line and another\n")


@pytest.mark.parametrize("given", [["--seeds", "0"], ["--seeds", "-3"], ["--hours", "0"], ["--hours", "nan"]])
def test_no_day_at_all_is_a_mistake(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_simulations.arguments(given)
    assert f"argument {given[0]}: '{given[1]}' should be a" in capsys.readouterr().err
