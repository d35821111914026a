"""Claims, limits and the verdict over one envelope.

A limited event takes its dependent items along with the same reason; other items fall for themselves. Source:
develop.sentry.dev "Rate limiting", and Relay's behaviour where that is silent.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


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
    """An active limit as it is announced. categories: empty = all. seconds: from now."""

    seconds: int
    categories: tuple[str, ...]
    scope: str
    reason: str


class Verdict(NamedTuple):
    """refused: index of a claim -> reason. limits: concern this envelope, any of them makes the answer a 429.

    ahead: limits that are active but do not concern it, told on a 200 so that an SDK stays quiet in time.
    """

    refused: Mapping[int, str] = {}
    limits: tuple[Limit, ...] = ()
    ahead: tuple[Limit, ...] = ()


OPEN = Verdict()


def concerns(categories: Sequence[str], claim: Claim) -> bool:
    """An empty list of categories is all of them; items without any category are never limited."""
    return bool(claim.limited_by if not categories else claim.limited_by.intersection(categories))


def judge(limits: Sequence[Limit], claims: Sequence[Claim]) -> Verdict:
    """The verdict when all of `limits` are active; the first limit that concerns a claim names the reason."""
    if not limits:
        return OPEN
    refused: dict[int, str] = {}
    of_event: str | None = None
    for index, claim in enumerate(claims):
        limit = next((limit for limit in limits if concerns(limit.categories, claim)), None)
        if limit is None or claim.passes or claim.silent:
            continue
        refused[index] = limit.reason
        if claim.is_event and of_event is None:
            of_event = limit.reason
    if of_event is not None:
        refused |= {index: of_event for index, claim in enumerate(claims) if claim.is_dependent}
    heard = [claim for claim in claims if not claim.silent]
    told = tuple(limit for limit in limits if any(concerns(limit.categories, claim) for claim in heard))
    return Verdict(refused, told) if refused or told else OPEN
