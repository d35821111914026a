"""Days of the whole collector, decided by seeds; and proof that the audit at the end of a day sees what is planted.

COLLECTOR_SIMULATIONS=N runs N new days (scripts/simulate does); a seed that fails belongs into seeds.txt.
"""

import os
import random
from pathlib import Path

import pytest

from collector.spool.reader import SpoolReader, SpoolRecord
from tests.model.simulation import simulate, simulation

KNOWN = [
    tuple(map(int, line.split()[:2]))
    for line in Path(__file__).with_name("seeds.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]
MORE = int(os.environ.get("COLLECTOR_SIMULATIONS", "0"))
NEW = [(random.randrange(1000, 10**9), 24) for _ in range(MORE)]


@pytest.mark.parametrize(("seed", "hours"), [*KNOWN, (11, 3), *NEW])
def test_a_day_of_disasters_ends_with_a_clean_audit(seed: int, hours: int, tmp_path: Path) -> None:
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
