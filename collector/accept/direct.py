"""The usual request without ASGI: an envelope by POST, handed over by the guard in steps.

`Direct.take` judges the head. It takes only what it knows to be fine so far, and says None to all the rest, which then
goes the general way (ingest.py) from its first byte on: refusals that need no body, other doors and methods, guarded
addresses, a process under pressure. `Taken.grow` counts the body as it comes, `Taken.finish` gets it whole. The verdict
is Judge's, as on the general way, so both ways say the same (tests/accept/test_direct.py). Measured in one process on
real envelopes, kernel and disk left out: 92 us a request instead of 158, of which 36 inflate its body.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple
from urllib.parse import unquote

import httptools
import structlog

from collector.accept.address import Proxies, client_address
from collector.accept.body import DRAIN_FACTOR, Inflight
from collector.accept.doors import Doors
from collector.accept.eager import Eager
from collector.accept.guard import DirectCycle, RawHeaders
from collector.accept.head import Head
from collector.accept.judge import Fate, Judge, Sender, Words, project_id_of
from collector.accept.respond import Answer, error_body, id_lines, lines_of, of_error, of_fate
from collector.accept.routes import Place, find_place
from collector.errors import Busy, CollectorError, ProtocolError, Unavailable
from collector.model.envelope import Envelope
from collector.model.received import Position, Received
from collector.protocol.encodings import body_too_large, decode_inline
from collector.protocol.envelope import parse_envelope
from collector.protocol.records import BODY_FORMS, max_body_bytes, open_body

MAX_KNOWN = 1024
MAX_KNOWN_BYTES = 1024  # of a head that is remembered; SDKs' have 200-400
_READ = frozenset(
    (b"x-sentry-auth", b"authorization", b"content-encoding", b"content-type", b"user-agent", b"origin", b"referer",
     b"x-forwarded-for")
)  # fmt: skip

log = structlog.get_logger("accept")


class Known(NamedTuple):
    """All that a head says, and is right about. The same head says it again."""

    place: Place
    sender: Sender
    project_id: int
    public_key: str
    encoding: str
    content_type: str
    client: str
    user_agent: str
    origin: str
    cross_origin: bool
    forwarded: tuple[bytes, ...]


class Direct:
    """One a configuration, as Ingest."""

    def __init__(self, judge: Judge, proxies: Proxies, inflight: Inflight, threads: Executor) -> None:
        self.doors: Doors = judge.doors
        self.judge = judge
        self.proxies = proxies
        self.inflight = inflight
        self.threads = threads
        self.inline_bytes = min(self.doors.settings.max_inline_bytes, max_body_bytes("envelope", self.doors.limits))
        self.max_bytes = max_body_bytes("envelope", self.doors.limits)
        self._known: dict[tuple[Any, ...], Known] = {}
        admission = self.doors.admission
        self._is_open = admission is None or not admission.guards_addresses

    def take(self, url: bytes, headers: RawHeaders, peer: str) -> "Taken | None":
        """The request of this head (names in lower case, method POST), or None."""
        if not self._is_open:
            return None
        size_bytes = 0
        read = []
        for header in headers:
            name = header[0]
            if name in _READ:
                read.append(header)
            elif name == b"content-length":
                size_bytes = int(header[1]) if header[1].isdigit() else 0  # the HTTP parser has checked its form
        known = self._known.get((url, *read)) or self._learn(url, read)
        if known is None or size_bytes > self.max_bytes:
            return None
        if self.doors.pressure is not None and self.doors.pressure.trouble():
            return None
        return Taken(self, known, peer)

    def _learn(self, url: bytes, headers: RawHeaders) -> Known | None:
        try:
            parsed = httptools.parse_url(url)
            place = find_place(unquote(parsed.path.decode("ascii")))
            if place is None or place.form.name != "envelope":
                return None
            query = parsed.query or b""
            head = Head({"query_string": query, "headers": headers, "method": "POST", "client": None})
            auth = head.auth(place.key)
            sender = Sender(auth, self.judge.project(place, auth))
            encoding = head.encoding()
        except (ProtocolError, httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            return None
        known = Known(
            place=place,
            sender=sender,
            project_id=project_id_of(place.project) or 0,
            public_key=auth.public_key if auth else "",
            encoding=encoding,
            content_type=head.text(b"content-type"),
            client=auth.client if auth else "",
            user_agent=head.text(b"user-agent"),
            origin=head.origin(),
            cross_origin=b"origin" in head.once or b"referer" in head.once,
            forwarded=tuple(value for name, value in headers if name == b"x-forwarded-for"),
        )
        if len(url) + sum(len(value) for _, value in headers) <= MAX_KNOWN_BYTES:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[(url, *headers)] = known
        return known


class Taken:
    """One request whose head was taken. finish() or drop() is called once, unless grow() has answered."""

    __slots__ = ("_at", "_direct", "_fate", "_held_bytes", "_known", "_peer", "_reply")

    def __init__(self, direct: Direct, known: Known, peer: str) -> None:
        self._direct = direct
        self._known = known
        self._peer = peer
        self._held_bytes = 0

    def grow(self, size_bytes: int, reply: DirectCycle) -> None:
        """Count what is in memory until the answer is out, or drop(). Too much of it is answered at once."""
        direct = self._direct
        try:
            if self._held_bytes + size_bytes > direct.max_bytes:
                reply.allow_drain(DRAIN_FACTOR * direct.max_bytes)
                raise body_too_large(BODY_FORMS["envelope"].max_bytes, direct.max_bytes)
            direct.inflight.take(size_bytes)
        except (ProtocolError, Busy) as error:
            if isinstance(error, ProtocolError):
                direct.judge.unread(self._known.sender, error)
            self._reply = reply
            self._answer(of_error(error))
        else:
            self._held_bytes += size_bytes

    def drop(self) -> None:
        """The body will never be whole."""
        self._direct.inflight.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def finish(self, body: bytes, reply: DirectCycle) -> None:
        """Judge the whole body, spool it, answer. Never raises."""
        self._reply = reply
        self._guarded(self._begin, body)

    def _guarded(self, act: Callable[..., None], *arguments: Any) -> None:
        try:
            act(*arguments)
        except (ProtocolError, Busy, Unavailable) as error:
            self._answer(of_error(error))
        except Exception:  # the request door: a bug here must not take the connection's other requests along
            log.exception("request failed", door=self._known.place.form.name)
            self._answer(Answer(500, error_body("internal error")))

    def _begin(self, body: bytes) -> None:
        direct, known = self._direct, self._known
        self._at = direct.doors.clock.now()
        try:
            if not body:
                raise ProtocolError(400, "empty request body", "empty_body")
            decoded = decode_inline(known.encoding, body, direct.inline_bytes)
            if decoded is None:
                Eager(self._begin_large(body), self._reply.running).step()
                return
            envelope = parse_envelope(decoded, direct.doors.limits)
            sender = direct.judge.owner(envelope, known.sender, known.project_id)
        except ProtocolError as error:
            direct.judge.unread(known.sender, error)
            raise
        self._spool(sender, envelope, body)

    async def _begin_large(self, body: bytes) -> None:
        """Decode off the loop."""
        direct, known = self._direct, self._known
        received = Received("envelope", 0, self._at, encoding=known.encoding, content_type=known.content_type)
        opening = asyncio.get_running_loop().run_in_executor(
            direct.threads, open_body, received, body, direct.doors.limits
        )
        await asyncio.wait((opening,))
        self._guarded(self._opened, opening, body)

    def _opened(self, opening: "asyncio.Future[Envelope]", body: bytes) -> None:
        direct, known = self._direct, self._known
        try:
            envelope = opening.result()
            sender = direct.judge.owner(envelope, known.sender, known.project_id)
        except ProtocolError as error:
            direct.judge.unread(known.sender, error)
            raise
        self._spool(sender, envelope, body)

    def _spool(self, sender: Sender, envelope: Envelope, body: bytes) -> None:
        direct, known = self._direct, self._known
        words = Words("envelope", known.origin, "", self._at)
        fate = self._fate = direct.judge.fate(sender, envelope, words)
        if not fate.quantity:
            self._answer(of_fate(known.place.form, fate, known.content_type))
            return
        record = self._record(fate)
        if direct.doors.spool_tell is not None:
            direct.doors.spool_tell(record, body, self._told)
        else:
            Eager(self._wait(record, body), self._reply.running).step()

    def _record(self, fate: Fate) -> Received:
        known = self._known
        address = self._peer
        if known.forwarded:
            address = client_address(address, known.forwarded, self._direct.proxies)
        return Received(
            "envelope",
            fate.project_id,
            self._at,
            fate.quantity,
            fate.event_id,
            fate.public_key,
            known.encoding,
            known.content_type,
            known.client,
            known.user_agent,
            address,
            known.origin,
            skip=fate.skip,
        )

    async def _wait(self, record: Received, body: bytes) -> None:
        """For a spool that gives awaitables only."""
        try:
            self._told(await self._direct.doors.spool_add(record, body))
        except (Busy, Unavailable) as error:
            self._told(error)

    def _told(self, result: Position | CollectorError) -> None:
        """The spool's word."""
        fate, known = self._fate, self._known
        if isinstance(result, Busy | Unavailable):
            self._answer(of_error(result))
        elif len(fate.event_id) != 32 or fate.limits or fate.ahead:
            self._answer(of_fate(known.place.form, fate, known.content_type))
        else:  # nearly always; what of_fate() says then, without its steps
            self.drop()
            self._direct.doors.answers[200] += 1
            self._reply.answer(200, id_lines(known.cross_origin), b'{"id":"%b"}' % fate.event_id.encode())

    def _answer(self, answer: Answer) -> None:
        self.drop()
        self._direct.doors.answers[answer.status] += 1
        self._reply.answer(answer.status, lines_of(answer, self._known.cross_origin), answer.body)
