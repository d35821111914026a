"""Settings of the spool."""

from typing import Annotated, Literal

from collector.model.settings import Help, Settings, Size


class SpoolSettings(Settings):
    """How much the spool may hold and how durable an acknowledgement is."""

    max_spool_bytes: Annotated[Size, Help("acknowledged events waiting on disk, at most; beyond: 429")] = Size("1 GiB")
    min_free_bytes: Annotated[
        Size, Help("disk space left free, beyond: 503; at most 1/16 of the disk counts, so that small disks work")
    ] = Size("256 MiB")
    max_queued_bytes: Annotated[Size, Help("events in memory waiting for the disk, at most; beyond: 503")] = Size(
        "64 MiB"
    )
    file_bytes: Annotated[Size, Help("one spool file; written full of zeros ahead of use, less on small disks")] = Size(
        "8 MiB"
    )
    durability: Annotated[
        Literal["fsync", "write"],
        Help("fsync: 200 means it survives power loss; write: only a crash of this process (much the same speed)"),
    ] = "fsync"
