"""Enrichment: browser, system and device from client hints and the user agent, place from the address.

The parser library and the database are loaded when first needed. Results are remembered per user agent and address.
Rules: protocol E5.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from collector.digest.clean import Event, Geo
from collector.digest.contexts import FROZEN_VERSIONS, completed

Agent = tuple[str, str, str, str, str]  # user agent, sec-ch-ua, platform, platform version, model
HINTS = {"User-Agent": 0, "Sec-Ch-Ua": 1, "Sec-Ch-Ua-Platform": 2, "Sec-Ch-Ua-Platform-Version": 3,
         "Sec-Ch-Ua-Model": 4}  # fmt: skip
BRAND = re.compile(r'"([^"]*)"\s*;\s*v="([^"]*)"')
NO_BRAND = re.compile(r"not.{0,3}a.{0,3}brand", re.IGNORECASE)  # browsers put in a made-up brand on purpose
MAX_REMEMBERED = 4096
MAX_AGENT_CHARS = 2048  # a longer one is no user agent; regular expressions are not run on it

Lookup = Callable[[str], Geo | None]


class Enrichment:
    """Adds contexts and places to normalised events. `locate`: address -> place, or None when there is no database."""

    def __init__(self, locate: Lookup | None = None) -> None:
        self._locate = locate
        self._agents: dict[Agent, tuple[tuple[str, Raw], ...]] = {}

    def apply(self, event: Event, contexts: dict[str, Raw]) -> None:
        """Fill contexts that the SDK left out, and the user's place."""
        request = event.request
        if request is not None and isinstance(request.headers, list):
            agent = _agent_of(request.headers)
            if agent is not None:
                for name, raw in self._contexts(agent):
                    key = "client_os" if name == "os" and event.platform != "javascript" else name
                    contexts.setdefault(key, raw)
        user = event.user
        if self._locate is not None and user is not None and user.ip_address and user.geo is None:
            user.geo = self._locate(user.ip_address)

    def browser(self, user_agent: str) -> tuple[str, str] | None:
        """Name and version ("" when unknown) of the browser behind a user agent."""
        if len(user_agent) > MAX_AGENT_CHARS:
            return None
        for name, raw in self._contexts((user_agent, "", "", "", "")):
            if name == "browser":
                found = msgspec.json.decode(raw)
                return found["name"], found.get("version") or ""
        return None

    def _contexts(self, agent: Agent) -> tuple[tuple[str, Raw], ...]:
        found = self._agents.get(agent)
        if found is None:
            made = [(name, completed(name, context)) for name, context in read_agent(agent)]
            found = tuple((name, Raw(msgspec.json.encode(context))) for name, context in made)
            if len(self._agents) >= MAX_REMEMBERED:
                self._agents.clear()
            self._agents[agent] = found
        return found


def _agent_of(headers: list[Any]) -> Agent | None:
    values = ["", "", "", "", ""]
    for name, value in headers:
        place = HINTS.get(name)
        if place is not None and isinstance(value, str) and len(value) <= MAX_AGENT_CHARS:
            values[place] = value
    return tuple(values) if any(values) else None  # type: ignore[return-value]


def read_agent(agent: Agent) -> list[tuple[str, dict[str, Any]]]:
    """The contexts that one browser tells about: hints first, then the user agent."""
    text, brands, platform, platform_version, model = (*agent,)
    parsed = _parse(text) if text else None
    contexts: list[tuple[str, dict[str, Any]]] = []
    browser = _hinted_browser(brands) or _parsed_browser(parsed)
    if browser:
        contexts.append(("browser", browser))
    device = _hinted_device(model) or _parsed_device(parsed)
    if device:
        contexts.append(("device", device))
    system = _hinted_system(platform, platform_version) or _parsed_system(parsed)
    if system:
        contexts.append(("os", system))
    return contexts


def _parse(text: str) -> Any:
    from ua_parser import parse  # 60 ms and 10 MB: only when a user agent is there

    return parse(text)


def _version(*parts: str | None) -> str | None:
    found = []
    for part in parts:
        if not part:
            break
        found.append(part)
    return ".".join(found) or None


def _named(name: str, version: str | None) -> dict[str, Any]:
    version = FROZEN_VERSIONS.get((name, version or ""), version)
    return {"name": name, "version": version} if version else {"name": name}


def _parsed_browser(parsed: Any) -> dict[str, Any] | None:
    agent = parsed.user_agent if parsed is not None else None
    if agent is None or agent.family == "Other":
        return None
    return _named(agent.family, _version(agent.major, agent.minor, agent.patch))


def _parsed_system(parsed: Any) -> dict[str, Any] | None:
    system = parsed.os if parsed is not None else None
    if system is None or system.family == "Other":
        return None
    return _named(system.family, _version(system.major, system.minor, system.patch))


def _parsed_device(parsed: Any) -> dict[str, Any] | None:
    device = parsed.device if parsed is not None else None
    if device is None or device.family == "Other":
        return None
    found = {"family": device.family, "model": device.model, "brand": device.brand}
    return {key: value for key, value in found.items() if value}


def _unquoted(text: str) -> str:
    return text.strip().strip('"').strip()


def _hinted_browser(brands: str) -> dict[str, Any] | None:
    """`"Not_A Brand";v="99", "Google Chrome";v="109", "Chromium";v="109"` -> Chrome 109."""
    fallback = None
    for hit in BRAND.finditer(brands):
        name, version = hit[1].strip(), hit[2].strip()
        if not name or NO_BRAND.match(name):
            continue
        found = _named("Chrome" if name == "Google Chrome" else name, version or None)
        if name != "Chromium":
            return found
        fallback = found
    return fallback


def _hinted_device(model: str) -> dict[str, Any] | None:
    name = _unquoted(model)
    return {"family": name, "model": name} if name else None


def _hinted_system(platform: str, version: str) -> dict[str, Any] | None:
    name = _unquoted(platform)
    return _named(name, _unquoted(version) or None) if name else None
