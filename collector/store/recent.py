"""The event ids seen lately, to recognise a client that sends again what it did not hear an answer for."""


class RecentIds:
    """Two generations of at most `max_ids` // 2 each: between half and all of the newest ids are remembered.

    Keys are Python's keyed 64-bit hashes, salted per process, so that a client cannot aim at a collision; 100,000 take
    about 9 MB.
    """

    def __init__(self, max_ids: int) -> None:
        self._half = max(1, max_ids // 2)
        self._new: set[int] = set()
        self._old: set[int] = set()

    @staticmethod
    def key(project_id: int, event_id: str) -> int:
        """The key of an event id (32 hex digits) in its project."""
        return hash((project_id, event_id))

    def __contains__(self, key: int) -> bool:
        return key in self._new or key in self._old

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def add(self, keys: set[int]) -> None:
        """Remembers ids, forgetting the oldest generation when this one is full."""
        self._new |= keys
        if len(self._new) >= self._half:
            self._old, self._new = self._new, set()
