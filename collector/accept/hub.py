"""The hub's door: POST /api/hub/batches/. The protocol is the docstring of `collector.hub`.

Order: method, memory pressure, address guard, token, content type and encoding, body under its cap, decode and check
(off the loop above max_inline_bytes), edge and project, spool, and only then 200.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import structlog

from collector.accept.address import Proxies
from collector.accept.body import BodyReader, BrokenOff, Inflight, Receive
from collector.accept.doors import Doors
from collector.accept.head import Head
from collector.accept.ingest import App, Scope
from collector.accept.respond import Answer, Send, error_body, of_error, respond
from collector.errors import Busy, ProtocolError, Unavailable
from collector.hub import batch as form
from collector.hub.batch import Batch
from collector.hub.edges import Edge, Edges
from collector.model.received import Received
from collector.protocol import encodings
from collector.protocol.kinds import kind_of
from collector.protocol.limits import LimitSettings
from collector.protocol.sizes import check_sizes

LIMIT = "max_hub_batch_bytes"
MAX_REMEMBERED = 10_000  # batches answered without asking the worker; it alone knows all of them
INFLIGHT_BATCHES = 4

log = structlog.get_logger("hub")


def build_hub(doors: Doors, edges: Edges, fallback: App, before: "HubApp | None" = None) -> "HubApp":
    """The ASGI app: the hub's path is answered here, every other scope goes to `fallback`. `before`: the one of the
    configuration until now."""
    return HubApp(HubDoor(doors, edges, before.door if before else None), fallback)


class HubApp:
    """See build_hub."""

    def __init__(self, door: "HubDoor", fallback: App) -> None:
        self.door = door
        self._fallback = fallback
        self._paths = (form.PATH, form.PATH.rstrip("/"))

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] in self._paths:
            await self.door.serve(scope, receive, send)
        else:
            await self._fallback(scope, receive, send)


class HubDoor:
    """The door at work. One a configuration; what was answered and the memory account of bodies are handed on."""

    def __init__(self, doors: Doors, edges: Edges, before: "HubDoor | None" = None) -> None:
        self._doors = doors
        self._edges = edges
        self._projects = {project.id: project for project in doors.projects}
        self._proxies = Proxies(doors.settings.trusted_proxies)
        most = INFLIGHT_BATCHES * int(doors.limits.max_hub_batch_bytes)
        self._inflight: Inflight = before._inflight if before else Inflight(0)
        self._inflight.max_bytes = min(int(doors.settings.max_inflight_bytes), most)
        threads = before._threads if before else ThreadPoolExecutor(1, thread_name_prefix="hub")
        self._threads: ThreadPoolExecutor = threads
        self._answered: OrderedDict[tuple[str, bytes], bytes] = before._answered if before else OrderedDict()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens the answer is ours."""
        try:
            answer = await self._answer(scope, receive)
        except BrokenOff:
            return
        except Exception:  # the request door: a bug here must not take the connection's other requests along
            log.exception("a batch failed")
            answer = Answer(500, error_body("internal error"))
        self._doors.answers[answer.status] += 1
        await respond(send, answer, cross_origin=False)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if scope["method"] != "POST":
            return Answer(405, error_body("method not allowed, use POST"), headers=((b"allow", b"POST"),))
        edge: Edge | None = None
        try:
            self._guard(head := Head(scope))
            edge = self._edges.authenticate(head.authorization)
            answer = await self._taken(edge, head, receive)
        except (ProtocolError, Busy, Unavailable) as error:
            reason = error.reason if isinstance(error, ProtocolError) else "busy"
            causes = error.causes if isinstance(error, ProtocolError) else []
            self._edges.refused(edge, reason, ": ".join([str(error), *causes[:1]]))
            return of_error(error)
        self._edges.taken(edge)
        return answer

    def _guard(self, head: Head) -> None:
        """Raises Busy when memory is short or the address sends too much."""
        if self._doors.pressure is not None:
            self._doors.pressure.check()
        if self._doors.admission is not None and self._doors.admission.guards_addresses:
            self._doors.admission.check_address(head.address(self._proxies))

    async def _taken(self, edge: Edge, head: Head, receive: Receive) -> Answer:
        form.check_content_type(head.text(b"content-type"))
        if head.encoding() != form.ENCODING:
            raise ProtocolError(
                415, f"unsupported content encoding, use {form.ENCODING}", "content_encoding",
                ["a batch is one zstd frame"],
            )  # fmt: skip
        reader = BodyReader(head.scope, self._inflight, LIMIT, int(self._doors.limits.max_hub_batch_bytes))
        try:
            body = await reader.read(receive, head.content_length())
            if not body:
                raise ProtocolError(400, "empty request body", "empty_body")
            batch = await self._read(body)
            project_id = edge.project_of(batch, self._projects)
            key = (edge.name, batch.batch_id)
            if (known := self._answered.get(key)) is not None:
                return Answer(200, known)
            await self._doors.spool_add(self._received(edge, head, batch, project_id), body)
        finally:
            reader.release()
        return Answer(200, self._remember(key, batch))

    async def _read(self, body: bytes) -> Batch:
        """Decoded and checked. Raises ProtocolError."""
        limits = self._doors.limits
        inline_bytes = min(self._doors.settings.max_inline_bytes, limits.max_hub_batch_bytes)
        decoded = encodings.decode_inline(form.ENCODING, body, int(inline_bytes))
        if decoded is not None:
            return _checked(decoded, limits)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _open, body, limits)

    def _received(self, edge: Edge, head: Head, batch: Batch, project_id: int) -> Received:
        return Received(
            door="hub",
            project_id=project_id,
            received_at=self._doors.clock.now(),
            quantity=batch.occurrences,
            event_id=batch.batch_id.hex(),
            public_key=self._projects[project_id].keys[0],
            encoding=form.ENCODING,
            content_type=head.text(b"content-type"),
            user_agent=head.text(b"user-agent"),
            remote_addr=head.address(self._proxies),
            slug=edge.name,
        )

    def _remember(self, key: tuple[str, bytes], batch: Batch) -> bytes:
        told = {"batch": batch.batch_id.hex(), "entries": len(batch.entries), "occurrences": batch.occurrences}
        self._answered[key] = msgspec.json.encode({**told, "repeated": True})
        if len(self._answered) > MAX_REMEMBERED:
            self._answered.popitem(last=False)
        return msgspec.json.encode({**told, "repeated": False})


def _open(body: bytes, limits: LimitSettings) -> Batch:
    limit = int(limits.max_hub_batch_bytes)
    return _checked(encodings.decode(form.ENCODING, body, limit, limits.max_decode_ratio, LIMIT), limits)


def _checked(decoded: bytes, limits: LimitSettings) -> Batch:
    """Raises ProtocolError 400, 413 or 426."""
    batch = form.read_batch(decoded)
    for entry in batch.entries:
        item = form.item_of(entry)
        if kind_of(item).internal:
            raise ProtocolError(400, "the batch contains internal items", "internal_envelope")
        check_sizes([item], limits)
    return batch
