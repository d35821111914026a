"""Message parameterisation: the parts of a message that vary between two events of one issue become `<name>`.

The patterns are facts (reference/grouping.md, section 16), in order; at one position the earlier pattern wins.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

MAX_PARAMETERIZED_CHARS = 8192
MAX_MESSAGE_LINES = 2
MAX_MEMO_CHARS = 2048
MAX_HOSTNAME_CHARS = 255

TOP_LEVEL_DOMAINS = """
com net org jp de uk fr br it ru es me gov pl ca au cn co in nl edu info eu ch id at kr cz mx be tv se tr tw al ua ir
vn cl sk ly cc to no fi us pt dk ar hu tk gr il news ro my biz ie za nz sg ee th io xyz pe bg hk rs lt link ph club si
site mobi by cat wiki la ga xxx cf hr ng jobs online kz ug gq ae is lv pro fm tips ms sa app
"""
TOP_LEVELS = frozenset(TOP_LEVEL_DOMAINS.split())

DAY = "(?:Sun|Mon|Tue|Wed|Thu|Fri|Sat)"
WEEKDAY = "(?:Sunday|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday)"
MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
ZONE = r"(?:[-+]\d{4}|(?:UT|GMT|(?:E|C|M|P)(?:ST|DT)|[A-IK-Z]))"
OFFSET = r"(?:[+-]\d{2}:?\d{2}|Z)"
YMD = r"\d{4}-?\d{2}-?\d{2}"
STRICT_YMD = r"\d{4}-?[01]\d-?[0-3]\d"
STRICT_HM = r"[0-2]\d:?[0-5]\d"
DATES = (
    rf"{DAY},\s\d{{1,2}}\s{MONTH}\s\d{{2,4}}\s\d{{1,2}}:\d{{1,2}}(?::\d{{1,2}})?\s{ZONE}",
    rf"(?:{DAY}\s)?{MONTH}\s[0-3]\d,\s\d{{2,4}}",
    rf"(?:{WEEKDAY}|{DAY}),\s\d{{2}}-{MONTH}-\d{{2}}\s\d{{2}}:\d{{2}}:\d{{2}}\s(?:[A-Z]{{2,5}}|{ZONE})",
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z?(?:[+-]?\d{2}:\d{2})?",
    rf"{DAY}\s{MONTH}\s\d{{2}}\s\d{{4}}\s\d{{2}}:\d{{2}}:\d{{2}}\sGMT[+-]\d{{4}}(?:\s\([^)]+\))?",
    rf"{YMD}[\sT]\d{{2}}:?\d{{2}}:?\d{{2}}\.\d+{OFFSET}",
    rf"{YMD}[\sT]\d{{2}}:?\d{{2}}:?\d{{2}}{OFFSET}",
    rf"{YMD}[\sT]\d{{2}}:?\d{{2}}{OFFSET}",
    rf"{STRICT_YMD}[\sT]{STRICT_HM}:?[0-5]\d\.\d+",
    rf"{STRICT_YMD}[\sT]{STRICT_HM}:?[0-5]\d",
    rf"{STRICT_YMD}[\sT]{STRICT_HM}",
    r"(?<!\d)(?:0?[1-9]|1[0-2]):[0-5]\d(?::[0-5]\d)?(?![\d:])\s?(?:[aApP][mM])",
    r"(?<!\d)(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\d:])",
    r"\d{4}-[01]\d-[0-3]\d",
    rf"\b(?:{DAY}\s+)?{MONTH}\s+\d{{1,2}}\s+\d{{2}}:\d{{2}}:\d{{2}}\s+\d{{4}}",
    rf"\b(?:{DAY},\s+)?\d{{2}}\s+{MONTH}\s+\d{{4}}\s+\d{{2}}:\d{{2}}(?::\d{{2}})?\s+{ZONE}",
    r"datetime\.datetime\([^)]*\)",
)
HEX = "[0-9a-fA-F]"
OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IPV4 = rf"{OCTET}(?:\.{OCTET}){{3}}"
GROUP = rf"{HEX}{{1,4}}"
# Longer forms first: an alternative that stops early would leave the rest of an address behind.
IPV6 = "|".join(
    (
        rf"fe80:(?::{HEX}{{0,4}}){{0,4}}%[0-9a-zA-Z]+",
        rf"::(?:ffff(?::0{{1,4}})?:)?{IPV4}",
        rf"(?:{GROUP}:){{1,4}}:{IPV4}",
        rf"(?:{GROUP}:){{7}}{GROUP}",
        *(rf"(?:{GROUP}:){{1,{7 - n}}}(?::{GROUP}){{1,{n}}}" for n in range(6, 0, -1)),
        rf"(?:{GROUP}:){{1,7}}:",
        rf":(?:(?::{GROUP}){{1,7}}|:)",
    )
)
LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
NOT_IN_URL = r"'\"`\\<>{}|^\s"
MIXED_HEX = r"(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]"
MIXED_UPPER_HEX = r"(?=[0-9]*[A-F])(?=[A-F]*[0-9])[0-9A-F]"
PAIRS = "|".join(rf"{HEX}{{2}}(?:{mark}{HEX}{{2}}){{5}}" for mark in (":", "-", r"\s"))


class Pattern(NamedTuple):
    """One kind of variable part. needs: texts of which one must occur for the pattern to match at all; digit: it cannot
    match without one. accepts: the last word about a match."""

    name: str
    regex: str
    needs: tuple[str, ...] = ()
    digit: bool = False
    accepts: Callable[[str], bool] | None = None

    def replacement(self, match: re.Match[str]) -> str:
        """What stands for one match."""
        return f"<{self.name}>" if self.accepts is None or self.accepts(match[0]) else match[0]


def _is_hostname(text: str) -> bool:
    last = text.rpartition(".")[2]
    return len(text) <= MAX_HOSTNAME_CHARS and last.lower() in TOP_LEVELS and (last.islower() or last.isupper())


def _is_address(text: str) -> bool:
    if ":" in text and ((text[0] == ":" and text[:2] != "::") or (text[-1] == ":" and text[-2:] != "::")):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


PATTERNS = (
    Pattern("email", r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,254}@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*", ("@",)),
    Pattern(
        "url",
        rf"[a-zA-Z][a-zA-Z0-9+.-]{{0,32}}://[^{NOT_IN_URL}/$.?#][^{NOT_IN_URL}]*(?<![.,;])",
        ("://",),
    ),
    Pattern("hostname", rf"\b(?:{LABEL}\.)+{LABEL}\b", (".",), accepts=_is_hostname),
    Pattern(
        "traceparent",
        r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\b|\b1-[0-9a-f]{8}-[0-9a-f]{24}\b",
        ("00-", "1-"),
        digit=True,
    ),
    Pattern("uuid", rf"\b{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}\b", ("-",)),
    Pattern("sha1", rf"\b{HEX}{{40}}\b"),
    Pattern("md5", rf"\b{HEX}{{32}}\b"),
    Pattern("date", "|".join(f"(?:{date})" for date in DATES), digit=True),
    Pattern("duration", r"\b(?:\d{1,20}ms|\d{1,20}(?:\.\d{1,20})?s)\b", ("s",), digit=True),
    Pattern("mac_addr", rf"\b(?:{PAIRS})\b|\b(?:{HEX}{{4}}\.){{2}}{HEX}{{4}}\b"),
    Pattern(
        "ip",
        rf"(?<![0-9a-zA-Z_])(?:{IPV6})(?![0-9a-zA-Z])|\b{IPV4}\b",
        ("::", ":", "."),
        accepts=_is_address,
    ),
    Pattern("swift_txn_id", rf"\btx{HEX}{{21}}-{HEX}{{10}}\S*", ("tx",)),
    Pattern(
        "hex",
        rf"\b0[xX]{HEX}+\b"
        rf"|(?:(?<!\w)-|(?<![a-zA-Z0-9]))"
        rf"(?:{MIXED_HEX}{{4,6}}|{MIXED_UPPER_HEX}{{4,6}}|[0-9a-f]{{8,128}}|[0-9A-F]{{8,128}})(?![a-zA-Z0-9])",
    ),
    Pattern("git_sha", rf"\b{MIXED_HEX}{{7}}\b", digit=True),
    Pattern(
        "random_id",
        r"(?<![a-zA-Z0-9])(?=[a-zA-Z0-9]{6}|(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z]))"
        r"(?:[a-zA-Z]+\d+[a-zA-Z]+\d|\d+[a-zA-Z]+\d+[a-zA-Z])[a-zA-Z0-9]*(?![a-zA-Z0-9])",
        digit=True,
    ),
    Pattern("float", r"(?:(?<!\d\.)\b|-)\d+\.\d+\b(?!\.\d)", (".",), digit=True),
    Pattern("int", r"(?:(?<!\w)-)?(?<![a-zA-Z0-9])\d{1,7}(?![a-zA-Z0-9])", digit=True),
    Pattern("quoted_str", r"""(?<==)(?:'[^']+'|"[^"]+")""", ("='", '="')),
    Pattern("bool", r"(?<==)(?:True|true|False|false)\b", ("=",)),
)
DIGIT = re.compile(r"\d")


@lru_cache(maxsize=256)
def _combined(names: tuple[int, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{PATTERNS[index].name}>{PATTERNS[index].regex})" for index in names))


class Declined(Exception):
    """A match that its pattern does not accept on a second look."""


def _replace(match: re.Match[str]) -> str:
    name = match.lastgroup or ""
    accepts = ACCEPTS.get(name)
    if accepts and not accepts(match[0]):
        raise Declined
    return f"<{name}>"


ACCEPTS = {pattern.name: pattern.accepts for pattern in PATTERNS if pattern.accepts}


def replace_variable_parts(text: str) -> str:
    """`text` with every variable part as `<name>`. Longer texts than 8192 characters stay as they are."""
    if len(text) > MAX_PARAMETERIZED_CHARS:
        return text
    has_digit = DIGIT.search(text) is not None
    possible = tuple(
        index
        for index, pattern in enumerate(PATTERNS)
        if (has_digit or not pattern.digit) and (not pattern.needs or any(needed in text for needed in pattern.needs))
    )
    try:
        return _combined(possible).sub(_replace, text)
    except Declined:
        return _one_by_one(text, possible)


def _one_by_one(text: str, possible: tuple[int, ...]) -> str:
    """One pass a pattern, each over the result of the pass before."""
    for index in possible:
        pattern = PATTERNS[index]
        text = _combined((index,)).sub(pattern.replacement, text)
    return text


def first_lines(message: str) -> str:
    """The first two lines that are not blank; "..." tells that there was more."""
    lines = [line for line in message.splitlines() if line.strip()]
    trimmed = "\n".join(lines[:MAX_MESSAGE_LINES])
    return trimmed if trimmed == message else trimmed + "..."


@lru_cache(maxsize=1024)
def _remembered(message: str, trim: bool) -> str:
    return replace_variable_parts(first_lines(message) if trim else message)


def parameterize(message: str, *, trim: bool = True) -> str:
    """The message as it is hashed. `trim`: only its first two lines."""
    if len(message) > MAX_MEMO_CHARS:
        return replace_variable_parts(first_lines(message) if trim else message)
    return _remembered(message, trim)
