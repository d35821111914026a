"""The few endpoints of a Sentry's web API that statuses need. Source: reference on the API, A and B1.

Every answer that is not what was asked for raises ApiError, whose sentence goes to the status page.
"""

import datetime
import re
import urllib.parse
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from collector.errors import ConfigError, Unavailable
from collector.forward.limits import MAX_TOLD_SECONDS, retry_after
from collector.forward.target import CLIENT
from collector.machine.clock import Clock
from collector.machine.net import Answer, Net, NetError, Request

T = TypeVar("T")

PER_CALL = 100  # the API's own page size
MAX_PAGES = 10
# No blocks that cost the server a query each: only id and status are read.
COLLAPSE = [("collapse", name) for name in ("stats", "lifetime", "filtered", "unhandled")]
CHANGES = re.compile(r"set_(?:resolved|unresolved|ignored|regression|escalating).*|auto_set_.*")
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(?:Z|\+00:00)")

SENTENCES = {
    401: "it does not know the token",
    403: "the token may not do this; it needs the scopes org:read, project:read, event:read and event:write",
    404: "there is no such organisation, or the address is wrong",
    429: "its rate limit is used up",
}


class ApiError(Unavailable):
    """No usable answer. pause: seconds that the server asked for, 0.0 when it did not."""

    def __init__(self, what: str, status: int = 0, pause: float = 0.0) -> None:
        super().__init__(what)
        self.status = status
        self.pause = pause


class Organisation(msgspec.Struct):
    """Of a project."""

    slug: str


class Project(msgspec.Struct):
    """A row of the projects list."""

    id: str
    organization: Organisation


class Found(msgspec.Struct, rename="camel"):
    """An event looked up by its id."""

    group_id: str


class Issue(msgspec.Struct):
    """A row of the issues list."""

    id: str
    status: str


class Change(msgspec.Struct, rename="camel"):
    """One entry of an issue's activity."""

    type: str = ""
    date_created: str = ""


class Detail(msgspec.Struct):
    """One issue with what was done to it."""

    activity: list[Change] = []


class Api:
    """Calls to one organisation. Not thread-safe. Every method raises ApiError."""

    def __init__(self, url: str, token: str, net: Net, clock: Clock) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._net = net
        self._clock = clock
        self.calls = 0

    def organisation_of(self, project_id: int) -> str:
        """Slug of the organisation that a project belongs to."""
        cursor = ""
        for _ in range(MAX_PAGES):
            query = [("per_page", str(PER_CALL)), ("cursor", cursor)]
            answer = self._call("GET", "projects/", query if cursor else query[:1])
            for project in _read(answer, list[Project]):
                if project.id == str(project_id):
                    return project.organization.slug
            cursor = _next_cursor(answer.headers.get("link", ""))
            if not cursor:
                break
        raise ApiError(f"the upstream API does not show project {project_id} to this token")

    def issue_of(self, organisation: str, event_id: str) -> str:
        """Id of the issue that an event belongs to, "" when the event is not known (yet)."""
        try:
            answer = self._call("GET", f"organizations/{organisation}/eventids/{event_id}/")
        except ApiError as error:
            if error.status == 404:
                return ""
            raise
        return _read(answer, Found).group_id

    def statuses(self, organisation: str, ids: Sequence[str]) -> dict[str, str]:
        """Issue id -> status, at most PER_CALL ids; those that are gone are missing."""
        query = [("group", one) for one in ids] + [("project", "-1"), ("limit", str(PER_CALL)), *COLLAPSE]
        answer = self._call("GET", f"organizations/{organisation}/issues/", query)
        return {issue.id: issue.status for issue in _read(answer, list[Issue])}

    def set_status(self, organisation: str, ids: Sequence[str], status: str) -> None:
        """Give issues a status, at most PER_CALL."""
        query = [("id", one) for one in ids]
        body = msgspec.json.encode({"status": status})
        _read(self._call("PUT", f"organizations/{organisation}/issues/", query, body), dict)

    def changed_at(self, organisation: str, issue_id: str) -> float:
        """When the status of an issue was changed last, 0.0 when its activity does not say."""
        detail = _read(self._call("GET", f"organizations/{organisation}/issues/{issue_id}/"), Detail)
        return max((_seconds(one.date_created) for one in detail.activity if CHANGES.fullmatch(one.type)), default=0.0)

    def _call(self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: bytes = b"") -> Answer:
        self.calls += 1
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "User-Agent": CLIENT}
        if body:
            headers["Content-Type"] = "application/json"
        mark = "?" if query else ""
        url = f"{self._url}/api/0/{path}{mark}{urllib.parse.urlencode(query)}"
        try:
            answer = self._net.send(Request(method, url, headers, body))
        except NetError as error:
            raise ApiError(f"the upstream API: {error.what}") from error
        if not 200 <= answer.status < 300:
            raise self._refused(answer)
        if answer.cut:
            raise ApiError("the upstream API answers with more than is read")
        return answer

    def _refused(self, answer: Answer) -> ApiError:
        status = answer.status
        if 300 <= status < 400:
            said = "it redirects, which is not followed; api_url should be where it redirects to"
        else:
            said = SENTENCES.get(status, "it fails" if status >= 500 else "it does not understand this")
        return ApiError(f"the upstream API answers {status}, {said}", status, self._pause(answer))

    def _pause(self, answer: Answer) -> float:
        """Retry-After, else the time at which the window of the limit ends."""
        pause = retry_after(answer.headers) or 0.0
        if answer.status == 429 and not pause:
            try:
                pause = float(answer.headers.get("x-sentry-rate-limit-reset", "")) - self._clock.now()
            except ValueError:
                pause = 0.0
        return min(max(0.0, pause), MAX_TOLD_SECONDS)


def derive_api_url(dsn: str) -> str:
    """Where the web API of a DSN's Sentry is: the region's domain for sentry.io, the same host for one's own.
    Raises ConfigError."""
    parts = urllib.parse.urlsplit(dsn)
    host = parts.hostname or ""
    if host == "sentry.io" or host.endswith(".sentry.io"):
        region = re.search(r"\.ingest\.([a-z]{2})\.sentry\.io$", host)
        return f"https://{region[1]}.sentry.io" if region else "https://sentry.io"
    if not host:
        raise ConfigError(["upstream.api_url: is missing, and there is no upstream.dsn that tells it"])
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path.rstrip('/').rpartition('/')[0]}"


def _read(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = " ".join(answer.body[:100].decode("utf-8", "replace").split())
        what = f"the upstream API answers {answer.status} with something that is no Sentry's: {text!r}"
        raise ApiError(what) from None


def _next_cursor(link: str) -> str:
    for part in link.split(","):
        if 'rel="next"' in part and 'results="true"' in part:
            match = re.search(r'cursor="([^"]+)"', part)
            return match[1] if match else ""
    return ""


def _seconds(text: str) -> float:
    """Of an ISO time in UTC; 0.0 for another text."""
    match = _ISO.fullmatch(text)
    if match is None:
        return 0.0
    whole = datetime.datetime.fromisoformat(match[1]).replace(tzinfo=datetime.UTC)
    return whole.timestamp() + float(match[2] or 0)
