"""The named limits of everything a client may send. Defaults are those of Sentry's Relay, so that an SDK never notices.

Every refusal names the limit and its value: `too_large` builds that sentence from the field's name.
"""

from typing import Annotated

import msgspec

from collector.errors import ProtocolError
from collector.model.settings import Help, Settings, Size

NO_LIMIT = 2**40
SIZES_PAGE = "https://develop.sentry.dev/sdk/envelopes/#size-limits"


class LimitSettings(Settings):
    """Sizes and counts; each refusal names the setting and its value."""

    max_envelope_bytes: Annotated[Size, Help("an envelope, before and after decompression")] = Size("200 MiB")
    max_envelope_items: Annotated[int, Help("items in one envelope")] = 500
    max_header_bytes: Annotated[Size, Help("one envelope or item header")] = Size("64 KiB")
    max_event_bytes: Annotated[Size, Help("one event, transaction, feedback or security report")] = Size("1 MiB")
    max_attachment_bytes: Annotated[Size, Help("one attachment")] = Size("200 MiB")
    max_attachments_bytes: Annotated[Size, Help("all attachments and user reports of an envelope")] = Size("200 MiB")
    max_attachments_count: Annotated[int, Help("attachments and user reports in one envelope")] = 30
    max_sessions_bytes: Annotated[Size, Help("all sessions of an envelope")] = Size("10 MiB")
    max_sessions_count: Annotated[int, Help("session items in one envelope")] = 100
    max_client_report_bytes: Annotated[Size, Help("one client report")] = Size("100 KiB")
    max_client_reports_count: Annotated[int, Help("client reports in one envelope")] = 100
    max_profile_bytes: Annotated[Size, Help("one profile or profile chunk")] = Size("50 MiB")
    max_replay_bytes: Annotated[Size, Help("one replay recording or video, as sent")] = Size("10 MiB")
    max_replay_unpacked_bytes: Annotated[Size, Help("one replay recording, unpacked")] = Size("100 MiB")
    max_check_in_bytes: Annotated[Size, Help("one check-in")] = Size("100 KiB")
    max_log_bytes: Annotated[Size, Help("one log record, on average over its container")] = Size("2 MiB")
    max_trace_metric_bytes: Annotated[Size, Help("one trace metric, on average over its container")] = Size("1 MiB")
    max_span_bytes: Annotated[Size, Help("one span, on average over its container")] = Size("10 MiB")
    max_spans_count: Annotated[int, Help("loose span items in one envelope")] = 25
    max_container_bytes: Annotated[Size, Help("one container of logs, spans or metrics; one OTLP or NEL body")] = Size(
        "12 MiB"
    )
    max_metric_buckets_bytes: Annotated[Size, Help("one metric_buckets item")] = Size("1 MiB")
    max_hub_batch_bytes: Annotated[Size, Help("one batch of an edge collector, before and after decompression")] = Size(
        "64 MiB"
    )
    max_decode_ratio: Annotated[int, Help("growth by decompression beyond its first 8 MiB")] = 100


def for_admitted(limits: LimitSettings) -> LimitSettings:
    """For what was admitted before, perhaps under higher limits than those of now: it is opened whatever these say."""
    none = Size(NO_LIMIT)
    return msgspec.structs.replace(
        limits,
        max_envelope_bytes=none,
        max_envelope_items=NO_LIMIT,
        max_header_bytes=max(limits.max_header_bytes, LimitSettings().max_header_bytes),  # so much is read for each
        max_event_bytes=none,
        max_attachments_bytes=none,
        max_container_bytes=none,
        max_hub_batch_bytes=none,
        max_decode_ratio=NO_LIMIT,
    )


def too_large(kind: str, limits: LimitSettings, name: str, found: int, status: int = 413) -> ProtocolError:
    """The refusal of an item: `kind` as the protocol words it ("event", "attachment:attachment"), `name` the limit."""
    return ProtocolError(
        status,
        f"envelope exceeded size limits for type '{kind}' ({SIZES_PAGE})",
        f"too_large:{kind}",
        [limit_sentence(name, getattr(limits, name), found)],
    )


def limit_sentence(name: str, value: int, found: int | None = None) -> str:
    """ "max_event_bytes is 1 MiB, this has 1048577 bytes"."""
    unit = "bytes" if name.endswith("_bytes") else ""
    end = "" if found is None else f", this has {found} {unit}".rstrip()
    return f"{name} is {value}{end}"
