"""The ten filters of a project, compiled once, asked for every event."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from collector.filter.conditions import Condition, compile_condition, in_networks, parse_network
from collector.filter.fields import Subject, entry, exceptions_of, header, message_of, text_of
from collector.filter.globs import Globs
from collector.filter.known import (
    ANONYMOUS_PATHS,
    is_crawler,
    is_extension_source,
    is_extension_text,
    is_legacy_browser,
)
from collector.filter.language import parse_condition
from collector.filter.origins import matches_any, parse_origin
from collector.filter.settings import FilterRule, FilterSettings

LOCAL_ADDRESSES = ("127.0.0.1", "::1")
LOCAL_HOSTS = ("127.0.0.1", "localhost")

Check = Callable[[Subject], str | None]


class Filters:
    """`match` gives the reason why an item is not wanted. Raises ValueError at construction, naming the setting.

    `needs_event` is False when no filter looks into the item: then `match({}, client_ip)` says the same.
    """

    def __init__(self, settings: FilterSettings) -> None:
        checks: list[Check] = []
        needs_event = False
        for place, build in _BUILDERS:
            try:
                check = build(settings)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            if check is not None:
                checks.append(check)
                needs_event = needs_event or place != "client_ips"
        self._checks = tuple(checks)
        self.needs_event = needs_event

    def match(self, event: dict[str, Any], client_ip: str, kind: str = "event") -> str | None:
        """The reason of the first filter that matches, or None. `kind`: event, log, span or session.

        `client_ip`: address of the sender of the request, "" when unknown.
        """
        if not self._checks:
            return None
        subject = Subject(event, client_ip, kind)
        for check in self._checks:
            reason = check(subject)
            if reason is not None:
                return reason
        return None


def _rules(settings: FilterSettings) -> Check | None:
    rules = [(rule.id, _rule(rule)) for rule in settings.rules if rule.enabled]
    if not rules:
        return None

    def check(subject: Subject) -> str | None:
        for rule_id, condition in rules:
            if condition(subject):
                return rule_id
        return None

    return check


def _rule(rule: FilterRule) -> Condition:
    if bool(rule.when) is bool(rule.condition):
        raise ValueError(f"rule {rule.id!r} needs either `when` or `condition`")
    try:
        return compile_condition(parse_condition(rule.when) if rule.when else rule.condition)
    except ValueError as error:
        raise ValueError(f"rule {rule.id!r}: {error}") from error


def _csp(settings: FilterSettings) -> Check | None:
    patterns = tuple(parse_origin(source) for source in settings.csp_disallowed_sources)
    if not patterns:
        return None

    def check(subject: Subject) -> str | None:
        event = subject.item
        report = event.get("csp") if event.get("type") == "csp" else None
        if not isinstance(report, dict):
            return None
        urls = (text_of(report.get(key)) for key in ("blocked_uri", "source_file", "document_uri"))
        return "invalid-csp" if any(matches_any(url, patterns) for url in urls) else None

    return check


def _client_ips(settings: FilterSettings) -> Check | None:
    networks = tuple(parse_network(text) for text in settings.client_ips)
    if not networks:
        return None
    return lambda subject: "ip-address" if in_networks(subject.client_ip, networks) else None


def _releases(settings: FilterSettings) -> Check | None:
    globs = Globs(settings.releases)
    if globs.empty:
        return None

    def check(subject: Subject) -> str | None:
        release = _release_of(subject)
        return "release-version" if release is not None and globs.match(release) else None

    return check


def _release_of(subject: Subject) -> str | None:
    item = subject.item
    if subject.root == "session":
        attributes = item.get("attrs")
        return text_of(attributes.get("release")) if isinstance(attributes, dict) else None
    if subject.root in ("log", "span"):
        return _attribute(subject, "sentry.release") or _attribute(subject, "release") or text_of(item.get("release"))
    return text_of(item.get("release"))


def _attribute(subject: Subject, name: str) -> str | None:
    """A text among the attributes of a log or span of any version."""
    for place in ("attributes", "data"):
        attributes = subject.item.get(place)
        if isinstance(attributes, dict):
            value = attributes.get(name)
            text = text_of(value.get("value") if isinstance(value, dict) else value)
            if text is not None:
                return text
    return None


def _error_messages(settings: FilterSettings) -> Check | None:
    globs = Globs(settings.error_messages)
    if globs.empty:
        return None

    def check(subject: Subject) -> str | None:
        message = message_of(subject.item)
        if message and globs.match(message):
            return "error-message"
        for exception in exceptions_of(subject.item):
            if isinstance(exception, dict):
                parts = (text_of(exception.get("type")), text_of(exception.get("value")))
                text = ": ".join(part for part in parts if part)
                if text and globs.match(text):
                    return "error-message"
        return None

    return check


def _localhost(settings: FilterSettings) -> Check | None:
    return (lambda subject: "localhost" if _is_local(subject.item) else None) if settings.localhost else None


def _is_local(event: dict[str, Any]) -> bool:
    user, request = event.get("user"), event.get("request")
    if isinstance(user, dict) and user.get("ip_address") in LOCAL_ADDRESSES:
        return True
    url = text_of(request.get("url")) if isinstance(request, dict) else None
    scheme, host = _scheme_and_host(url)
    if scheme == "file" or any(host == name or host.endswith("." + name) for name in LOCAL_HOSTS):
        return True
    if header(event, "X-Forwarded-For") in LOCAL_ADDRESSES:
        return True
    if scheme:
        return False
    hosts = (header(event, name) for name in ("Host", "X-Forwarded-Host"))
    return any(value is not None and value.partition(":")[0] in LOCAL_HOSTS for value in hosts)


def _scheme_and_host(url: str | None) -> tuple[str, str]:
    try:
        parts = urlsplit(url or "")
        return parts.scheme.lower(), (parts.hostname or "").lower()
    except ValueError:
        return "", ""


def _browser_extensions(settings: FilterSettings) -> Check | None:
    if not settings.browser_extensions:
        return None
    return lambda subject: "browser-extensions" if _is_extension(subject.item) else None


def _is_extension(event: dict[str, Any]) -> bool:
    exceptions = exceptions_of(event)
    first = exceptions[0] if exceptions else None
    if not isinstance(first, dict):
        return False
    value = text_of(first.get("value"))
    if value and is_extension_text(value):
        return True
    stacktrace = first.get("stacktrace")
    frames = stacktrace.get("frames") if isinstance(stacktrace, dict) else None
    for frame in reversed(frames if isinstance(frames, list) else []):
        if not isinstance(frame, dict):
            return False
        path = text_of(frame.get("abs_path")) or text_of(frame.get("filename"))
        if path is None:
            return False
        if path not in ANONYMOUS_PATHS:
            return is_extension_source(path)
    return False


def _user_agent(subject: Subject) -> str | None:
    if subject.root == "event":
        return header(subject.item, "User-Agent")
    attributes = subject.item.get("attributes") or subject.item.get("attrs") or subject.item.get("data")
    if not isinstance(attributes, dict):
        return None
    value = attributes.get("user_agent.original") or entry(attributes, "user_agent")
    return text_of(value.get("value") if isinstance(value, dict) else value)


def _legacy_browsers(settings: FilterSettings) -> Check | None:
    options = tuple(settings.legacy_browsers)
    if not options:
        return None

    def check(subject: Subject) -> str | None:
        agent = _user_agent(subject)
        return "legacy-browsers" if agent and is_legacy_browser(agent, options) else None

    return check


def _web_crawlers(settings: FilterSettings) -> Check | None:
    if not settings.web_crawlers:
        return None

    def check(subject: Subject) -> str | None:
        agent = _user_agent(subject)
        return "web-crawlers" if agent and is_crawler(agent) else None

    return check


def _transactions(settings: FilterSettings) -> Check | None:
    globs = Globs(settings.ignore_transactions)
    if globs.empty:
        return None

    def check(subject: Subject) -> str | None:
        name = text_of(subject.item.get("transaction")) if subject.item.get("type") == "transaction" else None
        return "filtered-transaction" if name and globs.match(name) else None

    return check


_BUILDERS: tuple[tuple[str, Callable[[FilterSettings], Check | None]], ...] = (
    ("rules", _rules),
    ("csp_disallowed_sources", _csp),
    ("client_ips", _client_ips),
    ("releases", _releases),
    ("error_messages", _error_messages),
    ("localhost", _localhost),
    ("browser_extensions", _browser_extensions),
    ("legacy_browsers", _legacy_browsers),
    ("web_crawlers", _web_crawlers),
    ("ignore_transactions", _transactions),
)
