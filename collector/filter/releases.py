"""Releases ("package@version+build") taken apart and compared as Sentry does.

Versions: one to four numeric parts (missing parts are zero), a pre-release text, a build code. A release without a
package has no parsed version (so `parse_release`), but its version still takes part in comparisons unless it is a hash.
Source: reference page on the protocol, section D (observed), and the release cases of the conformance file.
"""

import re
from typing import NamedTuple

MAX_RELEASE_CHARS = 200
HASH_LENGTHS = (12, 16, 20, 32, 40, 64)

_HEX = re.compile(r"[0-9a-fA-F]+")
_QUALIFIED = re.compile(r"(@?[^@]+)@(.+)")
_IDENT = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:\.([0-9]+))?((?:-|[a-z]){_IDENT}?(?:\.{_IDENT})*)?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)


class Version(NamedTuple):
    """A version; `parts` as written (1 to 4 numbers), `pre` and `build` "" when absent."""

    raw: str
    parts: tuple[str, ...]
    pre: str
    build: str

    @property
    def quad(self) -> tuple[int, int, int, int]:
        """The four numbers, missing ones zero."""
        numbers = [int(part) for part in self.parts] + [0, 0, 0]
        return numbers[0], numbers[1], numbers[2], numbers[3]


class Release(NamedTuple):
    """A release taken apart; `package` and `build_hash` are "" when absent."""

    package: str
    version_raw: str
    version: Version | None
    build_hash: str

    @property
    def description(self) -> str:
        """The short form for people: version and build, or a shortened hash, or the text itself."""
        if self.version is not None:
            build = self.build_hash[:12] or self.version.build
            pre = f"-{self.version.pre}" if self.version.pre else ""
            return ".".join(self.version.parts) + pre + (f" ({build})" if build else "")
        if self.build_hash:
            return self.build_hash[:12]
        return f"{self.package}@{self.version_raw}" if self.package else self.version_raw


def is_hash(text: str) -> bool:
    """Whether a text looks like a commit or build hash."""
    return len(text) in HASH_LENGTHS and _HEX.fullmatch(text) is not None


def parse_version(text: str) -> Version:
    """Parse "1.2.3-rc.1+42". Raises ValueError when the text is no version."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a version")
    parts = tuple(part for part in match.group(1, 2, 3, 4) if part is not None)
    return Version(text, parts, (match[5] or "").removeprefix("-"), match[6] or "")


def parse_release(text: str) -> Release:
    """Take a release apart. Raises ValueError for what Sentry refuses as a release name."""
    text = text.strip()
    if len(text) > MAX_RELEASE_CHARS:
        raise ValueError(f"release longer than {MAX_RELEASE_CHARS} characters")
    if text in (".", "..") or text.lower() == "latest":
        raise ValueError(f"release name {text!r} is reserved")
    if re.search(r"[/\\\r\n\t\x0c]", text):
        raise ValueError("release holds a slash, backslash, tab or newline")
    match = _QUALIFIED.fullmatch(text)
    package, raw = (match[1], match[2]) if match else ("", text)
    version = None
    if package and not is_hash(raw):
        try:
            version = parse_version(raw)
        except ValueError:
            version = None
    build_hash = version.build if version and is_hash(version.build) else (raw if is_hash(raw) else "")
    return Release(package, raw, version, build_hash)


def compare_versions(left: str, right: str) -> int:
    """-1, 0 or 1. Numbers, then a final version above its pre-releases, those as text, then the build code.

    Raises ValueError when either text is no version.
    """
    a, b = parse_version(left), parse_version(right)
    return _sign(_full_key(a), _full_key(b))


def release_key(release: str) -> tuple[tuple[int, int, int, int], bool, str] | None:
    """What a release is ordered by in rules (build codes ignored); None when it has no version."""
    try:
        parsed = parse_release(release)
        if parsed.build_hash == parsed.version_raw:
            return None
        version = parsed.version or parse_version(parsed.version_raw)
    except ValueError:
        return None
    return version.quad, not version.pre, version.pre


def _full_key(version: Version) -> tuple[tuple[int, ...], bool, str, bool, bool, int, str]:
    numeric = version.build.isdecimal()
    return (
        version.quad,
        not version.pre,
        version.pre,
        bool(version.build),
        not numeric,
        int(version.build) if numeric else 0,
        "" if numeric else version.build.lower(),
    )


def _sign(a: tuple[object, ...], b: tuple[object, ...]) -> int:
    return (a > b) - (a < b)
