"""Settings of the forward room."""

from typing import Annotated, Literal

import msgspec

from collector.machine.net import NetSettings
from collector.model.settings import Duration, Help, Secret, Settings, Size

Mode = Literal["summaries", "events", "off"]


class UpstreamSettings(Settings):
    """Where summaries go."""

    dsn: Annotated[Secret, Help("DSN of the upstream Sentry; empty: nothing is forwarded")] = Secret("")
    hub: Annotated[str, Help("address of a collector that is a hub, instead of a DSN")] = ""
    hub_token: Annotated[Secret, Help("the token that the hub has for this edge")] = Secret("")
    edge: Annotated[str, Help("the name that the hub has for this edge")] = ""
    window: Annotated[Duration, Help("one summary event per issue and window")] = Duration("60 s")
    mode: Annotated[
        Mode, Help("summaries: the first event of an issue, then one a window; events: all; a project may differ")
    ] = "summaries"
    encoding: Annotated[
        Literal["auto", "gzip", "zstd", "identity"], Help("compression of what is sent; auto: zstd, else gzip")
    ] = "gzip"
    fingerprint: Annotated[
        Literal["keep", "pin"], Help("keep: upstream groups by itself; pin: our hash is sent as fingerprint")
    ] = "keep"
    max_outbox_bytes: Annotated[Size, Help("disk that what is unsent may take")] = Size("64 MiB")
    max_age: Annotated[Duration, Help("unsent for longer: dropped and counted")] = Duration("14 d")
    when_full: Annotated[
        Literal["summarise", "drop_oldest", "drop_newest"],
        Help("full outbox: fold summaries of an issue into one before dropping, or drop at once what matters least"),
    ] = "summarise"
    max_backoff: Annotated[Duration, Help("longest pause between two attempts")] = Duration("60 s")
    drain_timeout: Annotated[Duration, Help("time to send what is ready at shutdown")] = Duration("2 s")
    connect_timeout: Annotated[Duration, Help("time to reach upstream, TLS included")] = Duration("3 s")
    timeout: Annotated[Duration, Help("time for one whole request and its answer")] = Duration("8 s")
    connections: Annotated[int, msgspec.Meta(description="requests in flight while all goes well", ge=1, le=32)] = 4
    batch_linger: Annotated[Duration, Help("logs, spans and metrics are collected for so long")] = Duration("5 s")
    session_hold: Annotated[Duration, Help("a session that has not ended by then is told as it stands")] = Duration(
        "5 m"
    )
    api_token: Annotated[Secret, Help("token for upstream's web API: statuses are the same both ways")] = Secret("")
    api_url: Annotated[str, Help("where the web API is; empty: as the DSN tells, sentry.io or its own host")] = ""
    api_organization: Annotated[str, Help("slug of the organisation; empty: looked up")] = ""
    sync_interval: Annotated[Duration, Help("how often statuses are compared")] = Duration("60 s")
    proxy: Annotated[str, Help("http://host:port; empty: as http_proxy, https_proxy and no_proxy say")] = ""
    ca_file: Annotated[str, Help("PEM file of trusted authorities; empty: the system's")] = ""

    def net(self) -> NetSettings:
        """The part of it that is about connections."""
        return NetSettings(
            connect_timeout=self.connect_timeout, timeout=self.timeout, proxy=self.proxy, ca_file=self.ca_file
        )

    def __post_init__(self) -> None:
        if self.window < 1.0:
            raise ValueError(f"window {self.window} should be at least 1 s")
        if self.max_backoff < 1.0:
            raise ValueError(f"max_backoff {self.max_backoff} should be at least 1 s")


class ForwardSettings(Settings):
    """What one project sends upstream. What is not an error has its own rule; `events` mode passes everything on."""

    mode: Annotated[Literal["inherit", "summaries", "events", "off"], Help("inherit: as [upstream] mode says")] = (
        "inherit"
    )
    sessions: Annotated[
        Literal["aggregate", "off"], Help("aggregate: added up per minute, release, environment and user")
    ] = "aggregate"
    logs: Annotated[Literal["batch", "off"], Help("batch: put together in large containers")] = "batch"
    spans: Annotated[Literal["batch", "off"], Help("spans outside of transactions")] = "batch"
    metrics: Annotated[Literal["batch", "off"], Help("trace metrics")] = "batch"
    transaction_rate: Annotated[
        float, msgspec.Meta(description="share of transactions sent, chosen by trace id; 0 to 1", ge=0.0, le=1.0)
    ] = 0.1
    slow_transaction: Annotated[
        Duration,
        Help("transactions of this duration or more are sent in any case, as failed ones are; 0 s: only those"),
    ] = Duration("2 s")
    attachments: Annotated[bool, Help("attachments of events that are sent in full go along")] = False
    max_events_per_hour: Annotated[
        int, msgspec.Meta(description="error events sent in any hour; 0: no limit", ge=0)
    ] = 0
    max_bytes_per_day: Annotated[Size, Help("compressed bytes sent in any 24 hours, all kinds; 0 B: no limit")] = Size(
        "0 B"
    )
