"""What the digest hands to the store: one row an event, one row any other item, one Digested a spool record."""

import msgspec

from collector.model.outcome import Outcome
from collector.model.received import Position


class GroupingResult(msgspec.Struct, frozen=True):
    """Which issue an event belongs to.

    config: grouping config id. variants: name -> (hash or None, contributes). hashes: contributing hashes in lookup
    order, the first is the primary one (never empty). fingerprint: its parts as sent or as a rule chose them, variables
    unfilled; resolved_fingerprint: the same filled in. type: error, default, csp, ... location and metadata: what lists
    of issues show beside the title.
    """

    config: str
    variants: dict[str, tuple[str | None, bool]]
    hashes: list[str]
    title: str
    culprit: str
    fingerprint: list[str] = []
    secondary_hashes: list[str] = []  # of secondary_config, only for looking up
    secondary_config: str = ""  # "" when nothing of another config was looked for
    resolved_fingerprint: list[str] = []
    type: str = "default"
    location: str = ""
    metadata: dict[str, str] = {}


class EventRow(msgspec.Struct):
    """One event as the store keeps it: typed columns for SQL, and the scrubbed JSON.

    event_id: 32 lower-case hex. timestamp, received_at: seconds since the epoch. hashes: in lookup order, the first
    is the primary. grouping_config, secondary_config: what made the hashes, "" when unknown. tags: (key, value) in
    order. frames: JSON text, the top in-app frames as short objects.
    payload: the whole event as JSON bytes, normalised and scrubbed.
    """

    event_id: str
    project_id: int
    timestamp: float
    received_at: float
    hashes: list[str]
    title: str
    culprit: str
    payload: bytes
    secondary_hashes: list[str] = []
    grouping_config: str = ""
    secondary_config: str = ""
    type: str = "default"
    level: str = "error"
    platform: str = "other"
    release: str = ""
    dist: str = ""
    environment: str = ""
    transaction: str = ""
    server_name: str = ""
    logger: str = ""
    user_id: str = ""  # user.id, else username, email, ip_address: what distinct users are counted by
    message: str = ""
    exception_type: str = ""
    exception_value: str = ""
    tags: list[tuple[str, str]] = []
    trace_id: str = ""
    sdk: str = ""  # name/version
    frames: str = "[]"


class ItemRow(msgspec.Struct):
    """Any other item that is kept as it came (scrubbed where it is text): transactions, sessions, attachments, ...

    kind: item type. headers: item header as JSON text. event_id: of the envelope, 32 hex or "".
    """

    project_id: int
    kind: str
    received_at: float
    event_id: str
    headers: str
    payload: bytes


class Standing(msgspec.Struct, frozen=True):
    """What an event stands for: a summary of an edge collector. count: occurrences, itself included; first_at, last_at:
    timestamps of the first and the last of them; users: 63-bit hashes of the distinct ones, the smallest only where
    there are many."""

    count: int
    first_at: float
    last_at: float
    users: list[int] = []


class Told(msgspec.Struct, frozen=True):
    """That a record is a batch of an edge collector. batch_id: 16 bytes. The same batch is stored once."""

    edge: str
    batch_id: bytes
    project_id: int
    entries: int
    received_at: float


class Digested(msgspec.Struct):
    """What became of one spool record. standings: index in events -> what it stands for.

    `quantity` = len(events) + len(items) + sum(outcome.items) + sum(standing.count - 1), always.
    """

    position: Position
    quantity: int
    events: list[EventRow] = []
    items: list[ItemRow] = []
    outcomes: list[Outcome] = []
    damaged: bytes | None = None  # the record as read, when it goes to quarantine
    why: str = ""  # one sentence for the quarantine's label
    standings: dict[int, Standing] = {}
    told: Told | None = None

    @property
    def parts(self) -> int:
        """What the rows, items and outcomes add up to."""
        parts = len(self.events) + len(self.items)
        if self.outcomes:
            parts += sum(one.items for one in self.outcomes)
        if self.standings:
            parts += sum(one.count - 1 for one in self.standings.values())
        return parts
