"""Settings of ad-hoc SQL: what one query may use before it is stopped, and who may ask over HTTP."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from collector.model.settings import Duration, Help, Secret, Settings, Size

SHORTEST_TOKEN = 16
MAX_CONCURRENT = 64


class QuerySettings(Settings):
    """Limits of ad-hoc SQL; each query runs in a locked-down process of its own."""

    timeout: Annotated[Duration, Help("time a query may run; it is stopped then")] = Duration("30 s")
    memory_limit: Annotated[Size, Help("memory DuckDB may use for one query")] = Size("256 MB")
    max_rows: Annotated[int, Help("rows one query may return")] = 1_000_000
    max_result_bytes: Annotated[Size, Help("size of one answer")] = Size("256 MB")
    token: Annotated[
        Secret, Help("who presents it may ask POST /api/query/ (16 characters or more); without one nobody may")
    ] = Secret("")
    max_concurrent: Annotated[
        int, msgspec.Meta(description="queries over HTTP that run at a time", ge=1, le=MAX_CONCURRENT)
    ] = 2

    @classmethod
    def flaws(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """A token that could be guessed."""
        if 0 < len(values.get("token") or "") < SHORTEST_TOKEN:
            yield f"token: should have {SHORTEST_TOKEN} characters or more; this one has {len(values['token'])}"
