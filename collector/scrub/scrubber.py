"""The scrubber of a project: bytes in, bytes out."""

from copy import copy
from typing import Any

import msgspec

from collector.errors import ProtocolError
from collector.scrub.attachment import scrub_attachment
from collector.scrub.defaults import advanced_program, default_program, hash_key
from collector.scrub.fast import FastScrub
from collector.scrub.originals import forget_name, scrub_errors, scrub_values
from collector.scrub.places import STRING, Place, root_place
from collector.scrub.scan import can_scan
from collector.scrub.schema import EVENT, SCHEMAS
from collector.scrub.settings import ScrubSettings
from collector.scrub.spans import Fallback
from collector.scrub.text import Keys, scrub_text
from collector.scrub.walk import merge_entries, scrub_decoded, scrub_graphql

EVENT_KINDS = frozenset(kind for kind, schema in SCHEMAS.items() if schema is EVENT)
NORMALISED_KINDS = frozenset(("event", "transaction"))
NOTED_KINDS = EVENT_KINDS | {"span"}  # items that carry `_meta`


class Scrubber:
    """Scrubs items of one project. Raises ValueError at construction, naming the setting and the reason.

    fast: the fast form for events, which takes their leaves, too; None where rules need the whole event, or nothing is
    scrubbed (idle).
    """

    def __init__(self, settings: ScrubSettings) -> None:
        self._advanced = advanced_program(settings)
        self._default = default_program(settings)
        self._keys = Keys(hash_key(settings))
        self._scrub_attachments = settings.attachments
        self._graphql = settings.scrub_data and settings.scrub_defaults
        self._roots: dict[str, list[Place]] = {}
        self.fast: FastScrub | None = None
        if self._default and not self._advanced and can_scan(settings):
            self.fast = FastScrub(settings, self._places("event")[0], self._free)
        self.idle = not self._advanced and not self._default

    def event(self, payload: bytes) -> bytes:
        """A normalised event or transaction as JSON, scrubbed, `_meta` remarks merged in Sentry's format.

        Where nothing can need scrubbing the payload comes back as it is, unparsed. Raises ProtocolError (reason
        invalid_json) when the payload is not JSON.
        """
        if self.idle:
            return payload
        if self.fast is None:
            return self.walked(payload, "event")
        try:
            return self.fast.event(payload)
        except Fallback:
            return self.walked(payload, "event")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(400, "payload is not JSON", "invalid_json") from error

    def _free(self, content: dict[str, Any]) -> None:
        for root in self._places("json"):
            scrub_decoded(content, root)

    def text(self, data: bytes, kind: str) -> bytes:
        """Any other item, scrubbed. `kind`: the item type when it is JSON (log, span, session, ...), else "text".

        Remarks are kept for kinds that carry `_meta`. Raises ProtocolError when a JSON kind is not JSON.
        """
        if self.idle:
            return data
        if kind == "text":
            return self._plain(data)
        if kind not in EVENT_KINDS:
            return self.walked(data, kind)
        # what was not normalised may hold a key twice at any level; the deep walk writes it anew
        return self.event(data) if kind in NORMALISED_KINDS else self.walked(data, kind)

    def attachment(self, data: bytes, name: str) -> bytes:
        """An attachment after the rules that name it, and after default scrubbing when the settings ask for that."""
        fresh = scrub_attachment(data, name, self._advanced, self._keys) if self._advanced else data
        return self.text(fresh, "text") if self._scrub_attachments and b"\x00" not in fresh else fresh

    def walked(self, payload: bytes, kind: str) -> bytes:
        """The deep walk over any JSON item; `event` takes it when rules need it. Raises ProtocolError."""
        item = decode(payload)
        if not isinstance(item, dict) or kind not in EVENT_KINDS:
            for root in self._places(kind):
                found = scrub_decoded(item, root)
                if kind in NOTED_KINDS and isinstance(item, dict):
                    merge_entries(item, found)
            return msgspec.json.encode(item)
        if self._graphql:
            scrub_graphql(item)
        user = copy(item.get("user"))
        for root in self._places(kind):
            merge_entries(item, scrub_decoded(item, root))
        scrub_errors(item.get("errors"), self._free)
        scrub_values(item.get("_meta"), self._free)
        if isinstance(item.get("user"), dict):
            forget_name(user, item["user"])
        return msgspec.json.encode(item)

    def _plain(self, data: bytes) -> bytes:
        """Plain text: line by line, because a rule may take a whole text; keys of several lines first."""
        text = data.decode("utf-8", "surrogateescape")
        for root in self._places("json"):
            place = root.key("", STRING)
            blocks = tuple(step for step in place.steps if step.rule.id.startswith("@pemkey"))
            if blocks and "-----BEGIN" in text:
                text = scrub_text(text, blocks, {}, self._keys) or ""
            text = "\n".join(place.scrub(line, {}) or "" for line in text.split("\n"))
        return text.encode("utf-8", "surrogateescape")

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
