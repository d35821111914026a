"""The hub as requests need it, and what its answers mean."""

import urllib.parse

import msgspec

from collector.errors import ConfigError
from collector.forward.limits import retry_after
from collector.forward.settings import UpstreamSettings
from collector.forward.target import CLIENT
from collector.hub.batch import CONTENT_TYPE, ENCODING, PATH
from collector.machine.net import Answer


class HubTarget(msgspec.Struct, frozen=True):
    """A hub. `where`: host[:port] with its path, for people."""

    url: str
    edge: str
    token: str
    where: str

    def headers(self) -> dict[str, str]:
        """Of a request."""
        return {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": CONTENT_TYPE,
            "Content-Encoding": ENCODING,
            "User-Agent": CLIENT,
        }


def parse_hub(settings: UpstreamSettings) -> HubTarget:
    """upstream.hub, hub_token and edge as a HubTarget. Raises ConfigError with every mistake, without the token."""
    mistakes = []
    try:
        parts = urllib.parse.urlsplit(settings.hub)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address or parts.query or parts.fragment or parts.username:
        mistakes.append("upstream.hub: should be the address of a collector, such as https://hub.example.com")
    if settings.dsn.reveal():
        mistakes.append("upstream.hub: upstream.dsn is given too; what is forwarded goes to one of them")
    if not settings.hub_token.reveal():
        mistakes.append("upstream.hub_token: is missing; it is the token that the hub has for this edge")
    if not settings.edge:
        mistakes.append("upstream.edge: is missing; it is the name that the hub has for this edge")
    if mistakes:
        raise ConfigError(mistakes)
    prefix = parts.path.rstrip("/")
    place = parts.netloc + prefix
    return HubTarget(f"{parts.scheme}://{place}{PATH}", settings.edge, settings.hub_token.reveal(), place)


class _Taken(msgspec.Struct):
    batch: str


class _Refusal(msgspec.Struct):
    detail: str = ""
    causes: list[str] = []


BY_STATUS = {400: "refused", 413: "too_large", 404: "no_project", 429: "limited"}


class HubVerdict(msgspec.Struct, frozen=True):
    """what: taken, refused (never again as it is), too_large, no_project (this project later), limited, later.
    broken: the hub failed in a way that this very batch may be the reason of."""

    what: str
    why: str = ""
    pause: float = 0.0
    broken: bool = False


def judge_hub(answer: Answer, batch_id: str) -> HubVerdict:
    """The meaning of an answer to a batch. Only the hub's own words say that it was taken."""
    status, pause = answer.status, retry_after(answer.headers) or 0.0
    if status == 200:
        try:
            if not answer.cut and msgspec.json.decode(answer.body, type=_Taken).batch == batch_id:
                return HubVerdict("taken")
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        return HubVerdict("later", f"the hub answers 200 with something that is no hub's answer: {quote(answer)}")
    if 300 <= status < 400:
        where = answer.headers.get("location", "")[:120]
        return HubVerdict("later", f"the hub answers {status} and redirects to {where!r}; redirects are not followed")
    try:
        refusal = msgspec.json.decode(answer.body, type=_Refusal)
        said = ": ".join([refusal.detail, *refusal.causes[:1]])[:300]
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = quote(answer)
    why = f"the hub answers {status}, {said}"
    return HubVerdict(BY_STATUS.get(status, "later"), why, pause, broken=status == 500)


def quote(answer: Answer) -> str:
    """The beginning of a body, for people."""
    return repr(" ".join(answer.body[:120].decode("utf-8", "replace").split()))
