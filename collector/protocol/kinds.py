"""ITEM_KINDS: everything the protocol says about an item type, in one table.

Source: develop.sentry.dev "Envelope items" and the behaviour of Relay. Adding a type is one row here and, when its
categories need the payload or a header, one function.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from collector.model.envelope import Item

Counts = tuple[tuple[str, int], ...]

CRASH_ATTACHMENTS = {"event.minidump", "event.applecrashreport"}
ATTACHMENT_TYPES = {
    "event.attachment": "attachment", "event.minidump": "minidump", "event.applecrashreport": "applecrashreport",
    "event.payload": "event_payload", "event.breadcrumbs": "breadcrumbs", "event.view_hierarchy": "view_hierarchy",
    "unreal.context": "unreal_context", "unreal.logs": "unreal_logs", "playstation.prosperodump": "prosperodump",
    "nswitch.dying_message": "nnswitch_dying_message", "event.nv_gpudmp": "nv_gpudmp",
    "event.nv_shader_debug": "nv_shader_debug",
}  # fmt: skip
_UI_PLATFORMS = {"cocoa", "android", "javascript"}


class ItemKind(NamedTuple):
    """One row. `counts`: item -> (category, quantity), first the one an operator thinks of; () = unlimited.

    max_bytes: name of the limit in LimitSettings. average: that limit holds for bytes / item_count.
    group, max_count, max_group_bytes: items of one group share these limits in an envelope.
    creates_event: an event id is answered for it. dependent: goes down with a limited event.
    passes: a limit on it is announced, the item itself goes on.
    """

    name: str
    counts: Callable[[Item], Counts]
    max_bytes: str = ""
    group: str = ""
    max_count: int | str = 0
    max_group_bytes: str = ""
    creates_event: bool = False
    dependent: bool = False
    passes: bool = False
    average: bool = False
    internal: bool = False


def _one(*categories: str) -> Callable[[Item], Counts]:
    counts = tuple((category, 1) for category in categories)
    return lambda item: counts


def _attachment(item: Item) -> Counts:
    return ("attachment", max(1, len(item.payload))), ("attachment_item", 1)


def item_count(item: Item) -> int:
    """How many records a container says it holds, at least 1."""
    count = item.headers.get("item_count")
    return count if type(count) is int and 0 < count < 2**31 else 1


def _log(item: Item) -> Counts:
    return ("log_item", item_count(item)), ("log_byte", max(1, len(item.payload)))


def _trace_metric(item: Item) -> Counts:
    return ("trace_metric", item_count(item)), ("trace_metric_byte", max(1, len(item.payload)))


def _span(item: Item) -> Counts:
    count = item_count(item)
    return ("span", count), ("span_indexed", count)


class _Spans(msgspec.Struct):
    spans: list[msgspec.Raw] = []


_decode_spans = msgspec.json.Decoder(_Spans).decode


def _transaction(item: Item) -> Counts:
    try:
        spans = 1 + len(_decode_spans(item.payload).spans)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        spans = 1
    return ("transaction", 1), ("transaction_indexed", 1), ("span", spans), ("span_indexed", spans)


def _profile(item: Item) -> Counts:
    platform = item.headers.get("platform")
    both = (("profile", 1), ("profile_indexed", 1))
    if not isinstance(platform, str):
        return both
    return (*both, ("profile_ui" if platform in _UI_PLATFORMS else "profile_backend", 1))


def _profile_chunk(item: Item) -> Counts:
    platform = item.headers.get("platform")
    if not isinstance(platform, str):
        return ()
    return (("profile_chunk_ui" if platform in _UI_PLATFORMS else "profile_chunk", 1),)


def _row(kind: ItemKind) -> tuple[str, ItemKind]:
    return kind.name, kind


_EVENT = "max_event_bytes"
_A = {"group": "attachment", "max_count": "max_attachments_count", "max_group_bytes": "max_attachments_bytes"}
_NONE = _one()

ITEM_KINDS: dict[str, ItemKind] = dict(
    _row(kind)
    for kind in (
        ItemKind("event", _one("error"), _EVENT, "event", 1, creates_event=True, dependent=True),
        ItemKind("transaction", _transaction, _EVENT, "event", 1, creates_event=True, dependent=True),
        ItemKind("security", _one("security"), _EVENT, "event", 1, creates_event=True, dependent=True),
        ItemKind("raw_security", _one("security"), _EVENT, "event", 1, creates_event=True, dependent=True),
        ItemKind("feedback", _one("feedback"), _EVENT, "event", 1, creates_event=True, dependent=True),
        ItemKind("user_report_v2", _one("feedback"), _EVENT, "event", 1, creates_event=True, dependent=True),
        ItemKind("replay_event", _one("replay"), _EVENT, "event", 1, dependent=True),
        ItemKind("form_data", _NONE, _EVENT, "event", 1, dependent=True),
        ItemKind("unreal_report", _one("error"), "max_attachment_bytes", creates_event=True, dependent=True, **_A),  # type: ignore[arg-type]
        ItemKind("attachment", _attachment, "max_attachment_bytes", dependent=True, **_A),  # type: ignore[arg-type]
        ItemKind("user_report", _one("feedback"), "", dependent=True, **_A),  # type: ignore[arg-type]
        ItemKind("session", _one("session"), "", "session", "max_sessions_count", "max_sessions_bytes"),
        ItemKind("sessions", _one("session"), "", "session", "max_sessions_count", "max_sessions_bytes", passes=True),
        ItemKind("client_report", _NONE, "max_client_report_bytes", "client_report", "max_client_reports_count"),
        ItemKind("profile", _profile, "max_profile_bytes", "profile", 1, dependent=True),
        ItemKind("profile_chunk", _profile_chunk, "max_profile_bytes", "profile", 1),
        ItemKind("profile_chunk_ui", _one("profile_chunk_ui"), "max_profile_bytes", "profile", 1),
        ItemKind("replay_recording", _one("replay"), "max_replay_bytes", "replay_recording", 1),
        ItemKind("replay_video", _one("replay"), "max_replay_bytes", "replay_video", 1),
        ItemKind("check_in", _one("monitor"), "max_check_in_bytes", "check_in", 1),
        ItemKind("log", _log, "max_log_bytes", "log", 1, average=True),
        ItemKind("trace_metric", _trace_metric, "max_trace_metric_bytes", "trace_metric", 1, average=True),
        ItemKind("span", _span, "max_span_bytes", "span", "max_spans_count", average=True),
        ItemKind("metric_buckets", _one("metric_bucket"), "max_metric_buckets_bytes", "metric_buckets", 1, passes=True),
        ItemKind("statsd", _NONE),
        ItemKind("integration", _NONE, internal=True),
    )
)
UNKNOWN = ItemKind("unknown", _NONE)


def kind_of(item: Item) -> ItemKind:
    """The row of an item; UNKNOWN is a row too."""
    return ITEM_KINDS.get(item.type, UNKNOWN)


def attachment_type(item: Item) -> str:
    """The attachment_type header, its default where there is none, "" where it is not a text."""
    value = item.headers.get("attachment_type", "event.attachment")
    return value if isinstance(value, str) else ""


def is_known(item: Item) -> bool:
    """False for an unknown item type and for an unknown attachment type."""
    if item.type == "attachment":
        return attachment_type(item) in ATTACHMENT_TYPES
    return item.type in ITEM_KINDS


def is_crash(item: Item) -> bool:
    """Whether this is an attachment that becomes an event: a minidump or an Apple crash report."""
    return item.type == "attachment" and attachment_type(item) in CRASH_ATTACHMENTS


def creates_event(item: Item) -> bool:
    """Whether an event id is answered for this item."""
    return kind_of(item).creates_event or is_crash(item)


def size_name(item: Item) -> str:
    """The item type as refusals word it: "event", "attachment:minidump"."""
    if item.type != "attachment":
        return item.type
    return f"attachment:{ATTACHMENT_TYPES.get(attachment_type(item), 'attachment')}"


def counts_of(item: Item) -> Counts:
    """The (category, quantity) pairs of an item that is dropped; `default` 1 for one that has no category."""
    return kind_of(item).counts(item) or (("default", 1),)
