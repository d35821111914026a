"""Settings of the store: how much is kept, and how it is cut into files."""

from typing import Annotated

from collector.model.settings import Duration, Help, Settings, Size


class StoreSettings(Settings):
    """How events are written."""

    memory_limit: Annotated[Size, Help("memory DuckDB may use in the worker")] = Size("96 MB")
    max_segment_bytes: Annotated[Size, Help("a day's segment file is rotated early at this size")] = Size("512 MB")
    # Rows that no checkpoint has written take three times their log in memory. With 48 MB they do not fit the memory
    # limit: 26 MB went to tmp/ and came back, a checkpoint took 390 ms and not 75, append and checkpoint 91 us an event
    # and not 64 (measured on real events).
    checkpoint_bytes: Annotated[Size, Help("write-ahead log size at which a checkpoint is made")] = Size("16 MB")
    checkpoint_interval: Annotated[Duration, Help("longest time spool files wait for a checkpoint")] = Duration("30 s")
    max_recent_ids: Annotated[int, Help("event ids remembered to recognise duplicates")] = 100_000
    max_users_per_issue: Annotated[int, Help("distinct users counted exactly per issue, estimated beyond")] = 1024
    max_quarantine_bytes: Annotated[Size, Help("bytes of damaged records kept; the oldest go first")] = Size("256 MB")
    max_quarantine_age: Annotated[Duration, Help("damaged records, not scrubbed, are removed after that")] = Duration(
        "14 d"
    )


class RetentionSettings(Settings):
    """What is kept, and for how long. Whole segments go, the oldest first."""

    max_age: Annotated[Duration, Help("segments whose newest event is older are removed")] = Duration("30 d")
    max_bytes: Annotated[Size, Help("bytes all segments may take together")] = Size("10 GB")
    max_attachment_bytes: Annotated[Size, Help("bytes all attachments may take together; the oldest go first")] = Size(
        "1 GB"
    )
    max_attachment_age: Annotated[Duration, Help("attachments that came before are removed; their rows stay")] = (
        Duration("30 d")
    )
    min_free_bytes: Annotated[Size, Help("free disk below which the oldest segment goes early")] = Size("256 MB")
