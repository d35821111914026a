"""A normalised event as a dict for the filters, each part made only when a filter asks for it."""

from typing import Any

import msgspec

from collector.digest.clean import EVENT_WRITER, NOTHING, Event

NAMES = {field.encode_name: field.name for field in msgspec.structs.fields(Event)}


class LazyEvent(dict[str, Any]):
    """Looks like the decoded normalised event; most filters look at one or two parts of it."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self._event = event

    def __missing__(self, key: str) -> Any:
        name = NAMES.get(key)
        value = getattr(self._event, name, None) if name else None
        if value is None or value is NOTHING:
            raise KeyError(key)
        made = value if isinstance(value, str | int | float) else msgspec.json.decode(EVENT_WRITER.encode(value))
        self[key] = made
        return made

    def get(self, key: str, default: Any = None) -> Any:
        """The part, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return self.get(str(key)) is not None
