"""May the items of an envelope come in, as far as quotas say. Pure but for the clock.

A limited event takes its dependent items along with the same reason; other items fall for themselves. Counting is
all or nothing: what falls is not counted, and a quota that would be crossed refuses everything that it covers.
Source: develop.sentry.dev "Rate limiting", and Relay's behaviour where that is silent.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from collector.admit.settings import QuotaSettings
from collector.machine.clock import Clock

ZERO_SECONDS = 60  # what Sentry announces for a quota of zero
MAX_SECONDS = 300  # Relay's max_rate_limit: a longer window is announced in pieces
MAX_COUNTERS = 100_000  # own choice: bounds memory; the oldest windows go first


class Claim(NamedTuple):
    """One item that wants in. counts: (category, quantity). limited_by: the categories whose limits concern it.

    is_event: dependents go down with it. passes: its limit is announced, itself goes on. silent: it goes on and its
    limit is not even announced (crash reports).
    """

    counts: Sequence[tuple[str, int]]
    limited_by: frozenset[str]
    is_event: bool = False
    is_dependent: bool = False
    passes: bool = False
    silent: bool = False


class Limit(NamedTuple):
    """An active limit as it is announced."""

    seconds: int
    categories: tuple[str, ...]
    scope: str
    reason: str


class Verdict(NamedTuple):
    """refused: index of a claim -> reason. limits: to be announced; any of them makes the answer a 429."""

    refused: Mapping[int, str] = {}
    limits: tuple[Limit, ...] = ()


OPEN = Verdict()


class Quotas:
    """All quotas and their counters. One owner: the front's event loop."""

    def __init__(
        self, common: Sequence[QuotaSettings], projects: Mapping[int, Sequence[QuotaSettings]], clock: Clock
    ) -> None:
        self._quotas = {project_id: [*common, *own] for project_id, own in projects.items()}
        self._clock = clock
        self._used: dict[tuple[str, str, str, int], int] = {}

    def concerns(self, project_id: int) -> bool:
        """Whether any quota could say no; asking costs next to nothing."""
        return bool(self._quotas.get(project_id))

    def check(self, project_id: int, public_key: str, claims: Sequence[Claim]) -> Verdict:
        """The verdict over one envelope; what stays is counted."""
        quotas = self._quotas.get(project_id)
        if not quotas:
            return OPEN
        now = self._clock.now()
        bound = [(quota, place) for quota in quotas if (place := _place(quota, project_id, public_key)) is not None]
        crossed = [quota for quota, place in bound if self._crossed(quota, place, claims, now)]
        refused = _refused(crossed, claims)
        kept = [claim for index, claim in enumerate(claims) if index not in refused]
        for quota, place in bound:
            if quota.limit > 0 and quota not in crossed:
                self._count(quota, place, _quantity(quota, kept), now)
        heard = [claim for claim in claims if not claim.silent]
        limits = [_announced(quota, now) for quota in crossed if any(_concerns(quota, claim) for claim in heard)]
        return Verdict(refused, tuple(limits)) if refused or limits else OPEN

    def _crossed(self, quota: QuotaSettings, place: str, claims: Sequence[Claim], now: float) -> bool:
        if quota.limit <= 0:
            return quota.limit == 0
        quantity = _quantity(quota, claims)
        return quantity > 0 and self._used.get(_counter(quota, place, now), 0) + quantity > quota.limit

    def _count(self, quota: QuotaSettings, place: str, quantity: int, now: float) -> None:
        if quantity <= 0:
            return
        counter = _counter(quota, place, now)
        if counter not in self._used and len(self._used) >= MAX_COUNTERS:
            del self._used[next(iter(self._used))]
        self._used[counter] = self._used.get(counter, 0) + quantity


def _place(quota: QuotaSettings, project_id: int, public_key: str) -> str | None:
    """Whose counter it is; None when the quota is bound to somebody else."""
    owner = {"organization": "", "project": str(project_id), "key": public_key}[quota.scope]
    return owner if quota.scope == "organization" or quota.scope_id in ("", owner) else None


def _counter(quota: QuotaSettings, place: str, now: float) -> tuple[str, str, str, int]:
    return quota.scope, place, quota.id, int(now // quota.window)


def _concerns(quota: QuotaSettings, claim: Claim) -> bool:
    """An empty list of categories is all of them; items without any category are never limited."""
    return bool(claim.limited_by if not quota.categories else claim.limited_by.intersection(quota.categories))


def _quantity(quota: QuotaSettings, claims: Sequence[Claim]) -> int:
    """What the claims would add: the first category that the quota counts, of each; an item each when it counts all."""
    total = 0
    for claim in claims:
        if not quota.categories:
            total += bool(claim.limited_by)
            continue
        total += next(
            (n for category, n in claim.counts if category in quota.categories and _concerns(quota, claim)), 0
        )
    return total


def _refused(crossed: Sequence[QuotaSettings], claims: Sequence[Claim]) -> dict[int, str]:
    refused: dict[int, str] = {}
    of_event: str | None = None
    for index, claim in enumerate(claims):
        quota = next((quota for quota in crossed if _concerns(quota, claim)), None)
        if quota is None or claim.passes or claim.silent:
            continue
        refused[index] = quota.reason_code
        if claim.is_event and of_event is None:
            of_event = quota.reason_code
    if of_event is not None:
        refused |= {index: of_event for index, claim in enumerate(claims) if claim.is_dependent}
    return refused


def _announced(quota: QuotaSettings, now: float) -> Limit:
    seconds = ZERO_SECONDS
    if quota.limit > 0:
        seconds = max(1, min(MAX_SECONDS, math.ceil(quota.window - now % quota.window)))
    return Limit(seconds, tuple(quota.categories), quota.scope, quota.reason_code)
