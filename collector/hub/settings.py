"""Settings of the hub."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from collector.model.settings import Help, Secret, Settings

EDGE_FORM = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MIN_TOKEN_CHARS = 16


class EdgeSettings(Settings):
    """One edge collector that may send batches."""

    name: Annotated[str, Help("what it is called here, the same as its upstream.edge: a-z, 0-9, dot, - and _")]
    token: Annotated[Secret, Help("its own secret, at least 16 characters, the same as its upstream.hub_token")]
    projects: Annotated[
        dict[str, int], Help("project id there = project id here; one that is not listed keeps its id")
    ] = {}

    @classmethod
    def flaws(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Name, token and project ids against their forms."""
        if not EDGE_FORM.fullmatch(values.get("name", "a")):
            yield f"name: {values['name']!r} should be lower-case letters, digits, dot, - and _, at most 64"
        if len(values.get("token", "x" * MIN_TOKEN_CHARS)) < MIN_TOKEN_CHARS:
            yield f"token: should have at least {MIN_TOKEN_CHARS} characters"
        for there, here in (values.get("projects") or {}).items():
            if not there.isdecimal() or here < 1:
                yield f'projects: {there!r} = {here} should be project ids, such as "1" = 42'


class HubSettings(Settings):
    """Taking batches of other collectors, which name this one as upstream.hub."""

    enabled: Annotated[bool, Help("open POST /api/hub/batches/")] = False
    edge: Annotated[list[EdgeSettings], Help("the collectors that may send, each with a token of its own")] = []

    @classmethod
    def flaws(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """No name and no token twice."""
        for field in ("name", "token"):
            seen: set[str] = set()
            for index, edge in enumerate(values.get("edge") or []):
                value = str.__str__(getattr(edge, field))
                if value in seen:
                    yield f"edge[{index}].{field}: another edge has the same"
                seen.add(value)
