"""One text under the rules that apply to it: chunks of text and redactions, as Sentry's remarks describe them.

A remark is [rule, kind, start, end], offsets in UTF-8 bytes of the new text; `len` is the length of the original in
characters. Source: reference page on the protocol, F4 (`_meta` shape).
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, NamedTuple

from collector.scrub.patterns import WHOLE, Pattern
from collector.scrub.rules import MASKED, PSEUDONYMISED, REMOVED, SUBSTITUTED, Rule

Chunk = tuple[bytes, str, str]  # text, rule ("" for untouched text), kind
Entry = dict[str, Any]  # the "" node of _meta: rem, len, err, val

UNTOUCHED = frozenset(("", "true", "false", "null", "undefined"))


class Step(NamedTuple):
    """One thing that a rule does to a text. `pattern` None: the key matched, so the whole text is redacted.

    `whole`: what a text becomes as a whole when this step alone applies; None when it does something else.
    """

    rule: Rule
    pattern: Pattern | None
    whole: str | None = None


def step_of(rule: Rule, pattern: Pattern | None) -> Step:
    """A step, `whole` worked out: a pattern of a user counts as applying before it was tried, so it has none."""
    plain = pattern is None or (pattern.spots == WHOLE and pattern.check is None and pattern.as_part is not None)
    return Step(rule, pattern, rule.redaction.text if plain and rule.redaction.method == "replace" else None)


class Keys(NamedTuple):
    """Secrets of hashing: the key of `hash` and `pseudonymise`, empty by default as in Sentry."""

    hash_key: bytes = b""


def scrub_text(
    text: str, steps: tuple[Step, ...], entry: Entry, keys: Keys, possible: Sequence[int] | None = None
) -> str | None:
    """The text after all steps, None when it is deleted; remarks and length go into `entry`.

    `possible`: numbers of the steps that may change this text; None when that is not known.
    """
    if not steps or possible == [] or text in UNTOUCHED:
        return text
    if possible is not None and len(possible) == 1:
        fresh_text = steps[possible[0]].whole
        if fresh_text is not None:  # the usual case, without the machinery
            return _replaced(text, fresh_text, steps[possible[0]].rule, entry)
    current = text.encode("utf-8", "surrogatepass")
    chunks = _split(current, entry.get("rem"))
    for number, (rule, pattern, _) in enumerate(steps):
        if possible is not None and number not in possible:
            continue
        if rule.removes and (rule.anything or pattern is None):
            _remark(entry, [rule.origin, REMOVED])
            return None
        fresh = _whole(chunks, rule, keys) if pattern is None else _matched(chunks, rule, pattern, keys)
        if fresh is None:
            continue
        joined = b"".join(chunk[0] for chunk in fresh)
        if joined == current:
            continue
        if "len" not in entry:
            entry["len"] = len(current.decode("utf-8", "surrogatepass"))
        entry["rem"] = _remarks(fresh, entry.get("rem"))
        current, chunks = joined, fresh
    return current.decode("utf-8", "surrogatepass")


def _replaced(text: str, fresh: str, rule: Rule, entry: Entry) -> str:
    if fresh != text:
        entry.setdefault("len", len(text))
        end = len(fresh.encode("utf-8", "surrogatepass"))
        entry["rem"] = [*_remarks([], entry.get("rem")), [rule.origin, SUBSTITUTED, 0, end]]
    return fresh


def has_spans(entry: Entry) -> bool:
    """Whether remarks speak of parts of the text, which patterns then see as redacted."""
    remarks = entry.get("rem")
    return isinstance(remarks, list) and any(isinstance(remark, list) and len(remark) > 2 for remark in remarks)


def removed(rule: Rule, entry: Entry) -> None:
    """Note that a rule took a whole value away."""
    _remark(entry, [rule.origin, REMOVED])


def _remark(entry: Entry, remark: list[Any]) -> None:
    entry["rem"] = [*entry.get("rem", ()), remark]


def _split(text: bytes, remarks: Any) -> list[Chunk]:
    """The chunks that earlier remarks describe."""
    chunks: list[Chunk] = []
    at = 0
    for remark in remarks if isinstance(remarks, list) else ():
        if not (isinstance(remark, list) and len(remark) >= 4 and all(type(end) is int for end in remark[2:4])):
            continue
        start, end = max(remark[2], at), remark[3]
        if not start <= end <= len(text):
            break
        if start > at:
            chunks.append((text[at:start], "", ""))
        chunks.append((text[start:end], str(remark[0]), str(remark[1])))
        at = end
    if at < len(text):
        chunks.append((text[at:], "", ""))
    return chunks


def _remarks(chunks: list[Chunk], before: Any) -> list[Any]:
    remarks: list[Any] = [
        old for old in (before if isinstance(before, list) else ()) if isinstance(old, list) and len(old) < 4
    ]
    at = 0
    for text, rule, kind in chunks:
        if rule:
            remarks.append([rule, kind, at, at + len(text)])
        at += len(text)
    return remarks


def _search_form(chunks: list[Chunk]) -> bytes:
    """What patterns see: redactions are one NUL each, and texts hold none."""
    if len(chunks) == 1 and not chunks[0][1]:
        return chunks[0][0].replace(b"\x00", b"")
    return b"".join(b"\x00" if rule else text.replace(b"\x00", b"") for text, rule, _ in chunks)


def _whole(chunks: list[Chunk], rule: Rule, keys: Keys) -> list[Chunk] | None:
    if all(chunk[1] for chunk in chunks):
        return None
    return [_redaction(rule, _search_form(chunks), keys)]


def _matched(chunks: list[Chunk], rule: Rule, pattern: Pattern, keys: Keys) -> list[Chunk] | None:
    if all(chunk[1] for chunk in chunks):
        return None
    search = _search_form(chunks)
    if pattern.spots == WHOLE:
        return [_redaction(rule, search, keys)] if pattern.regex.search(search) else None
    spans = _spans(search, pattern)
    if not spans:
        return None
    old = iter([chunk for chunk in chunks if chunk[1]])
    fresh: list[Chunk] = []
    at = 0
    for start, end in spans:
        if start < at:
            continue
        _restore(fresh, search[at:start], old)
        fresh.append(_redaction(rule, search[start:end], keys))
        for _ in range(search.count(b"\x00", start, end)):
            next(old, None)
        at = end
    _restore(fresh, search[at:], old)
    return fresh


def _spans(search: bytes, pattern: Pattern) -> list[tuple[int, int]]:
    """Where the pattern's spots lie; an empty match right behind another match does not count."""
    spans: list[tuple[int, int]] = []
    last_end = -1
    for match in pattern.regex.finditer(search):
        start, end = match.span()
        if start == end == last_end or (pattern.check is not None and not pattern.check(match.group(0))):
            continue
        last_end = end
        spans += [match.span(spot) for spot in pattern.spots if match.span(spot)[0] >= 0]
    return spans


def _restore(fresh: list[Chunk], text: bytes, old: Any) -> None:
    """Append text, each NUL of it standing for the next earlier redaction."""
    if not text:
        return
    pieces = text.split(b"\x00")
    for index, piece in enumerate(pieces):
        if index:
            fresh.append(next(old))
        if piece:
            fresh.append((piece, "", ""))


def _redaction(rule: Rule, text: bytes, keys: Keys) -> Chunk:
    method = rule.redaction.method
    if method == "mask":
        return b"*" * len(text.decode("utf-8", "replace")), rule.origin, MASKED
    if method in ("hash", "pseudonymise"):
        return hmac.new(keys.hash_key, text, hashlib.sha1).hexdigest().upper().encode(), rule.origin, PSEUDONYMISED
    if method == "replace":
        return rule.redaction.text.encode("utf-8", "surrogatepass"), rule.origin, SUBSTITUTED
    return b"", rule.origin, REMOVED
