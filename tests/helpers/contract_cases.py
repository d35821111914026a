"""The third-party conformance cases, by area; they lie beside the checkout and are not part of it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[2].parent / "shared"
CASES = SHARED / "conformance" / "protocol_cases.json"


@cache
def cases_of(*areas: str) -> list[dict[str, Any]]:
    """The cases of the areas, [] when the folder is absent."""
    if not CASES.exists():
        return []
    return [case for case in json.loads(CASES.read_text(encoding="utf-8")) if case["area"] in areas]


def event_of(case: dict[str, Any]) -> dict[str, Any]:
    """The event or transaction that a case sends, timestamps made plain numbers."""
    request = case.get("request") or case["steps"][0]["request"]
    lines = request["envelope_lines"]
    text = lines[2].replace('"{NOW-60s}"', "1763600000").replace('"{NOW-62s}"', "1763599998")
    event: dict[str, Any] = json.loads(text)
    return event


def normalised(event: dict[str, Any]) -> dict[str, Any]:
    """The few repairs of normalisation that filter and scrubbing cases lean on."""
    event = dict(event)
    message = event.pop("message", None)
    entry = dict(event.get("logentry") or ({"formatted": message} if message else {}))
    if "params" in entry and "formatted" not in entry:
        entry["formatted"] = entry["message"] % tuple(entry["params"])
    if entry:
        event["logentry"] = entry
    if isinstance(event.get("tags"), dict):
        event["tags"] = [[key, value] for key, value in sorted(event["tags"].items())]
    request = event.get("request")
    if request and isinstance(request.get("headers"), dict):
        event["request"] = {**request, "headers": [[key, value] for key, value in sorted(request["headers"].items())]}
    for exception in (event.get("exception") or {}).get("values", []):
        for frame in (exception.get("stacktrace") or {}).get("frames", []):
            frame.setdefault("abs_path", frame.get("filename"))
    return event
