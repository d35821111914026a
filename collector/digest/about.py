"""What is known about an event besides its payload."""

import msgspec

DRIFT_SECONDS = 55 * 60  # an SDK clock wrong by less is left alone (reference protocol, E3)
FUTURE_SECONDS = 60.0


class About(msgspec.Struct, frozen=True):
    """Where an event came from. Times in seconds since the epoch.

    event_id: 32 lower-case hex. item: the envelope's item type. sent_at: the sender's clock, or None.
    client_ip: of the sender, or "". client: "name/version" of the auth header. infer_ip: False when addresses are
    scrubbed anyway. retention_days: events older than this get the time of receipt.
    """

    event_id: str
    project_id: int
    received_at: float
    item: str = "event"
    sent_at: float | None = None
    client_ip: str = ""
    client: str = ""
    infer_ip: bool = True
    retention_days: int = 90

    @property
    def drift(self) -> float:
        """Seconds to add to every time of the event, 0.0 when the sender's clock is about right."""
        if self.sent_at is None or abs(self.received_at - self.sent_at) < DRIFT_SECONDS:
            return 0.0
        return self.received_at - self.sent_at


class NeedsRepair(Exception):
    """The fast path met something that only the repair can mend."""


class Invalid(Exception):
    """The payload cannot become an event. `reason` is the protocol's discard reason, `why` a sentence."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why
