"""What becomes of an envelope that was read: whose it is, what of it comes in, what the ledger hears of the rest.

Both ways into the doors (ingest.py, direct.py) end here. Nothing waits: the only effects are the counters of admission
and the outcomes told to `Doors.refused`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from collector.accept.claims import claims_of
from collector.accept.doors import Doors
from collector.accept.routes import Place
from collector.admit.origins import origin_allowed
from collector.admit.verdict import OPEN, Verdict
from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.model.outcome import FILTERED, INVALID, RATE_LIMITED, Outcome
from collector.model.project import ProjectSettings
from collector.protocol.auth import Auth, missing_auth, same_key
from collector.protocol.dsn import Dsn, parse_dsn
from collector.protocol.envelope import bad_envelope
from collector.protocol.kinds import ITEM_KINDS, counts_of, creates_event, is_known
from collector.protocol.ratelimits import RateLimit
from collector.protocol.sizes import check_sizes
from collector.protocol.store_body import peek_event_id

MAX_PROJECT_ID = 2**63 - 1
INTERNAL = frozenset(kind.name for kind in ITEM_KINDS.values() if kind.internal)


class Sender(NamedTuple):
    """Who a request says it is from outside its body; project None: only the envelope says."""

    auth: Auth | None
    project: ProjectSettings | None


class Words(NamedTuple):
    """What the request said beside its envelope. event_id: in its path, else "". at: when it was read."""

    door: str
    origin: str
    event_id: str
    at: float


class Fate(NamedTuple):
    """What comes in: `quantity` items (0: nothing to spool) but those of the indexes `skip`. limits make a 429, those
    ahead are told on a 200."""

    project_id: int
    public_key: str
    quantity: int
    event_id: str
    skip: tuple[int, ...] = ()
    limits: Sequence[RateLimit] = ()
    ahead: Sequence[RateLimit] = ()


class Judge:
    """One a configuration."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors

    def project(self, place: Place, auth: Auth | None) -> ProjectSettings | None:
        """The project of a request that names its key outside the body. Raises ProtocolError 400, 401 or 403."""
        project_id = project_id_of(place.project)
        if auth is None:
            if place.form.name != "envelope":
                raise missing_auth()
            return None
        project = self.doors.project_of(project_id, auth.public_key)
        if project is None:
            raise _rejected("ProjectId")
        return project

    def owner(self, envelope: Envelope, sender: Sender, project_id: int) -> Sender:
        """The sender by the request or by the envelope's dsn, which have to agree when both are there.

        project_id: of the path, 0 for a tunnel without one. Raises ProtocolError 400, 401 or 403.
        """
        text = envelope.headers.get("dsn")
        dsn = parse_dsn(text) if isinstance(text, str) else None
        if sender.project is not None and sender.auth is not None:
            if dsn is not None:
                _check_agreement(dsn, sender.project.id, sender.auth.public_key)
            return sender
        if dsn is None:
            raise ProtocolError(401, "bad envelope authentication header", "auth_missing")
        if project_id not in (0, dsn.project_id):
            raise bad_envelope("project id header mismatch between envelope and request")
        found = self.doors.project_of(dsn.project_id, dsn.public_key)
        if found is None:
            raise _rejected("ProjectId")
        return Sender(Auth(dsn.public_key), found)

    def unread(self, sender: Sender, error: ProtocolError) -> None:
        """Tell the ledger of a request that could not be read or is not its sender's: one item, if we know whose."""
        if sender.project is not None and sender.auth is not None:
            at, key = self.doors.clock.now(), sender.auth.public_key
            self.doors.refused(Outcome(sender.project.id, INVALID, error.reason, "default", 1, at, 1, key))

    def fate(self, sender: Sender, envelope: Envelope, words: Words) -> Fate:
        """What comes in. Raises ProtocolError 400, 403 or 413; the ledger knows of it then."""
        assert sender.project is not None and sender.auth is not None
        project, public_key = sender.project, sender.auth.public_key
        items, at = envelope.items, words.at
        for item in items:
            if item.type in INTERNAL:
                self._refuse_all(project.id, public_key, items, "internal_envelope", at)
                raise ProtocolError(400, "envelope contains internal items", "internal_envelope")
        if words.origin and not origin_allowed(words.origin, project.allowed_origins):
            self._refuse_all(project.id, public_key, items, "cors", at)
            raise _rejected("Cors")
        skip: set[int] = set()
        if not self.doors.settings.accept_unknown_items:
            skip = {index for index, item in enumerate(items) if not is_known(item)}
            for index in skip:
                self._refuse(project.id, public_key, items[index], FILTERED, "unknown-item", at)
        verdict = self._limit(project.id, public_key, items, skip, at)
        kept = [item for index, item in enumerate(items) if index not in skip] if skip else items
        try:
            self._check_sizes(words.door, kept)
        except ProtocolError as error:
            self._refuse_all(project.id, public_key, kept, error.reason, at)
            raise
        event_id = words.event_id or self._event_id(envelope, kept)
        if verdict is OPEN:
            return Fate(project.id, public_key, len(kept), event_id, tuple(sorted(skip)) if skip else ())
        limits, ahead = ([RateLimit(*limit) for limit in told] for told in (verdict.limits, verdict.ahead))
        return Fate(project.id, public_key, len(kept), event_id, tuple(sorted(skip)), limits, ahead)

    def _limit(self, project_id: int, public_key: str, items: list[Item], skip: set[int], at: float) -> Verdict:
        """What admission refuses joins `skip`."""
        admission = self.doors.admission
        if admission is None or not admission.concerns(project_id):
            return OPEN
        waiting = [index for index in range(len(items)) if index not in skip]
        verdict = admission.check(project_id, public_key, claims_of([items[index] for index in waiting]))
        for place, reason in verdict.refused.items():
            self._refuse(project_id, public_key, items[waiting[place]], RATE_LIMITED, reason, at)
            skip.add(waiting[place])
        return verdict

    def _check_sizes(self, door: str, items: list[Item]) -> None:
        """Reports of one request become an event each, so each is judged alone."""
        if door != "security":
            check_sizes(items, self.doors.limits)
            return
        for item in items:
            check_sizes([item], self.doors.limits)

    def _event_id(self, envelope: Envelope, items: list[Item]) -> str:
        """The header's id wins; else the payload's own is kept; else a new one, if anything here becomes an event."""
        given = envelope.headers.get("event_id")
        if given:
            return str(given)
        for item in items:
            if creates_event(item):
                return peek_event_id(item.payload) or self.doors.new_event_id()
        return ""

    def _refuse_all(self, project_id: int, public_key: str, items: Sequence[Item], reason: str, at: float) -> None:
        for item in items:
            self._refuse(project_id, public_key, item, INVALID, reason, at)

    def _refuse(self, project_id: int, public_key: str, item: Item, outcome: str, reason: str, at: float) -> None:
        """Tell the ledger about one dropped item: once as an item, for each of its categories as a quantity."""
        for number, (category, quantity) in enumerate(counts_of(item)):
            if reason == "too_large:log" and category == "log_byte":
                continue  # booked in records only, as Relay does
            items = 1 if number == 0 else 0
            self.doors.refused(Outcome(project_id, outcome, reason, category, quantity, at, items, public_key))


def project_id_of(text: str) -> int | None:
    """The number in a path, None for "". Raises ProtocolError 400."""
    if not text:
        return None
    found = _number_of(text) if len(text) <= 19 else None
    if found is None:
        raise ProtocolError(400, "bad project path parameter", "project_id")
    return found


@lru_cache(maxsize=1024)
def _number_of(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if 0 < number <= MAX_PROJECT_ID else None


def _rejected(why: str) -> ProtocolError:
    return ProtocolError(403, f"event submission rejected with_reason: {why}", why.lower())


def _check_agreement(dsn: Dsn, project_id: int, public_key: str) -> None:
    if dsn.project_id != project_id:
        raise bad_envelope("project id header mismatch between envelope and request")
    if not same_key(dsn.public_key.partition(".")[0], public_key):
        raise bad_envelope("public key header mismatch between envelope and request")
