"""Settings of admission: quotas, in the protocol's own words."""

from typing import Annotated, Literal

from collector.model.settings import Duration, Help, Rate, Settings

BYTE_CATEGORIES = frozenset(("attachment", "log_byte", "trace_metric_byte"))
NO_WINDOW = Duration("0 s")
NO_RATE = Rate("off")


class QuotaSettings(Settings):
    """How much may come in: `limit` per `window`, or a token bucket of `rate`; `limit = 0` refuses all."""

    id: Annotated[str, Help("name of the counter; needed when there is a window")] = ""
    categories: Annotated[
        list[str], Help('what is counted: "error", "attachment" (bytes), ...; empty: everything')
    ] = []
    scope: Annotated[Literal["organization", "project", "key"], Help("who shares the counter")] = "organization"
    scope_id: Annotated[str, Help("only for this project id or public key; empty: for each of its own")] = ""
    limit: Annotated[int, Help("quantity per window; 0 refuses all, -1 is no limit")] = -1
    window: Annotated[Duration, Help("length of a window")] = NO_WINDOW
    rate: Annotated[Rate, Help('token bucket beside or instead of the window, such as "30/m"')] = NO_RATE
    burst: Annotated[int, Help("tokens of a full bucket; 0 is the number in rate")] = 0
    reason_code: Annotated[str, Help("reason told to SDKs and kept in the ledger")] = ""

    def __post_init__(self) -> None:
        if self.limit > 0 and self.window < 1:
            raise ValueError(f"quota {self.id!r}: limit {self.limit} needs a window of at least 1 s")
        counts = self.limit > 0 or self.rate != "off"
        if counts and not self.id:
            raise ValueError("quota: id is needed to count")
        units = {category in BYTE_CATEGORIES for category in self.categories}
        if counts and len(units) > 1:
            raise ValueError(f"quota {self.id!r}: categories {self.categories} mix bytes and counts")

    @property
    def full_bucket(self) -> int:
        """Tokens of a full bucket."""
        return self.burst or int(self.rate.partition("/")[0] if self.rate != "off" else 0)


class SpikeSettings(Settings):
    """Spike protection: an hour far above what the last week was like is cut off, per project and category."""

    enabled: Annotated[bool, Help("learn a baseline and cut off spikes")] = False
    min_items_per_hour: Annotated[int, Help("an hour is never cut off below this many items")] = 10_000


class AdmitSettings(Settings):
    """Guards ahead of the quotas."""

    address_rate: Annotated[Rate, Help('requests of one client address, such as "50/s", or "off"')] = NO_RATE
    address_burst: Annotated[int, Help("requests an address may make at once; 0 is the number in address_rate")] = 0
    shed_pressure: Annotated[
        float, Help("share of spool or disk in use at which the least important items are refused; 1.0 is never")
    ] = 0.8
    spikes: SpikeSettings = SpikeSettings()

    def __post_init__(self) -> None:
        if not 0.1 <= self.shed_pressure <= 1.0:
            raise ValueError(f"shed_pressure: {self.shed_pressure} should be from 0.1 to 1.0")
