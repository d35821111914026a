"""What an event says, read once: the material of strategies, fingerprints and titles."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collector.group.engine import About
from collector.group.frame import Look
from collector.group.parameterize import parameterize
from collector.group.sdk import sdk_family
from collector.group.stack import Stack, StackReader
from collector.group.trim import family
from collector.group.view import ExceptionView, StackView, ThreadView, View

NOTHING = About()


class Facts:
    """One event under one set of rules. Stacks are read when first asked for."""

    __slots__ = ("_items", "_stacks", "exceptions", "family", "reader", "view")

    def __init__(self, view: View, reader: StackReader) -> None:
        self.view = view
        self.reader = reader
        values = view.exception.values if view.exception else None
        self.exceptions: list[ExceptionView] = [value for value in values if value is not None] if values else []
        self.family = family(view.platform)
        self._stacks: dict[int, Stack | None] = {}
        self._items: dict[str, list[Mapping[str, Any]]] = {}

    def exception_stack(self, index: int) -> Stack | None:
        """The stack of one exception; None when it has no frames."""
        if index not in self._stacks:
            exception = self.exceptions[index]
            mechanism = exception.mechanism.type if exception.mechanism else None
            about = About(exception.type, exception.value, mechanism)
            self._stacks[index] = self._read(exception.stacktrace, about)
        return self._stacks[index]

    def _read(self, stacktrace: StackView | None, about: About = NOTHING) -> Stack | None:
        if stacktrace is None or not stacktrace.frames or not any(stacktrace.frames):
            return None
        return self.reader.read(stacktrace.frames, self.view.platform, about)

    def top_level_stack(self) -> Stack | None:
        """The event's own stack; one without frames is still a stack."""
        stacktrace = self.view.stacktrace
        return None if stacktrace is None else self.reader.read(stacktrace.frames, self.view.platform, NOTHING)

    def threads(self) -> list[ThreadView]:
        """All threads."""
        values = self.view.threads.values if self.view.threads else None
        return [thread for thread in values or () if thread is not None]

    def thread_stack(self, thread: ThreadView) -> Stack | None:
        """The stack of one thread; None when it has no frames."""
        return self._read(thread.stacktrace)

    def chosen_thread(self) -> ThreadView | None:
        """The only crashed thread, else the only current one, else the only one."""
        threads = self.threads()
        crashed = [thread for thread in threads if thread.crashed]
        current = [thread for thread in threads if thread.current]
        return next((some[0] for some in (crashed, current, threads) if len(some) == 1), None)

    def message(self) -> str | None:
        """The text of the log entry as a person reads it."""
        entry = self.view.logentry
        return (entry and (entry.formatted or entry.message)) or self.view.message

    def crash_frame(self, *, named: bool = False) -> Look | None:
        """The frame that the event is about: the innermost one in app, else the innermost one.

        named: only frames whose function is known.
        """
        stack = self.exception_stack(len(self.exceptions) - 1) if self.exceptions else None
        if stack is None or not stack.looks:
            stack = self.top_level_stack()
        if stack is None or not stack.looks:
            threads = self.threads()
            stack = self.thread_stack(threads[0]) if len(threads) == 1 else None
        fallback = None
        for look, place in zip(reversed(stack.looks), reversed(stack.places), strict=True) if stack else ():
            if named and look.function in (None, "", "<redacted>", "<unknown>"):
                continue
            if place.in_app:
                return look
            fallback = fallback or look
        return fallback

    # Items that fingerprint rules look at.

    def items(self, group: str) -> list[Mapping[str, Any]]:
        """The items of one group of matchers (see fingerprint.GROUPS)."""
        if group not in self._items:
            self._items[group] = ITEMS[group](self)
        return self._items[group]

    def _messages(self) -> list[Mapping[str, Any]]:
        entry = self.view.logentry
        text = (entry.formatted if entry else None) or self.view.message
        return [*([{"message": text.strip()}] if text else []), *self._exception_items()]

    def _exception_items(self) -> list[Mapping[str, Any]]:
        return [
            {"type": exception.type, "value": exception.value.strip() if exception.value is not None else None}
            for exception in self.exceptions
        ]

    def _log(self) -> list[Mapping[str, Any]]:
        return [{"logger": self.view.logger or None, "level": self.view.level or None}]

    def _tags(self) -> list[Mapping[str, Any]]:
        tags = [tag for tag in self.view.tags or () if tag is not None]
        return [{f"tags.{key}": value.strip() for key, value in tags if key is not None and value is not None}]

    def _sdk(self) -> list[Mapping[str, Any]]:
        return [{"sdk": sdk_family(self.view.sdk.name) if self.view.sdk and self.view.sdk.name else "other"}]

    def _family(self) -> list[Mapping[str, Any]]:
        return [{"family": self.family}]

    def _release(self) -> list[Mapping[str, Any]]:
        return [{"release": self.view.release.strip() if self.view.release else None}]

    def _frames(self) -> list[Mapping[str, Any]]:
        stacks: Sequence[Stack | None] = [self.exception_stack(index) for index in range(len(self.exceptions))]
        if not any(stacks):
            stacks = [self.top_level_stack()]
        if not any(stack and stack.looks for stack in stacks):
            thread = self.chosen_thread()
            stacks = [self.thread_stack(thread)] if thread else []
        return [item for stack in stacks if stack for item in _items_of(stack)]

    def _threads(self) -> list[Mapping[str, Any]]:
        return [
            {
                "thread.id": None if thread.id is None else str(thread.id),
                "thread.name": thread.name,
                "thread.state": thread.state,
                "thread.crashed": bool(thread.crashed),
                "thread.current": bool(thread.current),
            }
            for thread in self.threads()
        ]

    # Variables of fingerprints.

    def variable(self, name: str) -> str | None:
        """The value of a fingerprint variable, `<no-...>` when the event has none; None for an unknown variable."""
        if name.startswith("tags."):
            wanted = name.removeprefix("tags.")
            tags = (tag for tag in self.view.tags or () if tag is not None)
            return next((value for key, value in tags if key == wanted and value), f"<no-value-for-tag-{wanted}>")
        found = VARIABLES.get(name)
        return None if found is None else found(self)

    def _of_exception(self, field: str) -> str | None:
        value = getattr(self.exceptions[-1], field) if self.exceptions else None
        return value if value is None or isinstance(value, str) else None

    def _of_frame(self, field: str) -> str | None:
        frame = self.crash_frame()
        value = getattr(frame, field) if frame else None
        return value if isinstance(value, str) else None

    def _package(self) -> str | None:
        package = self._of_frame("package")
        return package.rsplit("/", 1)[-1].rsplit("\\", 1)[-1] if package else None

    def messages(self) -> set[str | None]:
        """All messages of the event, as sent."""
        entry = self.view.logentry
        messages = {exception.value for exception in self.exceptions} | {self.view.message}
        return messages | {entry.formatted, entry.message} if entry else messages

    def parameterized(self, value: str) -> str:
        """A fingerprint value; when it is one of the event's messages, without what varies in it."""
        return parameterize(value, trim=False) if value in self.messages() else value


def _items_of(stack: Stack) -> list[dict[str, Any]]:
    """The frames of one stack; each knows its caller and its callee."""
    items: list[dict[str, Any]] = []
    for look, place in zip(stack.looks, stack.places, strict=True):
        item: dict[str, Any] = {
            "function": look.function or "<unknown>",
            "abs_path": look.path,
            "filename": look.filename,
            "module": look.module,
            "package": look.package,
            "app": bool(place.in_app),
        }
        if items:
            item["caller"] = items[-1]
            items[-1]["callee"] = item
        items.append(item)
    return items


ITEMS: dict[str, Callable[[Facts], list[Mapping[str, Any]]]] = {
    "messages": Facts._messages,
    "exceptions": Facts._exception_items,
    "log": Facts._log,
    "tags": Facts._tags,
    "sdk": Facts._sdk,
    "family": Facts._family,
    "release": Facts._release,
    "frames": Facts._frames,
    "threads": Facts._threads,
}

VARIABLES: dict[str, Callable[[Facts], str]] = {
    "transaction": lambda facts: facts.view.transaction or "<no-transaction>",
    "message": lambda facts: facts.message() or facts._of_exception("value") or "<no-message>",
    "type": lambda facts: facts._of_exception("type") or "<no-type>",
    "error.type": lambda facts: facts._of_exception("type") or "<no-type>",
    "value": lambda facts: facts._of_exception("value") or "<no-value>",
    "error.value": lambda facts: facts._of_exception("value") or "<no-value>",
    "function": lambda facts: facts._of_frame("function") or "<no-function>",
    "stack.function": lambda facts: facts._of_frame("function") or "<no-function>",
    "path": lambda facts: facts._of_frame("path") or "<no-abs-path>",
    "stack.abs_path": lambda facts: facts._of_frame("path") or "<no-abs-path>",
    "stack.filename": lambda facts: facts._of_frame("filename") or facts._of_frame("abs_path") or "<no-filename>",
    "module": lambda facts: facts._of_frame("module") or "<no-module>",
    "stack.module": lambda facts: facts._of_frame("module") or "<no-module>",
    "package": lambda facts: facts._package() or "<no-package>",
    "stack.package": lambda facts: facts._package() or "<no-package>",
    "level": lambda facts: facts.view.level or "<no-level>",
    "logger": lambda facts: facts.view.logger or "<no-logger>",
}
