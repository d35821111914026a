"""The upstream DSN as requests need it."""

import re
import urllib.parse

import msgspec

import collector
from collector.errors import ConfigError

CLIENT = f"collector/{collector.__version__}"


class Target(msgspec.Struct, frozen=True):
    """An upstream as requests need it. `where`: host[:port]/project, without the key, for people."""

    url: str
    public_key: str
    where: str


def parse_dsn(dsn: str) -> Target:
    """`scheme://key@host[:port][/prefix]/project` as a Target. Raises ConfigError without showing the key."""
    try:
        parts = urllib.parse.urlsplit(dsn)
        port = parts.port
    except ValueError as error:
        raise ConfigError(["upstream.dsn: its host or port cannot be read"]) from error
    prefix, _, project = parts.path.rstrip("/").rpartition("/")
    if parts.scheme not in ("http", "https"):
        raise ConfigError([f"upstream.dsn: the scheme {parts.scheme!r} should be http or https"])
    if not parts.hostname or not parts.username:
        raise ConfigError(["upstream.dsn: should be http://key@host:port/project"])
    if not re.fullmatch(r"\d+", project):
        raise ConfigError(["upstream.dsn: should end in the number of the upstream project"])
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = f"{host}:{port}" if port else host
    url = f"{parts.scheme}://{place}{prefix}/api/{project}/envelope/"
    return Target(url=url, public_key=parts.username, where=f"{place}{prefix}/{project}")


def auth_headers(target: Target, encoding: str) -> dict[str, str]:
    """The headers of an envelope request."""
    headers = {
        "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_client={CLIENT}, sentry_key={target.public_key}",
        "Content-Type": "application/x-sentry-envelope",
        "User-Agent": CLIENT,
    }
    if encoding != "identity":
        headers["Content-Encoding"] = encoding
    return headers
