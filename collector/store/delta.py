"""What one commit means for state.sqlite, written beside its rows.

Format: msgpack arrays in the field order of the structs below, first field the version. A delta is complete: applying
all deltas in order to an empty state.sqlite gives the state, whatever happened to the file before.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence

import msgspec

from collector.model.event import EventRow, ItemRow
from collector.model.outcome import Outcome
from collector.model.received import Position
from collector.store.batches import ToldBatch
from collector.store.statuses import StatusChange

DELTA_VERSION = 1

NEW, REGRESSED, SUMMARISED = 1, 2, 4


class NewIssue(msgspec.Struct, frozen=True, array_like=True):
    """An issue that this commit created. `at`: timestamp of its first event."""

    id: int
    project_id: int
    short_no: int
    hash: str
    title: str
    culprit: str
    level: str
    at: float


class Occurrence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event of an issue. event_id: 16 bytes. user: 63-bit hash of the user id, 0 without one. flags: NEW (it
    created the issue), REGRESSED, SUMMARISED (counted, not kept).

    Those of a commit that are SUMMARISED and alike (issue, user, level, hour) are one with their `count`; event_id is
    that of the first, at and last_at the smallest and largest timestamp (last_at 0: the same as at)."""

    issue_id: int
    project_id: int
    event_id: bytes
    at: float
    user: int
    level: str
    flags: int
    count: int = 1
    last_at: float = 0.0

    @property
    def until(self) -> float:
        """Timestamp of the last of them."""
        return self.last_at or self.at


class Retitled(msgspec.Struct, frozen=True, array_like=True):
    """The newest event of an issue reads differently from the one before."""

    issue_id: int
    title: str
    culprit: str
    level: str


class OutcomeRow(msgspec.Struct, frozen=True, array_like=True):
    """An Outcome, added up by minute. `minute`: seconds since the epoch, a multiple of 60."""

    minute: int
    project_id: int
    public_key: str
    category: str
    outcome: str
    reason: str
    quantity: int
    items: int


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """stored, summarised: ledger quantities. unaccounted: quantity of records whose parts did not add up.
    fills: (issue, project, tokens, at) of rate buckets that are less than half full (collector.store.buckets)."""

    version: int = DELTA_VERSION
    stored: int = 0
    summarised: int = 0
    unaccounted: int = 0
    new_issues: list[NewIssue] = []
    hashes: list[tuple[int, str, int]] = []  # project, hash, issue
    occurrences: list[Occurrence] = []
    retitled: list[Retitled] = []
    outcomes: list[OutcomeRow] = []
    fills: list[tuple[int, int, float, float]] = []
    moves: list[tuple[int, str, int]] = []  # project, hash, issue: a person's decision, also over what is known
    configs: list[tuple[int, str]] = []  # project and grouping config of these hashes and moves, "" for an unknown one
    told: list[ToldBatch] = []  # batches of edge collectors
    accepted: list[OutcomeRow] = []  # what was taken in (collector.store.accepted); for people, not for the ledger
    statuses: list[StatusChange] = []  # decisions of people and of upstream, as moves


def regressed(delta: Delta) -> set[int]:
    """The issues that events of this commit re-opened."""
    return {one.issue_id for one in delta.occurrences if one.flags & REGRESSED}


def configs_of(delta: Delta) -> set[tuple[int, str]]:
    """Project and grouping config of the hashes in a delta; "" where one written before they were told has hashes."""
    told = {(project_id, config) for project_id, config in delta.configs}
    silent = {project_id for project_id, _, _ in (*delta.hashes, *delta.moves)} - {project_id for project_id, _ in told}
    return told | {(project_id, "") for project_id in silent}


class AppliedBatch(msgspec.Struct, frozen=True):
    """What an `on_apply` callback gets, inside the SQLite transaction that applies the delta.

    replayed: True at start, for a commit that state.sqlite had not seen. event: the row of an occurrence of this very
    commit, None when replayed; payload: the JSON bytes of an occurrence's event, from memory or from its segment.
    items: the other rows of this very commit; when replayed, they are read from the segment at each look.
    """

    no: int
    position: Position
    committed_at: float
    delta: Delta
    replayed: bool
    event: Callable[[Occurrence], EventRow | None]
    payload: Callable[[Occurrence], bytes | None]
    items: Sequence[ItemRow] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Delta)


def encode_delta(delta: Delta) -> bytes:
    """The bytes of the `delta` column."""
    return _encoder.encode(delta)


def decode_delta(raw: bytes) -> Delta:
    """The delta of a `progress` row; an empty one for the row that opens a segment. Raises msgspec.DecodeError."""
    return _decoder.decode(raw) if raw else Delta()


@functools.lru_cache(4096)
def user_hash(user_id: str) -> int:
    """63 bits that stand for a user, 0 for none. Stable over versions: it is kept in state.sqlite."""
    if not user_id:
        return 0
    digest = hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) or 1


def add_outcomes(outcomes: list[Outcome]) -> list[OutcomeRow]:
    """Outcomes added up by minute, project, key, category, outcome and reason."""
    sums: dict[tuple[int, int, str, str, str, str], tuple[int, int]] = {}
    for one in outcomes:
        key = (int(one.at) // 60 * 60, one.project_id, one.public_key, one.category, one.outcome, one.reason)
        quantity, items = sums.get(key, (0, 0))
        sums[key] = (quantity + one.quantity, items + one.items)
    return [OutcomeRow(*key, *value) for key, value in sums.items()]
