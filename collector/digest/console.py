"""What `collector normalise` and `collector scrub` answer: text lines in, text lines out; no arguments, no printing.

An input is events as JSON, one a line or one over all lines. The answer is one line an event: the event as it would be
stored, or `{"error": sentence}`.
"""

import json
from collections.abc import Callable, Iterable, Iterator

import msgspec

from collector.digest.about import About, Invalid
from collector.digest.enrich import Enrichment
from collector.digest.ids import id_of
from collector.digest.normalise import Normaliser
from collector.errors import ProtocolError
from collector.group.console import Broken, documents
from collector.machine.clock import Clock, SystemClock
from collector.scrub.scrubber import Scrubber
from collector.scrub.settings import ScrubSettings

NO_ID = "0" * 32
REFUSAL = '{"error": '


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


def normalise_lines(lines: Iterable[str], clock: Clock | None = None) -> Iterator[str]:
    """Each event as normalisation leaves it."""
    return _answers(lines, lambda payload: normalise_event(payload, clock))


def scrub_lines(lines: Iterable[str], settings: ScrubSettings, clock: Clock | None = None) -> Iterator[str]:
    """Each event as it would be stored: normalised and scrubbed by `settings`."""
    scrubber = Scrubber(settings)
    return _answers(lines, lambda payload: scrubber.event(normalise_event(payload, clock)))


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
