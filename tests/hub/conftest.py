"""A hub's worker half without processes: batches through digester and store."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.digest.digester import Digester
from collector.digest.project import ProjectRules
from collector.digest.settings import DigestSettings
from collector.filter.settings import FilterSettings
from collector.hub.batch import Batch, write_batch
from collector.model.event import Digested
from collector.model.received import Position, Received
from collector.protocol.limits import LimitSettings
from collector.store.buckets import IssueRate, StoredProject
from collector.store.delta import AppliedBatch
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.store import Store
from tests.helpers.clock import FakeClock
from tests.store.conftest import kill


class Hub:
    """One data folder; `restart` is kill -9 and a new process."""

    def __init__(self, folder: Path, filters: FilterSettings | None = None, rate: IssueRate | None = None) -> None:
        self._projects = {42: StoredProject("shop", rate or IssueRate(None, 1))}
        self.clock = FakeClock()
        self.applied: list[AppliedBatch] = []
        rules = ProjectRules(filters or FilterSettings())
        self.digester = Digester({42: rules}, DigestSettings(), LimitSettings())
        self._folder = folder
        self._seq = self._total = 0
        self.open()

    def open(self) -> None:
        self.store = Store.open(
            self._folder, StoreSettings(), RetentionSettings(), self.clock, projects=self._projects,
            on_apply=[lambda cursor, batch: self.applied.append(batch)],
        )  # fmt: skip

    def restart(self) -> None:
        kill(self.store)
        self.open()

    def digest(self, batch: Batch, edge: str = "berlin") -> Digested:
        """One spool record through the digest."""
        self._seq += 1
        self._total += batch.occurrences
        received = Received("hub", 42, self.clock.now(), batch.occurrences, batch.batch_id.hex(), encoding="zstd",
                            slug=edge, remote_addr="10.0.0.7")  # fmt: skip
        return self.digester.digest(Position(1, self._seq, self._total), received, write_batch(batch))

    def take(self, *batches: Batch, edge: str = "berlin") -> None:
        """One commit."""
        self.store.commit([self.digest(msgspec.structs.replace(one, edge=edge), edge) for one in batches])

    @property
    def received(self) -> int:
        return self._total

    def counted(self) -> int:
        """What all issues stand for."""
        return sum(one["count"] for one in self.store.recent_issues(100))

    def forwarded(self) -> int:
        """What forward is told to send or to sum up."""
        return sum(one.count for batch in self.applied for one in batch.delta.occurrences)

    def is_balanced(self) -> bool:
        status = self.store.status()
        done = status.ledger["stored"] + status.ledger["summarised"] + sum(status.dropped.values())
        return done == self.received == status.position.total


@pytest.fixture
def make_hub(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    made: list[Hub] = []

    def make(**settings: Any) -> Hub:
        made.append(Hub(tmp_path / f"hub{len(made)}", **settings))
        return made[-1]

    yield make
    for hub in made:
        kill(hub.store)
