"""The pattern of the fast form: one linear scan finds every string token that a rule of default scrubbing might change.

All families are one pattern without captures. It is a superset of the rules: it has no word boundaries and knows the
JSON escapes that may stand inside a match. It never reaches into a token that it does not also mark: it ends with the
token, or in the value under a key that is marked. It runs over the leaves of an event (skeleton.py), a comma between
them; the keys that lead to leaves are not in them.
"""

import re
from typing import Any

import re2

from collector.scrub.patterns import COOKIE_NAMES, IBAN_COUNTRIES, SENSITIVE_WORDS, options
from collector.scrub.rules import FILTERED
from collector.scrub.settings import ScrubSettings
from collector.scrub.skeleton import HIDDEN_KEYS, sensitive_words

_OUTSIDE_STRINGS = re.compile(r"[-+.0-9eEtrufalsn]*")


def _unlike(text: str) -> str:
    """A pattern for the beginning of any text that does not begin with `text`."""
    pattern = ""
    for char in reversed(text):
        other = "[^" + re.escape(char) + "]"
        pattern = f"(?:{other}|{re.escape(char)}{pattern})" if pattern else other
    return pattern


# Escapes that another writer could use for a letter, a digit or a mark of punctuation, and NUL.
_HIDING_ESCAPES = r"(?i:\\(?:/|u(?:0000|[1-9a-f]|0[1-9a-f]|00[2-9a-f])))"
_GAP = r"(?:[- ]|\\[nrtf])?"
_END = "[^0-9A-Za-z_]"  # of a word; behind a text there is always a quote
_REST = r'(?:[^"\\]|\\.)*"\s*'  # the rest of a string token and what follows
_UNFILTERED = rf"(?-i:\[|\{{|[-0-9]|\"(?:[^\"\[]|\[{_unlike(FILTERED[1:] + chr(34))}))"
_AS_KEY = rf"{_REST}(?:,|:\s*{_UNFILTERED})"  # the key of a value, or the first element of a pair
_AS_ANY = rf"{_REST}(?:[,}}\]]|:\s*{_UNFILTERED})"  # the same, or a value


def can_scan(settings: ScrubSettings) -> bool:
    """Whether default scrubbing with these settings has a fast form."""
    words = sensitive_words(settings)
    plain = all(word.isascii() and word.isprintable() and not set('"\\') & set(word) for word in words)
    odd = any(_OUTSIDE_STRINGS.fullmatch(word) for word in words)
    structural = any(word in name for word in words for name in HIDDEN_KEYS)
    return plain and not odd and not structural and not settings.applications


def scanner(settings: ScrubSettings) -> Any:
    """The pattern that finds every string token which a rule might change."""
    made = options(text=False)
    made.never_capture = True
    made.max_mem = 64 << 20
    return re2.compile("|".join(f"(?:{one})" for one in _triggers(settings)).encode(), made)


def _triggers(settings: ScrubSettings) -> list[str]:
    found = [_HIDING_ESCAPES]
    if settings.scrub_data and settings.scrub_defaults:
        found += _default_triggers()
        found += _strict_triggers() if settings.preset == "strict" else [_MAIL_IN_MESSAGE]
    if settings.scrub_ip_addresses:
        found += [
            r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|::|(?i:fe80:%|(?:[0-9a-f]{1,4}:){6})",
            r'(?i:(?:remote_addr|ip_address|client_ip|user\.ip|client\.address)"\s*(?:,|:\s*["0-9\[{-]))',
        ]
    if sensitive_words(settings):
        found.append(f"(?i:(?:{'|'.join(re.escape(word) for word in sensitive_words(settings))}){_AS_ANY})")
    return found


_MAIL_IN_MESSAGE = r'(?i:formatted"\s*:\s*"(?:[^"\\]|\\.)*?[^\s"]@[a-z0-9-]+\.)'


def _default_triggers() -> list[str]:
    names = "|".join(re.escape(name) for name in sorted(COOKIE_NAMES))
    return [
        f"(?i:(?:{'|'.join(SENSITIVE_WORDS)}){_AS_ANY})",
        rf'(?i:token(?:{_AS_KEY}|(?:[^\s"\\]|\\.)*[:=]))',
        f'(?i:(?:otp|two[-_]factor)"\\s*(?:[,}}\\]]|:\\s*{_UNFILTERED}))',
        r"(?i:bearer(?: |\\[nrtf]))",
        rf"(?:3[47]\d|4\d{{3}}|5[1-5]\d\d|65\d\d|6011)(?:{_GAP}\d){{12}}{_END}",
        rf"(?:{IBAN_COUNTRIES})\d\d[a-zA-Z0-9]{{11}}",
        r"-----BEGIN",
        r"//[a-zA-Z0-9%_.-]+:[a-zA-Z0-9%_.-]+@",
        rf"[0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}}{_END}",
        rf'(?i:(?:{names}|(?:header\.)?cookie)"\s*(?:,|:\s*{_UNFILTERED}))',
        r'(?i:(?:gen_ai|mcp)\.[a-z_.]+"\s*:)',
    ]


def _strict_triggers() -> list[str]:
    return [
        r'[^\s"]@[a-zA-Z0-9-]+\.',
        rf"[2-6](?:{_GAP}\d){{12}}",
        r"(?i:(?:users|home|documents and settings|profiles)(?:/|\\\\))",
        f"(?i:(?:pwd|ssn|access[-_ ]?key|passphrase){_AS_KEY})",
    ]
