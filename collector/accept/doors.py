"""Doors: all that the ingest doors need from the rest of the house, as plain values and callables."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from collector.accept.pressure import MemoryPressure
from collector.accept.settings import IngestSettings
from collector.admit.admission import Admission
from collector.errors import CollectorError
from collector.machine.clock import Clock
from collector.machine.ids import new_event_id
from collector.model.outcome import Outcome
from collector.model.project import ProjectSettings
from collector.model.received import Position, Received
from collector.protocol.auth import owns_key
from collector.protocol.limits import LimitSettings

SpoolAdd = Callable[[Received, bytes], Awaitable[Position]]
SpoolTell = Callable[[Received, bytes, Callable[[Position | CollectorError], None]], None]


@dataclass
class Doors:
    """spool_add: resolves when durable, raises Busy or Unavailable (at once or when awaited). refused: one outcome of
    an authenticated client. admission, pressure: None is no limit. answers: HTTP status -> count, for the metrics.
    spool_tell: spool_add for those who would rather be called, if there is such a way; it raises or calls, once."""

    projects: Sequence[ProjectSettings]
    settings: IngestSettings
    limits: LimitSettings
    clock: Clock
    spool_add: SpoolAdd
    refused: Callable[[Outcome], None]
    admission: Admission | None = None
    pressure: MemoryPressure | None = None
    spool_tell: SpoolTell | None = None
    new_event_id: Callable[[], str] = new_event_id
    answers: "Counter[int]" = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._by_id = {project.id: project for project in self.projects}

    def project_of(self, project_id: int | None, public_key: str) -> ProjectSettings | None:
        """The project that owns the enabled key; with project_id None (the oldest store path) whichever does."""
        if project_id is not None:
            project = self._by_id.get(project_id)
            candidates = [] if project is None else [project]
        else:
            candidates = list(self._by_id.values())
        for project in candidates:
            if owns_key(project.keys, public_key) and not owns_key(project.disabled_keys, public_key):
                return project
        return None
