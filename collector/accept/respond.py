"""Answers of the ingest doors, CORS included. Source: develop.sentry.dev, and what browsers' fetch needs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from collector.accept.guard import Exchange
from collector.accept.judge import Fate
from collector.accept.routes import DoorForm
from collector.errors import Busy, ProtocolError, Unavailable
from collector.protocol.otlp import error_answer, success_answer
from collector.protocol.ratelimits import RateLimit, retry_after, write_limits

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
UNAVAILABLE_SECONDS = 10.0
GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

_CORS: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"x-sentry-error,x-sentry-rate-limits,retry-after"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"POST"),
    (
        b"access-control-allow-headers",
        b"x-sentry-auth,x-requested-with,x-forwarded-for,origin,referer,accept,content-type,authentication,"
        b"authorization,content-encoding,transfer-encoding",
    ),
    (b"access-control-max-age", b"3600"),
)


class Answer(NamedTuple):
    """One response."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: Headers = ()


PREFLIGHT = Answer(200, b"", b"text/plain", _PREFLIGHT)
EMPTY_OBJECT = Answer(200, b"{}")
TEXT = b"text/plain"
QUOTA_REACHED = "Sentry dropped data due to a quota or rate limit; the response headers say which and for how long"
QUEUE_FULL = "failed to queue envelope"  # the protocol's words for memory, disk or spool that takes no more


def with_id(event_id: str) -> Answer:
    """200 with the id, or with an empty object when there is none."""
    return Answer(200, b'{"id":"%s"}' % event_id.encode()) if event_id else EMPTY_OBJECT


def _otlp_success(event_id: str, content_type: str) -> Answer:
    body, kind = success_answer(content_type)
    return Answer(200, body, kind.encode())


SUCCESS: dict[str, Callable[[str, str], Answer]] = {
    "id": lambda event_id, content_type: with_id(event_id),
    "dashed_id": lambda event_id, content_type: Answer(200, str(UUID(event_id)).encode() if event_id else b"", TEXT),
    "empty": lambda event_id, content_type: Answer(200, b"", TEXT),
    "created": lambda event_id, content_type: Answer(201, b"", TEXT),
    "accepted": lambda event_id, content_type: Answer(202, b"", TEXT),
    "otlp": _otlp_success,
}


def limited(limits: Sequence[RateLimit]) -> Answer:
    """429 with both headers."""
    return Answer(429, error_body(QUOTA_REACHED), JSON, limit_headers(limits))


def of_fate(form: DoorForm, fate: Fate, content_type: str) -> Answer:
    """What a door says to an envelope that was judged and is durable as far as it came in."""
    if fate.limits and form.says_429:
        return limited([*fate.limits, *fate.ahead])
    answer = SUCCESS[form.answer](fate.event_id, content_type)
    return answer._replace(headers=limit_headers(fate.ahead)) if fate.ahead else answer


def otlp_failure(answer: Answer, detail: str, content_type: str) -> Answer:
    """The same refusal as google.rpc.Status."""
    body, kind = error_answer(answer.status, detail, content_type)
    return answer._replace(body=body, content_type=kind.encode())


def error_body(detail: str, causes: Sequence[str] = ()) -> bytes:
    """`{"detail": …, "causes": […]}`, the one shape of errors."""
    content: dict[str, Any] = {"detail": detail}
    if causes:
        content["causes"] = list(causes)
    return msgspec.json.encode(content)


def of_error(error: ProtocolError | Busy | Unavailable) -> Answer:
    """The answer that an error of a room below carries."""
    if isinstance(error, ProtocolError):
        return Answer(error.status, error_body(error.detail, error.causes))
    if isinstance(error, Busy):
        seconds = max(1, ceil(error.retry_after))
        limits = (RateLimit(seconds, (), "organization", "busy"),)
        detail = "too busy at the moment" if error.status == 429 else QUEUE_FULL
        return Answer(error.status, error_body(detail, [error.what]), JSON, limit_headers(limits))
    seconds = ceil(UNAVAILABLE_SECONDS)
    body = error_body(QUEUE_FULL, [error.what])
    return Answer(503, body, JSON, ((b"retry-after", b"%d" % seconds),))


def limit_headers(limits: Sequence[RateLimit]) -> Headers:
    """Retry-After and X-Sentry-Rate-Limits; nothing for no limits."""
    if not limits:
        return ()
    return (
        (b"retry-after", b"%d" % retry_after(limits)),
        (b"x-sentry-rate-limits", write_limits(limits).encode("ascii", "replace")),
    )


def _headers(content_type: bytes, size_bytes: int, cross_origin: bool) -> Headers:
    return (
        (b"content-type", content_type),
        (b"content-length", b"%d" % size_bytes),
        *(_CORS if cross_origin else ()),
    )


@lru_cache(maxsize=256)
def _lines(content_type: bytes, size_bytes: int, cross_origin: bool) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in _headers(content_type, size_bytes, cross_origin)])


def lines_of(answer: Answer, cross_origin: bool) -> bytes:
    """The header lines of an answer, for one write."""
    lines = _lines(answer.content_type, len(answer.body), cross_origin)
    if answer.headers:
        lines += b"".join([b"%b: %b\r\n" % header for header in answer.headers])
    return lines


@lru_cache(maxsize=2)
def id_lines(cross_origin: bool) -> bytes:
    """The header lines of with_id()."""
    return lines_of(with_id("0" * 32), cross_origin)


async def respond(send: Send, answer: Answer, cross_origin: bool, exchange: Exchange | None = None) -> None:
    """Write one response."""
    size_bytes = len(answer.body)
    if exchange is not None and not answer.headers:  # nearly always
        lines = _lines(answer.content_type, size_bytes, cross_origin)
        if exchange.answer(answer.status, lines, answer.body):
            return
    headers = [*_headers(answer.content_type, size_bytes, cross_origin), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
