"""Window quotas and token buckets, with the protocol's own fields. Pure but for the clock.

Windows: counting is all or nothing, what falls is not counted, and a quota that would be crossed refuses everything
that it covers. Buckets: as long as there are tokens an envelope comes in whole, and may leave a debt; so a large
attachment passes a byte bucket now and then instead of never.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from collector.admit.settings import QuotaSettings
from collector.admit.verdict import OPEN, Claim, Limit, Verdict, judge
from collector.machine.clock import Clock

__all__ = ["OPEN", "Claim", "Limit", "Quotas", "Verdict"]

ZERO_SECONDS = 60  # what Sentry announces for a quota of zero
MAX_SECONDS = 300  # Relay's max_rate_limit: a longer window is announced in pieces
MAX_COUNTERS = 100_000  # own choice: bounds memory; the oldest windows go first

Owner = tuple[str, str, str]  # scope, whose it is, quota id
Window = tuple[Owner, int]


class _Rule:
    """A quota with everything computed that does not change."""

    __slots__ = ("burst", "categories", "limit", "per_second", "quota", "scope", "scope_id", "window_seconds")

    def __init__(self, quota: QuotaSettings) -> None:
        self.quota = quota
        self.categories = frozenset(quota.categories)
        self.limit = quota.limit
        self.window_seconds = float(quota.window)
        self.per_second = quota.rate.per_second
        self.burst = float(quota.full_bucket)
        self.scope, self.scope_id = quota.scope, quota.scope_id

    def owner(self, project_id: int, public_key: str) -> Owner | None:
        """Whose counter it is; None when the quota is bound to somebody else."""
        if self.scope == "organization":
            return self.scope, "", self.quota.id
        whose = str(project_id) if self.scope == "project" else public_key
        return (self.scope, whose, self.quota.id) if self.scope_id in ("", whose) else None

    def quantity(self, claims: Sequence[Claim]) -> int:
        """What the claims would add: of each the first category that counts here; an item each when all count."""
        if not self.categories:
            return sum(1 for claim in claims if claim.limited_by)
        total = 0
        for claim in claims:
            if not self.categories.isdisjoint(claim.limited_by):
                total += next((n for category, n in claim.counts if category in self.categories), 0)
        return total


class Asked(NamedTuple):
    """One quota that looks at an envelope: whose counter, and how much is asked of it."""

    rule: _Rule
    owner: Owner
    quantity: int


class Quotas:
    """All quotas and their counters. One owner: the front's event loop."""

    def __init__(
        self, common: Sequence[QuotaSettings], projects: Mapping[int, Sequence[QuotaSettings]], clock: Clock
    ) -> None:
        rules = [_Rule(quota) for quota in common]
        self._rules = {project_id: [*rules, *map(_Rule, own)] for project_id, own in projects.items()}
        self._clock = clock
        self._used: dict[Window, int] = {}
        self._tokens: dict[Owner, tuple[float, float]] = {}  # tokens left, and the wall clock they were counted at

    def concerns(self, project_id: int) -> bool:
        """Whether any quota could say no; asking costs next to nothing."""
        return bool(self._rules.get(project_id))

    def check(self, project_id: int, public_key: str, claims: Sequence[Claim]) -> Verdict:
        """The verdict over one envelope; what stays is counted."""
        now = self._clock.now()
        asked = self.ask(project_id, public_key, claims)
        crossed = self.crossed(asked, now)
        verdict = judge([self.announced(one, now) for one in crossed], claims)
        self.count(asked, crossed, claims, verdict, now)
        return verdict

    def ask(self, project_id: int, public_key: str, claims: Sequence[Claim]) -> list[Asked]:
        """The quotas that look at this envelope."""
        return [
            Asked(rule, owner, rule.quantity(claims))
            for rule in self._rules.get(project_id, ())
            if (owner := rule.owner(project_id, public_key)) is not None
        ]

    def crossed(self, asked: Sequence[Asked], now: float) -> list[Asked]:
        """Those that this envelope would cross, and those of zero."""
        return [one for one in asked if one.rule.limit == 0 or (one.quantity and self._closed(one, now))]

    def count(
        self, asked: Sequence[Asked], crossed: Sequence[Asked], claims: Sequence[Claim], verdict: Verdict, now: float
    ) -> None:
        """Count what comes in, in every quota that was not crossed."""
        kept = claims
        if verdict.refused:
            kept = [claim for index, claim in enumerate(claims) if index not in verdict.refused]
        for one in asked:
            rule, owner, quantity = one
            if crossed and one in crossed:
                continue
            if verdict.refused:
                quantity = rule.quantity(kept)
            if not quantity:
                continue
            if rule.limit > 0:
                window = (owner, int(now // rule.window_seconds))
                used = self._used.get(window)
                if used is None:
                    _make_room(self._used)
                self._used[window] = (used or 0) + quantity
            if rule.per_second is not None:
                if owner not in self._tokens:
                    _make_room(self._tokens)
                self._tokens[owner] = (self._left(rule, owner, now) - quantity, now)

    def announced(self, one: Asked, now: float) -> Limit:
        """A crossed quota as a limit."""
        rule, owner, quantity = one
        seconds = 0
        if rule.limit == 0:
            seconds = ZERO_SECONDS
        elif rule.limit > 0 and self._used.get((owner, int(now // rule.window_seconds)), 0) + quantity > rule.limit:
            seconds = math.ceil(rule.window_seconds - now % rule.window_seconds)
        elif rule.per_second is not None:
            seconds = math.ceil((1.0 - self._left(rule, owner, now)) / rule.per_second)
        quota = rule.quota
        return Limit(max(1, min(MAX_SECONDS, seconds)), tuple(quota.categories), rule.scope, quota.reason_code)

    def state(self) -> dict[str, Any]:
        """The counters as plain values."""
        return {"used": [[*owner, slot, used] for (owner, slot), used in self._used.items()],
                "tokens": [[*owner, *left] for owner, left in self._tokens.items()]}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take counters over; windows that are gone do no harm. Raises ValueError or TypeError when unusable."""
        used = {((str(a), str(b), str(c)), int(slot)): int(n) for a, b, c, slot, n in state["used"]}
        tokens = {(str(a), str(b), str(c)): (float(left), float(at)) for a, b, c, left, at in state["tokens"]}
        self._used, self._tokens = used, tokens

    def take_over(self, before: "Quotas") -> None:
        """Go on with the counters of the configuration until now. What is counted in another way begins anew, what is
        not limited any more is forgotten. Requests that began under `before` count here too."""
        self._used, self._tokens = before._used, before._tokens
        ours, theirs = self._meanings(), before._meanings()
        changed = {
            name for project, name in ours.keys() & theirs.keys() if ours[project, name] != theirs[project, name]
        }
        kept = {name for _, name in ours} - changed
        for owner in [owner for owner in self._tokens if (owner[0], owner[2]) not in kept]:
            del self._tokens[owner]
        for window in [window for window in self._used if (window[0][0], window[0][2]) not in kept]:
            del self._used[window]

    def _meanings(self) -> dict[tuple[int, tuple[str, str]], list[tuple[frozenset[str], float]]]:
        """By project, and scope and id of a quota, what its counters mean: one id may stand in several projects."""
        found: dict[tuple[int, tuple[str, str]], list[tuple[frozenset[str], float]]] = {}
        for project_id, rules in self._rules.items():
            for rule in rules:
                meaning = (rule.categories, rule.window_seconds)
                found.setdefault((project_id, (rule.scope, rule.quota.id)), []).append(meaning)
        return found

    def _closed(self, one: Asked, now: float) -> bool:
        rule, owner, quantity = one
        if rule.limit > 0:
            used = self._used.get((owner, int(now // rule.window_seconds)), 0)
            if used + quantity > rule.limit:
                return True
        return rule.per_second is not None and self._left(rule, owner, now) < 1.0

    def _left(self, rule: _Rule, owner: Owner, now: float) -> float:
        """Tokens in the bucket at `now`."""
        known = self._tokens.get(owner)
        if known is None:
            return rule.burst
        left, at = known
        return min(rule.burst, left + max(0.0, now - at) * (rule.per_second or 0.0))


def _make_room(counters: dict[Any, Any]) -> None:
    if len(counters) >= MAX_COUNTERS:
        del counters[next(iter(counters))]
