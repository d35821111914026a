"""Project configuration in Relay's names, translated to ours: for the conformance cases and for people who move.

Lenient where Relay is: a broken glob or address in a list, an unknown operator and an unknown browser never match, a
generic section of a newer version is not applied.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from collector.filter.conditions import OPERATORS, compile_condition, parse_network
from collector.filter.globs import to_regex
from collector.filter.settings import FilterRule, FilterSettings, LegacyBrowser

GENERIC_VERSION = 1


def from_relay(filter_settings: Mapping[str, Any]) -> FilterSettings:
    """`filterSettings` of a Relay project configuration as FilterSettings."""
    options = _of(filter_settings, "legacyBrowsers", "options") if _enabled(filter_settings, "legacyBrowsers") else []
    ignored = _of(filter_settings, "ignoreTransactions", "patterns")
    return FilterSettings(
        rules=_generic(filter_settings.get("generic") or {}),
        csp_disallowed_sources=_of(filter_settings, "csp", "disallowedSources"),
        client_ips=_valid(_of(filter_settings, "clientIps", "blacklistedIps"), parse_network),
        releases=_valid(_of(filter_settings, "releases", "releases"), to_regex),
        error_messages=_valid(_of(filter_settings, "errorMessages", "patterns"), to_regex),
        localhost=_enabled(filter_settings, "localhost"),
        browser_extensions=_enabled(filter_settings, "browserExtensions"),
        legacy_browsers=[option for option in options if option in get_args(LegacyBrowser)],
        web_crawlers=_enabled(filter_settings, "webCrawlers"),
        ignore_transactions=_valid(ignored, to_regex) if _enabled(filter_settings, "ignoreTransactions") else [],
    )


def _enabled(settings: Mapping[str, Any], key: str) -> bool:
    return bool((settings.get(key) or {}).get("isEnabled"))


def _of(settings: Mapping[str, Any], key: str, inner: str) -> list[Any]:
    return list((settings.get(key) or {}).get(inner) or [])


def _valid(texts: list[str], parse: Callable[[str], object]) -> list[str]:
    kept = []
    for text in texts:
        try:
            parse(text)
        except ValueError:
            continue
        kept.append(text)
    return kept


def _generic(section: Mapping[str, Any]) -> list[FilterRule]:
    if section.get("version", GENERIC_VERSION) > GENERIC_VERSION:
        return []
    rules: dict[str, FilterRule] = {}
    for rule in section.get("filters") or []:
        condition = _known_only(rule.get("condition"))
        rules.setdefault(
            rule["id"], FilterRule(id=rule["id"], condition=condition, enabled=bool(rule.get("isEnabled")))
        )
    return list(rules.values())


def _known_only(condition: Any) -> dict[str, Any]:
    never = {"op": "never"}
    if not isinstance(condition, Mapping) or condition.get("op") not in OPERATORS:
        return never
    table, inner = dict(condition), condition.get("inner")
    if isinstance(inner, list):
        table["inner"] = [_known_only(one) for one in inner]
    elif isinstance(inner, Mapping):
        table["inner"] = _known_only(inner)
    if table["op"] == "glob" and isinstance(table.get("value"), list):
        table["value"] = _valid(table["value"], to_regex)
    if table["op"] == "cidr" and isinstance(table.get("value"), list):
        table["value"] = _valid(table["value"], parse_network)
    try:
        compile_condition(table)
    except ValueError:
        return never
    return table
