"""The scrubber of a project: bytes in, bytes out."""

from typing import Any

import msgspec

from collector.errors import ProtocolError
from collector.scrub.defaults import advanced_program, default_program, hash_key
from collector.scrub.places import Place, root_place
from collector.scrub.scan import can_scan, scan_event, scanner
from collector.scrub.schema import SCHEMAS
from collector.scrub.settings import ScrubSettings
from collector.scrub.spans import Fallback
from collector.scrub.text import Keys
from collector.scrub.walk import merge_entries, scrub_decoded, scrub_graphql

NOTED_KINDS = frozenset(("event", "transaction", "feedback", "replay_event", "span"))  # items that carry `_meta`


class Scrubber:
    """Scrubs items of one project. Raises ValueError at construction, naming the setting and the reason."""

    def __init__(self, settings: ScrubSettings) -> None:
        self._advanced = advanced_program(settings)
        self._default = default_program(settings)
        self._keys = Keys(hash_key(settings))
        self._graphql = settings.scrub_data and settings.scrub_defaults
        self._roots: dict[str, list[Place]] = {}
        self._scanner = scanner(settings) if self._default and not self._advanced and can_scan(settings) else None
        self.idle = not self._advanced and not self._default

    def event(self, payload: bytes) -> bytes:
        """A normalised event or transaction as JSON, scrubbed, `_meta` remarks merged in Sentry's format.

        Raises ProtocolError (reason invalid_json) when the payload is not JSON.
        """
        if self.idle:
            return payload
        if self._scanner is None:
            return self._walked(payload, "event")
        try:
            return scan_event(payload, self._scanner, self._places("event")[0])
        except Fallback:
            return self._walked(payload, "event")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(400, "payload is not JSON", "invalid_json") from error

    def _walked(self, payload: bytes, kind: str) -> bytes:
        item = decode(payload)
        changed = kind == "event" and self._graphql and isinstance(item, dict) and scrub_graphql(item)
        for root in self._places(kind):
            found = scrub_decoded(item, root)
            changed = changed or bool(found)
            if kind in NOTED_KINDS and isinstance(item, dict):
                merge_entries(item, found)
        return msgspec.json.encode(item)

    def _places(self, kind: str) -> list[Place]:
        roots = self._roots.get(kind)
        if roots is None:
            schema = SCHEMAS.get(kind, SCHEMAS["json"])
            programs = [program for program in (self._advanced, self._default) if program]
            roots = self._roots[kind] = [root_place([program], self._keys, schema) for program in programs]
        return roots


def decode(payload: bytes) -> Any:
    """Decoded JSON. Raises ProtocolError."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(400, "payload is not JSON", "invalid_json") from error
