"""Settings of the digest."""

from typing import Annotated

from collector.model.settings import Duration, Help, Settings


class DigestSettings(Settings):
    """How events are completed before they are stored."""

    geo_database: Annotated[str, Help("MaxMind-format file with places of addresses; empty: none")] = ""
    max_event_age: Annotated[Duration, Help("an older event gets the time of receipt as its time")] = Duration("90 d")
