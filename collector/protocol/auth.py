"""Who sends: the auth forms of the protocol, read into one Auth. Source: develop.sentry.dev, SDK overview, "auth".

Forms: X-Sentry-Auth, Authorization (Sentry or Basic), query, a key in the path; the envelope's dsn is read by the
caller when none of these is there. More than one form, or one field twice, is refused.
"""

import base64
import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from collector.errors import ProtocolError

MAX_VERSION = 7
KEY_CHARS = 32
MAX_QUERY_FIELDS = 100  # own choice: a form with more is not an SDK
_PREFIX = "sentry "


class Auth(NamedTuple):
    """public_key: 32 ASCII characters, not yet looked up. client: "name/version" or "". flags: after the key's dot."""

    public_key: str
    version: int = MAX_VERSION
    client: str = ""
    flags: tuple[str, ...] = ()


def read_auth(
    x_sentry_auth: Sequence[bytes], authorization: Sequence[bytes], query: bytes = b"", path_key: str = ""
) -> Auth | None:
    """The auth of a request, or None when no form is there. Raises ProtocolError 401 or 400."""
    found: list[Auth] = []
    for value in x_sentry_auth:
        if len(value) >= 7 and value[:7].lower() == b"sentry ":
            found.append(_cached_header(value))
    for value in authorization:
        auth = _read_authorization(value)
        if auth is not None:
            found.append(auth)
    if path_key:
        found.append(_checked({"sentry_key": path_key}))
    if b"sentry_key" in query or (b"sentry_" in query and not found):
        found.append(_read_query(query))
    if len(found) > 1:
        raise _multiple()
    return found[0] if found else None


def missing_auth() -> ProtocolError:
    """The refusal of a request without any auth."""
    return ProtocolError(401, "missing authorization information", "auth_missing")


def same_key(left: str, right: str) -> bool:
    """Compare two keys as bytes in constant time (hmac.compare_digest raises on non-ASCII text)."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def owns_key(keys: Iterable[str], key: str) -> bool:
    """Whether `key` is one of `keys`; looks at all of them whatever it finds."""
    found = False
    for candidate in keys:
        found |= same_key(candidate, key)
    return found


def _multiple() -> ProtocolError:
    return ProtocolError(401, "multiple authorization payloads detected", "auth_multiple")


def _bad(cause: str) -> ProtocolError:
    return ProtocolError(401, "bad x-sentry-auth header", "auth_header", [cause])


@lru_cache(maxsize=1024)
def _cached_header(value: bytes) -> Auth:
    return _read_header(value)


def _read_header(value: bytes) -> Auth:
    text = value.decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for part in text[len(_PREFIX) :].split(","):
        name, equals, content = part.strip().partition("=")
        if not equals:
            if name:
                raise _bad("its fields should be name=value, separated by commas")
            continue
        name = name.strip()
        if name in fields:
            raise _multiple() if name == "sentry_key" else _bad("a field is there twice")
        fields[name] = content.strip()
    return _checked(fields)


def _read_authorization(value: bytes) -> Auth | None:
    scheme = value[:7].lower()
    if scheme == b"sentry ":
        return _cached_header(value)
    if scheme[:6] != b"basic ":
        return None
    try:
        user = base64.b64decode(value[6:].strip(), validate=True).partition(b":")[0]
    except ValueError:
        raise _bad("the Basic credentials are not base64") from None
    return _checked({"sentry_key": user.decode("utf-8", "replace")})


def _read_query(query: bytes) -> Auth:
    try:
        pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise ProtocolError(
            400, "bad query string", "invalid_query", [f"it has over {MAX_QUERY_FIELDS} fields"]
        ) from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name == "sentry_key" and name in fields:
            raise _multiple()
        if name.startswith("sentry_"):
            fields[name] = value
    return _checked(fields)


def _checked(fields: dict[str, str]) -> Auth:
    key = fields.get("sentry_key", "")
    if not key:
        raise _bad("sentry_key is missing")
    public_key, *flags = key.split(".")
    if len(public_key) != KEY_CHARS or not public_key.isascii():
        raise ProtocolError(400, "bad sentry DSN public key", "auth_key", [f"a key has {KEY_CHARS} characters"])
    return Auth(
        public_key, _version(fields.get("sentry_version", "")), fields.get("sentry_client", "")[:256], tuple(flags)
    )


def _version(text: str) -> int:
    if not text:
        return MAX_VERSION
    whole = text.partition(".")[0]
    if not (whole.isascii() and whole.isdigit() and len(whole) < 10):
        raise _bad("sentry_version is not a number")
    version = int(whole)
    if version > MAX_VERSION:
        raise ProtocolError(400, f"unsupported protocol version ({version})", "auth_version")
    return version
