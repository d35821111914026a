"""Settings of admission: quotas, in the protocol's own words."""

from typing import Annotated, Literal

from collector.model.settings import Duration, Help, Settings

BYTE_CATEGORIES = frozenset(("attachment", "log_byte", "trace_metric_byte"))
NO_WINDOW = Duration("0 s")


class QuotaSettings(Settings):
    """How much may come in. Without a window only `limit = 0` refuses; a negative limit refuses nothing."""

    id: Annotated[str, Help("name of the counter; needed when there is a window")] = ""
    categories: Annotated[
        list[str], Help('what is counted: "error", "attachment" (bytes), ...; empty: everything')
    ] = []
    scope: Annotated[Literal["organization", "project", "key"], Help("who shares the counter")] = "organization"
    scope_id: Annotated[str, Help("only for this project id or public key; empty: for each of its own")] = ""
    limit: Annotated[int, Help("quantity per window; 0 refuses all, -1 is no limit")] = -1
    window: Annotated[Duration, Help("length of a window")] = NO_WINDOW
    reason_code: Annotated[str, Help("reason told to SDKs and kept in the ledger")] = ""

    def __post_init__(self) -> None:
        if self.limit > 0 and self.window < 1:
            raise ValueError(f"quota {self.id!r}: limit {self.limit} needs a window of at least 1 s")
        if self.limit > 0 and not self.id:
            raise ValueError("quota: id is needed to count")
        units = {category in BYTE_CATEGORIES for category in self.categories}
        if self.limit > 0 and len(units) > 1:
            raise ValueError(f"quota {self.id!r}: categories {self.categories} mix bytes and counts")
