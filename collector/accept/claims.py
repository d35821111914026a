"""Envelope items as admission sees them."""

from collections.abc import Sequence

from collector.admit.verdict import Claim
from collector.model.envelope import Item
from collector.protocol.kinds import is_crash, kind_of

EVENTS = frozenset(("event", "transaction", "security", "raw_security", "feedback", "user_report_v2", "unreal_report"))
# A transaction is limited as a transaction only: its spans are counted, but a span limit is for loose spans.
NOT_LIMITING = {"transaction": frozenset(("span", "span_indexed"))}


def claims_of(items: Sequence[Item]) -> list[Claim]:
    """One claim an item, in order."""
    return [_claim(item) for item in items]


def _claim(item: Item) -> Claim:
    kind = kind_of(item)
    counts = kind.counts(item)
    limiting = frozenset(category for category, _ in counts) - NOT_LIMITING.get(item.type, frozenset())
    return Claim(
        counts,
        limiting,
        is_event=item.type in EVENTS,
        is_dependent=kind.dependent,
        passes=kind.passes,
        silent=is_crash(item),
    )
