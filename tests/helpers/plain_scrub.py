"""Default scrubbing in its plainest form: a deep walk with the standard library's patterns, for comparing.

Written apart from collector/scrub: own patterns, own walk. It knows the free content of events only (extra, request,
breadcrumbs, vars, user, messages), which is what the property tests generate.
"""

import re
from typing import Any

WORDS = re.compile(
    r"password|secret|passwd|api[-_]key|apikey|auth|credentials|mysql_pwd|privatekey|private[-_]key"
    r"|token[^ \t\n\r\f]*[:=]|\Aotp\Z|\Atwo[-_]factor\Z",
    re.I | re.A,
)
TOKEN = re.compile("token", re.I | re.A)
BEARER = re.compile(r"\bbearer[ \t\n\r\f]+[^ \t\n\r\f]+", re.I | re.A)
CARD = re.compile(r"\b(?:3[47]\d|4\d{3}|5[1-5]\d\d|65\d\d|6011)(?:[- \t\n\r\f]?\d){12}\b", re.A)
SSN = re.compile(r"\b\d{3}-\d\d-\d{4}\b", re.A)
URL = re.compile(r"\b(?:[a-z0-9]+:)?//[a-zA-Z0-9%_.-]+:([a-zA-Z0-9%_.-]+)@", re.A)
IBAN = re.compile(r"\b(?:DE|GB|FR|AT)\d\d[a-zA-Z0-9]{11,29}\b", re.A)
PEM = re.compile(
    r"-----BEGIN[A-Z ]+(?:PRIVATE|PUBLIC) KEY-----[\t ]*\r?\n?(.+?)\r?\n?-----END[A-Z ]+(?:PRIVATE|PUBLIC) KEY-----",
    re.S,
)
EMAIL = re.compile(r"\b[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*\.[a-zA-Z]{2,}\b", re.A)
COOKIES = frozenset(("session", "sessionid", "phpsessid", "csrf", "xsrf", "su", "sudo", "_csrf", "sentrysid"))
STAYS = frozenset(("", "true", "false", "null", "undefined"))
GONE = "\x00"


def scrub_event(event: dict[str, Any], sensitive: tuple[str, ...] = ()) -> dict[str, Any]:
    """A scrubbed copy of the event, without remarks."""
    words = re.compile("|".join(map(re.escape, sensitive)), re.I | re.A) if sensitive else None
    return {key: _field(key, value, words) for key, value in event.items()}


def _field(key: str, value: Any, words: Any) -> Any:
    if key == "extra":
        return {name: _free(inner, name, key, words) for name, inner in value.items()}
    if key == "request":
        return {name: _request(inner, name, words) for name, inner in value.items()}
    if key == "breadcrumbs":
        crumbs = [{name: _free(inner, name, "", words) for name, inner in crumb.items()} for crumb in value["values"]]
        return {"values": crumbs}
    if key == "logentry":
        return {**value, "formatted": _message(value["formatted"])}
    if key == "exception":
        return {"values": [_exception(one, words) for one in value["values"]]}
    return value


def _request(value: Any, name: str, words: Any) -> Any:
    if name not in ("headers", "cookies"):
        return _free(value, name, "request", words)
    if _is_sensitive(name, words):
        return None
    safe = ("user-agent",) if name == "headers" else ()
    return [[key, text if key.lower() in safe else _free(text, key, name, words)] for key, text in value]


def _exception(one: dict[str, Any], words: Any) -> dict[str, Any]:
    frames = [{**frame, "vars": _free(frame["vars"], "vars", "", words)} for frame in one["stacktrace"]["frames"]]
    return {**one, "stacktrace": {"frames": frames}}


def _is_sensitive(key: str | None, words: Any) -> bool:
    if key is None:
        return False
    return bool(WORDS.search(key) or TOKEN.search(key) or (words and words.search(key)))


def _free(value: Any, key: str | None, parent: str, words: Any) -> Any:
    if isinstance(value, str):
        return _text(value, key, parent, words)
    if value is None or isinstance(value, bool):
        return value
    if _is_sensitive(key, words) or (parent.lower() == "cookies" and (key or "").lower() in COOKIES):
        return None
    if isinstance(value, dict):
        return {name: _free(inner, name, key or "", words) for name, inner in value.items()}
    if isinstance(value, list):
        return _list(value, key or "", words)
    return value


def _list(value: list[Any], key: str, words: Any) -> list[Any]:
    items = list(value)
    if len(items) == 2 and isinstance(items[0], str) and items[1] is not None:
        fresh = _free(items[1], items[0], key, words)
        direct = fresh is None or (isinstance(fresh, str) and fresh != items[1])
        items[1] = fresh
        if direct:
            return items
    return [_free(item, None, key, words) for item in items]


def _text(text: str, key: str | None, parent: str, words: Any) -> str:
    if text in STAYS:
        return text
    gone = text
    for pattern, group in ((BEARER, 0), (CARD, 0), (IBAN, 0)):
        gone = _replace(pattern, gone, group)
    if _is_sensitive(key, words) or WORDS.search(gone):
        return "[Filtered]"
    for pattern, group in ((PEM, 1), (URL, 1), (SSN, 0)):
        gone = _replace(pattern, gone, group)
    if gone.strip(GONE) and words and words.search(gone):
        return "[Filtered]"
    if parent.lower() == "cookies" and (key or "").lower() in COOKIES:
        gone = "\n".join(GONE for _ in gone.split("\n"))
    return gone.replace(GONE, "[Filtered]")


def _replace(pattern: re.Pattern[str], text: str, group: int) -> str:
    pieces, at = [], 0
    for match in pattern.finditer(text):
        pieces += [text[at : match.start(group)], GONE]
        at = match.end(group)
    return "".join(pieces) + text[at:]


def _message(text: str) -> str:
    if text in STAYS:
        return text
    marks = {"b": "Bearer [token]", "c": "[creditcard]", "e": "[email]", "i": "[iban]", "s": "[us-ssn]"}
    order = ((BEARER, "\x01b\x01"), (CARD, "\x01c\x01"), (EMAIL, "\x01e\x01"), (IBAN, "\x01i\x01"), (SSN, "\x01s\x01"))
    for pattern, mark in order:
        text = pattern.sub(mark, text)
    return re.sub("\x01([bceis])\x01", lambda match: marks[match[1]], text)
