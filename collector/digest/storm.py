"""The short way for the copies of a storm: events beyond the rate of their issue are counted, not kept, so they need
neither scrubbing nor a row of their own.

A copy is recognised by its hashes, made of the event before scrubbing. They are the hashes that it would have after it
when an event which went the long way has them too and no text that was parameterised for them is one that scrubbing
changes: frames and types enter a hash as they are, so equal hashes have equal ones; of texts, different ones may.
The copy's own are its id, times, level and user, scrubbed; the rest is the row of the event that went the long way,
without payload. One event of an issue and commit goes the long way, for forward to show.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from collector.digest.normalised import Normalised
from collector.digest.project import Stages
from collector.digest.row import RowView, UserView, user_id
from collector.group.view import decode
from collector.model.event import EventRow, GroupingResult

MAX_TEXTS = 4096  # texts and users known to be left alone; more are rare enough to start anew

# Project, hashes and time of receipt: number of the commit to come when that issue keeps no more events, else 0.
IsOver = Callable[[int, list[str], float], int]


def never_over(_: int, __: list[str], ___: float) -> int:
    """Without a store every event is kept."""
    return 0


class Glimpse(msgspec.Struct):
    """What was found out about an event before scrubbing: it holds where scrubbing changes nothing."""

    view: RowView
    grouping: GroupingResult


class _Model(msgspec.Struct):
    """The row that the copies of an issue get, and the commit in which its event went the long way."""

    row: EventRow
    commit: int


class Storm:
    """The storms of one project; not safe to share between threads."""

    def __init__(self, project_id: int, stages: Stages, is_over: IsOver) -> None:
        self._project_id = project_id
        self._stages = stages
        self._is_over = is_over
        self._models: dict[tuple[str, ...], _Model] = {}
        self._clean: set[tuple[str | None, ...]] = set()
        self._users: dict[bytes, str] = {}

    @property
    def calm(self) -> bool:
        """Whether no issue of the project is known to be over its rate."""
        return not self._models

    def glimpse(self, normalised: Normalised) -> Glimpse:
        """Grouping of a normalised event that was not scrubbed."""
        view = normalised.view()
        return Glimpse(view, self._stages.group(view))

    def copy(self, seen: Glimpse, event_id: str, received_at: float) -> EventRow | None:
        """The row of a copy, its payload empty; None when the event has to go the long way."""
        key = tuple(seen.grouping.hashes)
        model = self._models.get(key)
        if model is None:
            return None
        commit = self._is_over(self._project_id, seen.grouping.hashes, received_at)
        if not commit:
            del self._models[key]
            return None
        if commit != model.commit or not self._left_alone(seen.view):
            return None
        view = seen.view
        return msgspec.structs.replace(
            model.row,
            event_id=event_id,
            timestamp=view.timestamp or 0.0,
            received_at=view.received or 0.0,
            level=view.level or "error",
            user_id=self._user(view.user),
        )

    def note(self, row: EventRow) -> None:
        """An event went the long way: the model of copies when its issue is over its rate."""
        commit = self._is_over(self._project_id, row.hashes, row.received_at)
        if commit:
            self._models[tuple(row.hashes)] = _Model(msgspec.structs.replace(row, payload=b"", tags=[]), commit)

    def _left_alone(self, view: RowView) -> bool:
        """Whether scrubbing changes none of the texts that are parameterised for hashes."""
        entry = view.logentry
        values = [each.value for each in (view.exception.values if view.exception else None) or () if each]
        logged = (entry.formatted, entry.message) if entry else (None, None)
        texts: tuple[str | None, ...] = (view.message, *logged, *values)
        if texts in self._clean:
            return True
        document = msgspec.json.encode(_document(texts))
        if self._stages.scrub_event(document) != document:
            return False
        if len(self._clean) >= MAX_TEXTS:
            self._clean.clear()
        self._clean.add(texts)
        return True

    def _user(self, user: UserView | None) -> str:
        if user is None:
            return ""
        document = msgspec.json.encode({"user": user})
        known = self._users.get(document)
        if known is None:
            known = user_id(decode(self._stages.scrub_event(document), RowView).user)
            if len(self._users) >= MAX_TEXTS:
                self._users.clear()
            self._users[document] = known
        return known


def _document(texts: tuple[str | None, ...]) -> dict[str, Any]:
    """An event of these texts alone, in the places where they were found."""
    message, formatted, template, *values = texts
    found: dict[str, Any] = {"exception": {"values": [{"value": value} for value in values]}}
    if formatted is not None or template is not None:
        found["logentry"] = {"formatted": formatted, "message": template}
    if message is not None:
        found["message"] = message
    return found
