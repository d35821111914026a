"""sentry-ophio, the rule engine that Sentry itself runs, behind our interface: the judge of our own engine."""

from collections.abc import Sequence

from sentry_ophio.enhancers import Cache, Component, Enhancements

from collector.group.engine import About, Engine, Place, Weighed, start
from collector.group.frame import Look
from collector.group.index import normalised

CACHED_GLOBS = 10_000


class PublishedEngine:
    """sentry-ophio over rule texts, one after the other. Raises ValueError for a rule it cannot parse."""

    asks_about_exceptions = True

    def __init__(self, texts: Sequence[str]) -> None:
        cache = Cache(CACHED_GLOBS)
        self._rules = Enhancements.empty()
        for text in texts:
            try:
                self._rules.extend_from(Enhancements.parse(text, cache))
            except RuntimeError as error:
                raise ValueError(str(error)) from error

    def classify(self, looks: Sequence[Look], about: About, said: list[str] | None = None) -> list[Place]:
        """The first pass over one stack; this engine does not tell which rule said what."""
        frames = [_frame(look, start(look)) for look in looks]
        return [Place(*found) for found in self._rules.apply_modifications_to_frames(frames, _about(about))]

    def agrees(self, other: Engine, looks: Sequence[Look]) -> bool:
        """It does not tell."""
        return other is self

    def forget(self) -> None:
        """It keeps compiled patterns only."""

    def weigh(
        self, looks: Sequence[Look], places: Sequence[Place], about: About, starts: Sequence[Sequence[bool]]
    ) -> list[Weighed]:
        """The second pass over one stack, once for each variant."""
        frames = [_frame(look, place) for look, place in zip(looks, places, strict=True)]
        weighed = []
        for flags in starts:
            components = [Component(flag) for flag in flags]
            result = self._rules.assemble_stacktrace_component(frames, _about(about), components)
            final = [bool(component.contributes) for component in components]
            hints = [component.hint or "" for component in components]
            weighed.append(Weighed(final, hints, result.contributes, result.hint or ""))
        return weighed


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "replace")


def _frame(look: Look, place: Place) -> dict[str, object]:
    return {
        "category": _bytes(place.category),
        "family": look.family.encode(),
        "function": _bytes(look.function or "<unknown>"),
        "in_app": place.in_app,
        "orig_in_app": None,
        "module": _bytes(look.module),
        "package": _bytes(None if look.package is None else normalised(look.package, "package")),
        "path": _bytes(None if look.path is None else normalised(look.path, "path")),
    }


def _about(about: About) -> dict[str, bytes | None]:
    return {"ty": _bytes(about.type), "value": _bytes(about.value), "mechanism": _bytes(about.mechanism)}
