"""Cases as they stand in a file: load them, fill their placeholders, move them to another project.

A case may be moved because hundreds of them say "project 42": moved to a project of its own, each finds an empty store
in a collector that all share. Only the project number and the key change (a key by one of the same length), in the
path, the auth and the DSN; every other byte is the case's own. `--exact` does without.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECT_ID = 42
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
Json = dict[str, Any]

PLACEHOLDER = re.compile(
    r"\{(NOW_EPOCH|NOW|TMP|REP:(?P<char>.):(?P<count>\d+))(?P<shift>[+-]\d+)?(?P<unit>[smhd])?\}", re.S
)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Place:
    """The project that a case talks to."""

    project_id: int = PROJECT_ID
    key: str = KEY


HOME = Place()


@dataclass
class Case:
    """One case; `steps` has one entry for the plain form. `raw` is the whole object of the file."""

    id: str
    area: str
    tier: str
    config: Json
    steps: list[Json]
    raw: Json = field(repr=False)
    place: Place = HOME

    @property
    def function(self) -> str:
        """Name of the pure function that the case calls, "" for a case over HTTP."""
        return str((self.steps[0].get("request") or {}).get("function", ""))

    @property
    def plain(self) -> bool:
        """One request, judged by the answer and by what was stored and counted."""
        return "steps" not in self.raw and self._forwarded in (None, 0)

    @property
    def listens(self) -> bool:
        """An upstream has to listen, even if only to hear nothing."""
        return self._forwarded is not None

    @property
    def _forwarded(self) -> Any:
        expect = self.raw.get("expect")
        return expect.get("forwarded") if isinstance(expect, dict) else None


def load(path: Path) -> list[Case]:
    """Every case of a file: a list, or an object with `cases`."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = document.get("cases", []) if isinstance(document, dict) else document
    return [_case(row, number) for number, row in enumerate(rows)]


def _case(row: Any, number: int) -> Case:
    if not isinstance(row, dict):
        row = {"id": f"case-{number}", "unreadable": row}
    steps = row.get("steps")
    if not isinstance(steps, list):
        steps = [{key: row[key] for key in ("request", "expect") if key in row}]
    return Case(
        id=str(row.get("id", f"case-{number}")),
        area=str(row.get("area", "")),
        tier=str(row.get("tier", "contract")),
        config=row.get("config") or {},
        steps=[step for step in steps if isinstance(step, dict)],
        raw=row,
    )


def fill(value: Any, now: datetime, folder: str = "/tmp") -> Any:
    """The value with every placeholder replaced, at any depth."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda match: _filled(match, now, folder), value)
    if isinstance(value, list):
        return [fill(entry, now, folder) for entry in value]
    if isinstance(value, dict):
        return {key: fill(entry, now, folder) for key, entry in value.items()}
    return value


def _filled(match: re.Match[str], now: datetime, folder: str) -> str:
    if match["char"]:
        return match["char"] * int(match["count"])
    if match[1] == "TMP":
        return folder
    moment = now + timedelta(seconds=int(match["shift"] or 0) * UNITS[match["unit"] or "s"])
    if match[1] == "NOW_EPOCH":
        return str(int(moment.timestamp()))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def now() -> datetime:
    """The moment that {NOW} stands for."""
    return datetime.now(UTC)


def moved(value: Any, place: Place) -> Any:
    """The value as if the case had been written for `place`."""
    if place == HOME:
        return value
    if isinstance(value, str):
        return _moved_text(value, place)
    if isinstance(value, list):
        return [moved(entry, place) for entry in value]
    if isinstance(value, dict):
        return {key: moved(entry, place) for key, entry in value.items()}
    return value


def _moved_text(text: str, place: Place) -> str:
    scheme, blank, token = text.partition(" ")
    if blank and scheme.lower() == "basic":
        try:
            pair = base64.b64decode(token).decode()
        except (binascii.Error, UnicodeDecodeError):
            return text
        return f"{scheme} {base64.b64encode(pair.replace(KEY, place.key).encode()).decode()}"
    text = re.sub(rf"({KEY}[^@\s\"]*@[^/\s\"]+(?:/[^/\s\"]+)*/){PROJECT_ID}\b", rf"\g<1>{place.project_id}", text)
    text = re.sub(rf"(/api/+){PROJECT_ID}(?=/)", rf"\g<1>{place.project_id}", text)
    return text.replace(KEY, place.key)
