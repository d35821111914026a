"""Statuses both ways: resolved, unresolved or ignored upstream becomes so here, and the other way round.

Rule, per issue, each time both statuses are looked at. `base` is the status on which both sides agreed last.
- Both are the same: that is agreed.
- Only one side differs from `base`: it was changed there, so the other side follows.
- Both were changed, or nothing was agreed yet: the later change wins, by the time of the change here and by upstream's
  activity; upstream wins a tie. An issue that nobody ever touched follows the other side: here, one without a change;
  upstream, an unresolved one whose activity names none (any other status without a time wins).
- An event after resolved is a change here like any other ("regression"): the issue is open again, here and upstream.
What is neither of the three upstream (pending deletion, reprocessing, ...) is left alone. `ignored` stands for every
kind of archived; set from here it is archived until somebody says otherwise.

Finding upstream's issue: by the newest event of ours that upstream has taken, one call an issue, once; the answer is
kept. Statuses are read a hundred a call and written a hundred a call. At most MAX_LOOKUPS calls of the first kind and
MAX_WATCHED issues a round (those that differ first, then those with the newest events). Nothing here is in anybody's
way: a thread of its own, its own connection to state.sqlite, and changes here go through the digest thread.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from collector.errors import Unavailable
from collector.forward.pace import Pace
from collector.forward.sender import World
from collector.forward.sentry_api import PER_CALL, Api, ApiError, derive_api_url
from collector.forward.settings import UpstreamSettings
from collector.forward.target import parse_dsn
from collector.store import statuses
from collector.store.outbox import Outbox
from collector.store.statuses import STATUSES, UNRESOLVED, Linked

MAX_LOOKUPS, MAX_WATCHED = 20, 1000
SETTLE_SECONDS = 10.0  # upstream's pipeline stores an event some seconds after it took it
AGAIN_SECONDS = 600.0  # until what was not found is looked for again
SLICE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 600.0
OTHER_NAMES = {"muted": "ignored", "resolvedInNextRelease": "resolved"}


class Wanted(NamedTuple):
    """A status for an issue here, if it still is as it was seen."""

    issue_id: int
    seen: str
    status: str


Apply = Callable[[Sequence[Wanted]], None]


class Sync:
    """The loop. apply: hands changes of issues here to the digest thread. Raises ConfigError for a bad address."""

    def __init__(self, settings: UpstreamSettings, world: World, apply: Apply) -> None:
        dsn = settings.dsn.reveal()
        self.url = settings.api_url or derive_api_url(dsn)
        self._project_id = int(parse_dsn(dsn).url.rstrip("/").split("/")[-2])
        self._organisation = settings.api_organization
        self._interval = float(settings.sync_interval)
        self._drain_timeout = float(settings.drain_timeout)
        self._clock = world.clock
        self._net = world.net
        self._apply = apply
        self._api = Api(self.url, settings.api_token.reveal(), world.net, world.clock)
        self.pace = Pace(MAX_PAUSE_SECONDS, world.jitter)
        self._trouble = ""
        self._last_at: float | None = None
        self._links = (0, 0)
        self._totals = {"pulled": 0, "pushed": 0, "conflicts": 0, "looked_up": 0}

    def run(self, state_path: Path, beat: Callable[[], None], stop: threading.Event) -> None:
        """Round after round until `stop`."""
        try:
            while not stop.is_set():
                pause = self._round(state_path, beat)
                until = self._clock.monotonic() + pause
                while not stop.is_set() and self._clock.monotonic() < until:
                    beat()
                    stop.wait(SLICE_SECONDS)
        finally:
            self._net.close()

    def hurry(self) -> None:
        """At shutdown: no request in flight takes longer than drain_timeout from now."""
        self._net.hurry(self._drain_timeout)

    def _round(self, state_path: Path, beat: Callable[[], None]) -> float:
        """One round; the seconds until the next."""
        try:
            outbox = Outbox.open(state_path)
            try:
                self.step(outbox, beat)
            finally:
                outbox.close()
        except ApiError as error:
            now = self._clock.monotonic()
            self.pace.failed(now, error.what, max(error.pause, 0.0))
            return max(self.pace.retry_at - now, 1.0)
        except Unavailable as error:
            self._trouble = error.what
            return self._interval
        self._trouble = ""
        self.pace.succeeded()
        return self._interval

    def step(self, outbox: Outbox, beat: Callable[[], None]) -> None:
        """Look for counterparts, compare, push and pull. Raises ApiError, Unavailable."""
        if not self._organisation:
            self._organisation = self._api.organisation_of(self._project_id)
        self._look_up(outbox, beat)
        with outbox.read() as cursor:
            watched = statuses.linked(cursor, MAX_WATCHED)
        for start in range(0, len(watched), PER_CALL):
            beat()
            self._compare(outbox, watched[start : start + PER_CALL])
        with outbox.read() as cursor:
            self._links = statuses.links(cursor)
        self._last_at = self._clock.now()

    def _look_up(self, outbox: Outbox, beat: Callable[[], None]) -> None:
        now = self._clock.now()
        with outbox.read() as cursor:
            strangers = statuses.unlinked(cursor, now - SETTLE_SECONDS, now - AGAIN_SECONDS, MAX_LOOKUPS)
        for one in strangers:
            beat()
            found = self._api.issue_of(self._organisation, one.event_id)
            self._totals["looked_up"] += 1
            with outbox.transaction() as cursor:
                statuses.link(cursor, one.issue_id, found, now)

    def _compare(self, outbox: Outbox, page: Sequence[Linked]) -> None:
        if not page:
            return
        upstream = self._api.statuses(self._organisation, [one.upstream_id for one in page])
        agreed: dict[str, list[int]] = {}
        push: dict[str, list[Linked]] = {}
        wanted: list[Wanted] = []
        for one in page:
            theirs = OTHER_NAMES.get(status := upstream.get(one.upstream_id, ""), status)
            if not theirs:  # merged or deleted there: looked for again
                with outbox.transaction() as cursor:
                    statuses.link(cursor, one.issue_id, "", self._clock.now())
            elif theirs == one.status:
                if one.base != theirs:
                    agreed.setdefault(theirs, []).append(one.issue_id)
            elif theirs in STATUSES:
                if self._is_ours(one, theirs):
                    push.setdefault(one.status, []).append(one)
                else:
                    wanted.append(Wanted(one.issue_id, one.status, theirs))
        self._agree(outbox, agreed)
        if wanted:
            self._apply(wanted)
            self._totals["pulled"] += len(wanted)
        for status, issues in push.items():
            self._api.set_status(self._organisation, [one.upstream_id for one in issues], status)
            self._totals["pushed"] += len(issues)
            self._agree(outbox, {status: [one.issue_id for one in issues]})

    def _is_ours(self, one: Linked, theirs: str) -> bool:
        """True when the status here is the one that holds; see the rule above."""
        if one.base and theirs == one.base:
            return True
        if one.base and one.status == one.base:
            return False
        if not one.changed_at:
            return False
        self._totals["conflicts"] += 1
        told_at = self._api.changed_at(self._organisation, one.upstream_id)
        return one.changed_at > told_at if told_at else theirs == UNRESOLVED

    @staticmethod
    def _agree(outbox: Outbox, agreed: dict[str, list[int]]) -> None:
        if agreed:
            with outbox.transaction() as cursor:
                for status, issue_ids in agreed.items():
                    statuses.agree(cursor, issue_ids, status)

    def status(self) -> dict[str, Any]:
        """For the status page and metrics; any thread.

        state: starting, ok, backing_off or broken. last_error: one sentence or "". last_at: end of the last good
        round. linked: issues whose counterpart is known; unlinked: those that upstream has an event of, without one.
        totals: pulled, pushed, conflicts, looked_up, calls.
        """
        now = self._clock.monotonic()
        linked, unlinked = self._links
        state = "broken" if self._trouble else "backing_off" if self.pace.failures else "ok"
        return {
            "api": self.url,
            "organisation": self._organisation,
            "state": "starting" if state == "ok" and self._last_at is None else state,
            "last_error": self._trouble or self.pace.last_error,
            "retry_in_seconds": round(max(0.0, self.pace.retry_at - now), 3),
            "last_at": self._last_at,
            "linked": linked,
            "unlinked": unlinked,
            "totals": {**self._totals, "calls": self._api.calls},
        }
