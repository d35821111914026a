"""From a case's Relay configuration to our TOML.

`plan` gives the tables of the whole collector and those of the case's own project, and names what it cannot translate:
such a case is skipped with that name, never guessed at.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from collector.filter.relay import from_relay as filters_from_relay
from collector.model.settings import encode_typed
from collector.scrub.relay import from_relay as scrubbing_from_relay
from tests.conformance.cases import KEY, PROJECT_ID, Case, Json, Place

RESERVE_KEY = "0" * 32  # a project needs one enabled key
MACHINE_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
EVERYBODY = ["0.0.0.0/0", "::/0"]  # Relay believes every sender's forwarding headers

LIMITS = {
    "max_envelope_size": "max_envelope_bytes",
    "max_event_size": "max_event_bytes",
    "max_attachment_size": "max_attachment_bytes",
    "max_attachments_size": "max_attachments_bytes",
    "max_attachment_count": "max_attachments_count",
    "max_session_count": "max_sessions_count",
    "max_session_size": "max_sessions_bytes",
    "max_sessions_size": "max_sessions_bytes",
    "max_client_reports_size": "max_client_report_bytes",
    "max_check_in_size": "max_check_in_bytes",
    "max_container_size": "max_container_bytes",
    "max_log_size": "max_log_bytes",
    "max_span_size": "max_span_bytes",
    "max_trace_metric_size": "max_trace_metric_bytes",
    "max_profile_size": "max_profile_bytes",
    "max_replay_compressed_size": "max_replay_bytes",
    "max_metric_buckets_size": "max_metric_buckets_bytes",
}


@dataclass
class Plan:
    """tables: of the collector. project: of the case's project, without id, slug and keys. missing: untranslatable."""

    tables: dict[str, Json] = field(default_factory=dict)
    project: Json = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    relay: Json = field(default_factory=dict)  # Relay's two scrubbing sections, which become one of ours
    disabled: bool = False
    wants_upstream: bool = False

    def put(self, table: str, key: str, value: Any) -> None:
        """Set `table.key`."""
        self.tables.setdefault(table, {})[key] = value


def plan(case: Case) -> Plan:
    """What the collector of this case looks like."""
    made = Plan(wants_upstream=not case.plain)
    made.put("ingest", "trusted_proxies", EVERYBODY)
    for key, value in case.config.items():
        translate = SECTIONS.get(key)
        if translate is None:
            made.missing.append(f"config.{key}")
        else:
            translate(made, value)
    made.project["scrubbing"] = _built(scrubbing_from_relay(**made.relay))
    return made


def _keys(made: Plan, keys: list[Json]) -> None:
    for key in keys:
        if key.get("public_key") == KEY and key.get("enabled") is False:
            made.disabled = True


def _limits(made: Plan, limits: Json) -> None:
    for key, value in limits.items():
        if key in LIMITS:
            counted = LIMITS[key].endswith("_count")
            made.put("limits", LIMITS[key], value if counted else _size(value))
        elif key == "shutdown_timeout":
            made.put("process", "shutdown_timeout", f"{max(float(value), 1.0):g} s")
        else:
            made.missing.append(f"config.limits.{key}")


def _size(value: Any) -> Any:
    match = re.fullmatch(r"\s*(\d+)\s*([kmg]i?b?)?\s*", str(value), re.I)
    if match is None:
        return value
    unit = (match[2] or "B").upper()
    return f"{match[1]} {unit if unit.endswith('B') else unit + 'iB'}"


def _routing(made: Plan, routing: Json) -> None:
    for key, value in routing.items():
        if key == "accept_unknown_items":
            made.put("ingest", key, value)
        else:
            made.missing.append(f"config.routing.{key}")


def _health(made: Plan, health: Json) -> None:
    for key, value in health.items():
        if key == "max_memory_bytes":
            made.put("ingest", "max_memory_bytes", f"{value} B")
        elif key == "max_memory_percent":  # of the machine's memory; ours counts bytes of its own process
            made.put("ingest", "max_memory_bytes", f"{max(1, int(float(value) * MACHINE_BYTES))} B")
        elif key not in ("refresh_interval_ms", "probe_timeout_ms", "memory_stat_refresh_frequency_ms"):
            made.missing.append(f"config.health.{key}")


def _spool(made: Plan, spool: Json) -> None:
    """Ours is always on disk; only its size says something."""
    for key, value in (spool.get("envelopes") or spool).items():
        if key == "max_disk_size":
            made.put("spool", "max_spool_bytes", _size(value))
        elif key not in ("path", "envelopes", "batch_size_bytes", "partitions"):
            made.missing.append(f"config.spool.{key}")


def _http(made: Plan, http: Json) -> None:
    """Ours is no proxy, retries by itself, and has its own time limits."""
    known = ("forward", "retry_delay", "timeout", "connection_timeout", "max_retry_interval", "outage_grace_period")
    made.missing.extend(f"config.http.{key}" for key in http if key not in known)


def _mode(made: Plan, mode: Any) -> None:
    if mode != "proxy":
        made.missing.append(f"config.mode {mode}")
    made.wants_upstream = True


def _upstream(made: Plan, upstream: Any) -> None:
    made.wants_upstream = True  # the runner's own upstream plays it


def _nothing(made: Plan, value: Any) -> None:
    """Our collector always behaves so: project states are known, client reports go upstream."""


def _project(made: Plan, project: Json) -> None:
    for key, value in project.items():
        translate = PROJECT.get(key)
        if translate is None:
            made.missing.append(f"config.project.{key}")
        else:
            translate(made, value)


def _domains(made: Plan, domains: list[str]) -> None:
    made.project["allowed_origins"] = domains


def _filters(made: Plan, settings: Json) -> None:
    made.project["filters"] = _built(filters_from_relay(settings))


def _scrubbing(made: Plan, settings: Json) -> None:
    made.relay["datascrubbing"] = settings


def _pii(made: Plan, config: Json) -> None:
    made.relay["pii_config"] = config


def _quotas(made: Plan, quotas: list[Json]) -> None:
    made.project["quota"] = [_quota(made, quota) for quota in quotas]


def _quota(made: Plan, quota: Json) -> Json:
    made.missing.extend(f"config.project.quotas.{key}" for key in quota if key not in QUOTA)
    table = {QUOTA[key]: value for key, value in quota.items() if key in QUOTA and value is not None}
    if "window" in table:
        table["window"] = f"{table['window']} s"
    return table


QUOTA = {"id": "id", "categories": "categories", "scope": "scope", "scopeId": "scope_id", "limit": "limit",
         "window": "window", "reasonCode": "reason_code"}  # fmt: skip
# The numbers that the default project and its key have in the cases, as quotas name them: ours are id and key itself.
SCOPE_IDS = {("project", str(PROJECT_ID)): "project_id", ("key", "7"): "key"}


def _retention(made: Plan, days: int) -> None:
    made.put("digest", "max_event_age", f"{days} d")


def _built(settings: Any) -> Json:
    built: Json = msgspec.to_builtins(settings, enc_hook=encode_typed)
    return built


SECTIONS: dict[str, Callable[[Plan, Any], None]] = {
    "keys": _keys,
    "limits": _limits,
    "routing": _routing,
    "health": _health,
    "spool": _spool,
    "http": _http,
    "mode": _mode,
    "upstream": _upstream,
    "outcomes": _nothing,
    "warm": _nothing,
    "project": _project,
}
PROJECT: dict[str, Callable[[Plan, Any], None]] = {
    "allowedDomains": _domains,
    "filterSettings": _filters,
    "datascrubbingSettings": _scrubbing,
    "piiConfig": _pii,
    "quotas": _quotas,
    "eventRetention": _retention,
    "features": _nothing,
}


def project_table(made: Plan, place: Place) -> Json:
    """One [[project]] for a case."""
    for quota in made.project.get("quota", []):
        owner = SCOPE_IDS.get((quota.get("scope", ""), str(quota.get("scope_id", ""))))
        if owner:
            quota["scope_id"] = str(getattr(place, owner))
    identity: Json = {"id": place.project_id, "slug": f"p{place.project_id}", "keys": [place.key]}
    if made.disabled:
        identity |= {"keys": [RESERVE_KEY], "disabled_keys": [place.key]}
    return identity | made.project


def toml(tables: Mapping[str, Json], projects: list[Json]) -> str:
    """The configuration file, without [listen]."""
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    for project in projects:
        lines += ["[[project]]", *(f"{key} = {_value(value)}" for key, value in project.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = (f"{json.dumps(key)} = {_value(entry)}" for key, entry in value.items() if entry is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    return json.dumps(str(value))
