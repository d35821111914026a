"""What is refused first when the spool or the disk fills up. Errors late; sessions, check-ins and feedback never here.

The spool itself refuses everything at pressure 1.0; from `first` on, the steps below are spread evenly up to there.
"""

from collector.admit.verdict import Limit

REASON = "pressure"
SECONDS = 60
STEPS: tuple[tuple[str, ...], ...] = (
    ("replay", "profile", "profile_indexed", "profile_backend", "profile_ui", "profile_chunk", "profile_chunk_ui"),
    ("attachment", "attachment_item"),
    ("transaction", "transaction_indexed", "span", "span_indexed"),
    ("log_item", "log_byte", "trace_metric", "trace_metric_byte"),
    ("default", "error", "security"),
)


def shed(pressure: float, first: float) -> list[Limit]:
    """The limits in force at `pressure`, from 0 (empty) to 1 (full); none below `first`, none ever when it is 1."""
    if pressure < first or first >= 1.0:
        return []
    width = (1.0 - first) / len(STEPS)
    count = min(len(STEPS), 1 + int((pressure - first) / width + 1e-9))
    return [Limit(SECONDS, categories, "organization", REASON) for categories in STEPS[:count]]
