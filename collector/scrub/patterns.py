"""What the rule types look for, as linear-time patterns over UTF-8 bytes.

Built-in patterns see bytes (an ASCII letter only folds to an ASCII letter), patterns of users see UTF-8 text. `spots`
of a pattern: which groups are replaced, or WHOLE for the whole value. Sources: reference page on the protocol, F2 to
F4; the quirks observed there (no Luhn check, half of an IPv6 address survives) are kept in the Sentry patterns.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import re2

Where = Literal["value", "key", "key_or_value"]
WHOLE: tuple[int, ...] = ()
MATCH = (0,)
MAX_PATTERN_CHARS = 20_000

COOKIE_NAMES = (
    "sentrysid", "sudo", "su", "session", "__session", "sessionid", "user_session", "symfony", "phpsessid",
    "fasthttpsessionid", "mysession", "irissessionid", "_vercel_jwt", "csrf", "xsrf", "_xsrf", "_csrf", "csrf-token",
    "csrf_token", "csrftoken", "xsrf-token", "xsrf_token", "fastcsrf", "_iris_csrf",
)  # fmt: skip
IBAN_COUNTRIES = (
    "AD|AE|AL|AO|AT|AZ|BA|BE|BF|BG|BH|BI|BJ|BR|BY|CF|CG|CH|CI|CM|CR|CV|CY|CZ|DE|"
    "DJ|DK|DO|DZ|EE|EG|ES|FI|FO|FR|GA|GB|GE|GI|GL|GQ|GR|GT|GW|HN|HR|HU|IE|IL|IQ|"
    "IR|IS|IT|JO|KM|KW|KZ|LB|LC|LI|LT|LU|LV|LY|MA|MC|MD|ME|MG|MK|ML|MR|MT|MU|MZ|"
    "NE|NI|NL|NO|PK|PL|PS|PT|QA|RO|RS|RU|SA|SC|SE|SI|SK|SM|SN|ST|SV|TD|TG|TL|TN|"
    "TR|UA|VA|VG|XK"
)
SENSITIVE_WORDS = (
    "password", "secret", "passwd", "api[-_]key", "apikey", "auth", "credentials", "mysql_pwd", "privatekey",
    "private[-_]key",
)  # fmt: skip

_OCTET = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_HEX = "[0-9a-f]{1,4}"
_EDGE = r"[\s[:punct:]]"


class Pattern(NamedTuple):
    """One pattern of a rule type: where it looks, what it replaces, and a last check on the bytes found."""

    where: Where
    regex: Any
    spots: tuple[int, ...] = MATCH
    check: Callable[[bytes], bool] | None = None

    @property
    def as_part(self) -> str | None:
        """The pattern as part of a larger one over bytes; None for patterns of users."""
        if self.regex.options.encoding != re2.Options.Encoding.LATIN1:
            return None
        source: str = self.regex.pattern.decode()
        return f"(?:{source})" if self.regex.options.case_sensitive else f"(?i:{source})"


def options(*, text: bool, case: bool = True) -> Any:
    """re2 options: `text` True for UTF-8 semantics (patterns of users), False for bytes."""
    made = re2.Options()
    made.log_errors = False
    made.case_sensitive = case
    if not text:
        made.encoding = re2.Options.Encoding.LATIN1
    return made


def user_pattern(pattern: object, *, ignore_case: bool = False) -> Any:
    """Compile a pattern of a user for UTF-8 bytes. Raises ValueError with the reason."""
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"should be a regular expression, not {pattern!r}")
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"pattern longer than {MAX_PATTERN_CHARS} characters")
    try:
        return re2.compile(pattern.encode(), options(text=True, case=not ignore_case))
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(f"{pattern!r} is not a linear-time regular expression: {_words(reason)}") from error


def _words(reason: object) -> str:
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def byte_pattern(pattern: str, *, case: bool = True) -> Any:
    """Compile a pattern of ours, over bytes."""
    return re2.compile(pattern.encode(), options(text=False, case=case))


def luhn(found: bytes) -> bool:
    """Whether the digits of a card number pass the Luhn check."""
    digits = [byte - 48 for byte in found if 48 <= byte <= 57]
    doubled = sum((2 * digit - 9 if digit > 4 else 2 * digit) for digit in digits[-2::-2])
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + doubled) % 10 == 0


def _ipv6_as_sentry() -> str:
    """The address alternatives of Sentry, each off-by-one kept; the first group is the address."""
    shapes = [rf"(?:{_HEX}:){{7}}{_HEX}", rf"(?:{_HEX}:){{1,7}}:", rf"(?:{_HEX}:){{1,6}}::{_HEX}"]
    shapes += [rf"(?:{_HEX}:){{1,{left}}}:(?::{_HEX}){{1,{7 - left}}}" for left in (5, 4, 3, 2)]
    shapes += [rf"{_HEX}:(?::{_HEX}){{1,6}}", rf":(?:(?::{_HEX}){{1,7}}|:)", rf"fe80:(?::{_HEX}){{0,4}}%[0-9a-z]+"]
    shapes += [rf"::(?:ffff(?::0{{1,4}})?:)?{_IPV4}", rf"(?:{_HEX}:){{1,4}}:{_IPV4}"]
    return rf"(?:{_EDGE}|^)({'|'.join(shapes)})(?:{_EDGE}|$)"


def _ipv6_complete() -> str:
    """Every written form of an IPv6 address, with zone; longest forms first."""
    tail = rf"(?:{_HEX}:{_HEX}|{_IPV4})"
    shapes = [rf"(?:{_HEX}:){{6}}{tail}"]
    for left in range(6, -1, -1):
        head = rf"(?:{_HEX}(?::{_HEX}){{0,{left - 1}}})?" if left else ""
        shapes.append(rf"{head}::(?:{_HEX}:){{0,{max(0, 5 - left)}}}{tail}")
        shapes.append(rf"{head}::{_HEX}")
    shapes.append(rf"(?:{_HEX}:){{1,7}}:")
    return rf"(?:^|[^0-9a-z:.])((?:{'|'.join(shapes)})(?:%[0-9a-z]+)?)(?:[^0-9a-z:.]|\.[^0-9]|\.?$)"


def _ip() -> list[Pattern]:
    return [
        Pattern("value", byte_pattern(rf"\b{_IPV4}\b")),
        Pattern("value", byte_pattern(_ipv6_as_sentry(), case=False), (1,)),
    ]


def _bearer() -> list[Pattern]:
    return [Pattern("value", byte_pattern(r"\bbearer\s+\S+", case=False))]


def _password() -> list[Pattern]:
    words = "|".join((*SENSITIVE_WORDS, r"token\S*[:=]", "^otp$", "^two[-_]factor$"))
    return [
        *_bearer(),
        Pattern("key", byte_pattern("token", case=False), WHOLE),
        Pattern("key_or_value", byte_pattern(words, case=False), WHOLE),
    ]


def _creditcard() -> list[Pattern]:
    issuer = r"3[47]\d|4\d{3}|5[1-5]\d\d|65\d\d|6011"
    return [Pattern("value", byte_pattern(rf"\b(?:{issuer})(?:[-\s]?\d){{12}}\b"))]


def _pemkey() -> list[Pattern]:
    label = r"[A-Z ]+(?:PRIVATE|PUBLIC) KEY-----"
    return [Pattern("value", byte_pattern(rf"(?s)-----BEGIN{label}[\t ]*\r?\n?(.+?)\r?\n?-----END{label}"), (1,))]


def _userpath() -> list[Pattern]:
    folders = r"users|home|documents and settings|[^/\\]+[/\\]profiles"
    return [
        Pattern(
            "value",
            byte_pattern(rf"(?:\b(?:[a-z]:[/\\])?(?:{folders})[/\\]|/(?:home|users)/)([^/\\\r\n\x00]+)", case=False),
            (1,),
        )
    ]


def _cookies() -> list[Pattern]:
    names = "|".join(re.escape(name) for name in COOKIE_NAMES)
    return [Pattern("value", byte_pattern(rf"(?:^|[;,\s])(?:{names})=([^;,\s]+)", case=False), (1,))]


_HOST = r"[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*\.[a-zA-Z]{2,}"
_MAKERS: dict[str, Callable[[], list[Pattern]]] = {
    "anything": lambda: [Pattern("value", byte_pattern(".*"))],
    "bearer": _bearer,
    "cookies": _cookies,
    "creditcard": _creditcard,
    "email": lambda: [Pattern("value", byte_pattern(rf"\b[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_HOST}\b"))],
    "iban": lambda: [Pattern("value", byte_pattern(rf"\b(?:{IBAN_COUNTRIES})\d{{2}}[a-zA-Z0-9]{{11,29}}\b"))],
    "imei": lambda: [Pattern("value", byte_pattern(r"\b\d{2}-?\d{6}-?\d{6}-?\d{1,2}\b"))],
    "ip": _ip,
    "mac": lambda: [Pattern("value", byte_pattern(r"\b(?:[[:xdigit:]]{2}[:-]){5}[[:xdigit:]]{2}\b"))],
    "password": _password,
    "pemkey": _pemkey,
    "url_auth": lambda: [
        Pattern("value", byte_pattern(r"\b(?:(?:[a-z0-9+-]+:)?//([a-zA-Z0-9%_.-]+(?::[a-zA-Z0-9%_.-]+)?))@"), (1,))
    ],
    "url_password": lambda: [
        Pattern("value", byte_pattern(r"\b(?:[a-z0-9]+:)?//[a-zA-Z0-9%_.-]+:([a-zA-Z0-9%_.-]+)@"), (1,))
    ],
    "us_ssn": lambda: [Pattern("value", byte_pattern(r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"))],
    "userpath": _userpath,
    "uuid": lambda: [
        Pattern("value", byte_pattern(r"\b[a-z0-9]{8}-?(?:[a-z0-9]{4}-?){3}[a-z0-9]{12}\b", case=False)),
    ],
    # what only the strict preset looks for
    "ipv6_complete": lambda: [Pattern("value", byte_pattern(_ipv6_complete(), case=False), (1,))],
    "creditcard_luhn": lambda: [Pattern("value", byte_pattern(r"\b[2-6](?:[-\s]?\d){12,18}\b"), MATCH, luhn)],
    "strict_keys": lambda: [
        Pattern(
            "key", byte_pattern(r"(?:^|[^a-z])(?:pwd|ssn)(?:$|[^a-z])|access[-_ ]?key|passphrase", case=False), WHOLE
        )
    ],
}

RULE_TYPES = tuple(sorted(name for name in _MAKERS if name not in ("url_password", "strict_keys")))


class WhichOf:
    """Tells in one pass which of many patterns may find something in a text, now or after earlier ones have redacted.

    A redaction of a built-in pattern never makes another one match, because they begin and end at word boundaries; one
    of a user's pattern might, so behind the first of those everything is possible.
    """

    def __init__(self, patterns: Sequence[Pattern | None]) -> None:
        made = options(text=False)
        made.max_mem = 32 << 20
        self._set = re2.Set.SearchSet(made)
        self._numbers: list[int] = []
        self._always: list[int] = []
        self._count = len(patterns)
        self._closed = True
        for number, pattern in enumerate(patterns):
            part = pattern.as_part if pattern is not None else None
            if part is not None:
                self._set.Add(part.encode())
                self._numbers.append(number)
            else:
                self._always.append(number)
                self._closed = self._closed and pattern is None
        self._set.Compile()

    def of(self, text: bytes) -> list[int]:
        """Numbers of the patterns that may find something; None among the patterns always counts."""
        found = self._always
        if self._numbers:
            found = [*(self._numbers[index] for index in self._set.Match(text) or ()), *found]
        if self._closed or not found:
            return found
        return list(range(min(found), self._count))


@cache
def patterns_of(rule_type: str) -> tuple[Pattern, ...]:
    """The patterns of a built-in rule type. Raises KeyError for an unknown one."""
    return tuple(_MAKERS[rule_type]())
