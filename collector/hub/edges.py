"""Edges: who may send, which of our projects is meant, and what was refused, per edge.

What was taken is counted with its commit (store.batches) and survives; refusals are counted here, in memory, as
HTTP answers are.
"""

import hashlib
from collections.abc import Container, Sequence
from typing import Any

from collector.errors import ProtocolError
from collector.hub.batch import Batch
from collector.hub.settings import EdgeSettings

UNKNOWN = "unknown"  # under this name the refusals of those without a known token are counted
MAX_REASONS = 50


class Edge:
    """One edge of the configuration."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.name = settings.name
        self._projects = {int(there): here for there, here in settings.projects.items()}

    def project_of(self, batch: Batch, known: Container[int]) -> int:
        """Our id of the batch's project. Raises ProtocolError 403 for another edge's name, 404 for the project."""
        if batch.edge != self.name:
            raise ProtocolError(
                403, f"the batch is of edge {batch.edge[:64]!r}, the token of {self.name!r}", "hub_edge"
            )
        here = self._projects.get(batch.project_id, batch.project_id)
        if here not in known:
            mapped = f", which is {here} here" if here != batch.project_id else ""
            raise ProtocolError(
                404, f"there is no project {batch.project_id}{mapped} at this hub", "hub_project",
                [f"configure it, or name its id here in projects of edge {self.name!r}"],
            )  # fmt: skip
        return here


class Edges:
    """All edges. Not thread-safe: the front's event loop owns it."""

    def __init__(self, edges: Sequence[EdgeSettings]) -> None:
        # Looked up by a digest, so that the time a look-up takes says nothing about the token.
        self._by_digest = {_digest(one.token.reveal()): Edge(one) for one in edges}
        self._refused: dict[str, dict[str, int]] = {}
        self._last: dict[str, str] = {}

    def take_over(self, before: "Edges") -> None:
        """Go on with the counts of the configuration until now; edges that are gone leave with theirs."""
        self._refused, self._last = before._refused, before._last
        gone = {edge.name for edge in before._by_digest.values()} - {edge.name for edge in self._by_digest.values()}
        for name in gone:
            self._refused.pop(name, None)
            self._last.pop(name, None)

    def authenticate(self, authorization: Sequence[bytes]) -> Edge:
        """The edge of a request. Raises ProtocolError 401."""
        if len(authorization) == 1:
            scheme, _, token = authorization[0].decode("latin-1").partition(" ")
            edge = self._by_digest.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
            if edge is not None:
                return edge
            raise ProtocolError(401, "unknown edge token", "hub_token")
        raise ProtocolError(401, "an edge sends its token as Authorization: Bearer", "hub_token")

    def refused(self, edge: Edge | None, reason: str, detail: str) -> None:
        """Count one refusal."""
        name = edge.name if edge else UNKNOWN
        reasons = self._refused.setdefault(name, {})
        if reason in reasons or len(reasons) < MAX_REASONS:
            reasons[reason] = reasons.get(reason, 0) + 1
        self._last[name] = detail

    def taken(self, edge: Edge) -> None:
        """What was wrong is over."""
        self._last.pop(edge.name, None)

    def status(self) -> dict[str, dict[str, Any]]:
        """Name of each configured edge, and UNKNOWN -> refused: by reason; last_error: a sentence, "" when the last
        batch was taken."""
        names = [edge.name for edge in self._by_digest.values()]
        names += [UNKNOWN] if UNKNOWN in self._refused else []
        return {
            name: {"refused": dict(self._refused.get(name, {})), "last_error": self._last.get(name, "")}
            for name in names
        }


def _digest(token: str) -> bytes:
    return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16).digest()
