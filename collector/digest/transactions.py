"""Transactions: what makes one invalid, names with identifiers taken out, measurements, times of spans.

Rules: protocol E3, E4, E5.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from collector.digest.about import About, Invalid, NeedsRepair
from collector.digest.clean import NOTHING, Event, TransactionInfo
from collector.digest.remarks import Path, Remarks
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


MAX_SPANS_BYTES = 819200
MEASURED_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,199}")
MAX_UNIT_CHARS = 128

_RAWS = msgspec.json.Decoder(list[Raw])
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
    """Name and source of a transaction, its measurements and the times of its spans, in place. Raises NeedsRepair."""
    event.measurements = _rewritten(event.measurements, _measurements, remarks, "measurements")
    event.breakdowns = _rewritten(event.breakdowns, _breakdowns, remarks, "breakdowns")
    if event.spans is not NOTHING:
        _spans(event, about, remarks)
    _name(event, remarks)


def _name(event: Event, remarks: Remarks) -> None:
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
            for span in _replaced(name):
                remarks.substituted(("transaction",), "int", span, len(name))
            event.transaction = cleaned
        info.source = "sanitized"
    if info.source is None:
        info.source = "unknown"


Rewrite = Callable[[dict[str, Any], Remarks, Path], dict[str, Any]]


def _rewritten(raw: Raw, rewrite: Rewrite, remarks: Remarks, name: str) -> Raw:
    """An object without what is not allowed in it; NOTHING when nothing is left. Raises NeedsRepair."""
    if raw is NOTHING:
        return raw
    given = msgspec.json.decode(raw)
    if given is None:
        return NOTHING
    if not isinstance(given, dict):
        raise NeedsRepair
    kept = rewrite(given, remarks, (name,))
    return Raw(msgspec.json.encode(kept)) if kept else NOTHING


def _measurements(given: dict[str, Any], remarks: Remarks, path: Path) -> dict[str, Any]:
    """Numbers under plain names, each with its unit; anything else is reported and left out."""
    kept: dict[str, Any] = {}
    for name, entry in given.items():
        if entry is None:
            continue
        value = entry.get("value") if isinstance(entry, dict) else None
        if not MEASURED_NAME.fullmatch(name):
            remarks.error((*path, name), "invalid_data", entry, reason="invalid name of a measurement")
        elif not isinstance(entry, dict):
            remarks.error((*path, name), "invalid_data", entry, reason="expected a measurement")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            kind = "missing_attribute" if value is None else "invalid_data"
            remarks.error((*path, name, "value"), kind, value, reason="expected a number")
        else:
            kept[name] = {"value": value}
            unit = entry.get("unit")
            if isinstance(unit, str) and 0 < len(unit) <= MAX_UNIT_CHARS:
                kept[name]["unit"] = unit
            elif unit is not None:
                remarks.error((*path, name, "unit"), "invalid_data", unit, reason="expected a unit")
    return kept


def _breakdowns(given: dict[str, Any], remarks: Remarks, path: Path) -> dict[str, Any]:
    """Measurements in groups."""
    kept = {}
    for name, group in given.items():
        if isinstance(group, dict):
            kept[name] = _measurements(group, remarks, (*path, name))
        elif group is not None:
            remarks.error((*path, name), "invalid_data", group, reason="expected an object")
    return kept


def _spans(event: Event, about: About, remarks: Remarks) -> None:
    """Times moved by the drift; the last spans go where there are more bytes than allowed."""
    data = bytes(event.spans)
    if about.drift and data != b"null":
        spans = msgspec.json.decode(data)
        for span in spans:
            for name in ("start_timestamp", "timestamp"):
                span[name] = (seconds_of(span[name]) or 0.0) + about.drift
        data = msgspec.json.encode(spans)
        event.spans = Raw(data)
    if len(data) > MAX_SPANS_BYTES:
        given = _RAWS.decode(data)
        kept, room = [], MAX_SPANS_BYTES
        for span in given:
            room -= len(bytes(span)) + 1
            if room < 0:
                break
            kept.append(span)
        event.spans = Raw(msgspec.json.encode(kept))
        remarks.shortened(("spans",), len(given))


def without_identifiers(name: str) -> str:
    """A URL-like name with `*` for each path segment that holds an identifier."""
    return SEGMENT.sub(lambda segment: "*" if IDENTIFIER.search(segment[0]) else segment[0], name)


def _replaced(name: str) -> list[tuple[int, int]]:
    """Where the cleaned name has a `*` that the name as sent had not there: a route may hold stars of its own."""
    spans, shorter = [], 0
    for segment in SEGMENT.finditer(name):
        if IDENTIFIER.search(segment[0]):
            at = segment.start() - shorter
            spans.append((at, at + 1))
            shorter += len(segment[0]) - 1
    return spans
