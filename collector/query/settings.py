"""Settings of ad-hoc SQL: what one query may use before it is stopped."""

from typing import Annotated

from collector.model.settings import Duration, Help, Settings, Size


class QuerySettings(Settings):
    """Limits of ad-hoc SQL; each query runs in a locked-down process of its own."""

    timeout: Annotated[Duration, Help("time a query may run; at twice that its process is killed")] = Duration("30 s")
    memory_limit: Annotated[Size, Help("memory DuckDB may use for one query")] = Size("256 MB")
    max_rows: Annotated[int, Help("rows one query may return")] = 1_000_000
    max_result_bytes: Annotated[Size, Help("size of one answer")] = Size("256 MB")
