"""Sizes and counts of the items of an envelope, judged after rate limits so that a limited giant counts as limited."""

from collections.abc import Sequence

from collector.errors import ProtocolError
from collector.model.envelope import Item
from collector.protocol.kinds import ITEM_KINDS, ItemKind, item_count, kind_of, size_name
from collector.protocol.limits import LimitSettings, too_large

SPAN_CONTAINER = "application/vnd.sentry.items.span.v2+json"
ONE_SPAN_CONTAINER = ITEM_KINDS["span"]._replace(group="span container", max_count=1)  # loose spans are counted apart


def check_sizes(items: Sequence[Item], limits: LimitSettings) -> None:
    """Raises ProtocolError 413 naming the limit and its value; reason `too_large:<type>`."""
    if len(items) == 1 and items[0].type == "event" and len(items[0].payload) <= limits.max_event_bytes:
        return  # nearly always
    counts: dict[str, int] = {}
    sums: dict[str, int] = {}
    for item in items:
        kind = kind_of(item)
        size = len(item.payload)
        if kind.max_bytes:
            _check_one(item, kind, size, limits)
        if item.type == "span" and item.headers.get("content_type") == SPAN_CONTAINER:
            kind = ONE_SPAN_CONTAINER
        if not kind.group:
            continue
        counts[kind.group] = counts.get(kind.group, 0) + 1
        _check_count(item, kind, counts[kind.group], limits)
        if kind.max_group_bytes:
            sums[kind.group] = sums.get(kind.group, 0) + size
            if sums[kind.group] > getattr(limits, kind.max_group_bytes):
                raise too_large(size_name(item), limits, kind.max_group_bytes, sums[kind.group])


def _check_one(item: Item, kind: ItemKind, size: int, limits: LimitSettings) -> None:
    if not kind.average:
        if size > getattr(limits, kind.max_bytes):
            raise too_large(size_name(item), limits, kind.max_bytes, size)
        return
    if size > limits.max_container_bytes:
        raise too_large(size_name(item), limits, "max_container_bytes", size)
    average = size // item_count(item)
    if average > getattr(limits, kind.max_bytes):
        raise too_large(size_name(item), limits, kind.max_bytes, average)


def _check_count(item: Item, kind: ItemKind, count: int, limits: LimitSettings) -> None:
    if isinstance(kind.max_count, str):
        if count > getattr(limits, kind.max_count):
            raise too_large(size_name(item), limits, kind.max_count, count)
    elif count > kind.max_count:
        raise _too_many(item, kind, count)


def _too_many(item: Item, kind: ItemKind, count: int) -> ProtocolError:
    error = too_large(size_name(item), LimitSettings(), "max_envelope_items", count)
    error.causes = [f"an envelope holds {kind.max_count} item of the kind {kind.group}, this has {count}"]
    return error
