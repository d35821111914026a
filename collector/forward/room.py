"""Forward: the room's one object. The worker registers `on_applied` with the store and runs `run` as a loop."""

import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from collector.errors import Unavailable
from collector.forward.bounds import Bounds
from collector.forward.budgets import Budgets
from collector.forward.closing import Closing
from collector.forward.hub_sender import HubSender
from collector.forward.hub_target import parse_hub
from collector.forward.items import Items
from collector.forward.limits import Limits
from collector.forward.mishaps import Mishaps, full_sentence, limit_sentence
from collector.forward.pace import Pace
from collector.forward.relearn import Relearning
from collector.forward.rollup import Rollup
from collector.forward.sender import IDLE_SECONDS, Sender, World
from collector.forward.sessions import Sessions
from collector.forward.settings import ForwardSettings, UpstreamSettings
from collector.forward.target import parse_dsn
from collector.store import sessions as session_tables
from collector.store import windows
from collector.store.delta import AppliedBatch
from collector.store.outbox import Outbox

DEFAULT = ForwardSettings()
SLICE_SECONDS = 0.25  # how soon the loop sees that it should stop
BROKEN_SECONDS = 5.0  # pause after state.sqlite could not be used


class Sending(Protocol):
    """What sends: to a Sentry or to a hub."""

    limits: Limits
    pace: Pace
    mishaps: Mishaps

    def step(self, beat: Callable[[], None]) -> float:
        """Close, bound, send. Returns the seconds until there may be something to do. Raises Unavailable."""
        ...


class Forward:
    """Roll-up, outbox and sender of one upstream. Raises ConfigError for an unusable DSN.

    projects: project id -> what it sends.
    """

    def __init__(self, settings: UpstreamSettings, projects: Mapping[int, ForwardSettings], world: World) -> None:
        self._settings = settings
        self._projects = projects
        self._world = world
        self._hub = parse_hub(settings) if settings.hub else None
        self._target = None if self._hub else parse_dsn(settings.dsn.reveal())
        self._bounds = Bounds(settings)
        clock = world.clock
        self._budgets = Budgets(projects, clock.monotonic)
        self._history = Relearning(settings.window, clock.now, clock.monotonic)
        self._rollup = Rollup(settings.window, self.mode_of, self._bounds.reserve, self._budgets, self._history)
        sessions = Sessions(settings.window, settings.session_hold)
        self._items = Items(self.settings_of, self._bounds, sessions, self._budgets, self._history)
        self._closing = Closing(settings.window, self._rollup.remembered, self._budgets)
        self._wake = threading.Event()
        self._urgent = False
        self._sender: Sending | None = None
        self._trouble = ""
        self._counted: dict[str, Any] = {}
        self._counted_at = float("-inf")

    def mode_of(self, project_id: int) -> str:
        """What a project sends: summaries, events or off."""
        mode = self._projects.get(project_id, DEFAULT).mode
        return self._settings.mode if mode == "inherit" else mode

    def settings_of(self, project_id: int) -> ForwardSettings:
        """What a project sends, its mode never `inherit`."""
        settings = self._projects.get(project_id, DEFAULT)
        if settings.mode != "inherit":
            return settings
        return msgspec.structs.replace(settings, mode=self._settings.mode)

    def close_due(self, outbox: Outbox, now: float) -> int:
        """Windows and sessions that are due become entries, once it is known what of them upstream may have."""
        with outbox.read() as cursor:
            is_over = self._history.is_told_over(cursor)
        if not is_over:
            with outbox.transaction() as cursor:
                if not self._history.is_over(cursor):
                    return 0
        return self._closing.close(outbox, now) + self._items.close(outbox, now)

    def on_applied(self, cursor: sqlite3.Cursor, batch: AppliedBatch) -> None:
        """`on_apply` callback of the store, inside its SQLite transaction."""
        urgent = self._rollup.on_applied(cursor, batch)
        if self._items.on_applied(cursor, batch) or urgent:
            self._urgent = True

    def committed(self) -> None:
        """Call after each commit: wakes the sender when a first event waits."""
        if self._urgent:
            self._urgent = False
            self._wake.set()

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    def open_sender(self, outbox: Outbox) -> "Sending":
        """The sender on its own connection; `run` does this, tests step it by hand. Raises Unavailable."""
        if self._target is not None:
            self._sender = Sender(self._settings, self._target, self._world, outbox, self.close_due, self._bounds)
        elif self._hub is not None:
            self._sender = HubSender(self._settings, self._hub, self._world, outbox, self.close_due, self._bounds)
            self._sender.home = min(self._projects, default=1)
        assert self._sender is not None
        return self._sender

    def hurry(self) -> None:
        """At shutdown: no request in flight takes longer than drain_timeout from now."""
        self._world.net.hurry(self._settings.drain_timeout)
        self._wake.set()

    def run(self, state_path: Path, beat: Callable[[], None], stop: threading.Event) -> None:
        """The loop of the forward thread, until `stop`; then what is ready is sent for at most drain_timeout.

        A state.sqlite that is locked, damaged or made anew is opened again: its repair is the digest thread's work.
        """
        try:
            while not stop.is_set():
                try:
                    self._serve(state_path, beat, stop)
                except Unavailable as error:
                    self._trouble = error.what
                    self._sleep(BROKEN_SECONDS, beat, stop)
        finally:
            if stop.is_set():
                self._world.net.close()

    def _serve(self, state_path: Path, beat: Callable[[], None], stop: threading.Event) -> None:
        """Work on one open state.sqlite."""
        outbox = Outbox.open(state_path)
        try:
            self.open_sender(outbox)
            while not stop.is_set() and not outbox.is_replaced:
                self._sleep(self._step(outbox, beat), beat, stop)
            if stop.is_set():
                self._drain(outbox, beat)
        finally:
            outbox.close()

    def _step(self, outbox: Outbox, beat: Callable[[], None]) -> float:
        assert self._sender is not None
        self._wake.clear()
        pause = self._sender.step(beat)
        self._trouble = ""
        now = self._world.clock.monotonic()
        if pause > 0 or now - self._counted_at >= IDLE_SECONDS:
            self.look(outbox)
            self._counted_at = now
        return pause

    def _sleep(self, pause: float, beat: Callable[[], None], stop: threading.Event) -> None:
        until = self._world.clock.monotonic() + pause
        while not stop.is_set() and (left := until - self._world.clock.monotonic()) > 0:
            beat()
            if self._wake.wait(min(left, SLICE_SECONDS)):
                return

    def _drain(self, outbox: Outbox, beat: Callable[[], None]) -> None:
        assert self._sender is not None
        clock = self._world.clock
        until = clock.monotonic() + self._settings.drain_timeout
        while clock.monotonic() < until and self._sender.pace.state(clock.monotonic()) == "closed":
            if self._step(outbox, beat) > 0:
                return

    def look(self, outbox: Outbox) -> None:
        """Take the figures that `status` shows. Raises Unavailable."""
        with outbox.read() as cursor:
            oldest_at = windows.oldest_created_at(cursor)
            totals = windows.counts(cursor)
            budgets = self._budgets.look(cursor)
            open_windows, open_events = windows.open_windows(cursor)
            open_sessions, counted_sessions, _ = session_tables.waiting(cursor)
        self._counted = {
            "oldest_at": oldest_at,
            "totals": totals,
            "budgets": budgets,
            "open_windows": open_windows,
            "open_occurrences": open_events,
            "open_sessions": open_sessions,
            "counted_sessions": counted_sessions,
        }

    def status(self) -> dict[str, Any]:
        """For the status page and metrics; any thread.

        state: starting, sending, limited, backing_off or broken. breaker: closed, open or half_open. last_error: what
        is wrong or went wrong lately, as sentences parted by "; ", or "". limits: category -> seconds. modes: project
        id -> what it sends. outbox: records, bytes, max_bytes, is_full, oldest_age_seconds (None when empty). windows:
        open, occurrences. sessions: open, counted (not told yet). budgets: see Budgets.look. totals: sent_events,
        sent_occurrences, sent_reports, folded, reports_unknown, dropped:<reason>, kept:<reason>:<category>.
        """
        sender = self._sender
        now = self._world.clock.monotonic()
        oldest_at = self._counted.get("oldest_at")
        limits = sender.limits.active(now) if sender else {}
        age = None if oldest_at is None else max(0.0, round(self._world.clock.now() - oldest_at, 3))
        return {
            "upstream": self._where,
            "state": self._state(sender, now, bool(limits)),
            "last_error": "; ".join(self._sentences(sender, limits)),
            "breaker": sender.pace.state(now) if sender else "closed",
            "failures": sender.pace.failures if sender else 0,
            "retry_in_seconds": round(max(0.0, sender.pace.retry_at - now), 3) if sender else 0.0,
            "limits": limits,
            "clock_stepped_seconds": sender.mishaps.clock_stepped_seconds if sender else 0.0,
            "modes": {str(number): self.mode_of(number) for number in self._projects},
            "outbox": {
                "records": self._bounds.records,
                "bytes": self._bounds.bytes,
                "max_bytes": self._bounds.max_bytes,
                "is_full": self._bounds.is_full,
                "oldest_age_seconds": age,
            },
            "windows": {
                "open": self._counted.get("open_windows", 0),
                "occurrences": self._counted.get("open_occurrences", 0),
            },
            "sessions": {
                "open": self._counted.get("open_sessions", 0),
                "counted": self._counted.get("counted_sessions", 0),
            },
            "totals": self._counted.get("totals", {}),
            "budgets": self._counted.get("budgets", {}),
        }

    def _sentences(self, sender: "Sending | None", limits: dict[str, float]) -> list[str]:
        if sender is None:
            return [self._trouble] if self._trouble else []
        told = [self._trouble, sender.pace.last_error, limit_sentence(limits)]
        told += [full_sentence(self._bounds, self._settings.when_full), *sender.mishaps.lately()]
        return list(dict.fromkeys(one for one in told if one))

    @property
    def _where(self) -> str:
        target = self._target or self._hub
        return target.where if target else ""

    def _state(self, sender: "Sending | None", now: float, limited: bool) -> str:
        if self._trouble:
            return "broken"
        if sender is None:
            return "starting"
        if sender.pace.failures:
            return "backing_off"
        return "limited" if limited else "sending"
