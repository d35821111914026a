"""Places of addresses, from a database file in MaxMind's format that the owner supplies and replaces when he likes.

The library and the file are opened when the first address is asked for. A file that was replaced is opened within
ten seconds; a missing or broken one means no places (or the ones of before), never an error; `problem` then says why.
"""

from pathlib import Path
from typing import Any

from collector.digest.clean import Geo
from collector.machine.clock import Clock
from collector.machine.disk import Disk

LOOK_AGAIN_SECONDS = 10.0
MAX_REMEMBERED = 4096


class Places:
    """Looks addresses up. `locate` is what enrichment asks."""

    def __init__(self, path: Path, disk: Disk, clock: Clock) -> None:
        self.problem = ""
        self._path, self._disk, self._clock = path, disk, clock
        self._reader: Any = None
        self._modified_at = 0.0
        self._look_at: float | None = None
        self._known: dict[str, Geo | None] = {}

    def locate(self, address: str) -> Geo | None:
        """Where an address is, None when that is not known."""
        now = self._clock.monotonic()
        if self._look_at is None or now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_SECONDS
            self._refresh()
        if address in self._known:
            return self._known[address]
        found = self._look_up(address)
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[address] = found
        return found

    def close(self) -> None:
        """Release the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _refresh(self) -> None:
        """Open the file when it is new or was replaced."""
        try:
            modified_at = self._disk.modified_at(self._path)
            if modified_at == self._modified_at:
                return
            reader = _open(self._path)
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
            return
        except ValueError as error:
            self.problem = f"{self._path}: {error}"
            return
        self.close()
        self._reader, self._modified_at, self.problem = reader, modified_at, ""
        self._known.clear()

    def _look_up(self, address: str) -> Geo | None:
        if self._reader is None:
            return None
        try:
            record = self._reader.get(address)
        except (ValueError, OSError) as error:
            self.problem = f"{self._path}: {error}"
            return None
        return geo_of(record) if isinstance(record, dict) else None


def _open(path: Path) -> Any:
    """A reader of the file. Raises ValueError when it is no such database, OSError."""
    import maxminddb  # only when a database is configured

    try:
        return maxminddb.open_database(str(path))
    except maxminddb.InvalidDatabaseError as error:
        raise ValueError(str(error)) from error


def geo_of(record: dict[str, Any]) -> Geo | None:
    """The parts of a record that events carry: country code, city, subdivision, and the country's name as region."""
    country = record.get("country") or record.get("registered_country") or {}
    subdivisions = record.get("subdivisions") or [{}]
    code = country.get("iso_code")
    if not isinstance(code, str):
        return None
    return Geo(
        country_code=code, city=_name(record.get("city")), subdivision=_name(subdivisions[0]), region=_name(country)
    )


def _name(part: Any) -> str | None:
    names = part.get("names") if isinstance(part, dict) else None
    name = names.get("en") if isinstance(names, dict) else None
    return name if isinstance(name, str) else None
