"""multipart/form-data (RFC 7578) for the attachment and minidump doors, whole bodies only, nothing decoded further."""

import re
from typing import Any, NamedTuple

import msgspec

from collector.errors import ProtocolError
from collector.model.envelope import Envelope, Item
from collector.model.received import Received
from collector.protocol.envelope import event_id_of
from collector.protocol.limits import LimitSettings

MAX_PARTS = 500  # as many as items of an envelope
MAX_PART_HEADER_BYTES = 16 * 2**10
MINIDUMP_FIELD = "upload_file_minidump"
MINIDUMP_MAGIC = (b"MDMP", b"PMDM")
_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([a-z*]+)=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;]*))', re.IGNORECASE)


class Part(NamedTuple):
    """One part. filename: None when it is a plain field."""

    name: str
    filename: str | None
    content_type: str
    content: memoryview


def parse_attachments(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """Attachments of an event that was sent before: one item a file. Raises ProtocolError 400."""
    parts = parse_parts(received.content_type, body)
    items = [_attachment(part, "event.attachment") for part in parts if part.filename is not None]
    if not items:
        raise _bad("it holds no file")
    return Envelope({}, items)


def parse_minidump(received: Received, body: bytes, limits: LimitSettings) -> Envelope:
    """A crash: the dump as an attachment, other files beside it, form fields as form_data. Raises ProtocolError 400."""
    if "multipart/form-data" not in received.content_type.lower():
        dump = Part(MINIDUMP_FIELD, "Minidump", "", memoryview(body))
        _check_dump(dump)
        return Envelope({}, [_attachment(dump, "event.minidump")])
    items: list[Item] = []
    fields: list[tuple[str, str]] = []
    for part in parse_parts(received.content_type, body):
        if part.filename is None:
            fields.append((part.name, bytes(part.content).decode("utf-8", "replace")))
        elif part.name == MINIDUMP_FIELD:
            _check_dump(part)
            items.insert(0, _attachment(part, "event.minidump"))
        else:
            items.append(_attachment(part, "event.attachment"))
    if not items or items[0].headers["attachment_type"] != "event.minidump":
        raise ProtocolError(400, "missing minidump", "missing_minidump_upload")
    event_id = _event_id(fields)
    rest = [field for field in fields if field[0] != "sentry[event_id]"]
    if rest:
        items.append(Item("form_data", {"type": "form_data"}, msgspec.json.encode(rest)))
    return Envelope({"event_id": event_id} if event_id else {}, items)


def parse_parts(content_type: str, body: bytes) -> list[Part]:
    """The parts of a body. Raises ProtocolError 400 when the body breaks the form."""
    match = _BOUNDARY.search(content_type) if "multipart/form-data" in content_type.lower() else None
    if match is None:
        raise _bad("content-type should be multipart/form-data with a boundary")
    mark = b"--" + (match[1] or match[2]).encode("latin-1", "replace")
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at < 2 and not body.startswith(mark):
        raise _bad("its boundary does not appear")
    parts: list[Part] = []
    view = memoryview(body)
    while True:
        at += len(mark)
        if body[at : at + 2] == b"--":
            return parts
        if body[at : at + 2] != b"\r\n" or len(parts) >= MAX_PARTS:
            raise _bad(
                "a boundary is followed by neither a line end nor --" if len(parts) < MAX_PARTS else "too many parts"
            )
        head_end = body.find(b"\r\n\r\n", at, at + MAX_PART_HEADER_BYTES)
        stop = body.find(b"\r\n" + mark, max(head_end + 2, 0))
        if head_end < 0 or stop < 0:
            raise _bad("unexpected end of file")
        parts.append(_part(body[at + 2 : head_end], view[head_end + 4 : stop] if stop >= head_end + 4 else view[:0]))
        at = stop + 2


def _part(head: bytes, content: memoryview) -> Part:
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    found = {
        match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        for match in _PARAMETER.finditer(headers.get("content-disposition", ""))
    }
    return Part(found.get("name", ""), found.get("filename"), headers.get("content-type", ""), content)


def _attachment(part: Part, kind: str) -> Item:
    headers: dict[str, Any] = {"type": "attachment", "attachment_type": kind, "filename": part.filename or part.name}
    if part.content_type:
        headers["content_type"] = part.content_type
    return Item("attachment", headers, part.content)


def _check_dump(part: Part) -> None:
    if not part.content:
        raise ProtocolError(400, "missing minidump", "missing_minidump_upload")
    if bytes(part.content[:4]) not in MINIDUMP_MAGIC:
        raise ProtocolError(400, "invalid minidump", "invalid_minidump")


def _event_id(fields: list[tuple[str, str]]) -> str | None:
    """`sentry[event_id]`, or `event_id` inside the JSON of the field `sentry`."""
    for name, value in fields:
        if name == "sentry[event_id]":
            return event_id_of(value.strip())
        if name == "sentry":
            try:
                document = msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError):
                continue
            if isinstance(document, dict) and event_id_of(document.get("event_id")):
                return event_id_of(document["event_id"])
    return None


def _bad(cause: str) -> ProtocolError:
    return ProtocolError(400, "invalid multipart data", "invalid_multipart", [cause])
