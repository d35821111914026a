"""Settings of the ingest doors."""

from typing import Annotated

from collector.model.settings import Duration, Help, Settings, Size


class IngestSettings(Settings):
    """Connections, deadlines and memory of the HTTP door."""

    max_connections: Annotated[int, Help("open connections; further ones are closed at once")] = 4000
    max_connections_per_address: Annotated[int, Help("open connections of one peer address; 0 is no limit")] = 0
    max_http_header_bytes: Annotated[Size, Help("request line and headers of one request")] = Size("32 KiB")
    header_timeout: Annotated[Duration, Help("time for the whole request head")] = Duration("10 s")
    body_timeout: Annotated[Duration, Help("time a body may take beyond its minimum rate")] = Duration("10 s")
    min_body_rate_bytes: Annotated[Size, Help("bytes a second that a body must bring on average")] = Size("16 KiB")
    keep_alive_timeout: Annotated[Duration, Help("how long an idle connection is kept")] = Duration("30 s")
    drain_timeout: Annotated[Duration, Help("time to read on and discard after an early refusal")] = Duration("5 s")
    max_inflight_bytes: Annotated[Size, Help("bodies in memory at once; beyond it the answer is 503")] = Size("256 MiB")
    max_memory_bytes: Annotated[
        Size, Help("memory of this process beyond which requests are refused with 503; 0 B is no limit")
    ] = Size("0 B")
    max_inline_bytes: Annotated[Size, Help("bodies above it are decoded off the event loop")] = Size("1 MiB")
    accept_unknown_items: Annotated[bool, Help("keep items of unknown type; false drops and counts them")] = True
    trusted_proxies: Annotated[
        list[str], Help("addresses or networks whose X-Forwarded-For is believed, such as 10.0.0.0/8")
    ] = []
