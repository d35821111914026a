"""The short way for an event like one that was grouped before: same exceptions, same stacks, same result.

The value of an exception seldom counts (a stack takes its place), so texts are left out of the key at first. Where
they do count, the key is completed with the parameterised texts. Events that a rule or a variable of a fingerprint, a
report of a browser or a checksum decides about go the long way.
"""

from collections.abc import Hashable
from typing import NamedTuple

from collector.group.facts import Facts
from collector.group.fingerprint import is_default, variable_of
from collector.group.memo import Memo
from collector.group.parameterize import parameterize
from collector.group.title import Blame
from collector.group.view import FrameView, View

# What an entry costs in memory a frame; the frames themselves are shared with the memo of stacks.
FRAME_BYTES = 600

Frames = tuple[FrameView | None, ...]


class Recalled(NamedTuple):
    """The part of a result that the key decides about. variants: name -> (hash or None, contributes).
    secondary_hashes: None when nobody needed them."""

    variants: dict[str, tuple[str | None, bool]]
    hashes: list[str]
    secondary_hashes: list[str] | None
    fingerprint: list[str]
    resolved: list[str]
    main: int | None
    blame: Blame


# Where texts count, one key holds a result for each; these many before it starts anew.
MAX_TEXTS_PER_KEY = 64
# Keys that look alike at first glance; more are rare enough to start anew.
MAX_KEYS_PER_GLANCE = 16

ByText = dict[tuple[str | None, ...], Recalled]
Entries = list[tuple[Hashable, Recalled | ByText]]
Known = Memo[Entries]


class Key(NamedTuple):
    """glance: a few traits, cheap to hash. whole: everything that counts; compared, never hashed (measured: a third of
    the time of this way went into hashing whole stacks)."""

    glance: Hashable
    whole: Hashable


def key_of(facts: Facts, *context: Hashable) -> Key | None:
    """The key of an event, None when it has to go the long way. `context`: configuration and the like."""
    view = facts.view
    if view.checksum is not None or facts.family == "javascript":
        return None
    if view.template or view.csp or view.hpkp or view.expectct or view.expectstaple:
        return None
    fingerprint = None
    if view.fingerprint and view.fingerprint != ["{{ default }}"]:
        fingerprint = tuple(view.fingerprint)
        if not _is_fixed(fingerprint, facts):
            return None
    glance: Hashable = None
    parts: list[Hashable] = []
    for each in facts.exceptions:
        frames = each.stacktrace.frames if each.stacktrace else None
        parts.append((each.type, each.module, each.mechanism, frames, not each.value))
        last = frames[-1] if frames else None
        glance = (each.type, len(frames or ()), (last.function, last.lineno) if last else None)
    if parts:
        parts.append(view.sdk.version if view.sdk and len(parts) > 1 else None)
    threads = view.threads and tuple(
        each and (each.crashed, each.current, each.stacktrace) for each in view.threads.values or ()
    )
    entry = view.logentry
    has_message = view.message if entry is None else entry.formatted or entry.message
    logged = (entry is not None or view.message is not None, not has_message)
    return Key((context, glance, fingerprint), (view.platform, logged, threads, view.stacktrace, *parts))


def _is_fixed(fingerprint: tuple[str | None, ...], facts: Facts) -> bool:
    """Whether no part of a fingerprint depends on the rest of the event (section 13.2)."""
    for part in fingerprint:
        if part and not is_default(part) and (variable_of(part) is not None or part in facts.messages()):
            return False
    return True


def recall(memo: Known, facts: Facts, key: Key) -> Recalled | None:
    """What is known under `key`."""
    for whole, found in memo.get(key.glance) or ():
        if whole == key.whole:
            return found.get(_texts(facts)) if isinstance(found, dict) else found
    return None


def keep(memo: Known, facts: Facts, key: Key, found: Recalled, *, with_texts: bool) -> None:
    """Keeps a result for events to come. with_texts: it depends on the messages of the event."""
    entries = memo.get(key.glance) or []
    if len(entries) >= MAX_KEYS_PER_GLANCE:
        entries = []
    weight = FRAME_BYTES * (2 + _frame_count(facts.view)) * (1 + len(entries))
    before = next((known for whole, known in entries if whole == key.whole), None)
    if with_texts:
        texts = before if isinstance(before, dict) else {}
        if before is not texts:
            entries = [*_others(entries, key), (key.whole, texts)]
        elif len(texts) >= MAX_TEXTS_PER_KEY:
            texts.clear()
        texts[_texts(facts)] = found
        weight += sum(FRAME_BYTES + 2 * sum(len(text or "") for text in each) for each in texts)
    else:
        entries = [*_others(entries, key), (key.whole, found)]
    memo.put(key.glance, entries, weight)


def _others(entries: Entries, key: Key) -> Entries:
    return [entry for entry in entries if entry[0] != key.whole]


def _frame_count(view: View) -> int:
    stacks = [view.stacktrace]
    stacks += [each.stacktrace for each in (view.exception.values if view.exception else None) or () if each]
    stacks += [each.stacktrace for each in (view.threads.values if view.threads else None) or () if each]
    return sum(len(stack.frames or ()) for stack in stacks if stack)


def _texts(facts: Facts) -> tuple[str | None, ...]:
    """What varies in the messages of an event, replaced."""
    texts = [each.value and parameterize(each.value) for each in facts.exceptions]
    entry = facts.view.logentry
    text = (entry.message or entry.formatted) if entry else facts.view.message
    return (*texts, text and parameterize(text))
