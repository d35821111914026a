"""The user of an event and the address it came from. Rules: protocol E5, "IP inference"."""

import ipaddress
from functools import lru_cache
from typing import Any

import msgspec

from collector.digest.about import About
from collector.digest.clean import NOTHING, Event, Sdk, User
from collector.digest.messages import lenient_text
from collector.digest.remarks import Remarks
from collector.digest.trim import checked_bag

AUTO = "{{auto}}"
INFERRING_PLATFORMS = frozenset(("javascript", "cocoa", "objc"))
USER_BAG = (8192, 7)


@lru_cache(maxsize=4096)
def is_address(text: str) -> bool:
    """Whether `text` is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class _Env(msgspec.Struct):
    remote: Any = msgspec.field(name="REMOTE_ADDR", default=None)


_ENV = msgspec.json.Decoder(_Env)


def _remote_address(event: Event, about: About) -> str:
    """REMOTE_ADDR of the request's environment when it is an address, else ""."""
    request = event.request
    if request is None or request.env is NOTHING:
        return ""
    data = bytes(request.env)
    if b"REMOTE_ADDR" not in data:
        return ""
    value = _ENV.decode(data).remote
    if value == AUTO:
        value = about.client_ip
    return value if isinstance(value, str) and is_address(value) else ""


def infer_address(event: Event, sdk: Sdk | None, about: About, remarks: Remarks) -> None:
    """Fill, resolve or remove user.ip_address."""
    settings = sdk.settings if sdk is not None else None
    infer = settings.infer_ip if settings is not None and settings.infer_ip is not None else "legacy"
    allowed = about.infer_ip and infer in ("auto", "legacy")
    user = event.user
    given = user.ip_address if user is not None else None
    if user is not None and given is not None:
        if given == AUTO:
            given = user.ip_address = (about.client_ip or None) if allowed else None
        elif not is_address(given):
            remarks.error(("user", "ip_address"), "invalid_data", given, reason="expected an ip address")
            given = user.ip_address = None
        if given is not None:
            return
    if not allowed:
        return
    address = _remote_address(event, about)
    if not address and (infer == "auto" or (user is not None and event.platform in INFERRING_PLATFORMS)):
        address = about.client_ip
    if address:
        if user is None:
            user = event.user = User()
        user.ip_address = address


def normalise_user(event: Event, remarks: Remarks) -> None:
    """Identifying fields as text, `sentry_user` from the first of them."""
    user = event.user
    if user is None:
        return
    if user.id is not None and type(user.id) is not str:
        user.id = lenient_text(user.id)
    if user.username is not None and type(user.username) is not str:
        user.username = lenient_text(user.username)
    if user.name is not None and type(user.name) is not str:
        user.name = lenient_text(user.name)
    if user.data is not NOTHING:
        user.data = checked_bag(user.data, USER_BAG, remarks, ("user", "data"))
    if user.sentry_user is None:
        user.sentry_user = sentry_user(user)


def sentry_user(user: User) -> str | None:
    """What distinct users are told apart by."""
    if user.id:
        return f"id:{user.id}"
    if user.username:
        return f"username:{user.username}"
    if user.email:
        return f"email:{user.email}"
    return f"ip:{user.ip_address}" if user.ip_address else None
