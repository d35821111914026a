"""POST /api/query/: ad-hoc SQL for programs of the owner, with a bearer token.

Request: {"sql": "SELECT ...", "since": "2 d" or a time, "limit": rows, "timeout": seconds, "format": "json"}; only
`sql` is needed. Answer: as `collector query --format` prints it; X-Collector-Rows, -Seconds, -Truncated (the limit that
cut it) and -Skipped (segments that could not be read) say how it went. Every refusal is {"detail": "..."}: 400 the
statement or the request, 401 no token, 403 another one, 404 no token is set, 413 memory or size, 429 too many at once,
503 the worker does not answer, 504 the time limit.

Promises
- Nothing here runs SQL or opens a segment: a sandbox process does (collector.query.sandbox), at the lowest priority.
- At most `query.max_concurrent` of them at a time, and MAX_WAITING requests that wait or are still being read.
- A client that hangs up ends its query.
"""

import asyncio
import hmac
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from collector.errors import ProtocolError, Unavailable
from collector.query.adhoc import Limits, Sources, judge, newer_than, parse_since
from collector.query.child import Child
from collector.query.job import FORMATS, REASON, Verdict
from collector.query.settings import MAX_CONCURRENT, QuerySettings

MAX_BODY_BYTES = 1 << 20
MAX_WAITING = 8
WAIT_SECONDS = 10.0
LISTEN_SECONDS = 0.2
MEDIA_TYPES = {
    "json": "application/json", "ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8",
    "table": "text/plain; charset=utf-8", "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}  # fmt: skip
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

TakeSnapshot = Callable[[str], Awaitable[dict[str, Any]]]


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request. timeout: seconds."""

    sql: str
    since: str | None = None
    limit: int | None = None
    timeout: float | None = None
    format: str = "json"


class Answered:
    """An answer that is complete but not sent yet."""

    def __init__(self, child: Child, verdict: Verdict) -> None:
        self.child = child
        self.verdict = verdict


class SqlDoor:
    """One for all requests. `snapshot` has the worker make consistent files in a folder; `data`: the data folder."""

    def __init__(self, settings: QuerySettings, snapshot: TakeSnapshot, data: Path) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._data = data
        self._turns = asyncio.Semaphore(settings.max_concurrent)
        # One for good: processes end with the thread that started them (collector.machine.lifeline).
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT + MAX_WAITING, thread_name_prefix="query")
        self._present = 0
        self._is_stopping = False

    def take(self, settings: QuerySettings) -> None:
        """Other settings from the next question on; what runs goes on under those it began with."""
        if settings.max_concurrent != self._settings.max_concurrent:
            self._turns = asyncio.Semaphore(settings.max_concurrent)
        self._settings = settings

    def stop(self) -> None:
        """The collector ends: queries that run are ended too, new ones are refused."""
        self._is_stopping = True

    async def post(self, request: Request) -> Response:
        """One question."""
        if refusal := self._refused(request):
            return refusal
        if self._present >= self._settings.max_concurrent + MAX_WAITING:
            return self._busy()
        self._present += 1
        is_sent_later = False
        try:
            question = _question(await _body(request))
            answered = await self._in_turn(request, question)
            if answered is None:
                return self._busy()
            is_sent_later = True
            return self._response(question, answered)
        except ProtocolError as error:
            body: dict[str, Any] = {"detail": error.detail}
            if error.causes:
                body["causes"] = error.causes
            return JSONResponse(body, 504 if error.status == 408 else error.status, HEADERS)
        except Unavailable as error:
            return JSONResponse({"detail": str(error)}, 503, {**HEADERS, "Retry-After": "1"})
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            if not is_sent_later:
                self._present -= 1

    def _refused(self, request: Request) -> Response | None:
        token = self._settings.token.reveal()
        if not token:
            return JSONResponse({"detail": "SQL over HTTP is off; query.token switches it on"}, 404, HEADERS)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            headers = {**HEADERS, "WWW-Authenticate": "Bearer"}
            return JSONResponse({"detail": "a token is needed: Authorization: Bearer <query.token>"}, 401, headers)
        if not hmac.compare_digest(given.strip().encode(), token.encode()):
            return JSONResponse({"detail": "this token may not ask"}, 403, HEADERS)
        return None

    def _busy(self) -> Response:
        sentence = f"query.max_concurrent is {self._settings.max_concurrent}, and others wait already"
        return JSONResponse({"detail": sentence}, 429, {**HEADERS, "Retry-After": "1"})

    async def _in_turn(self, request: Request, question: Question) -> Answered | None:
        """The answer, None when no turn came within WAIT_SECONDS."""
        limits = Limits.of(self._settings, question.limit, question.timeout)
        turns = self._turns
        try:
            await asyncio.wait_for(turns.acquire(), WAIT_SECONDS)
        except TimeoutError:
            return None
        try:
            return await self._ask(request, question, limits)
        finally:
            turns.release()

    async def _ask(self, request: Request, question: Question, limits: Limits) -> Answered:
        loop = asyncio.get_running_loop()
        child = await loop.run_in_executor(self._threads, Child)  # it starts up while the snapshot is made
        done = False
        try:
            with tempfile.TemporaryDirectory(prefix="query-", dir=self._data / "tmp") as folder:
                taken = await self._snapshot(folder)
                files = [Path(path) for path in [*taken["sealed"], taken["active"]] if path]
                sources = Sources(files, Path(taken["state"]))
                if question.since is not None:
                    sources = await asyncio.to_thread(newer_than, sources, _since(question.since))
                running = loop.run_in_executor(
                    self._threads, judge, question.sql, sources, limits, question.format, child
                )
                verdict = await self._unless_gone(request, running, child)
            done = True
        finally:
            if not done:
                await loop.run_in_executor(self._threads, child.close)
        return Answered(child, verdict)

    async def _unless_gone(self, request: Request, running: "asyncio.Future[Verdict]", child: Child) -> Verdict:
        """The verdict; ends the process when the client hangs up (ClientDisconnect) or the collector stops."""
        gone = False
        try:
            while not (await asyncio.wait({running}, timeout=LISTEN_SECONDS))[0]:
                gone = gone or _has_ended(request) or await request.is_disconnected()
                if gone or self._is_stopping:
                    child.kill()
        except asyncio.CancelledError:
            child.kill()
            raise
        if self._is_stopping:
            raise Unavailable("the collector stops")
        if gone:
            raise ClientDisconnect
        return running.result()

    def _response(self, question: Question, answered: Answered) -> Response:
        verdict = answered.verdict
        headers = {
            **HEADERS, "X-Collector-Rows": str(verdict.rows), "X-Collector-Seconds": f"{verdict.seconds:g}",
            "Content-Length": str(Path(answered.child.answer_path).stat().st_size),
        }  # fmt: skip
        if verdict.cut_by:
            headers["X-Collector-Truncated"] = verdict.cut_by
        if verdict.skipped:
            headers["X-Collector-Skipped"] = ", ".join(verdict.skipped)
        return StreamingResponse(self._parts(answered.child), 200, headers, MEDIA_TYPES[question.format])

    async def _parts(self, child: Child) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        parts = child.answer()
        try:
            while part := await loop.run_in_executor(self._threads, next, parts, b""):
                yield part
        finally:
            self._present -= 1
            child.close()


def _has_ended(request: Request) -> bool:
    """The connection ended on the client's side; a program that closes only its half and waits on is not known."""
    exchange = request.scope.get("extensions", {}).get("collector.exchange")
    return exchange is not None and bool(exchange.is_ended)


async def _body(request: Request) -> bytes:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > MAX_BODY_BYTES:
            raise ProtocolError(413, f"the request is larger than {MAX_BODY_BYTES} bytes", REASON)
    return bytes(parts)


def _question(body: bytes) -> Question:
    try:
        question = msgspec.json.decode(body, type=Question)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(400, f'the body should be JSON such as {{"sql": "SELECT 1"}}: {error}', REASON) from None
    if question.format not in FORMATS:
        raise ProtocolError(400, f"format: {question.format!r} is none of {', '.join(FORMATS)}", REASON)
    return question


def _since(text: str) -> float:
    try:
        return parse_since(text)
    except ValueError as error:
        raise ProtocolError(400, f"since: {error}", REASON) from None
