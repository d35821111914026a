"""One project as every room knows it; rooms add their own tables in config.ProjectConfig."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from collector.model.settings import Duration, Help, Rate, Settings

KEY_FORM = re.compile(r"[0-9a-fA-F]{32}")
SLUG_FORM = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


class ProjectSettings(Settings):
    """Identity and doors of a project. Raises ValueError (from msgspec's construction) naming the bad field."""

    id: Annotated[int, msgspec.Meta(description="number in the DSN, at least 1", ge=1, le=2**63 - 1)]
    slug: Annotated[str, Help("short name: lower-case letters, digits, - and _; it begins the short ids of issues")]
    keys: Annotated[list[str], Help("public keys, 32 hex digits each; the first is shown in the DSN")]
    disabled_keys: Annotated[list[str], Help("keys that are known but refused")] = []
    allowed_origins: Annotated[list[str], Help('origins of browsers that may send; "*" is any')] = msgspec.field(
        default_factory=lambda: ["*"]
    )
    issue_rate: Annotated[Rate, Help('events per issue that keep their payload, such as "30/m", or "off"')] = Rate(
        "off"
    )
    max_age: Annotated[
        Duration, Help('events are removed when they are older, such as "7 d"; "0 s": as retention.max_age says')
    ] = Duration("0 s")
    issue_burst: Annotated[int, Help("events an issue may keep at once before issue_rate counts")] = 100

    @classmethod
    def flaws(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Slug, keys and burst against their forms."""
        slug, keys, burst = values.get("slug", "a"), values.get("keys"), values.get("issue_burst", 1)
        if not SLUG_FORM.fullmatch(slug):
            yield f"slug: {slug!r} should be lower-case letters, digits, - and _, at most 50"
        if keys is not None and not keys:
            yield "keys: should hold at least one public key of 32 hex digits"
        for name in ("keys", "disabled_keys"):
            for key in values.get(name) or []:
                if not KEY_FORM.fullmatch(key):
                    yield f"{name}: {key!r} should be 32 hex digits"
        if burst < 1:
            yield f"issue_burst: {burst} should be at least 1"

    def __post_init__(self) -> None:
        if found := list(self.flaws(msgspec.structs.asdict(self))):
            raise ValueError("; ".join(found))
