"""The ingest dispatcher: a raw ASGI callable ahead of any framework (measured: half the cost of a Starlette route).

Order of a request: route, method, auth by header, query or path, project and key (403 at once), encoding, body under
its cap, decode and split (off the loop above max_inline_bytes), auth by the envelope's dsn, origin, rate limits, sizes,
spool, and only then 200.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import structlog
from msgspec import structs

from collector.accept.address import Proxies
from collector.accept.body import BodyReader, BrokenOff, Inflight, Receive
from collector.accept.claims import claims_of
from collector.accept.doors import Doors
from collector.accept.guard import EXCHANGE
from collector.accept.head import Head
from collector.accept.respond import (
    GIF,
    PREFLIGHT,
    QUOTA_REACHED,
    SUCCESS,
    Answer,
    Send,
    error_body,
    limit_headers,
    limited,
    of_error,
    otlp_failure,
    respond,
)  # fmt: skip
from collector.accept.routes import Place, find_place
from collector.admit.origins import origin_allowed
from collector.admit.verdict import OPEN, Verdict
from collector.errors import Busy, ProtocolError, Unavailable
from collector.model.envelope import Envelope, Item
from collector.model.outcome import FILTERED, INVALID, RATE_LIMITED, Outcome
from collector.model.project import ProjectSettings
from collector.model.received import Received
from collector.protocol.auth import Auth, missing_auth, same_key
from collector.protocol.cron import CLIENT as CRON_CLIENT
from collector.protocol.dsn import Dsn, parse_dsn
from collector.protocol.encodings import decode_inline
from collector.protocol.envelope import bad_envelope, event_id_of
from collector.protocol.kinds import ITEM_KINDS, counts_of, creates_event, is_known
from collector.protocol.ratelimits import RateLimit
from collector.protocol.records import BODY_FORMS, max_body_bytes, open_body, parse_body
from collector.protocol.sizes import check_sizes
from collector.protocol.store_body import peek_event_id

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
MAX_PROJECT_ID = 2**63 - 1
DECODE_THREADS = 2
MAX_QUERY_BYTES = 4096
READS_QUERY = {"security", "cron"}  # doors whose query says more than who sends

log = structlog.get_logger("accept")


class Sender(NamedTuple):
    """Who a request says it is from outside its body; project None: only the envelope says."""

    auth: Auth | None
    project: ProjectSettings | None


class Admitted(NamedTuple):
    """A request that was read, understood and allowed, before it is spooled."""

    received: Received
    body: bytes
    event_id: str
    limits: Sequence[RateLimit] = ()
    ahead: Sequence[RateLimit] = ()


def build_ingest(doors: Doors, fallback: App) -> "IngestApp":
    """The ASGI app: ingest paths are answered here, every other scope goes to `fallback`."""
    return IngestApp(Ingest(doors), fallback)


class IngestApp:
    """See build_ingest."""

    def __init__(self, ingest: "Ingest", fallback: App) -> None:
        self._ingest = ingest
        self._fallback = fallback

    @staticmethod
    def is_own(path: str) -> bool:
        """Whether requests of this path are answered here; their coroutines need no task (guard.Eager)."""
        return find_place(path) is not None

    def take(self, doors: Doors, fallback: App) -> None:
        """Other doors from the next request on; requests under way end with those that they began with."""
        self._ingest = Ingest(doors, self._ingest)
        self._fallback = fallback

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        place = find_place(scope["path"]) if scope["type"] == "http" else None
        if place is None:
            await self._fallback(scope, receive, send)
        else:
            await self._ingest.serve(place, scope, receive, send)


class Ingest:
    """The doors at work. One a configuration; the memory account of bodies and the decoding threads are handed on."""

    def __init__(self, doors: Doors, before: "Ingest | None" = None) -> None:
        self.doors = doors
        self.proxies = Proxies(doors.settings.trusted_proxies)
        self.inflight: Inflight = before.inflight if before else Inflight(0)
        self.inflight.max_bytes = doors.settings.max_inflight_bytes
        threads = before.threads if before else ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        self.threads: ThreadPoolExecutor = threads

    async def serve(self, place: Place, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens the answer is ours."""
        head = Head(scope)
        try:
            answer = await self._answer(place, scope["method"], head, receive)
        except (ProtocolError, Busy, Unavailable) as error:
            answer = _failure(place, head, error)
        except BrokenOff:
            return
        except Exception:  # the request door: a bug here must not take the connection's other requests along
            log.exception("request failed", door=place.form.name)
            answer = Answer(500, error_body("internal error"))
        self.doors.answers[answer.status] += 1
        is_post = scope["method"] == "POST"
        exchange = scope.get("extensions", {}).get(EXCHANGE) if is_post else None  # an answer to HEAD has no body
        cross_origin = not is_post or b"origin" in head.once or b"referer" in head.once
        await respond(send, answer, cross_origin, exchange)

    async def _answer(self, place: Place, method: str, head: Head, receive: Receive) -> Answer:
        if method == "OPTIONS":
            return PREFLIGHT
        if method not in place.form.methods:
            allow = ", ".join(place.form.methods).encode()
            return Answer(405, error_body(f"method not allowed, use {allow.decode()}"), headers=((b"allow", allow),))
        if self.doors.pressure is not None:
            self.doors.pressure.check()
        if self.doors.admission is not None and self.doors.admission.guards_addresses:
            self.doors.admission.check_address(head.address(self.proxies))
        auth = head.auth(place.key)
        sender = Sender(auth, self._project(place, auth))
        reader = BodyReader(head.scope, self.inflight, *self._body_limit(place.form.name))
        try:
            admitted = self._judge(*await self._opened(place, head, sender, reader, receive))
            if admitted.received.quantity:
                await self.doors.spool_add(admitted.received, admitted.body)
        finally:
            reader.release()
        if admitted.limits and place.form.says_429:
            return _in_form(place, head, limited([*admitted.limits, *admitted.ahead]), QUOTA_REACHED)
        if method == "GET" and place.form.name == "store":
            return Answer(200, GIF, b"image/gif")
        answer = SUCCESS[place.form.answer](admitted.event_id, admitted.received.content_type)
        return answer._replace(headers=limit_headers(admitted.ahead)) if admitted.ahead else answer

    async def _opened(
        self, place: Place, head: Head, sender: Sender, reader: BodyReader, receive: Receive
    ) -> tuple[Sender, Received, bytes, Envelope]:
        """The request read, decoded and split, and whose it is. A refusal from here on is in the ledger as one item."""
        try:
            received = self._received(place, head, sender.auth, head.encoding())
            if head.scope["method"] == "GET":
                body, received = _query_body(place, head.query), structs.replace(received, encoding="")
            else:
                body = await reader.read(receive, head.content_length())
            if not body and not place.form.may_be_empty:
                raise ProtocolError(400, "empty request body", "empty_body")
            envelope = await self._envelope(received, body)
            if received.door == "envelope":
                sender = self._envelope_owner(envelope, sender, received)
        except ProtocolError as error:
            if sender.project is not None and sender.auth is not None:
                at, key = self.doors.clock.now(), sender.auth.public_key
                self.doors.refused(Outcome(sender.project.id, INVALID, error.reason, "default", 1, at, 1, key))
            raise
        return sender, received, body, envelope

    def _body_limit(self, door: str) -> tuple[str, int]:
        return BODY_FORMS[door].max_bytes, max_body_bytes(door, self.doors.limits)

    def _received(self, place: Place, head: Head, auth: Auth | None, encoding: str) -> Received:
        """The head of the record as far as it is known before the body."""
        return Received(
            door=place.form.name,
            project_id=_project_id(place.project) or 0,
            received_at=self.doors.clock.now(),
            public_key=auth.public_key if auth else "",
            encoding=encoding,
            content_type=head.text(b"content-type"),
            client=_client(place, auth),
            user_agent=head.text(b"user-agent"),
            remote_addr=head.address(self.proxies),
            origin=head.origin(),
            slug=place.slug,
            event_id=_event_id_of(place),
            query=head.query[:MAX_QUERY_BYTES].decode("ascii", "replace") if place.form.name in READS_QUERY else "",
        )

    def _project(self, place: Place, auth: Auth | None) -> ProjectSettings | None:
        """The project of a request that names its key outside the body. Raises ProtocolError 400, 401 or 403."""
        project_id = _project_id(place.project)
        if auth is None:
            if place.form.name != "envelope":
                raise missing_auth()
            return None
        project = self.doors.project_of(project_id, auth.public_key)
        if project is None:
            raise _rejected("ProjectId")
        return project

    async def _envelope(self, received: Received, body: bytes) -> Envelope:
        limits = self.doors.limits
        inline_bytes = min(self.doors.settings.max_inline_bytes, max_body_bytes(received.door, limits))
        decoded = decode_inline(received.encoding, body, inline_bytes)
        if decoded is not None:
            return parse_body(received, decoded, limits)
        return await asyncio.get_running_loop().run_in_executor(self.threads, open_body, received, body, limits)

    def _envelope_owner(self, envelope: Envelope, sender: Sender, received: Received) -> Sender:
        """The project by the request or by the envelope's dsn, which have to agree when both are there."""
        text = envelope.headers.get("dsn")
        dsn = parse_dsn(text) if isinstance(text, str) else None
        if sender.project is not None and sender.auth is not None:
            if dsn is not None:
                _check_agreement(dsn, sender.project.id, sender.auth.public_key)
            return sender
        if dsn is None:
            raise ProtocolError(401, "bad envelope authentication header", "auth_missing")
        if received.project_id not in (0, dsn.project_id):  # 0: a tunnel without a project in its path
            raise bad_envelope("project id header mismatch between envelope and request")
        found = self.doors.project_of(dsn.project_id, dsn.public_key)
        if found is None:
            raise _rejected("ProjectId")
        return Sender(Auth(dsn.public_key), found)

    def _judge(self, sender: Sender, received: Received, body: bytes, envelope: Envelope) -> Admitted:
        assert sender.project is not None and sender.auth is not None
        project, public_key = sender.project, sender.auth.public_key
        items = envelope.items
        at = received.received_at
        for item in items:
            kind = ITEM_KINDS.get(item.type)
            if kind is not None and kind.internal:
                for refused in items:
                    self._refuse(project.id, public_key, refused, INVALID, "internal_envelope", at)
                raise ProtocolError(400, "envelope contains internal items", "internal_envelope")
        if not origin_allowed(received.origin, project.allowed_origins):
            for item in items:
                self._refuse(project.id, public_key, item, INVALID, "cors", at)
            raise _rejected("Cors")
        skip: set[int] = set()
        if not self.doors.settings.accept_unknown_items:
            skip = {index for index, item in enumerate(items) if not is_known(item)}
            for index in skip:
                self._refuse(project.id, public_key, items[index], FILTERED, "unknown-item", at)
        verdict = self._limit(project.id, public_key, items, skip, at)
        kept = [item for index, item in enumerate(items) if index not in skip] if skip else items
        try:
            self._check_sizes(received.door, kept)
        except ProtocolError as error:
            for item in kept:
                self._refuse(project.id, public_key, item, INVALID, error.reason, at)
            raise
        event_id = received.event_id or self._event_id(envelope, kept)
        record = Received(
            door=received.door,
            project_id=project.id,
            received_at=at,
            quantity=len(kept),
            event_id=event_id,
            public_key=public_key,
            encoding=received.encoding,
            content_type=received.content_type,
            client=received.client,
            user_agent=received.user_agent,
            remote_addr=received.remote_addr,
            origin=received.origin,
            query=received.query,
            slug=received.slug,
            skip=tuple(sorted(skip)) if skip else (),
        )
        if verdict is OPEN:
            return Admitted(record, body, event_id)
        limits, ahead = ([RateLimit(*limit) for limit in told] for told in (verdict.limits, verdict.ahead))
        return Admitted(record, body, event_id, limits, ahead)

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
        for group in [[item] for item in items] if door == "security" else [items]:
            check_sizes(group, self.doors.limits)

    def _event_id(self, envelope: Envelope, items: list[Item]) -> str:
        """The header's id wins; else the payload's own is kept; else a new one, if anything here becomes an event."""
        given = envelope.headers.get("event_id")
        if given:
            return str(given)
        for item in items:
            if creates_event(item):
                return peek_event_id(item.payload) or self.doors.new_event_id()
        return ""

    def _refuse(self, project_id: int, public_key: str, item: Item, outcome: str, reason: str, at: float) -> None:
        """Tell the ledger about one dropped item: once as an item, for each of its categories as a quantity."""
        for number, (category, quantity) in enumerate(counts_of(item)):
            if reason == "too_large:log" and category == "log_byte":
                continue  # booked in records only, as Relay does
            items = 1 if number == 0 else 0
            self.doors.refused(Outcome(project_id, outcome, reason, category, quantity, at, items, public_key))


def _project_id(text: str) -> int | None:
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


def _query_body(place: Place, query: bytes) -> bytes:
    """The value of sentry_data of the GET pixel; other GET doors say all in the query itself."""
    if place.form.name != "store":
        return b""
    for name, value in parse_qsl(query.decode("ascii", "replace"), max_num_fields=100):
        if name == "sentry_data":
            return value.encode("utf-8", "replace")
    return b""


def _event_id_of(place: Place) -> str:
    """The event that a path names. Raises ProtocolError 400 when it is no id."""
    if not place.event_id:
        return ""
    event_id = event_id_of(place.event_id)
    if event_id is None:
        raise ProtocolError(400, "invalid event id", "invalid_event_id")
    return event_id


def _client(place: Place, auth: Auth | None) -> str:
    client = auth.client if auth else ""
    return client or (CRON_CLIENT if place.form.name == "cron" else "")


def _failure(place: Place, head: Head, error: ProtocolError | Busy | Unavailable) -> Answer:
    return _in_form(place, head, of_error(error), str(error))


def _in_form(place: Place, head: Head, answer: Answer, detail: str) -> Answer:
    """A refusal in the form of its door."""
    if place.form.answer != "otlp":
        return answer
    return otlp_failure(answer, detail, head.text(b"content-type"))
