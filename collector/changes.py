"""What differs between two configurations, setting by setting, and what it takes to have it in force.

A setting is named by its path: `admit.address_rate`, `project[42].keys`, `quota[daily].limit`: rows of a list go by
their id or name, and the list itself (`project[42].filters.rules`) stands for their order. Secrets are compared and
never shown.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec.structs import replace

from collector.accept.settings import IngestSettings
from collector.admit.settings import AdmitSettings
from collector.config import Config, LogSettings
from collector.hub.settings import HubSettings
from collector.model.settings import Duration, ListenSettings, Secret, Settings, Size
from collector.model.shape import bare, is_table, table_list
from collector.query.settings import QuerySettings
from collector.spool.settings import SpoolSettings

RESTART = ("listen.address", "data.dir", "process.worker")  # what a running process cannot change
HIDDEN = "***"
NAMES_OF_ROWS = ("id", "name")
NO_KEY = "0" * 32
_CREDENTIALS = re.compile(r'//[^/@"\s]+@')  # as in the address of a proxy


class Change(NamedTuple):
    """One setting that differs. before, after: as JSON, secrets as ***; None where there is none."""

    path: str
    kind: Literal["added", "removed", "changed"]
    before: str | None
    after: str | None
    needs_restart: bool


class Leaf(NamedTuple):
    """A value and what it is when nothing is written."""

    value: Any
    default: Any


def changes(before: Config, after: Config) -> list[Change]:
    """In the order of the settings. Of a row that comes or goes what is not its default."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    found = []
    for path in dict.fromkeys([*old, *new]):
        here, there = old.get(path), new.get(path)
        if here is not None and there is not None:
            if here.value != there.value and not _is_told_by_rows(here.value, there.value):
                found.append(_change(path, "changed", here, there))
        elif (one := here or there) and one.value != one.default:
            found.append(_change(path, "added" if there else "removed", here, there))
    return found


def _change(path: str, kind: Literal["added", "removed", "changed"], before: Leaf | None, after: Leaf | None) -> Change:
    return Change(path, kind, _shown(before), _shown(after), path in RESTART)


def _is_told_by_rows(before: Any, after: Any) -> bool:
    """The names of rows differ: each row that comes or goes is told by itself; another order of the same is not."""
    return isinstance(before, tuple) and sorted(before) != sorted(after)


def pinned(wanted: Config, running: Config) -> Config:
    """The wanted configuration as far as a running process can have it: the settings of RESTART stay as they are."""
    return replace(
        wanted,
        listen=replace(wanted.listen, address=running.listen.address),
        data=replace(wanted.data, dir=running.data.dir),
        process=replace(wanted.process, worker=running.process.worker),
    )


def worker_part(config: Config) -> Config:
    """What concerns the worker; it gets no more than this, so nothing else can be a reason to replace it."""
    return replace(
        config,
        listen=ListenSettings(),
        log=LogSettings(),
        ingest=IngestSettings(),
        spool=SpoolSettings(),
        query=QuerySettings(),
        hub=HubSettings(),
        admit=AdmitSettings(),
        quota=[],
        project=[
            replace(project, keys=[NO_KEY], disabled_keys=[], allowed_origins=["*"], quota=[])
            for project in config.project
        ],
    )


def same_upstream(before: Config, after: Config) -> set[int]:
    """The projects of which everything went, and goes, to the same place: what it refused there still holds."""
    if before.upstream != after.upstream:
        return set()
    old = {project.id: project.forward for project in before.project}
    return {project.id for project in after.project if old.get(project.id) == project.forward}


def public(config: Config) -> bytes:
    """All of it but secrets, the same bytes for the same settings."""
    return msgspec.json.encode([(path, _shown(leaf)) for path, leaf in _leaves(config, "")])


def _leaves(settings: Settings, path: str) -> Iterator[tuple[str, Leaf]]:
    for field in msgspec.structs.fields(type(settings)):
        here, value = f"{path}{field.encode_name}", getattr(settings, field.name)
        kind = bare(field.type)
        if is_table(kind):
            yield from _leaves(value, f"{here}.")
        elif table_list(kind) is not None:
            rows = dict(_named(value))
            yield here, Leaf(tuple(rows), tuple(rows))
            for name, row in rows.items():
                yield from _leaves(row, f"{here}[{name}].")
        elif get_origin(kind) is dict and get_args(kind)[1] is Secret:
            for key, secret in value.items():
                yield f"{here}.{key}", Leaf(Secret(secret), None)
        else:
            yield here, Leaf(Secret(value) if kind is Secret else value, _default(field))


def _named(rows: list[Settings]) -> Iterator[tuple[str, Settings]]:
    seen: set[str] = set()
    for index, row in enumerate(rows):
        name = next((str(found) for key in NAMES_OF_ROWS if (found := getattr(row, key, ""))), "")
        if not name or name in seen:
            name = f"{name}#{index}"
        seen.add(name)
        yield name, row


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _shown(leaf: Leaf | None) -> str | None:
    if leaf is None:
        return None
    return _CREDENTIALS.sub(f"//{HIDDEN}@", msgspec.json.encode(leaf.value, enc_hook=_text).decode())


def _text(value: object) -> str:
    if isinstance(value, Secret):
        return HIDDEN if value.reveal() else ""
    return value.text if isinstance(value, Size | Duration) else str(value)
