"""Scrubbing configuration in Relay's names, translated to ours: for the conformance cases and for people who move."""

from collections.abc import Mapping
from typing import Any

from collector.model.settings import Secret
from collector.scrub.rules import BUILTIN, parse_rule
from collector.scrub.settings import ScrubSettings


def from_relay(
    datascrubbing: Mapping[str, Any] | None = None, pii_config: Mapping[str, Any] | None = None
) -> ScrubSettings:
    """`datascrubbingSettings` and `piiConfig` of a Relay project configuration as ScrubSettings.

    Lenient where Relay is: unknown rules are left out, and a project without settings scrubs nothing by default.
    """
    switches, pii = datascrubbing or {}, pii_config or {}
    rules = {name: dict(rule) for name, rule in (pii.get("rules") or {}).items() if _known(rule)}
    applications = {
        selector: [name for name in names if name in rules or name in BUILTIN]
        for selector, names in (pii.get("applications") or {}).items()
    }
    hash_key = (pii.get("vars") or {}).get("hashKey")
    return ScrubSettings(
        scrub_data=bool(switches.get("scrubData", False)),
        scrub_defaults=bool(switches.get("scrubDefaults", False)),
        sensitive_fields=list(switches.get("sensitiveFields") or []),
        safe_fields=list(switches.get("excludeFields") or []),
        scrub_ip_addresses=bool(switches.get("scrubIpAddresses", False)),
        rules=rules,
        vars={"hash_key": Secret(hash_key)} if hash_key else {},
        applications=applications,
    )


def _known(rule: Any) -> bool:
    try:
        parse_rule(rule, "rule")
    except ValueError:
        return False
    return True
