"""Records whose values DuckDB refuses, made writable; or turned into what can always be written."""

from typing import Any

import msgspec

from collector.model.event import Digested
from collector.model.outcome import INVALID, Outcome


def clean_text(text: str) -> str:
    """Without lone surrogates, which cannot be written as UTF-8 (faults D2, fact 8)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, tuple):
        return tuple(_clean(one) for one in value)
    return value


def cleaned(record: Digested) -> Digested:
    """The record with every text of its rows cleaned."""
    events = [type(row)(**{key: _clean(value) for key, value in msgspec.structs.asdict(row).items()})
              for row in record.events]  # fmt: skip
    items = [type(row)(**{key: _clean(value) for key, value in msgspec.structs.asdict(row).items()})
             for row in record.items]  # fmt: skip
    outcomes = [msgspec.structs.replace(one, reason=clean_text(one.reason), category=clean_text(one.category),
                                        public_key=clean_text(one.public_key)) for one in record.outcomes]  # fmt: skip
    return msgspec.structs.replace(record, events=events, items=items, outcomes=outcomes)


def refused(record: Digested, at: float) -> Digested:
    """What is left of a record that cannot be stored: one outcome for its whole quantity."""
    projects = [row.project_id for row in record.events] + [row.project_id for row in record.items]
    project_id = projects[0] if projects else 0
    outcome = Outcome(project_id, INVALID, "internal", "error", record.quantity, at, items=record.quantity)
    return Digested(record.position, record.quantity, outcomes=[outcome])
