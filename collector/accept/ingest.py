"""The ingest dispatcher: a raw ASGI callable ahead of any framework (measured: half the cost of a Starlette route).

Order of a request: route, method, auth by header, query or path, project and key (403 at once), encoding, body under
its cap, decode and split (off the loop above max_inline_bytes), auth by the envelope's dsn, origin, rate limits, sizes,
spool, and only then 200.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl

import structlog
from msgspec import structs

from collector.accept.address import Proxies
from collector.accept.body import BodyReader, BrokenOff, Inflight, Receive
from collector.accept.direct import Direct, Taken
from collector.accept.doors import Doors
from collector.accept.guard import EXCHANGE, RawHeaders
from collector.accept.head import Head
from collector.accept.judge import Fate, Judge, Sender, Words, project_id_of
from collector.accept.respond import (
    GIF,
    PREFLIGHT,
    QUOTA_REACHED,
    Answer,
    Send,
    error_body,
    of_error,
    of_fate,
    otlp_failure,
    respond,
)  # fmt: skip
from collector.accept.routes import Place, find_place
from collector.errors import Busy, ProtocolError, Unavailable
from collector.model.envelope import Envelope
from collector.model.received import Received
from collector.protocol.auth import Auth
from collector.protocol.cron import CLIENT as CRON_CLIENT
from collector.protocol.encodings import decode_inline
from collector.protocol.envelope import event_id_of
from collector.protocol.records import BODY_FORMS, max_body_bytes, open_body, parse_body

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
DECODE_THREADS = 2
MAX_QUERY_BYTES = 4096
READS_QUERY = {"security", "cron"}  # doors whose query says more than who sends

log = structlog.get_logger("accept")


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

    def direct(self, url: bytes, headers: RawHeaders, peer: str) -> Taken | None:
        """The way of usual requests, see direct.py; None: the general way."""
        return self._ingest.direct.take(url, headers, peer)

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
        self.judge = Judge(doors)
        self.proxies = Proxies(doors.settings.trusted_proxies)
        self.inflight: Inflight = before.inflight if before else Inflight(0)
        self.inflight.max_bytes = doors.settings.max_inflight_bytes
        threads = before.threads if before else ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        self.threads: ThreadPoolExecutor = threads
        self.direct = Direct(self.judge, self.proxies, self.inflight, threads)

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
        sender = Sender(auth, self.judge.project(place, auth))
        reader = BodyReader(head.scope, self.inflight, *self._body_limit(place.form.name))
        try:
            sender, received, body, envelope = await self._opened(place, head, sender, reader, receive)
            words = Words(received.door, received.origin, received.event_id, received.received_at)
            fate = self.judge.fate(sender, envelope, words)
            if fate.quantity:
                await self.doors.spool_add(_record(received, fate), body)
        finally:
            reader.release()
        if method == "GET" and place.form.name == "store" and not fate.limits:
            return Answer(200, GIF, b"image/gif")
        answer = of_fate(place.form, fate, received.content_type)
        return _in_form(place, head, answer, QUOTA_REACHED) if answer.status == 429 else answer

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
                sender = self.judge.owner(envelope, sender, received.project_id)
        except ProtocolError as error:
            self.judge.unread(sender, error)
            raise
        return sender, received, body, envelope

    def _body_limit(self, door: str) -> tuple[str, int]:
        return BODY_FORMS[door].max_bytes, max_body_bytes(door, self.doors.limits)

    def _received(self, place: Place, head: Head, auth: Auth | None, encoding: str) -> Received:
        """The head of the record as far as it is known before the body."""
        return Received(
            door=place.form.name,
            project_id=project_id_of(place.project) or 0,
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

    async def _envelope(self, received: Received, body: bytes) -> Envelope:
        limits = self.doors.limits
        inline_bytes = min(self.doors.settings.max_inline_bytes, max_body_bytes(received.door, limits))
        decoded = decode_inline(received.encoding, body, inline_bytes)
        if decoded is not None:
            return parse_body(received, decoded, limits)
        return await asyncio.get_running_loop().run_in_executor(self.threads, open_body, received, body, limits)


def _record(received: Received, fate: Fate) -> Received:
    return structs.replace(
        received,
        project_id=fate.project_id,
        quantity=fate.quantity,
        event_id=fate.event_id,
        public_key=fate.public_key,
        skip=fate.skip,
    )


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
