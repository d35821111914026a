"""A token bucket per issue: an error storm of one bug keeps exemplars and exact counts, not every copy.

Of an issue the first `issue_burst` events are kept, then one each 1/`issue_rate`, evenly spread for as long as the
storm lasts; a quiet issue fills up again at the same rate. Events that created or re-opened their issue are always
kept. What is beyond leaves no row: the issue's count, hours and users, the ledger (`summarised`) and forward count it.

Time is the events' own received_at. Fills are staged and taken over with their commit, so that a commit that is tried
again decides the same way; fills below half are part of the delta and thereby survive a restart (an issue that has more
left begins with a full bucket). A duplicate of an event that left no row is recognised until the next restart.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

MAX_BUCKETS = 50_000  # issues with a bucket that is not full; the least recently seen is forgotten, which fills it


class IssueRate(NamedTuple):
    """`per_second`: None keeps everything. `burst`: tokens a full bucket holds."""

    per_second: float | None
    burst: int


class StoredProject(NamedTuple):
    """What the store knows of a project. `slug`: begins the short ids of its issues. max_age_seconds: how long it keeps
    its rows."""

    slug: str
    issue_rate: IssueRate = IssueRate(None, 1)
    max_age_seconds: float = 0.0  # 0: as long as the others


class Fill(NamedTuple):
    """tokens left at a time (seconds since the epoch)."""

    project_id: int
    tokens: float
    at: float


Fills = dict[int, Fill]  # by issue


class IssueBuckets:
    """Who may keep its payload. `rates`: by project id. `fills`: (issue, project, tokens, at) as they were kept."""

    def __init__(self, rates: Mapping[int, IssueRate], fills: Iterable[tuple[int, int, float, float]] = ()) -> None:
        self._rates = dict(rates)
        self._buckets: OrderedDict[int, Fill] = OrderedDict(
            (issue_id, Fill(project_id, tokens, at)) for issue_id, project_id, tokens, at in fills
        )

    def are_limited(self, project_id: int) -> bool:
        """Whether issues of the project have a rate."""
        rate = self._rates.get(project_id)
        return rate is not None and rate.per_second is not None

    def take(self, staged: Fills, project_id: int, issue_id: int, at: float) -> bool:
        """True when this event of the issue keeps its payload; the fill goes to `staged`."""
        rate = self._rates.get(project_id)
        if rate is None or rate.per_second is None:
            return True
        burst = float(rate.burst)
        _, tokens, since = staged.get(issue_id) or self._buckets.get(issue_id) or Fill(project_id, burst, at)
        tokens = min(burst, tokens + max(0.0, at - since) * rate.per_second)
        kept = tokens >= 1.0
        staged[issue_id] = Fill(project_id, tokens - 1.0 if kept else tokens, max(at, since))
        return kept

    def is_empty(self, issue_id: int, at: float) -> bool:
        """Whether, as of the last commit, no event of the issue can be kept at that time."""
        fill = self._buckets.get(issue_id)
        if fill is None or fill.tokens >= 1.0:
            return False
        rate = self._rates.get(fill.project_id)
        if rate is None or rate.per_second is None:
            return False
        return fill.tokens + max(0.0, at - fill.at) * rate.per_second < 1.0

    def low(self, staged: Fills) -> list[tuple[int, int, float, float]]:
        """The staged fills that are worth keeping over a restart: (issue, project, tokens, at)."""
        return [
            (issue_id, *fill) for issue_id, fill in staged.items()
            if fill.tokens < self._rates[fill.project_id].burst / 2
        ]  # fmt: skip

    def accept(self, staged: Fills) -> None:
        """The commit that staged these is durable."""
        for issue_id, fill in staged.items():
            self._buckets[issue_id] = fill
            self._buckets.move_to_end(issue_id)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)

    def forget(self) -> None:
        """Rows were lost and come again from the spool: each issue may keep as much as it had kept."""
        self._buckets.clear()
