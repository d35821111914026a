"""Allowed origins of a project: `*`, `host`, `scheme://host[:port]`, `*.host` (the bare host too), parts as `*`."""

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

_PORTS = {"http": "80", "https": "443"}


def origin_allowed(origin: str, allowed: Sequence[str]) -> bool:
    """Whether a request with this Origin (or Referer's origin) may send. Without an origin: always."""
    if not origin:
        return True
    return _allowed(origin, tuple(allowed))


@lru_cache(maxsize=4096)
def _allowed(origin: str, allowed: tuple[str, ...]) -> bool:
    if "*" in allowed:
        return True
    parts = _split(origin)
    return parts is not None and any(_matches(parts, pattern) for pattern in allowed)


def _split(origin: str) -> tuple[str, str, str] | None:
    """(scheme, host, port) of an origin; None when it is not a URL ("null", a broken one)."""
    try:
        url = urlsplit(origin)
        port = url.port
    except ValueError:
        return None
    if not url.scheme or not url.hostname:
        return None
    return url.scheme.lower(), url.hostname.lower().rstrip("."), str(port or _PORTS.get(url.scheme.lower(), ""))


def _matches(origin: tuple[str, str, str], pattern: str) -> bool:
    scheme, host, port = origin
    wanted_scheme, separator, rest = pattern.strip().lower().partition("://")
    if not separator:
        wanted_scheme, rest = "*", pattern.strip().lower()
    rest = rest.partition("/")[0]
    wanted_host, colon, wanted_port = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    if not colon:
        wanted_host, wanted_port = rest, "*" if not separator else _PORTS.get(wanted_scheme, "*")
    return (
        wanted_scheme in ("*", scheme)
        and _host_matches(host, wanted_host.strip("[]"))
        and (wanted_port in ("*", port) or (wanted_host == "*" and not colon))
    )


def _host_matches(host: str, wanted: str) -> bool:
    if wanted == "*" or host == wanted:
        return True
    return wanted.startswith("*.") and (host == wanted[2:] or host.endswith(wanted[1:]))
