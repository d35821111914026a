"""The spool under any order of events; and proof that the model sees the mistakes that others made."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from collector.model.received import Position
from collector.spool.active import Active
from collector.spool.checkpoint import Mark
from collector.spool.journal import Journal
from collector.spool.reader import SpoolReader
from tests.helpers.spool import FOLDER, SpoolWorld
from tests.model.spool_machine import RottenSpoolMachine, SpoolMachine

# The same 60 runs each time in every check; MODEL_EXAMPLES=5000 runs that many new ones (and prints how to repeat one).
EXAMPLES = os.environ.get("MODEL_EXAMPLES", "")
QUICK = settings(
    max_examples=int(EXAMPLES or 60),
    stateful_step_count=30,
    deadline=None,
    derandomize=not EXAMPLES,
    print_blob=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
HUNT = settings(QUICK, max_examples=2000, stateful_step_count=10, derandomize=True, phases=[Phase.generate])


def test_acknowledged_records_survive_any_order_of_crashes_and_faults() -> None:
    run_state_machine_as_test(SpoolMachine, settings=QUICK)


def test_damage_is_counted_and_never_stops_the_reader() -> None:
    run_state_machine_as_test(RottenSpoolMachine, settings=QUICK)


class ReleasesWhatWasRead(SpoolWorld):
    """Mistake: the checkpoint follows the reader, not the store."""

    def release(self) -> None:
        assert self.reader is not None
        self.send_release(self.reader.position)


def found_by_model(world: type[SpoolWorld]) -> str:
    """What the model says about a world with a mistake in it. Fails when it finds nothing."""
    machine = type("Planted", (SpoolMachine,), {"world_type": world})
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine, settings=HUNT)
    return str(caught.value)


def test_model_finds_a_checkpoint_that_is_moved_by_reading() -> None:
    assert found_by_model(ReleasesWhatWasRead)


def test_model_finds_an_acknowledgement_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Active.settle
    monkeypatch.setattr(Active, "settle", lambda self, sync: settle(self, sync=False))
    assert found_by_model(SpoolWorld)


def test_model_finds_an_unlink_before_the_durable_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def release(self: Journal, position: Position) -> None:
        position = min(position, self.position)
        if position > self.released and position.epoch == self.position.epoch:
            self.released = position
            self._drop()
            assert self._checkpoint is not None
            self._checkpoint.save(Mark(position, self.position))

    monkeypatch.setattr(Journal, "release", release)
    assert found_by_model(SpoolWorld)


def test_model_finds_a_sync_repeated_on_the_same_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Active.settle

    def stubborn(self: Active, sync: bool) -> None:
        try:
            settle(self, sync)
        except OSError:
            settle(self, sync)

    monkeypatch.setattr(Active, "settle", stubborn)
    assert found_by_model(SpoolWorld)


def test_model_finds_a_new_file_whose_name_is_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(SpoolWorld):
        def __init__(self) -> None:
            super().__init__()
            monkeypatch.setattr(self.disk, "sync_folder", lambda folder: None)

    assert found_by_model(Forgetful)


def test_model_finds_a_reader_that_does_not_wait_for_proof() -> None:
    class Hasty(SpoolWorld):
        def open_reader(self) -> SpoolReader:
            return SpoolReader(self.disk, FOLDER, self.store.committed.position, is_tool=True)

    assert found_by_model(Hasty)
