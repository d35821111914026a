"""The crash model of the spool, a Hypothesis state machine: any order of requests, batches, releases and disasters."""

import errno

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.helpers.disk import Fault
from tests.helpers.spool import FOLDER, SpoolWorld

CODES = st.sampled_from([errno.EIO, errno.ENOSPC])
SEEDS = st.integers(0, 2**16)
SIZES = st.lists(st.sampled_from([0, 1, 60, 400, 1500, 9000]), min_size=1, max_size=6)
VERBS = st.sampled_from(["sync", "write", "sync_folder", "replace", "unlink", "create", "truncate", "open", "read"])


class SpoolMachine(RuleBasedStateMachine):
    """Each rule is one thing that can happen. The audit runs now and then, and always at the end."""

    world_type: type[SpoolWorld] = SpoolWorld

    @initialize()
    def begin(self) -> None:
        self.world = self.world_type()

    @rule(sizes=SIZES, quantity=st.integers(0, 3))
    def accept(self, sizes: list[int], quantity: int) -> None:
        self.world.accept(sizes, quantity)

    @rule(records=st.integers(1, 5))
    def digest(self, records: int) -> None:
        self.world.digest(records, 3000)

    @rule()
    def digest_all(self) -> None:
        self.world.digest()

    @rule()
    def release(self) -> None:
        self.world.release()

    @rule(lose_tail=st.booleans())
    def restart_worker(self, lose_tail: bool) -> None:
        self.world.restart_worker(lose_tail)

    @rule(seed=SEEDS, lose_tail=st.booleans())
    def power_loss(self, seed: int, lose_tail: bool) -> None:
        self.world.crash(seed, lose_tail)

    @rule(
        calls=st.integers(0, 12),
        seed=SEEDS,
        lose_tail=st.booleans(),
        step=st.sampled_from(["accept", "release", "start"]),
    )
    def power_loss_during(self, calls: int, seed: int, lose_tail: bool, step: str) -> None:
        if step == "accept":
            self.world.disk.die_after(calls)
            self.world.accept([60, 1500, 400])
        elif step == "release":
            self.world.accept([5000])
            self.world.digest()
            self.world.disk.die_after(calls % 5)
            self.world.release()
        else:
            self.world.disk.die_after(calls)
            self.world.crash(None)
        self.world.crash(seed, lose_tail)

    @rule()
    def kill(self) -> None:
        self.world.crash(None)

    @rule()
    def orderly_restart(self) -> None:
        self.world.stop()
        self.world.start()

    @rule(verb=st.sampled_from(["sync", "write", "truncate", "sync_folder"]))
    def digest_meanwhile(self, verb: str) -> None:
        self.world.disk.meanwhile = (verb, self.world.digest)

    @rule(sizes=SIZES, verb=st.sampled_from(["sync", "write"]), code=CODES, is_watched=st.booleans())
    def accept_with_error(self, sizes: list[int], verb: str, code: int, is_watched: bool) -> None:
        self.world.disk.fail(Fault(verb, 1, code))
        if is_watched:
            self.world.disk.meanwhile = (verb, self.world.digest)
        self.world.accept(sizes)

    @rule(verb=VERBS, nth=st.integers(1, 6), code=CODES, forever=st.booleans())
    def fault(self, verb: str, nth: int, code: int, forever: bool) -> None:
        self.world.disk.fail(Fault(verb, nth, code, forever))

    @rule(seconds=st.sampled_from([0.1, 1.0, 3600.0]))
    def heal(self, seconds: float) -> None:
        self.world.disk.heal()
        self.world.clock.advance(seconds)

    @rule()
    def audit(self) -> None:
        self.world.audit()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.audit()
                self.world.crash(1)
                self.world.audit()
            finally:
                self.world.close()


class RottenSpoolMachine(SpoolMachine):
    """The same, and bytes rot: then records may be lost, but each lost quantity is counted and reading never stops."""

    @precondition(lambda self: self.world.writer is not None)
    @rule(
        where=st.floats(0, 1, exclude_max=True),
        which=st.floats(0, 1, exclude_max=True),
        data=st.binary(min_size=1, max_size=80),
    )
    def rot(self, where: float, which: float, data: bytes) -> None:
        paths = [path for path in self.world.disk.list_folder(FOLDER) if path.suffix == ".spool"]
        path = paths[int(which * len(paths))]
        used = len(self.world.disk.content(path).rstrip(b"\0"))
        self.world.disk.corrupt(path, int(where * used), data)
        self.world.is_corrupted = True
