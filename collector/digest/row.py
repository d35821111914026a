"""The row of a stored event: typed columns, all of them read from the scrubbed bytes."""

import msgspec

from collector.group.view import ContextsView, ExceptionView, View
from collector.model.event import EventRow, GroupingResult

MAX_FRAMES_IN_ROW = 20  # frames kept for listings: the ones nearest to the crash


class TraceView(msgspec.Struct, gc=False):
    """`contexts.trace`."""

    trace_id: str | None = None


class RowContextsView(ContextsView, gc=False):
    """The contexts that columns read."""

    trace: TraceView | None = None


class UserView(msgspec.Struct, gc=False):
    """`user`."""

    id: str | None = None
    username: str | None = None
    email: str | None = None
    ip_address: str | None = None


class RowView(View, kw_only=True):
    """What grouping and the columns read of one normalised event."""

    event_id: str | None = None
    type: str | None = None
    timestamp: float | None = None
    received: float | None = None
    dist: str | None = None
    environment: str | None = None
    user: UserView | None = None
    contexts: RowContextsView | None = None


class ShortFrame(msgspec.Struct, omit_defaults=True, gc=False):
    """A frame as listings show it."""

    function: str | None = None
    module: str | None = None
    filename: str | None = None
    lineno: int | None = None
    in_app: bool | None = None


_write = msgspec.json.Encoder().encode


def event_row(view: RowView, payload: bytes, project_id: int, event_id: str, grouping: GroupingResult) -> EventRow:
    """The row of one event."""
    exception = _main_exception(view)
    tags = [(pair[0], pair[1]) for pair in view.tags or () if pair and pair[0] is not None and pair[1] is not None]
    trace = view.contexts.trace if view.contexts else None
    sdk = view.sdk
    return EventRow(
        event_id=event_id,
        project_id=project_id,
        timestamp=view.timestamp or 0.0,
        received_at=view.received or 0.0,
        hashes=grouping.hashes,
        title=grouping.title,
        culprit=grouping.culprit,
        payload=payload,
        secondary_hashes=grouping.secondary_hashes,
        grouping_config=grouping.config,
        secondary_config=grouping.secondary_config,
        type=view.type or "default",
        level=view.level or "error",
        platform=view.platform or "other",
        release=view.release or "",
        dist=view.dist or "",
        environment=view.environment or "",
        transaction=view.transaction or "",
        server_name=next((value for key, value in tags if key == "server_name"), ""),
        logger=view.logger or "",
        user_id=user_id(view.user),
        message=_message(view),
        exception_type=(exception.type or "") if exception else "",
        exception_value=(exception.value or "") if exception else "",
        tags=tags,
        trace_id=(trace.trace_id or "") if trace else "",
        sdk=f"{sdk.name or ''}/{sdk.version or ''}".strip("/") if sdk else "",
        frames=short_frames(view, exception),
    )


def user_id(user: UserView | None) -> str:
    """What distinct users are counted by."""
    if user is None:
        return ""
    return user.id or user.username or user.email or user.ip_address or ""


def _main_exception(view: RowView) -> ExceptionView | None:
    """The exception that was raised last: what a reader calls *the* error."""
    for exception in reversed(view.exception.values or () if view.exception else ()):
        if exception is not None:
            return exception
    return None


def _message(view: RowView) -> str:
    entry = view.logentry
    return (entry.formatted or entry.message or "") if entry else ""


def short_frames(view: RowView, exception: ExceptionView | None) -> str:
    """JSON text: the frames nearest to the crash, in-app ones first of all, outermost first."""
    stack = exception.stacktrace if exception and exception.stacktrace else view.stacktrace
    if stack is None and view.threads:
        stack = next((t.stacktrace for t in view.threads.values or () if t and t.stacktrace and t.crashed), None)
    frames = [frame for frame in (stack.frames or () if stack else ()) if frame is not None]
    own = [frame for frame in frames if frame.in_app]
    shown = (own or frames)[-MAX_FRAMES_IN_ROW:]
    return _write([ShortFrame(f.function, f.module, f.filename, f.lineno, f.in_app) for f in shown]).decode()
