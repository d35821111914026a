"""A token bucket per issue: an error storm of one bug keeps exemplars and exact counts, not every copy.

Time is the events' own received_at, so that a replay after a crash decides the same way as long as it starts from the
same fill; the fill itself is not kept over a restart.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

MAX_BUCKETS = 50_000  # issues with a bucket that is not full; the least recently seen is forgotten, which fills it


class IssueRate(NamedTuple):
    """`per_second`: None keeps everything. `burst`: tokens a full bucket holds."""

    per_second: float | None
    burst: int


class StoredProject(NamedTuple):
    """What the store knows of a project. `slug`: begins the short ids of its issues."""

    slug: str
    issue_rate: IssueRate = IssueRate(None, 1)


class IssueBuckets:
    """Who may keep its payload. `rates`: by project id."""

    def __init__(self, rates: Mapping[int, IssueRate]) -> None:
        self._rates = dict(rates)
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()  # issue -> (tokens, at)

    def take(self, project_id: int, issue_id: int, at: float) -> bool:
        """True when this event of the issue keeps its payload."""
        rate = self._rates.get(project_id)
        if rate is None or rate.per_second is None:
            return True
        tokens, since = self._buckets.get(issue_id, (float(rate.burst), at))
        tokens = min(float(rate.burst), tokens + max(0.0, at - since) * rate.per_second)
        kept = tokens >= 1.0
        self._buckets[issue_id] = (tokens - 1.0 if kept else tokens, max(at, since))
        self._buckets.move_to_end(issue_id)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return kept
