"""Third-party cases for the digest: their placeholders, their requests as spool records, their assertions."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collector.digest.digester import Digester
from collector.digest.project import ProjectRules
from collector.digest.settings import DigestSettings
from collector.model.event import Digested
from collector.model.received import Position, Received
from collector.model.settings import Duration
from collector.protocol.limits import LimitSettings
from collector.scrub.settings import ScrubSettings

SHARED = Path(__file__).parents[2].parent / "shared"
CASES = SHARED / "conformance" / "protocol_cases.json"
AREAS = ("normalisation", "clock drift", "ip inference", "sessions", "check-ins", "user reports", "client reports")
NOW = 1795219200.0  # 2026-11-21T00:00:00Z
UNITS = {"s": 1, "d": 86400}


def load(areas: tuple[str, ...] = AREAS) -> list[dict[str, Any]]:
    """The cases of some areas that are one envelope; [] when the shared folder is absent."""
    if not CASES.exists():
        return []
    cases = json.loads(CASES.read_text())
    return [case for case in cases if case["area"] in areas and "envelope_lines" in case.get("request", {})]


def fill(text: str, now: float = NOW) -> str:
    """Placeholders replaced."""

    def put(hit: re.Match[str]) -> str:
        offset = int(hit[2]) * UNITS[hit[3]] if hit[2] else 0
        at = datetime.fromtimestamp(now + (offset if hit[1] == "+" else -offset), UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    text = re.sub(r"\{REP:(.):(\d+)\}", lambda hit: hit[1] * int(hit[2]), text)
    text = text.replace("{NOW_EPOCH}", str(int(now)))
    return re.sub(r"\{NOW(?:([+-])(\d+)([sd]))?\}", put, text)


def received_of(case: dict[str, Any], quantity: int) -> Received:
    """The spool record's head that the front would write."""
    headers = case["request"].get("headers", {})
    client = re.search(r"sentry_client=([^,]+)", headers.get("X-Sentry-Auth", ""))
    return Received(
        door="envelope",
        project_id=42,
        received_at=NOW + 0.5,
        quantity=quantity,
        client=client[1] if client else "",
        remote_addr=headers.get("X-Forwarded-For", "127.0.0.1"),
    )


def rules_of(case: dict[str, Any]) -> ProjectRules:
    """The project's rules as the case wants them."""
    from collector.filter.relay import from_relay

    project = case["config"].get("project", {})
    scrubbing = ScrubSettings(
        scrub_ip_addresses=project.get("datascrubbingSettings", {}).get("scrubIpAddresses", False)
    )
    return ProjectRules(filters=from_relay(project.get("filterSettings", {})), scrubbing=scrubbing)


def digest(case: dict[str, Any]) -> Digested:
    """The case's envelope, digested."""
    lines = [fill(line) for line in case["request"]["envelope_lines"]]
    body = ("\n".join(lines) + "\n").encode()
    days = case["config"].get("project", {}).get("eventRetention", 90)
    digester = Digester({42: rules_of(case)}, DigestSettings(max_event_age=Duration(f"{days} d")), LimitSettings())
    return digester.digest(Position(1, 1, 1), received_of(case, (len(lines) - 1) // 2), body)


def at(tree: Any, path: list[Any]) -> Any:
    """The value at a path, None when it is missing."""
    for key in path:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def failures(tree: Any, checks: list[dict[str, Any]]) -> list[str]:
    """The assertions of a case that do not hold."""
    found = []
    for check in checks:
        value, wanted = at(tree, check["path"]), check.get("value")
        if isinstance(wanted, str):
            wanted = fill(wanted)
        if not OPS[check["op"]](value, wanted):
            found.append(f"{check['path']} {check['op']} {str(wanted)[:80]}: is {str(value)[:80]}")
    return found


OPS: dict[str, Any] = {
    "equals": lambda value, wanted: value == wanted,
    "absent_or_null": lambda value, wanted: value is None,
    "len": lambda value, wanted: value is not None and len(value) == wanted,
    "ends_with": lambda value, wanted: isinstance(value, str) and value.endswith(wanted),
    "starts_with": lambda value, wanted: isinstance(value, str) and value.startswith(wanted),
    "contains": lambda value, wanted: value is not None and wanted in value,
    "matches": lambda value, wanted: isinstance(value, str) and re.search(wanted, value) is not None,
    "within_s_of_now": lambda value, wanted: isinstance(value, int | float) and abs(value - NOW) <= wanted,
    "present": lambda value, wanted: value is not None,
}


def count(digested: Digested, kind: str) -> int:
    """How many items of a kind are kept."""
    if kind == "event":
        return len(digested.events)
    return sum(row.kind == kind for row in digested.items)


def stored(digested: Digested) -> int:
    """How many events and items are kept; a client report is no item of the sender's data."""
    return len(digested.events) + sum(row.kind != "client_report" for row in digested.items)


def outcomes(digested: Digested) -> list[dict[str, Any]]:
    """Outcomes in the form of the cases."""
    return [
        {"outcome": o.outcome, "reason": o.reason, "category": o.category, "quantity": o.quantity}
        for o in digested.outcomes
    ]
