"""The two passes of stack trace rules behind one small interface, and the published engine (sentry-ophio) behind it.

Pass one, `classify`, decides per frame whether it is in app and which category it has. Pass two, `weigh`, decides per
variant which frames count. Facts: reference/grouping.md, section 6.3.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sentry_ophio.enhancers import Cache, Component, Enhancements

from collector.group.frame import Look

CACHED_GLOBS = 10_000


class About(NamedTuple):
    """What rules may ask about the exception that owns the stack."""

    type: str | None = None
    value: str | None = None
    mechanism: str | None = None


class Place(NamedTuple):
    """Where a frame belongs after the first pass."""

    category: str | None
    in_app: bool | None


class Weighed(NamedTuple):
    """Second pass: per frame whether it counts and which rule said so (""), and the same for the whole stack."""

    flags: list[bool]
    why: list[str]
    contributes: bool
    stack_why: str


class Engine(Protocol):
    """Compiled rules. asks_about_exceptions: whether the answer depends on the exception at all."""

    asks_about_exceptions: bool

    def classify(self, looks: Sequence[Look], about: About) -> list[Place]:
        """The first pass over one stack."""
        ...

    def weigh(self, looks: Sequence[Look], places: Sequence[Place], about: About, flags: Sequence[bool]) -> Weighed:
        """The second pass over one variant of one stack; `flags`: what counts so far."""
        ...


def start(look: Look) -> Place:
    """A frame's place before any rule."""
    return Place(look.category, look.in_app)


class PublishedEngine:
    """sentry-ophio, the engine that Sentry itself runs. Raises ValueError for a rule it cannot parse."""

    def __init__(self, texts: Sequence[str], *, asks_about_exceptions: bool = True) -> None:
        self.asks_about_exceptions = asks_about_exceptions
        cache = Cache(CACHED_GLOBS)
        self._rules = Enhancements.empty()
        for text in texts:
            try:
                self._rules.extend_from(Enhancements.parse(text, cache))
            except RuntimeError as error:
                raise ValueError(str(error)) from error

    def classify(self, looks: Sequence[Look], about: About) -> list[Place]:
        """The first pass over one stack."""
        frames = [_frame(look, start(look)) for look in looks]
        return [Place(*found) for found in self._rules.apply_modifications_to_frames(frames, _about(about))]

    def weigh(self, looks: Sequence[Look], places: Sequence[Place], about: About, flags: Sequence[bool]) -> Weighed:
        """The second pass over one variant of one stack."""
        frames = [_frame(look, place) for look, place in zip(looks, places, strict=True)]
        components = [Component(flag) for flag in flags]
        result = self._rules.assemble_stacktrace_component(frames, _about(about), components)
        return Weighed(
            flags=[bool(component.contributes) for component in components],
            why=[component.hint or "" for component in components],
            contributes=result.contributes,
            stack_why=result.hint or "",
        )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "replace")


def _slashed(text: str | None) -> bytes | None:
    return None if text is None else text.lower().replace("\\", "/").encode("utf-8", "replace")


def _frame(look: Look, place: Place) -> dict[str, object]:
    return {
        "category": _bytes(place.category),
        "family": look.family.encode(),
        "function": _bytes(look.function or "<unknown>"),
        "in_app": place.in_app,
        "orig_in_app": None,
        "module": _bytes(look.module),
        "package": _slashed(look.package),
        "path": _slashed(look.path),
    }


def _about(about: About) -> dict[str, bytes | None]:
    return {"ty": _bytes(about.type), "value": _bytes(about.value), "mechanism": _bytes(about.mechanism)}
