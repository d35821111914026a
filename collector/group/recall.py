"""The short way for an event whose exceptions were grouped before: same types, same stacks, same result.

The value of an exception seldom counts (a stack takes its place), so it is left out of the key at first. Where values
do count, the key is completed with the parameterised values. Events that a fingerprint, a rule of one or anything but
an exception decides about go the long way.
"""

from collections.abc import Hashable
from typing import NamedTuple

from collector.group.facts import Facts
from collector.group.fingerprint import is_default
from collector.group.memo import Memo
from collector.group.parameterize import parameterize
from collector.group.title import Blame

# What an entry costs in memory a frame; the frames themselves are shared with the memo of stacks.
FRAME_BYTES = 600


class Recalled(NamedTuple):
    """The part of a result that the key decides about. variants: name -> (hash or None, contributes)."""

    variants: dict[str, tuple[str | None, bool]]
    hashes: list[str]
    secondary_hashes: list[str]
    main: int | None
    blame: Blame


class _ValuesCount:
    """Kept under a key without values: look again, with them."""


VALUES_COUNT = _ValuesCount()


def key_of(facts: Facts, *context: Hashable) -> Hashable | None:
    """The key of an event, None when it has to go the long way. `context`: configuration and the like."""
    view = facts.view
    if not facts.exceptions or view.checksum or facts.family == "javascript":
        return None
    if view.fingerprint and not (len(view.fingerprint) == 1 and is_default(view.fingerprint[0] or "")):
        return None
    frames = 0
    parts: list[Hashable] = []
    for exception in facts.exceptions:
        found = exception.stacktrace.frames if exception.stacktrace else None
        frames += len(found) if found else 0
        parts.append((exception.type, exception.module, exception.mechanism, found))
    if not frames:
        return None
    has_default = (
        view.logentry or view.message or view.template or view.csp or view.hpkp or view.expectct or view.expectstaple
    ) is not None
    version = view.sdk.version if view.sdk and len(parts) > 1 else None
    return (view.platform, has_default, version, context, tuple(parts))


def recall(memo: Memo[Recalled | _ValuesCount], facts: Facts, key: Hashable) -> Recalled | None:
    """What is known under `key`."""
    found = memo.get(key)
    if found is VALUES_COUNT:
        found = memo.get((key, _values(facts)))
    return found if isinstance(found, Recalled) else None


def keep(
    memo: Memo[Recalled | _ValuesCount], facts: Facts, key: Hashable, found: Recalled, *, uses_values: bool
) -> None:
    """Keeps a result for events to come. uses_values: it depends on the values of the exceptions."""
    frames = sum(len(each.stacktrace.frames or ()) for each in facts.exceptions if each.stacktrace)
    weight = FRAME_BYTES * (1 + frames)
    if not uses_values:
        memo.put(key, found, weight)
        return
    values = _values(facts)
    memo.put(key, VALUES_COUNT, weight)
    memo.put((key, values), found, weight + 2 * sum(len(value or "") for value in values))


def _values(facts: Facts) -> tuple[str | None, ...]:
    return tuple([each.value and parameterize(each.value) for each in facts.exceptions])
