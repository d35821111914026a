"""Settings of grouping."""

from typing import Annotated

from collector.model.settings import Help, Settings

DEFAULT_CONFIG = "newstyle:2026-01-20"


class GroupingSettings(Settings):
    """How the events of a project become issues."""

    config: Annotated[str, Help("grouping configuration; an older one keeps the hashes it made")] = DEFAULT_CONFIG
    stack_trace_rules: Annotated[str, Help("stack trace rules, one a line: stack.module:io.acme.* +app")] = ""
    fingerprint_rules: Annotated[str, Help("fingerprint rules, one a line: type:TimeoutError -> timeout")] = ""
    transition: Annotated[
        bool, Help("look up the hashes of the other configuration, so that changing it splits no issue")
    ] = True
