"""`collector shell`: one statement after another, at a prompt or from a script.

Promises
- Each statement sees what was committed before it was entered, runs in a sandbox process of its own under the limits
  of ad-hoc SQL, and may be cancelled with Ctrl-C; the prompt stays.
- A script (stdin that is no terminal) ends at its first mistake with exit code 1 and the line of the statement.

The process for the next statement is started ahead of it: an answer then takes 60 ms instead of 270.
"""

import io
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, BinaryIO, TextIO

from collector.errors import CollectorError, ProtocolError, Unavailable
from collector.query.adhoc import Limits, Sources, parse_since, run
from collector.query.child import Child
from collector.query.derived import ALL_VIEWS
from collector.query.job import Verdict
from collector.query.settings import QuerySettings
from collector.query.statements import split

if TYPE_CHECKING:
    from collector.query.prompt import Prompt

OpenSources = Callable[[str | None], AbstractContextManager[Sources]]
MODES = ("table", "json", "ndjson", "csv")
ROWS_AT_A_PROMPT = 1000
HELP = """\
A statement ends with ; and may have many lines. Ctrl-C cancels it, Ctrl-D leaves. Tab completes.
.help            this
.views           what can be asked
.schema VIEW     its columns
.mode FORMAT     table, json, ndjson or csv
.limit N         rows an answer may have
.timeout SECONDS time a statement may take
.since WHEN      only what was received since: an age such as 2 d, a time, or off
.limits          what holds for a statement on this machine
.exit            leave"""


class Leave(Exception):
    """.exit"""


class Shell:
    """One session. `sources` opens the files to read, from a moment on (`--since`); answers go to `out`."""

    def __init__(self, settings: QuerySettings, sources: OpenSources, out: BinaryIO) -> None:
        self._settings = settings
        self._sources = sources
        self._out = out
        self._mode = "table"
        self._limit: int | None = None
        self._timeout: float | None = None
        self._since: str | None = None
        self._next: Child | None = None

    # -- the two ways in ----------------------------------------------------------------------------------------------

    def interact(self) -> int:
        """A prompt until .exit or Ctrl-D. Returns the exit code."""
        from collector.query.prompt import Prompt

        self._limit = min(ROWS_AT_A_PROMPT, self._settings.max_rows)
        prompt = Prompt()
        self._say("collector: SQL over the stored events; .help tells what else there is.")
        try:
            while True:
                with suppress(KeyboardInterrupt):
                    text = self._asked(prompt)
                    if text is None:
                        break
                    self._enter(text)
        except Leave:
            pass
        finally:
            self._drop()
        return 0

    def read(self, script: TextIO) -> int:
        """Statements and dot commands until the end. Returns the exit code: 1 after a mistake."""
        waiting, line_no, first_line = "", 0, 1
        try:
            for line in script:
                line_no += 1
                if not waiting.strip() and line.lstrip().startswith("."):
                    self._command(line.strip())
                    continue
                if not waiting.strip():
                    waiting, first_line = "", line_no
                done = split(waiting + line)
                for at, statement in done.statements:
                    self._answer(statement, first_line + at - 1)
                waiting = done.rest
            if waiting.strip():
                self._answer(waiting.strip(), first_line)
        except Leave:
            return 0
        except CollectorError as error:
            self._complain(error)
            return 1
        finally:
            self._drop()
        return 0

    # -- one entry ----------------------------------------------------------------------------------------------------

    def _asked(self, prompt: "Prompt") -> str | None:
        self._make_ready()
        return prompt.ask()

    def _enter(self, text: str) -> None:
        """What was typed: a dot command or statements."""
        try:
            if text.lstrip().startswith("."):
                self._command(text.strip())
                return
            done = split(text)
            for _, statement in [*done.statements, *([(1, done.rest.strip())] if done.rest.strip() else [])]:
                self._answer(statement)
        except KeyboardInterrupt:
            self._say("cancelled")
        except CollectorError as error:
            self._complain(error)

    def _answer(self, statement: str, line: int = 0) -> None:
        limits = Limits.of(self._settings, self._limit, self._timeout)
        started_at = time.monotonic()
        child, self._next = self._next, None
        try:
            with self._sources(self._since) as sources:
                verdict = run(statement, sources, limits, self._mode, self._out, child)
        except ProtocolError as error:
            if line:
                error = ProtocolError(error.status, f"statement in line {line}: {error}", error.reason, error.causes)
            raise error from None
        finally:
            if child is not None:
                child.close()
        self._out.flush()
        self._remark(verdict, time.monotonic() - started_at if not line else 0.0)

    def _remark(self, verdict: Verdict, seconds: float) -> None:
        if verdict.truncated:
            more = " (.limit changes that)" if verdict.cut_by == "max_rows" else ""
            self._say(f"only the first {verdict.rows} rows: {verdict.cut_by}{more}")
        for name in verdict.skipped:
            self._say(f"segment {name} could not be read and is left out")
        if seconds:
            self._say(f"{seconds:.2f} s")

    def _make_ready(self) -> None:
        """A process for the next statement, while nobody waits for it."""
        if self._next is None:
            with suppress(Unavailable):
                self._next = Child()

    def _drop(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None

    # -- dot commands -------------------------------------------------------------------------------------------------

    def _command(self, text: str) -> None:
        name, _, value = text.rstrip(";").partition(" ")
        known = {
            ".help": self._help, ".views": self._views, ".schema": self._schema, ".mode": self._set_mode,
            ".limit": self._set_limit, ".timeout": self._set_timeout, ".since": self._set_since,
            ".limits": self._limits, ".exit": self._exit, ".quit": self._exit,
        }  # fmt: skip
        if name not in known:
            raise _wrong(f"there is no command {name}; .help lists them")
        known[name](value.strip())

    def _help(self, value: str) -> None:
        self._print(HELP)

    def _views(self, value: str) -> None:
        wide = max(len(view.name) for view in ALL_VIEWS)
        self._print("\n".join(f"{view.name:<{wide}}  {view.meaning}" for view in ALL_VIEWS))

    def _schema(self, value: str) -> None:
        found = [view for view in ALL_VIEWS if view.name == value.lower()]
        if not found:
            raise _wrong(f"there is no view {value!r}; .views lists them" if value else "write .schema VIEW")
        wide = max(len(column.name) for column in found[0].columns)
        self._print("\n".join(f"{one.name:<{wide}}  {one.type:<9}  {one.meaning}" for one in found[0].columns))

    def _set_mode(self, value: str) -> None:
        if value not in MODES:
            raise _wrong(f".mode is one of {', '.join(MODES)} (parquet and arrow: collector query --format)")
        self._mode = value

    def _set_limit(self, value: str) -> None:
        if not value.isdigit():
            raise _wrong(".limit takes a number of rows")
        self._limit = int(value)
        if self._limit > self._settings.max_rows:
            self._say(f"query.max_rows allows {self._settings.max_rows}")

    def _set_timeout(self, value: str) -> None:
        try:
            seconds = float(value)
            Limits.of(self._settings, None, seconds)
        except (ValueError, ProtocolError):
            raise _wrong(".timeout takes seconds, more than 0") from None
        self._timeout = seconds
        if seconds > float(self._settings.timeout):
            self._say(f"query.timeout allows {self._settings.timeout}")

    def _set_since(self, value: str) -> None:
        if value in ("", "off"):
            self._since = None
            return
        try:
            parse_since(value)
        except ValueError as error:
            raise _wrong(f".since: {error}") from None
        self._since = value

    def _limits(self, value: str) -> None:
        limits = Limits.of(self._settings, self._limit, self._timeout)
        verdict = run("SELECT 1", Sources([], None), limits, "json", io.BytesIO())
        self._print("\n".join(limits.sentences(verdict.has_network)))

    def _exit(self, value: str) -> None:
        raise Leave

    # -- words --------------------------------------------------------------------------------------------------------

    def _print(self, text: str) -> None:
        self._out.write((text + "\n").encode())
        self._out.flush()

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _complain(self, error: CollectorError) -> None:
        self._say(f"error: {error}")
        for line in getattr(error, "causes", []):
            self._say(f"  {line}")


def _wrong(sentence: str) -> ProtocolError:
    return ProtocolError(400, sentence, "query")
