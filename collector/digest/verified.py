"""Parts of an event that repeat from event to event (source lines, module lists, the SDK): looked at once, remembered.

The memo holds bytes that were seen to be well-typed, bounded by number and by the size of each. Measured: remembering
source lines costs a third of decoding them.
"""

from typing import Any, TypeVar

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


def is_null(raw: Raw) -> bool:
    """Whether a raw field is absent or null."""
    return raw is NOTHING or bytes(raw) == b"null"
