"""Which door a path is. Both slash forms, duplicate slashes collapse; any other path belongs to the fallback app."""

import re
from functools import lru_cache
from typing import NamedTuple

MAX_REMEMBERED_CHARS = 100
_SLASHES = re.compile(r"/{2,}")


class DoorForm(NamedTuple):
    """methods: allowed beside OPTIONS. answer: a row of respond.SUCCESS. says_429: whether limits are announced by
    status. may_be_empty: whether a request without a body means something."""

    name: str
    methods: tuple[str, ...]
    answer: str
    says_429: bool = True
    may_be_empty: bool = False


DOOR_FORMS: dict[str, DoorForm] = {
    form.name: form
    for form in (
        DoorForm("envelope", ("POST",), "id"),
        DoorForm("store", ("POST", "GET"), "id"),
        DoorForm("security", ("POST",), "empty"),
        DoorForm("nel", ("POST",), "empty", says_429=False),
        DoorForm("minidump", ("POST",), "dashed_id"),
        DoorForm("attachments", ("POST",), "created"),
        DoorForm("cron", ("GET", "POST"), "accepted", says_429=False, may_be_empty=True),
        DoorForm("otlp_logs", ("POST",), "otlp", may_be_empty=True),
        DoorForm("otlp_traces", ("POST",), "otlp", may_be_empty=True),
        DoorForm("vercel", ("POST",), "accepted"),
    )
}

_PATH = re.compile(
    r"/api/(?:(?P<project>[^/]+)/)?"
    r"(?:(?P<door>envelope|tunnel|store|security|csp-report|nel|minidump)"
    r"|events/(?P<event>[^/]+)/attachments"
    r"|cron/(?P<slug>[^/]+)(?:/(?P<key>[^/]+))?"
    r"|integration/otlp/v1/(?P<signal>logs|traces)"
    r"|integration/(?P<drain>vercel)/logs)/?"
)
_ALIASES = {"csp-report": "security", "tunnel": "envelope"}
# What browser SDKs call when ad blockers stop the DSN's own address: the DSN stands in the envelope, and is one of ours
# or refused, so this is never a way to anybody else.
TUNNELS = ("/tunnel", "/tunnel/")


class Place(NamedTuple):
    """A matched path. project: as written, "" for the oldest store path."""

    form: DoorForm
    project: str
    key: str = ""
    slug: str = ""
    event_id: str = ""


def find_place(path: str) -> Place | None:
    """The door of a request path, None when it is not ours."""
    return _remembered(path) if len(path) <= MAX_REMEMBERED_CHARS else _find_place(path)


@lru_cache(maxsize=1024)
def _remembered(path: str) -> Place | None:
    return _find_place(path)


def _find_place(path: str) -> Place | None:
    if "//" in path:
        path = _SLASHES.sub("/", path)
    match = _PATH.fullmatch(path)
    if match is None:
        return Place(DOOR_FORMS["envelope"], "") if path in TUNNELS else None
    name = _door_name(match)
    project = match["project"]
    if project is None and name != "store":
        return None
    return Place(DOOR_FORMS[name], project or "", match["key"] or "", match["slug"] or "", match["event"] or "")


def _door_name(match: re.Match[str]) -> str:
    door = match["door"]
    if door:
        return _ALIASES.get(door, door)
    if match["event"]:
        return "attachments"
    if match["slug"]:
        return "cron"
    return f"otlp_{match['signal']}" if match["signal"] else match["drain"]
