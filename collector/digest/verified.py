"""Parts of an event that repeat from event to event (source lines, module lists, the SDK): looked at once, remembered.

The memo holds bytes that were seen to be well-typed, bounded by number and by the size of each. Measured: remembering
source lines costs a third of decoding them.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from collector.digest.about import NeedsRepair
from collector.digest.clean import NOTHING

T = TypeVar("T")
MAX_PART_BYTES = 4096


class Verified:
    """Bytes of one type that need no repair. `seen` holds what was verified, never null."""

    def __init__(self, kind: Any, capacity: int = 4096) -> None:
        self.seen: dict[bytes, Any] = {}
        self._decode = msgspec.json.Decoder(kind).decode
        self._capacity = capacity

    def get(self, raw: Raw) -> Any:
        """The decoded part. Raises NeedsRepair when it has another type."""
        data = bytes(raw)
        found = self.seen.get(data)
        if found is None:
            try:
                found = self._decode(data)
            except msgspec.MsgspecError:
                raise NeedsRepair from None
            if found is not None and len(data) <= MAX_PART_BYTES:
                if len(self.seen) >= self._capacity:
                    self.seen.clear()
                self.seen[data] = found
        return found


class Rewritten(Generic[T]):
    """Parts that are written anew from their typed form, so that nulls and empty parts are gone. `write`: how."""

    def __init__(self, kind: type[T], write: Callable[[T], bytes], capacity: int = 256) -> None:
        self._seen: dict[bytes, tuple[T, Raw]] = {}
        self._write = write
        self._decode = msgspec.json.Decoder(kind | None).decode
        self._capacity = capacity

    def get(self, raw: Raw) -> tuple[T | None, Raw]:
        """The decoded part and its bytes; (None, NOTHING) for null and {}. Raises NeedsRepair."""
        data = bytes(raw)
        known = self._seen.get(data)
        if known is not None:
            return known
        try:
            found = self._decode(data)
        except msgspec.MsgspecError:
            raise NeedsRepair from None
        if found is None:
            return None, NOTHING
        written = self._write(found)
        if written == b"{}":
            return None, NOTHING
        if len(data) <= MAX_PART_BYTES:
            if len(self._seen) >= self._capacity:
                self._seen.clear()
            self._seen[data] = found, Raw(written)
        return found, Raw(written)
