"""Config: one field a room, in flow order; assembled here, declared beside the code that reads it.

Sources, later ones win: defaults, the TOML file, `<key>_file` beside a secret, environment COLLECTOR_<TABLE>_<KEY>,
the command line. `load` either returns a usable Config or raises ConfigError with every mistake at once.
"""

import copy
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from collector.accept.settings import IngestSettings
from collector.admit.settings import AdmitSettings, QuotaSettings
from collector.digest.settings import DigestSettings
from collector.errors import ConfigError
from collector.filter.settings import FilterSettings
from collector.forward.settings import ForwardSettings, UpstreamSettings
from collector.group.settings import GroupingSettings
from collector.hub.settings import HubSettings
from collector.model.project import ProjectSettings
from collector.model.settings import (
    DataSettings,
    Duration,
    Help,
    ListenSettings,
    Rate,
    Secret,
    Settings,
    Size,
    decode_typed,
    encode_typed,
)
from collector.model.shape import bare, fill, help_of, is_table, leaves, nearest, table_list
from collector.protocol.limits import LimitSettings
from collector.query.settings import QuerySettings
from collector.scrub.settings import ScrubSettings
from collector.spool.settings import SpoolSettings
from collector.store.settings import RetentionSettings, StoreSettings

ENV_PREFIX = "COLLECTOR_"


class ProcessSettings(Settings):
    """The shape of the process tree (reference figures: a child keeps acks as fast as without any processing)."""

    worker: Annotated[Literal["child", "thread"], Help("child process (default), or a thread: one process in all")] = (
        "child"
    )
    batch_records: Annotated[int, msgspec.Meta(description="spool records digested per commit, at most", ge=1)] = 500
    batch_linger: Annotated[Duration, Help("how long a small batch waits for company")] = Duration("250 ms")
    shutdown_timeout: Annotated[Duration, Help("time for in-flight requests and the last batch at SIGTERM")] = Duration(
        "10 s"
    )


class LogSettings(Settings):
    """Logs go to stderr, one JSON object a line, none per request."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Help("least severe level that is written")] = "info"


class ProjectConfig(ProjectSettings):
    """A project with the tables of all rooms."""

    filters: FilterSettings = FilterSettings()
    scrubbing: ScrubSettings = ScrubSettings()
    grouping: GroupingSettings = GroupingSettings()
    forward: ForwardSettings = ForwardSettings()
    quota: Annotated[list[QuotaSettings], Help("how much this project may send")] = []


class Config(Settings):
    """The whole configuration, in flow order."""

    listen: ListenSettings = ListenSettings()
    data: DataSettings = DataSettings()
    process: ProcessSettings = ProcessSettings()
    log: LogSettings = LogSettings()
    ingest: IngestSettings = IngestSettings()
    limits: LimitSettings = LimitSettings()
    spool: SpoolSettings = SpoolSettings()
    digest: DigestSettings = DigestSettings()
    store: StoreSettings = StoreSettings()
    retention: RetentionSettings = RetentionSettings()
    query: QuerySettings = QuerySettings()
    upstream: UpstreamSettings = UpstreamSettings()
    hub: HubSettings = HubSettings()
    admit: AdmitSettings = AdmitSettings()
    quota: Annotated[list[QuotaSettings], Help("how much all projects together, or each of them, may send")] = []
    project: Annotated[list[ProjectConfig], Help("the projects; none: one is made and kept in the data folder")] = []

    def to_bytes(self) -> bytes:
        """The form that goes to the worker over the link, secrets included."""
        return msgspec.json.encode(self, enc_hook=encode_typed)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Config":
        """The inverse of to_bytes."""
        return msgspec.json.decode(data, type=cls, dec_hook=decode_typed)


Check = Callable[[Config], Iterator[str]]


class Source(NamedTuple):
    """Where a configuration comes from, to read it again. path: absolute, with its links (they may lead elsewhere by
    then). overrides: from the command line."""

    path: Path
    environ: Mapping[str, str]
    overrides: Mapping[str, Any]

    def load(self, other: Path | None = None) -> Config:
        """What a start would find now; with `other` as if that file stood in its place. Raises ConfigError."""
        return load(other or self.path, self.environ, self.overrides, self.path.parent)


def load(
    path: Path, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None, place: Path | None = None
) -> Config:
    """Read, merge and check. `overrides`: {"listen.address": …} from the command line. `place`: the folder that paths
    in the file are relative to, else its own. Raises ConfigError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error
    mistakes: list[str] = []
    folder = place or path.parent
    _read_secret_files(Config, values, folder, "", mistakes)
    _apply_environ(values, environ, mistakes)
    for dotted, value in (overrides or {}).items():
        table, _, key = dotted.partition(".")
        values.setdefault(table, {})[key] = value
    config = fill(Config, values, "", mistakes)
    checked = config or fill(Config, _without(values, mistakes), "", [])
    mistakes.extend(_repeated(values))
    if checked is not None:
        for check in CHECKS:
            mistakes.extend(check(checked))
    if config is None or mistakes:
        raise ConfigError(mistakes)
    # Paths are relative to the file that names them, wherever the command runs.
    replace = msgspec.structs.replace
    data = replace(config.data, dir=str((folder / config.data.dir).resolve()))
    digest, upstream = config.digest, config.upstream
    if digest.geo_database:
        digest = replace(digest, geo_database=str((folder / digest.geo_database).resolve()))
    if upstream.ca_file:
        upstream = replace(upstream, ca_file=str((folder / upstream.ca_file).resolve()))
    return replace(config, data=data, digest=digest, upstream=upstream)


def data_folder(source: Source) -> Path:
    """The data folder that a file means as far as it can be told, also where it has mistakes or is gone: that is how a
    running collector is found, which still has the file as it was."""
    named = source.overrides.get("data.dir") or source.environ.get(f"{ENV_PREFIX}DATA_DIR")
    if not named:
        try:
            text = source.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        named = _dir_of(text) or DataSettings().dir
    return (source.path.parent / named).resolve()


def _dir_of(text: str) -> str:
    """data.dir of a file, "" when it has none."""
    try:
        return str(tomllib.loads(text)["data"]["dir"])
    except tomllib.TOMLDecodeError:
        found = re.search(r'^\s*\[data\][^\[]*?^\s*dir\s*=\s*["\']([^"\']+)', text, re.MULTILINE)
        return found[1] if found else ""
    except (KeyError, TypeError):
        return ""


def _read_secret_files(kind: type[Settings], values: Any, folder: Path, path: str, mistakes: list[str]) -> None:
    """Replace `<key>_file = "path"` by `<key> = <content>` wherever `<key>` is a Secret."""
    if not isinstance(values, dict):
        return
    for field in msgspec.structs.fields(kind):
        key, inner = field.encode_name, bare(field.type)
        if is_table(inner):
            _read_secret_files(inner, values.get(key), folder, f"{path}{key}.", mistakes)
        elif (element := table_list(inner)) is not None and isinstance(values.get(key), list):
            for index, row in enumerate(values[key]):
                _read_secret_files(element, row, folder, f"{path}{key}[{index}].", mistakes)
        elif inner is Secret and f"{key}_file" in values:
            name = values.pop(f"{key}_file")
            if key in values:
                mistakes.append(f"{path}{key}_file: {path}{key} is given too; keep one of them")
                continue
            try:
                values[key] = (folder / str(name)).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                mistakes.append(f"{path}{key}_file: {str(name)!r} cannot be read: {error}")


def _apply_environ(values: dict[str, Any], environ: Mapping[str, str], mistakes: list[str]) -> None:
    known = {ENV_PREFIX + "_".join(path).upper(): (path, kind) for path, kind in leaves(Config)}
    tables = {path[0] for path, _ in known.values()}
    for name, text in environ.items():
        if name not in known:
            first = name.removeprefix(ENV_PREFIX).partition("_")[0].lower()
            if name.startswith(ENV_PREFIX) and first in tables:
                mistakes.append(f"{name}: unknown key{nearest(name, list(known))}")
            continue
        path, kind = known[name]
        table = values
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                break
        if isinstance(table, dict):
            table[path[-1]] = _environ_value(bare(kind), text, name, mistakes)


def _environ_value(kind: Any, text: str, name: str, mistakes: list[str]) -> Any:
    if kind in (str, Size, Duration, Rate, Secret) or get_origin(kind) is Literal:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        mistakes.append(f"{name}: {text!r} should be written as in TOML (a number, true, false or a list)")
        return None


def _without(values: dict[str, Any], mistakes: list[str]) -> dict[str, Any]:
    """The values that are right so far, so that the checks beyond types are made in the same go."""
    rest = copy.deepcopy(values)
    for mistake in mistakes:
        *path, last = (
            int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", mistake.split(": ")[0])
        )
        table: Any = rest
        for part in path:
            known = isinstance(table, dict) or (isinstance(table, list) and isinstance(part, int))
            table = table[part] if known and part in (table if isinstance(table, dict) else range(len(table))) else None
        if isinstance(table, dict):
            table.pop(last, None)
        elif isinstance(table, list) and isinstance(last, int) and last < len(table):
            table[last] = {}  # its place stays, so that the others keep their numbers
    if isinstance(rest.get("project"), list):
        needed = {key: EXAMPLES[key] for key in ("id", "slug", "keys")}
        rest["project"] = [{**needed, **row} for row in rest["project"]]
    return rest


def _repeated(values: dict[str, Any]) -> Iterator[str]:
    rows = values.get("project")
    for name in ("id", "slug"):
        seen: set[str | int] = set()
        for index, row in enumerate(rows if isinstance(rows, list) else []):
            value = row.get(name) if isinstance(row, dict) else None
            if not isinstance(value, str | int):
                continue
            if value in seen:
                yield f"project[{index}].{name}: {value!r} is used by another project too"
            seen.add(value)


def _check_listen(config: Config) -> Iterator[str]:
    host, colon, port = config.listen.address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        yield f'listen.address: {config.listen.address!r} should be host:port, such as "127.0.0.1:9000"'


def _check_rules(config: Config) -> Iterator[str]:
    """Compile what a project writes in a language of its own: a broken rule is found here and never at run time.

    The compilers are imported only when there is something to compile: the front has no other use for them.
    """
    for index, project in enumerate(config.project):
        here = f"project[{index}]"
        if project.filters != FilterSettings():
            from collector.filter.filters import Filters

            yield from _mistake_of(f"{here}.filters", partial(Filters, project.filters))
        if project.scrubbing != ScrubSettings():
            from collector.scrub.scrubber import Scrubber

            yield from _mistake_of(f"{here}.scrubbing", partial(Scrubber, project.scrubbing))
        if project.grouping != GroupingSettings():
            from collector.group.grouping import Grouper

            yield from _mistake_of("", partial(Grouper, project.grouping, f"{here}.grouping"))


def _check_upstream(config: Config) -> Iterator[str]:
    if config.upstream.dsn.reveal():
        from collector.forward.target import parse_dsn

        yield from _mistake_of("", partial(parse_dsn, config.upstream.dsn.reveal()))
    if config.upstream.hub:
        from collector.forward.hub_target import parse_hub

        yield from _mistake_of("", partial(parse_hub, config.upstream))


def _check_sync(config: Config) -> Iterator[str]:
    upstream = config.upstream
    if upstream.api_token.reveal() and not upstream.dsn.reveal():
        yield "upstream.api_token: issues are found by what upstream.dsn was sent, and there is no DSN"
    if upstream.api_url and not re.match(r"https?://[^/]", upstream.api_url):
        yield f"upstream.api_url: {upstream.api_url!r} should be an address such as https://sentry.example.com"


def _mistake_of(place: str, build: Callable[[], object]) -> Iterator[str]:
    try:
        build()
    except ConfigError as error:
        yield from error.mistakes
    except ValueError as error:
        yield f"{place}: {error}"


CHECKS: list[Check] = [_check_listen, _check_rules, _check_upstream, _check_sync]


def example() -> str:
    """The text of config.example.toml: every setting with its help and default."""
    lines = [
        "# Every setting of collector with its default. Delete what you do not change.",
        "# Sizes and durations are texts with a unit. Any key can come from the environment: COLLECTOR_<TABLE>_<KEY>;",
        "# a secret can come from a file: <key>_file. `collector check --config FILE` lists every mistake at once.",
    ]
    for field in msgspec.structs.fields(Config):
        inner = bare(field.type)
        element = table_list(inner)
        if element is not None:
            lines += ["", f"# {help_of(field.type)}", f"# [[{field.encode_name}]]"]
            lines += _example_fields(element, field.encode_name, commented=True)
        else:
            lines += ["", f"# {_first_line(inner)}", f"[{field.encode_name}]"]
            lines += _example_fields(inner, field.encode_name, commented=False)
    return "\n".join(lines) + "\n"


def _example_fields(kind: type[Settings], path: str, commented: bool) -> Iterator[str]:
    tables: list[tuple[str, Any]] = []
    for field in msgspec.structs.fields(kind):
        inner = bare(field.type)
        element = table_list(inner)
        if is_table(inner) or element is not None:
            tables.append((field.encode_name, element or inner))
            continue
        default = (
            field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        )
        if field.required:
            default = EXAMPLES[field.encode_name]
        mark = "# " if commented or default is None or default == "" else ""
        shown = _toml(EXAMPLES.get(field.encode_name, "") if default in (None, "") else default)
        choices = f" ({' | '.join(get_args(inner))})" if get_origin(inner) is Literal else ""
        yield f"{mark}{field.encode_name} = {shown}  # {help_of(field.type)}{choices}"
    for name, inner in tables:
        many = table_list({f.encode_name: bare(f.type) for f in msgspec.structs.fields(kind)}[name]) is not None
        mark, opening, closing = ("# ", "[[", "]]") if many else ("# " if commented else "", "[", "]")
        yield ""
        yield f"# {_first_line(inner)}"
        yield f"{mark}{opening}{path}.{name}{closing}"
        yield from _example_fields(inner, f"{path}.{name}", commented or many)


EXAMPLES: dict[str, Any] = {
    "id": 42,
    "slug": "shop",
    "keys": ["c0ffee00c0ffee00c0ffee00c0ffee00"],
    "dsn": "http://key@host:port/1",
    "name": "berlin",
    "token": "a secret of its own",
}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and not isinstance(value, Size | Duration):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + "}"
    return msgspec.json.encode(encode_typed(value)).decode()


def _first_line(kind: type[Settings]) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0]
