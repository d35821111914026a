"""Randomness: ids and keys. Injectable as plain callables."""

import os
import uuid


def new_event_id() -> str:
    """A random event id, 32 lower-case hex digits."""
    return uuid.uuid4().hex


def new_public_key() -> str:
    """A random DSN key, 32 lower-case hex digits."""
    return os.urandom(16).hex()


def new_epoch() -> int:
    """The identity of a new spool: 63 random bits, never 0."""
    return int.from_bytes(os.urandom(8), "big") >> 1 or 1


def new_batch_id() -> bytes:
    """A random id of a batch, 16 bytes."""
    return os.urandom(16)
