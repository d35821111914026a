"""Envelope items as admission sees them."""

from collections.abc import Sequence
from functools import lru_cache

from collector.admit.verdict import Claim
from collector.model.envelope import Item
from collector.protocol.kinds import is_crash, kind_of

EVENTS = frozenset(("event", "transaction", "security", "raw_security", "feedback", "user_report_v2", "unreal_report"))
# A transaction is limited as a transaction only: a span limit is for loose spans, so its own need not be counted here,
# which would take a look at the whole payload.
TRANSACTION_COUNTS = (("transaction", 1), ("transaction_indexed", 1))


def claims_of(items: Sequence[Item]) -> list[Claim]:
    """One claim an item, in order."""
    return [_claim(item) for item in items]


def _claim(item: Item) -> Claim:
    kind = kind_of(item)
    counts = TRANSACTION_COUNTS if item.type == "transaction" else kind.counts(item)
    limited_by = _categories(tuple([category for category, _ in counts]))
    silent = item.type == "attachment" and is_crash(item)
    return Claim(counts, limited_by, item.type in EVENTS, kind.dependent, kind.passes, silent)


@lru_cache(maxsize=256)
def _categories(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names)
