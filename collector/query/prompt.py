"""The prompt of `collector shell`, made of prompt_toolkit: editing, persistent history, completion."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from collector.machine.disk import RealDisk
from collector.query.derived import ALL_VIEWS
from collector.query.statements import split

COMMANDS = (".exit", ".help", ".limit", ".limits", ".mode", ".schema", ".since", ".timeout", ".views")
VALUES = {".mode": ("csv", "json", "ndjson", "table"), ".schema": tuple(view.name for view in ALL_VIEWS)}
KEYWORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "HAVING", "QUALIFY", "JOIN", "LEFT JOIN", "ON", "USING",
    "WITH", "AS", "AND", "OR", "NOT", "IN", "IS NULL", "IS NOT NULL", "LIKE", "ILIKE", "BETWEEN", "DISTINCT", "DESC",
    "ASC", "CASE", "WHEN", "THEN", "ELSE", "END", "UNION ALL", "ALL", "EXCLUDE", "INTERVAL", "FILTER", "OVER",
    "PARTITION BY", "DESCRIBE", "SHOW TABLES", "SUMMARIZE", "VALUES", "TRUE", "FALSE", "NULL",
    "count(*)", "count(DISTINCT ", "sum(", "min(", "max(", "avg(", "quantile_cont(", "date_trunc(", "time_bucket(",
    "now()", "coalesce(", "json_extract_string(", "list(", "string_agg(", "arg_max(", "arg_min(", "regexp_matches(",
)  # fmt: skip
VIEWS = {view.name: [column.name for column in view.columns] for view in ALL_VIEWS}
AFTER_TABLE_WORD = re.compile(r"\b(from|join|describe|summarize)\s+\w*$", re.IGNORECASE)
NAMED = re.compile(r"\b(?:from|join)\s+(\w+)(?:\s+(?:as\s+)?(\w+))?", re.IGNORECASE)
QUALIFIED = re.compile(r"(\w+)\.(\w*)$")
WORD = re.compile(r"[\w]+$")


class Prompt:
    """Reads one entry after another; the history is kept between sessions, for the user's eyes only."""

    def __init__(self) -> None:
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=Words(),
            complete_while_typing=False,
            multiline=Condition(lambda: True),
            key_bindings=_keys(),
            prompt_continuation=lambda width, line, wraps: "...> ".rjust(width),
            enable_open_in_editor=True,
        )

    def ask(self) -> str | None:
        """The next entry, None at Ctrl-D. Ctrl-C begins anew: as a key while the terminal is ours, as Python's own
        signal in the moment before and after (a handler of the prompt's would outlive it)."""
        while True:
            try:
                if text := self._session.prompt("sql> ", handle_sigint=False).strip():
                    return text
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None


class Words(Completer):
    """Completes dot commands and their values, views behind FROM and JOIN, columns of the views that the statement
    names, and what SQL has of its own."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand here."""
        before = document.text_before_cursor
        if before.startswith("."):
            yield from _of_commands(before)
            return
        if qualified := QUALIFIED.search(before):
            view = _aliases(document.text).get(qualified[1].lower(), "")
            yield from _matching(VIEWS.get(view, []), qualified[2])
            return
        found = WORD.search(before)
        word = found[0] if found else ""
        if AFTER_TABLE_WORD.search(before):
            yield from _matching(VIEWS, word)
            return
        used = [view for view in dict.fromkeys(_aliases(document.text).values()) if view in VIEWS]
        columns = dict.fromkeys(column for view in used or ["events", "issues"] for column in VIEWS[view])
        yield from _matching(columns, word)
        if word:
            yield from _matching(KEYWORDS, word)
            yield from _matching(VIEWS, word)


def is_complete(text: str) -> bool:
    """Whether Enter sends it: a dot command, nothing at all, or statements of which the last one is ended."""
    return text.lstrip().startswith(".") or not split(text).rest.strip()


def _of_commands(before: str) -> Iterable[Completion]:
    command, space, value = before.partition(" ")
    yield from _matching(VALUES.get(command, ()), value) if space else _matching(COMMANDS, command)


def _matching(words: Iterable[str], start: str) -> Iterable[Completion]:
    for word in words:
        if word.lower().startswith(start.lower()):
            shown = word.lower() if start and start.islower() and word.isupper() else word
            yield Completion(shown, start_position=-len(start), display=word)


def _aliases(text: str) -> dict[str, str]:
    """View by the name it goes under in a statement."""
    found = {name: name for name in VIEWS}
    used: dict[str, str] = {}
    for view, alias in NAMED.findall(text):
        if view.lower() in found:
            used[view.lower()] = view.lower()
            if alias:
                used[alias.lower()] = view.lower()
    return used


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send_or_break(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return keys


def _history() -> History:
    """In $XDG_STATE_HOME/collector/shell_history; only in memory where that cannot be written."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    path = Path(state) / "collector" / "shell_history"
    disk = RealDisk()
    try:
        disk.make_folder(path.parent)
        if not disk.exists(path):
            disk.close(disk.create(path))
        disk.close(disk.open(path, writable=True))
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))
