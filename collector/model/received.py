"""Received: one spool record, complete without the HTTP request; Position: where it stands."""

from typing import NamedTuple

import msgspec


class Received(msgspec.Struct, frozen=True, omit_defaults=True):
    """The head of a spool record; the body travels beside it, exactly as the client sent it.

    door: which HTTP door took it ("envelope", "store", ...; "ledger" is the front's own record of refusals).
    encoding: Content-Encoding of the body as spooled ("" gzip deflate br zstd).
    event_id: 32 hex digits as answered to the client, or "".
    quantity: ledger items in this record (the items admitted, `skip` left out).
    skip: indexes of envelope items that admission refused; the worker passes over them.
    received_at: wall clock, seconds since the epoch.
    """

    door: str
    project_id: int
    received_at: float
    quantity: int = 1
    event_id: str = ""
    public_key: str = ""
    encoding: str = ""
    content_type: str = ""
    client: str = ""
    user_agent: str = ""
    remote_addr: str = ""
    origin: str = ""
    query: str = ""
    slug: str = ""
    skip: tuple[int, ...] = ()


class Position(NamedTuple):
    """A place in the spool, ordered.

    epoch: identity of the spool (a new one when the spool was lost); seq: number of the record in it, from 1;
    total: ledger quantity received up to and including this record. Position(0, 0, 0) is before everything.
    """

    epoch: int
    seq: int
    total: int


START = Position(0, 0, 0)
