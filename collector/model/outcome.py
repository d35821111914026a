"""Outcome: what became of a quantity that was not stored, in the protocol's own words."""

import msgspec

FILTERED = "filtered"
RATE_LIMITED = "rate_limited"
INVALID = "invalid"
CLIENT_DISCARD = "client_discard"
SUMMARISED = "summarised"  # grouped and counted exactly, payload not kept (per-issue bucket)
DAMAGED = "damaged"  # acknowledged, then lost to a damaged file of ours
EVICTED = "evicted"  # stored, then removed by retention: not part of the ledger's dropped


class Outcome(msgspec.Struct, frozen=True):
    """`quantity` of `category` (protocol unit: bytes for attachments) of one project that was dropped.

    items: how many envelope items this stands for in the ledger (0 when it repeats an item under a second category,
    or when the client dropped it before sending).
    at: wall clock seconds.
    """

    project_id: int
    outcome: str
    reason: str
    category: str
    quantity: int
    at: float
    items: int = 1
    public_key: str = ""

    @property
    def ledger_key(self) -> str:
        """The key under `ledger.dropped`: "outcome:reason", or the outcome alone without a reason."""
        return f"{self.outcome}:{self.reason}" if self.reason else self.outcome
