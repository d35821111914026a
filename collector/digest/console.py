"""What `collector normalise` and `collector scrub` answer: text lines in, text lines out; no arguments, no printing.

An input is events as JSON, one a line or one over all lines; or payloads of another kind of item (`KINDS`). The answer
is one line each: it as it would be stored, or `{"error": sentence}`. Of a container of logs or spans, records that are
dropped are missing, and when none is left the answer is an error.
"""

import json
from collections.abc import Callable, Iterable, Iterator

import msgspec

from collector.digest.about import About, Invalid
from collector.digest.enrich import Enrichment
from collector.digest.ids import id_of
from collector.digest.items import ITEM_RULES
from collector.digest.normalise import Normaliser
from collector.digest.records import sift
from collector.errors import ProtocolError
from collector.group.console import Broken, documents
from collector.machine.clock import Clock, SystemClock
from collector.model.envelope import Item
from collector.scrub.scrubber import Scrubber
from collector.scrub.settings import ScrubSettings

NO_ID = "0" * 32
REFUSAL = '{"error": '
RECORDS = ("log", "span")
KINDS = ("event", "feedback", *RECORDS, *ITEM_RULES)


def normalise_event(payload: bytes, clock: Clock | None = None) -> bytes:
    """One event or transaction (by its `type`) normalised, as if it had been received now. Raises ValueError."""
    item = "event"
    try:
        if msgspec.json.decode(payload).get("type") == "transaction":
            item = "transaction"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AttributeError):
        pass  # the normaliser says what is wrong
    now = (clock or SystemClock()).now()
    about = About(id_of(payload) or NO_ID, project_id=0, received_at=now, item=item)
    try:
        return Normaliser(Enrichment()).normalise(payload, about).payload
    except Invalid as invalid:
        raise ValueError(f"{invalid.reason}: {invalid.why}") from None


def normalise_item(payload: bytes, kind: str, clock: Clock | None = None) -> bytes:
    """The payload of an item of one of KINDS normalised, as if it had been received now. Raises ValueError."""
    if kind == "event":
        return normalise_event(payload, clock)
    about = About(id_of(payload) or NO_ID, project_id=0, received_at=(clock or SystemClock()).now(), item=kind)
    try:
        if kind == "feedback":
            return Normaliser(Enrichment()).normalise(payload, about).payload
        if kind in ITEM_RULES:
            return ITEM_RULES[kind](payload, about)
        records = sift(Item(kind, {}, payload), about, lambda record: None, Enrichment().browser)
    except Invalid as invalid:
        raise ValueError(f"{invalid.reason}: {invalid.why}") from None
    if records.dropped and not records.kept:
        raise ValueError(", ".join(reason for _, reason in records.dropped))
    return records.payload


def normalise_lines(lines: Iterable[str], clock: Clock | None = None, kind: str = "event") -> Iterator[str]:
    """Each event, or item of `kind`, as normalisation leaves it."""
    return _answers(lines, lambda payload: normalise_item(payload, kind, clock))


def scrub_lines(
    lines: Iterable[str], settings: ScrubSettings, clock: Clock | None = None, kind: str = "event"
) -> Iterator[str]:
    """Each event, or item of `kind`, as it would be stored: normalised and scrubbed by `settings`."""
    scrubber = Scrubber(settings)

    def stored(payload: bytes) -> bytes:
        normalised = normalise_item(payload, kind, clock)
        return scrubber.event(normalised) if kind in ("event", "feedback") else scrubber.text(normalised, kind)

    return _answers(lines, stored)


def is_refusal(line: str) -> bool:
    """Whether an answer says that the input was no event; no event begins so."""
    return line.startswith(REFUSAL)


def _answers(lines: Iterable[str], work: Callable[[bytes], bytes]) -> Iterator[str]:
    try:
        for document in documents(lines):
            if isinstance(document, Broken):
                yield json.dumps({"error": f"not JSON: {document.why}"})
                continue
            try:
                yield work(json.dumps(document).encode()).decode()
            except (ValueError, ProtocolError) as error:
                yield json.dumps({"error": str(error)})
    except ValueError as error:
        yield json.dumps({"error": f"not JSON: {error}"})
