"""Transactions: what makes one invalid, and names with identifiers taken out. Rules: protocol E3, E5."""

import re

import msgspec

from collector.digest.about import About, Invalid
from collector.digest.clean import NOTHING, Event, TransactionInfo
from collector.digest.remarks import Remarks
from collector.digest.times import seconds_of

UNLABELED = "<unlabeled transaction>"
IDENTIFIER = re.compile(
    r"(?P<uuid>[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12})"
    r"|(?P<sha>[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128})"
    r"|(?P<md5>[0-9a-fA-F]{32})"
    r"|(?P<date>\d{4}-[01]\d-[0-3]\d(?:T[0-2]\d:[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?:Z|[+-][0-2]\d:?[0-5]\d)?)?)"
    r"|(?P<hex>0[xX][0-9a-fA-F]+)"
    r"|(?P<int>\d{2,})"
)
SEGMENT = re.compile(r"[^/]+")
SPAN_ID = re.compile(r"[0-9a-fA-F]{16}")


class _Span(msgspec.Struct):
    """One span, as far as it is looked at."""

    span_id: str | None = None
    trace_id: str | None = None
    start_timestamp: str | int | float | None = None
    timestamp: str | int | float | None = None


class _Trace(msgspec.Struct):
    """The trace context as it was sent."""

    trace_id: str | None = None
    span_id: str | None = None


_SPANS = msgspec.json.Decoder(list[_Span])
_TRACE = msgspec.json.Decoder(_Trace)


def check_transaction(event: Event) -> None:
    """Raises Invalid when a transaction as sent cannot be one: times, trace ids, spans."""
    start, end = seconds_of(event.start_timestamp), seconds_of(event.timestamp)
    if event.start_timestamp is None or start is None:
        raise Invalid("invalid_transaction", "the transaction has no start")
    if event.timestamp is None or end is None:
        raise Invalid("invalid_transaction", "the transaction has no end")
    if start > end:
        raise Invalid("invalid_transaction", "the transaction ends before it starts")
    trace = (event.contexts or {}).get("trace")
    try:
        found = _TRACE.decode(trace) if trace is not None else _Trace()
        spans = _SPANS.decode(event.spans) if event.spans is not NOTHING and bytes(event.spans) != b"null" else []
    except msgspec.MsgspecError:
        raise Invalid("invalid_transaction", "the trace or a span of the transaction is malformed") from None
    if not found.trace_id or not found.span_id:
        raise Invalid("invalid_transaction", "the transaction has no trace")
    for span in spans:
        began, ended = seconds_of(span.start_timestamp), seconds_of(span.timestamp)
        if began is None or ended is None or began > ended or not span.span_id or not span.trace_id:
            raise Invalid("invalid_transaction", "a span of the transaction has no ids or no times")


def normalise_transaction(event: Event, about: About, remarks: Remarks) -> None:
    """Name and source of a transaction, in place."""
    info = event.transaction_info
    if info is None:
        info = event.transaction_info = TransactionInfo()
    name = event.transaction
    if not name:
        event.transaction = UNLABELED
        info.source = info.source or "unknown"
        return
    if info.source == "url" or (info.source is None and "/" in name):
        cleaned = without_identifiers(name)
        if cleaned != name:
            remarks.node(("transaction",))["val"] = name
            for span in _replaced(cleaned):
                remarks.substituted(("transaction",), "int", span, len(name))
            event.transaction = cleaned
        info.source = "sanitized"
    if info.source is None:
        info.source = "unknown"


def without_identifiers(name: str) -> str:
    """A URL-like name with `*` for each path segment that holds an identifier."""
    return SEGMENT.sub(lambda segment: "*" if IDENTIFIER.search(segment[0]) else segment[0], name)


def _replaced(cleaned: str) -> list[tuple[int, int]]:
    return [(index, index + 1) for index, char in enumerate(cleaned) if char == "*"]
