"""DSN: where an SDK sends and by which key. `scheme://public_key[:secret]@host[:port][/prefix]/project_id`."""

import re
from functools import lru_cache
from typing import NamedTuple

from collector.errors import ProtocolError

MAX_DSN_CHARS = 1024  # own choice; a DSN of sentry.io has about 95
_FORM = re.compile(
    r"(?P<scheme>https?)://(?P<key>[^:@/?#\s]+)(?::[^@/?#\s]*)?@"
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:@/?#\s\[\]]+)(?::(?P<port>\d{1,5}))?"
    r"(?P<prefix>(?:/[^/?#\s]+)*)/(?P<project>\d{1,19})/?",
    re.ASCII,
)
_MAX_ID = 2**63 - 1


class Dsn(NamedTuple):
    """The parts of a DSN; the deprecated secret is dropped."""

    scheme: str
    public_key: str
    host: str
    port: int
    prefix: str
    project_id: int


@lru_cache(maxsize=1024)
def parse_dsn(text: str) -> Dsn:
    """Raises ProtocolError 400 when `text` is not a DSN of a numbered project."""
    match = _FORM.fullmatch(text) if len(text) <= MAX_DSN_CHARS else None
    if match is None:
        raise ProtocolError(400, "bad sentry DSN", "invalid_envelope", ["it should be scheme://key@host/project_id"])
    scheme = match["scheme"]
    port = int(match["port"]) if match["port"] else (443 if scheme == "https" else 80)
    project_id = int(match["project"])
    if port > 65535 or project_id > _MAX_ID:
        raise ProtocolError(400, "bad sentry DSN", "invalid_envelope", ["its port or project id is out of range"])
    return Dsn(scheme, match["key"], match["host"], port, match["prefix"], project_id)
