"""Window quotas and token buckets, with the protocol's own fields. Pure but for the clock.

Windows: counting is all or nothing, what falls is not counted, and a quota that would be crossed refuses everything
that it covers. Buckets: as long as there are tokens an envelope comes in whole, and may leave a debt; so a large
attachment passes a byte bucket now and then instead of never.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from collector.admit.settings import QuotaSettings
from collector.admit.verdict import OPEN, Claim, Limit, Verdict, concerns, judge
from collector.machine.clock import Clock

__all__ = ["OPEN", "Claim", "Limit", "Quotas", "Verdict"]

ZERO_SECONDS = 60  # what Sentry announces for a quota of zero
MAX_SECONDS = 300  # Relay's max_rate_limit: a longer window is announced in pieces
MAX_COUNTERS = 100_000  # own choice: bounds memory; the oldest windows go first

Counter = tuple[str, str, str, int]
Owner = tuple[str, str, str]


class Quotas:
    """All quotas and their counters. One owner: the front's event loop."""

    def __init__(
        self, common: Sequence[QuotaSettings], projects: Mapping[int, Sequence[QuotaSettings]], clock: Clock
    ) -> None:
        self._quotas = {project_id: [*common, *own] for project_id, own in projects.items()}
        self._clock = clock
        self._used: dict[Counter, int] = {}
        self._tokens: dict[Owner, tuple[float, float]] = {}  # tokens left, and the wall clock they were counted at

    def concerns(self, project_id: int) -> bool:
        """Whether any quota could say no; asking costs next to nothing."""
        return bool(self._quotas.get(project_id))

    def check(self, project_id: int, public_key: str, claims: Sequence[Claim]) -> Verdict:
        """The verdict over one envelope; what stays is counted."""
        crossed = self.crossed(project_id, public_key, claims)
        verdict = judge([self.announced(quota, project_id, public_key) for quota in crossed], claims)
        kept = [claim for index, claim in enumerate(claims) if index not in verdict.refused]
        self.count(project_id, public_key, kept, crossed)
        return verdict

    def crossed(self, project_id: int, public_key: str, claims: Sequence[Claim]) -> list[QuotaSettings]:
        """The quotas that these claims would cross, or that are closed already."""
        now = self._clock.now()
        return [
            quota
            for quota in self._quotas.get(project_id, ())
            if (place := _place(quota, project_id, public_key)) is not None and self._closed(quota, place, claims, now)
        ]

    def count(self, project_id: int, public_key: str, kept: Sequence[Claim], crossed: Sequence[QuotaSettings]) -> None:
        """Count what comes in, in every quota that was not crossed."""
        now = self._clock.now()
        for quota in self._quotas.get(project_id, ()):
            place = _place(quota, project_id, public_key)
            quantity = 0 if place is None or quota.limit == 0 or quota in crossed else _quantity(quota, kept)
            if place is None or quantity <= 0:
                continue
            if quota.limit > 0:
                self._count_window(_counter(quota, place, now), quantity)
            if quota.rate.per_second is not None:
                owner = (quota.scope, place, quota.id)
                self._make_room(self._tokens, owner)
                self._tokens[owner] = (self._left(quota, place, now) - quantity, now)

    def announced(self, quota: QuotaSettings, project_id: int, public_key: str) -> Limit:
        """A crossed quota as a limit."""
        now = self._clock.now()
        seconds = ZERO_SECONDS
        per_second = quota.rate.per_second
        if quota.limit > 0:
            seconds = max(1, min(MAX_SECONDS, math.ceil(quota.window - now % quota.window)))
        elif quota.limit < 0 and per_second is not None:
            owed = 1.0 - self._left(quota, _place(quota, project_id, public_key) or "", now)
            seconds = max(1, min(MAX_SECONDS, math.ceil(owed / per_second)))
        return Limit(seconds, tuple(quota.categories), quota.scope, quota.reason_code)

    def state(self) -> dict[str, Any]:
        """The counters as plain values."""
        return {"used": [[*key, used] for key, used in self._used.items()],
                "tokens": [[*key, *left] for key, left in self._tokens.items()]}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take counters over; windows that are gone do no harm. Raises ValueError or TypeError when unusable."""
        used = {(str(a), str(b), str(c), int(slot)): int(n) for a, b, c, slot, n in state["used"]}
        tokens = {(str(a), str(b), str(c)): (float(left), float(at)) for a, b, c, left, at in state["tokens"]}
        self._used, self._tokens = used, tokens

    def _closed(self, quota: QuotaSettings, place: str, claims: Sequence[Claim], now: float) -> bool:
        if quota.limit == 0:
            return True
        quantity = _quantity(quota, claims)
        if quantity <= 0:
            return False
        if quota.limit > 0 and self._used.get(_counter(quota, place, now), 0) + quantity > quota.limit:
            return True
        return quota.rate.per_second is not None and self._left(quota, place, now) < 1.0

    def _left(self, quota: QuotaSettings, place: str, now: float) -> float:
        """Tokens in the bucket at `now`."""
        per_second, burst = quota.rate.per_second or 0.0, float(quota.full_bucket)
        left, at = self._tokens.get((quota.scope, place, quota.id), (burst, now))
        return min(burst, left + max(0.0, now - at) * per_second)

    def _count_window(self, counter: Counter, quantity: int) -> None:
        self._make_room(self._used, counter)
        self._used[counter] = self._used.get(counter, 0) + quantity

    def _make_room(self, counters: dict[Any, Any], counter: Counter | Owner) -> None:
        if counter not in counters and len(counters) >= MAX_COUNTERS:
            del counters[next(iter(counters))]


def _place(quota: QuotaSettings, project_id: int, public_key: str) -> str | None:
    """Whose counter it is; None when the quota is bound to somebody else."""
    owner = {"organization": "", "project": str(project_id), "key": public_key}[quota.scope]
    return owner if quota.scope == "organization" or quota.scope_id in ("", owner) else None


def _counter(quota: QuotaSettings, place: str, now: float) -> Counter:
    return quota.scope, place, quota.id, int(now // quota.window)


def _quantity(quota: QuotaSettings, claims: Sequence[Claim]) -> int:
    """What the claims would add: the first category that the quota counts, of each; an item each when it counts all."""
    total = 0
    for claim in claims:
        if not quota.categories:
            total += bool(claim.limited_by)
            continue
        if concerns(quota.categories, claim):
            total += next((n for category, n in claim.counts if category in quota.categories), 0)
    return total
