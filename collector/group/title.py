"""Titles, culprits and what else a list of issues shows (reference/grouping.md, section 18)."""

from typing import NamedTuple

from collector.group.facts import Facts
from collector.group.frame import Look
from collector.group.strategies import normalise_csp_uri
from collector.group.view import ExceptionView, FeedbackView

MAX_TITLE_CHARS = 256
MAX_VALUE_CHARS = 1024
MAX_TYPE_CHARS = 128
MAX_CULPRIT_CHARS = 200
UNLABELED = "<unlabeled event>"
FEEDBACK = "User Feedback"
MAX_FEEDBACK_WORDS = 10
MAX_FEEDBACK_TITLE_CHARS = 200
NATIVE_CULPRITS = frozenset({"objc", "cocoa", "native"})


class Headline(NamedTuple):
    """What a person sees of an event before opening it.

    type: error, csp, hpkp, expectct, expectstaple, feedback or default. location: the file or the URI that it is about.
    metadata: what the title was made of.
    """

    type: str
    title: str
    culprit: str
    location: str
    metadata: dict[str, str]


class Blame(NamedTuple):
    """What the stacks of an event say about whom to blame: the named crash frame, and the culprit of the last stack."""

    filename: str
    function: str
    culprit: str


def truncated(text: str, limit: int) -> str:
    """At most `limit` characters, the last three `...` when some are missing."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def blame(facts: Facts) -> Blame:
    """Reads the stacks of an event for `headline`."""
    frame = facts.crash_frame(named=True)
    filename = (frame.filename or frame.abs_path or "") if frame else ""
    return Blame(filename, (frame.function if frame else None) or "", _stack_culprit(facts))


def headline(facts: Facts, main: int | None, custom_title: str | None, blamed: Blame) -> Headline:
    """The headline of an event. main: id of its main exception. custom_title: from a fingerprint rule."""
    if facts.view.type == "feedback":
        return _of_feedback(facts)
    if facts.exceptions and not custom_title:  # nearly all events
        metadata = _error_metadata(facts, main, blamed)
        return Headline("error", _error_title(metadata), culprit(facts, blamed), blamed.filename, metadata)
    kind = event_type(facts)
    metadata = _error_metadata(facts, main, blamed) if kind == "error" else _METADATA[kind](facts)
    if custom_title:
        title = truncated(custom_title, MAX_TITLE_CHARS)
        metadata["title"] = title
    else:
        title = metadata.get("message") or _first_line(facts) or UNLABELED
    location = metadata.get("filename") or metadata.get("uri") or metadata.get("origin") or ""
    return Headline(kind, title, culprit(facts, blamed), location, metadata)


def _of_feedback(facts: Facts) -> Headline:
    """What a user wrote: the first words are the title, as in Sentry; the culprit is the user."""
    sent = (facts.view.contexts and facts.view.contexts.feedback) or FeedbackView()
    message = (sent.message or facts.message() or "").strip()
    words = message.split()
    short = " ".join(words[:MAX_FEEDBACK_WORDS]) + ("..." if len(words) > MAX_FEEDBACK_WORDS else "")
    title = truncated(f"{FEEDBACK}: {short}" if short else FEEDBACK, MAX_FEEDBACK_TITLE_CHARS)
    named = {
        "title": title,
        "value": truncated(message, MAX_VALUE_CHARS),
        "message": truncated(message, MAX_VALUE_CHARS),
        "name": sent.name,
        "contact_email": sent.contact_email,
        "source": sent.source,
        "associated_event_id": sent.associated_event_id,
    }
    return Headline("feedback", title, "user", sent.url or "", {name: value for name, value in named.items() if value})


def event_type(facts: Facts) -> str:
    """The type of issue that an event belongs to."""
    if facts.view.type == "feedback":
        return "feedback"
    if facts.exceptions:
        return "error"
    reports = ("csp", "hpkp", "expectct", "expectstaple")
    return next((name for name in reports if getattr(facts.view, name) is not None), "default")


def _main_exception(facts: Facts, main: int) -> ExceptionView:
    for exception in facts.exceptions:
        if exception.mechanism and exception.mechanism.exception_id == main:
            return exception
    return facts.exceptions[-1]


def _error_metadata(facts: Facts, main: int | None, blamed: Blame) -> dict[str, str]:
    exception = facts.exceptions[-1] if main is None else _main_exception(facts, main)
    metadata = {}
    if exception.value:
        metadata["value"] = truncated(exception.value, MAX_VALUE_CHARS)
    if not (exception.mechanism and exception.mechanism.synthetic):
        metadata["type"] = truncated(exception.type or "Error", MAX_TYPE_CHARS)
    if blamed.filename:
        metadata["filename"] = blamed.filename
    if blamed.function:
        metadata["function"] = blamed.function
    return metadata


def _error_title(metadata: dict[str, str]) -> str:
    kind = metadata.get("type")
    if kind is None:
        return metadata.get("function") or "<unknown>"
    value = metadata.get("value", "").strip()
    if not value:
        return kind
    return truncated(f"{kind}: {value.splitlines()[0]}", MAX_TITLE_CHARS)


def _first_line(facts: Facts) -> str:
    text = (facts.message() or "").strip()
    return truncated(text.splitlines()[0], MAX_TITLE_CHARS) if text else ""


def _default_metadata(facts: Facts) -> dict[str, str]:
    title = _first_line(facts)
    return {"title": title} if title else {}


def _csp_metadata(facts: Facts) -> dict[str, str]:
    report = facts.view.csp
    found = {"message": facts.message() or "", "uri": normalise_csp_uri(report.blocked_uri) if report else ""}
    found["directive"] = (report.effective_directive if report else None) or ""
    return {name: value for name, value in found.items() if value}


def _host_metadata(facts: Facts) -> dict[str, str]:
    report = facts.view.hpkp or facts.view.expectct or facts.view.expectstaple
    found = {"message": facts.message() or "", "origin": (report.hostname if report else None) or ""}
    return {name: value for name, value in found.items() if value}


_METADATA = {
    "default": _default_metadata,
    "csp": _csp_metadata,
    "hpkp": _host_metadata,
    "expectct": _host_metadata,
    "expectstaple": _host_metadata,
}


def culprit(facts: Facts, blamed: Blame) -> str:
    """The place that is to blame: the transaction, else the innermost frame in app, else the URL of the request."""
    view = facts.view
    if view.transaction:
        return truncated(view.transaction, MAX_CULPRIT_CHARS)
    if facts.exceptions and (mechanism := facts.exceptions[-1].mechanism) and mechanism.synthetic:
        return ""
    network_error = view.contexts.nel.error_type if view.contexts and view.contexts.nel else None
    found = blamed.culprit or network_error or (view.request.url if view.request else None) or ""
    return truncated(found, MAX_CULPRIT_CHARS)


def _stack_culprit(facts: Facts) -> str:
    """The innermost frame in app of the last exception that has frames, else of the event's own stack."""
    stacks = (facts.exception_stack(index) for index in range(len(facts.exceptions) - 1, -1, -1))
    stack = next((stack for stack in stacks if stack), None) or facts.top_level_stack()
    if stack is None or not stack.looks:
        return ""
    texts = (
        text
        for look, place in zip(reversed(stack.looks), reversed(stack.places), strict=True)
        if place.in_app and (text := _frame_text(look))
    )
    return next(texts, "") or _frame_text(stack.looks[-1])


def _frame_text(look: Look) -> str:
    if look.platform in NATIVE_CULPRITS:
        return look.function or "?"
    place = look.module or look.filename
    if not place:
        return ""
    if look.family == "javascript":
        return f"{look.function or '?'}({place})"
    return f"{place} in {look.function or '?'}"
