"""Origin patterns of CSP filters: `scheme://host:port`, each part may be `*` or missing, `*.host` takes subdomains too.

Source: reference page on the protocol, section D.
"""

from typing import NamedTuple


class Origin(NamedTuple):
    """Parts of an origin, lower case; None matches anything."""

    scheme: str | None
    host: str | None
    port: str | None


def parse_origin(text: str) -> Origin:
    """Take a URL or an origin pattern apart; never fails."""
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "*", text
    host, found, port = rest.partition("/")[0].partition(":")
    return Origin(_part(scheme), _part(host), _part(port) if found else None)


def matches_any(url: str | None, patterns: tuple[Origin, ...]) -> bool:
    """Whether a URL (None: there is none) lies in one of the patterns."""
    if any(pattern == (None, None, None) for pattern in patterns):
        return True
    if not url:
        return False
    origin = parse_origin(url)
    return any(_matches(origin, pattern) for pattern in patterns)


def _part(text: str) -> str | None:
    return None if text == "*" else text.lower()


def _matches(origin: Origin, pattern: Origin) -> bool:
    if pattern.scheme is not None and origin.scheme != pattern.scheme:
        return False
    if pattern.port is not None and origin.port != pattern.port:
        return False
    if pattern.host is None or origin.host == pattern.host:
        return True
    if not pattern.host.startswith("*") or origin.host is None:
        return False
    return origin.host.endswith(pattern.host[1:]) or origin.host == pattern.host[2:]
