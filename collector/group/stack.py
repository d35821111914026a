"""The stack trace component: which frames count in the variants `app` and `system`.

Facts: reference/grouping.md, sections 4, 6.3 and 9.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from collector.group.engine import About, Engine, Place, Weighed
from collector.group.frame import Look, has_url_origin, look_at
from collector.group.memo import Memo
from collector.group.view import FrameView

MAX_STACK_MEMO_BYTES = 24 * 2**20
# What a frame costs in memory beside its texts: a Look with its parts, and its share of the stack (measured 0.9 KiB).
FRAME_BYTES = 1000

RECURSION = "ignored due to recursion"
NON_APP = "non app frame"
LONELY = "ignored single frame without a function"


class StackVariant(NamedTuple):
    """One variant of a stack. why: per frame, what decided about it beyond the frame itself ("" when nothing did)."""

    contributes: bool
    text: str
    flags: tuple[bool, ...]
    why: tuple[str, ...]
    stack_why: str = ""


class Stack(NamedTuple):
    """A whole stack as grouping sees it; `places` are final (in_app is never None). about: as the rules saw it."""

    looks: tuple[Look, ...]
    places: tuple[Place, ...]
    app: StackVariant
    system: StackVariant
    about: About

    def variant(self, name: str) -> StackVariant:
        """The variant called app or system."""
        return self.app if name == "app" else self.system


class StackReader:
    """Reads stacks under one set of rules and one configuration, with a memo for whole stacks.

    The memo for frames may be shared with readers of other configurations: they see frames alike. others: those
    readers; a stack of theirs is taken over where both surely make the same of it.
    """

    def __init__(
        self, engine: Engine, frames: Memo[Look], others: Sequence["StackReader"] = (), *, legacy: bool
    ) -> None:
        self.engine = engine
        self.legacy = legacy
        self.frames = frames
        self.others = others
        self.stacks: Memo[Stack] = Memo(MAX_STACK_MEMO_BYTES)

    def forget(self) -> None:
        """Empties the memos; results never depend on them."""
        self.frames.clear()
        self.stacks.clear()
        self.engine.forget()

    def read(self, frames: tuple[FrameView | None, ...] | None, platform: str | None, about: About) -> Stack:
        """The stack of `frames`, outermost first; None among them are passed over."""
        key = (frames, platform, about if self.engine.asks_about_exceptions else None)
        stack = self.stacks.get(key)
        if stack is None:
            stack = self._taken_over(key)
            if stack is None:
                present = [frame for frame in frames or () if frame is not None]
                stack = self._build(present, platform, about)
            self.stacks.put(key, stack, FRAME_BYTES + sum([FRAME_BYTES + look.weight for look in stack.looks]))
        return stack

    def _taken_over(self, key: tuple[Hashable, ...]) -> Stack | None:
        for other in self.others:
            stack = None if other is self else other.stacks.get(key)
            if stack is not None and self._sees_alike(other, stack) and self.engine.agrees(other.engine, stack.looks):
                return stack
        return None

    def _sees_alike(self, other: "StackReader", stack: Stack) -> bool:
        """Whether nothing in which configurations differ can be in a stack."""
        if self.legacy == other.legacy:
            return True
        return len(stack.looks) > 1 and all([look.filename != "<string>" for look in stack.looks])  # noqa: C419

    def _look(self, frame: FrameView, platform: str | None) -> Look:
        key = (
            frame.function, frame.module, frame.filename, frame.abs_path, frame.in_app, frame.context_line,
            frame.package, frame.raw_function, frame.platform, frame.data, platform,
            self.legacy and frame.filename == "<string>",  # the only frames that configurations see differently
        )  # fmt: skip
        look = self.frames.get(key)
        if look is None:
            look = look_at(frame, platform, rewrite_spawn=not self.legacy)
            self.frames.put(key, look, FRAME_BYTES + look.weight)
        return look

    def _build(self, frames: Sequence[FrameView], platform: str | None, about: About) -> Stack:
        looks = [self._look(frame, platform) for frame in frames]
        places = [
            place if place.in_app is not None else Place(place.category, False)
            for place in self.engine.classify(looks, about)
        ]
        flags = [look.contributes for look in looks]
        why = [""] * len(looks)
        for index in range(1, len(frames)):
            if frames[index].lineno == frames[index - 1].lineno and _repeats(frames, looks, index):
                flags[index], why[index] = False, RECURSION
        app_flags = [flag and bool(place.in_app) for flag, place in zip(flags, places, strict=True)]
        for variant_flags in (flags, app_flags):
            if len(looks) == 1 and variant_flags[0] and self._is_lonely(looks[0]):
                variant_flags[0], why[0] = False, LONELY
        weighed = self.engine.weigh(looks, places, about, (flags, app_flags))
        forced = [flag and bool(place.in_app) for flag, place in zip(weighed[1].flags, places, strict=True)]
        system = _variant(looks, weighed[0], weighed[0].flags, why)
        app = _variant(looks, weighed[1], forced, why)
        app, system = _overridden_app(app, system, places), _overridden_system(system)
        return Stack(tuple(looks), tuple(places), app, system, about)

    def _is_lonely(self, look: Look) -> bool:
        """Whether the only frame of a script, without a function, says nothing (the older configuration inverts it)."""
        if look.family != "javascript" or look.function:
            return False
        return has_url_origin(look.abs_path, files_too=True) == self.legacy


def _variant(looks: Sequence[Look], weighed: Weighed, flags: Sequence[bool], why: Sequence[str]) -> StackVariant:
    return StackVariant(
        contributes=weighed.contributes,
        text="".join([look.text for look, flag in zip(looks, flags, strict=True) if flag]),
        flags=tuple(flags),
        why=tuple([rule or reason for rule, reason in zip(weighed.why, why, strict=True)]),
        stack_why=weighed.stack_why,
    )


def _repeats(frames: Sequence[FrameView], looks: Sequence[Look], index: int) -> bool:
    """Whether a frame is the same place in the code as the one before it, which has the same line number."""
    this, other = frames[index], frames[index - 1]
    if this.colno != other.colno:
        return False
    look, before = looks[index], looks[index - 1]
    return look is before or (
        look.function == before.function
        and look.module == before.module
        and look.abs_path == before.abs_path
        and look.filename == before.filename
        and look.package == before.package
    )


def _overridden_system(system: StackVariant) -> StackVariant:
    if any(system.flags):
        return system
    return system._replace(contributes=False, stack_why=system.stack_why or "no frame contributes")


def _overridden_app(app: StackVariant, system: StackVariant, places: Sequence[Place]) -> StackVariant:
    if not any(place.in_app for place in places):
        return app._replace(contributes=False, stack_why="no frame is in app")
    if not any(flag and place.in_app for flag, place in zip(system.flags, places, strict=True)):
        return app._replace(contributes=False, stack_why=app.stack_why or "no frame in app contributes")
    return app
