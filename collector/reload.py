"""Reload: the configuration is read again while everything runs (SIGHUP, `collector reload`).

Promises
- A file with a mistake changes nothing: the last good configuration stays in force, and the log, the status document,
  the metrics and whoever asked say what is wrong and where.
- The front goes over as a whole between two requests; no connection is closed, none is refused for it, and a request
  ends under the settings that it began with. Counters of quotas that count as before go on.
- The worker is replaced only when its part of the configuration differs. It finishes its batch, the next one starts;
  what is acknowledged meanwhile waits in the spool. The front goes over once that one works, so nothing that came in
  by new settings is ever digested by old ones.
- A worker that does not come up with the new configuration is a mistake too: one with the last good one follows it.
- What a running process cannot change (collector.changes.RESTART) waits for a restart and is named; the rest holds.
- One after the other: whoever asks while one is under way shares the next.
"""

import asyncio
import hashlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from collector.changes import Change, changes, pinned, public, worker_part
from collector.config import Config, Source
from collector.errors import ConfigError, Unavailable
from collector.machine.clock import Clock

APPLIED, UNCHANGED, REFUSED = "applied", "unchanged", "refused"

log = structlog.get_logger("reload")
Complete = Callable[[Config, bool], Config]


class Outcome(msgspec.Struct, frozen=True):
    """What came of one reload. mistakes: sentences, each names its `table.key`; needs_restart: settings by path."""

    outcome: str
    path: str
    generation: int
    changes: list[Change] = []
    mistakes: list[str] = []
    needs_restart: list[str] = []
    is_worker_replaced: bool = False
    seconds: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """What a file would change against the running configuration."""

    path: str
    generation: int
    changes: list[Change] = []
    mistakes: list[str] = []
    is_worker_replaced: bool = False


class Reloadable(Protocol):
    """What has a configuration: the front."""

    config: Config

    def take(self, config: Config) -> None:
        """Go over to it at once."""
        ...

    async def replace_worker(self, config: Config) -> list[str]:
        """Have a worker with this one. Why it does not work, [] when it does. Raises Unavailable."""
        ...


class Reloader:
    """One a process, on the event loop. `complete`: adds the generated project, and makes it when that is asked for."""

    def __init__(self, front: Reloadable, source: Source, complete: Complete, clock: Clock) -> None:
        self._front = front
        self._source = source
        self._complete = complete
        self._clock = clock
        self._lock = asyncio.Lock()
        self._waiting: asyncio.Task[Outcome] | None = None
        self._running: asyncio.Task[Outcome] | None = None
        self._is_up = asyncio.Event()
        self._is_stopping = False
        self._generation = 1
        self._loaded_at = clock.now()
        self._tried_at: float | None = None
        self._mistakes: list[str] = []
        self._needs_restart: list[str] = []
        self._reloads: Counter[str] = Counter({APPLIED: 0, UNCHANGED: 0, REFUSED: 0})
        self._digest: tuple[Config | None, str] = (None, "")

    def begin(self) -> None:
        """Everything is up: what was asked for before is done now."""
        self._is_up.set()

    async def stop(self) -> None:
        """The collector stops: what is under way is given up, as if it had not been asked for."""
        self._is_stopping = True
        for task in (self._waiting, self._running):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    def ask(self) -> "asyncio.Task[Outcome]":
        """Reload once, after the one that is under way (it may have read the file as it was)."""
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_task(self._in_turn(), name="reload")
        return self._waiting

    async def answer(self, kind: str, path: str) -> dict[str, Any]:
        """A question of the command line. `path`: the file that it means. Raises Unavailable."""
        if self._is_stopping:
            raise Unavailable("the collector stops")
        if kind == "plan":
            return _plain(await self.plan(Path(path)))
        if Path(path).resolve() != self._source.path.resolve():
            raise Unavailable(f"it runs with {self._source.path}, not with {path}: that file is the one to change")
        try:
            return _plain(await asyncio.shield(self.ask()))
        except asyncio.CancelledError:
            if self._is_stopping:
                raise Unavailable("the collector stops") from None
            raise

    async def plan(self, path: Path) -> Plan:
        """What the file would change if it stood in the place of the one that is in use."""
        try:
            found = await asyncio.to_thread(self._read, path, False)
        except ConfigError as error:
            return Plan(str(path), self._generation, mistakes=error.mistakes)
        differing = changes(self._front.config, found)
        return Plan(str(path), self._generation, differing, is_worker_replaced=self._concerns_worker(found))

    def status(self) -> dict[str, Any]:
        """For the status document. digest: the same for the same settings, secrets left out; times: seconds since the
        epoch, tried_at None before the first reload; mistakes: of the last one."""
        return {
            "path": str(self._source.path),
            "generation": self._generation,
            "digest": self._digest_now(),
            "loaded_at": self._loaded_at,
            "tried_at": self._tried_at,
            "mistakes": self._mistakes,
            "needs_restart": self._needs_restart,
            "reloads": dict(self._reloads),
        }

    def _digest_now(self) -> str:
        config = self._front.config
        if self._digest[0] is not config:
            self._digest = (config, hashlib.blake2b(public(config), digest_size=8).hexdigest())
        return self._digest[1]

    async def _in_turn(self) -> Outcome:
        await self._is_up.wait()
        async with self._lock:
            self._running, self._waiting = self._waiting, None
            began = self._clock.monotonic()
            self._tried_at = self._clock.now()
            try:
                outcome = await self._reload()
            except ConfigError as error:
                outcome = self._refused(error.mistakes)
            except Unavailable as error:
                outcome = self._refused([error.what])
            except Exception as error:  # the reload's door: whatever is wrong with a file, what runs goes on
                log.exception("reload failed")
                outcome = self._refused([f"{self._source.path}: {type(error).__name__}: {error}"])
            return self._noted(msgspec.structs.replace(outcome, seconds=round(self._clock.monotonic() - began, 3)))

    async def _reload(self) -> Outcome:
        """Raises ConfigError, Unavailable."""
        found = await asyncio.to_thread(self._read, None, True)  # rules are compiled: not on the loop
        before = self._front.config
        differing = changes(before, found)
        waiting = [change.path for change in differing if change.needs_restart]
        is_replaced = self._concerns_worker(found)
        if len(waiting) == len(differing):
            return self._outcome(UNCHANGED, [], waiting)
        wanted = pinned(found, before)
        if is_replaced and (mistakes := await self._front.replace_worker(wanted)):
            await self._front.replace_worker(before)
            raise ConfigError(mistakes)
        try:
            self._front.take(wanted)
        except Exception:  # a bug; whatever it is, worker and front must have the same configuration
            if is_replaced:
                await self._front.replace_worker(before)
            raise
        self._generation += 1
        return msgspec.structs.replace(
            self._outcome(APPLIED, [change for change in differing if not change.needs_restart], waiting),
            is_worker_replaced=is_replaced,
        )

    def _read(self, path: Path | None, may_make: bool) -> Config:
        """The file as a start would take it, with the generated project of the folder that is in use."""
        found, running = self._source.load(path), self._front.config
        completed = self._complete(pinned(found, running), may_make)
        return msgspec.structs.replace(found, project=completed.project)

    def _concerns_worker(self, found: Config) -> bool:
        running = self._front.config
        return worker_part(pinned(found, running)).to_bytes() != worker_part(running).to_bytes()

    def _outcome(self, outcome: str, differing: list[Change], waiting: list[str]) -> Outcome:
        return Outcome(outcome, str(self._source.path), self._generation, differing, needs_restart=waiting)

    def _refused(self, mistakes: list[str]) -> Outcome:
        return Outcome(REFUSED, str(self._source.path), self._generation, mistakes=mistakes)

    def _noted(self, outcome: Outcome) -> Outcome:
        self._reloads[outcome.outcome] += 1
        self._mistakes = outcome.mistakes
        if outcome.outcome == REFUSED:
            log.error("configuration not reloaded; the one before stays in force", file=outcome.path,
                      mistakes=outcome.mistakes)  # fmt: skip
            return outcome
        self._loaded_at = self._tried_at or 0.0
        self._needs_restart = outcome.needs_restart
        log.info(
            f"configuration {'reloaded' if outcome.outcome == APPLIED else 'is as it was'}",
            file=outcome.path, generation=outcome.generation, changed=[change.path for change in outcome.changes],
            is_worker_replaced=outcome.is_worker_replaced, seconds=outcome.seconds,
        )  # fmt: skip
        if outcome.needs_restart:
            log.warning("these settings wait for a restart", settings=outcome.needs_restart)
        return outcome


class Hangups:
    """SIGHUP asks for a reload, unless it says that the terminal of the start is gone: then it is time to stop, as for
    any command (nohup prevents that as usual). From the moment that this is made it ends the process no more; what
    comes before `hand_over` is noted."""

    def __init__(self) -> None:
        is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._has_terminal = not is_ignored and _has_terminal()
        self._noted = 0
        signal.signal(signal.SIGHUP, lambda number, frame: self._note())

    def _note(self) -> None:
        self._noted += 1

    def hand_over(
        self, loop: asyncio.AbstractEventLoop, reload: Callable[[], object], stop: Callable[[], None]
    ) -> None:
        """From here on the loop calls `reload` or `stop`."""

        def hung_up() -> None:
            if self._has_terminal and not _has_terminal():
                stop()
            else:
                reload()

        loop.add_signal_handler(signal.SIGHUP, hung_up)
        if self._noted:
            hung_up()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _plain(told: Outcome | Plan) -> dict[str, Any]:
    """As the control socket carries it."""
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return {**plain, "changes": [change._asdict() for change in told.changes]}
