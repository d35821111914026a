"""The `payload` column of ad-hoc SQL: decompressed by a function of ours, only for rows that need it.

DuckDB's Python functions ask for numpy to be importable but do not use it for plain values; numpy would cost 16 MB and
165 ms a query. A stand-in module is put in its place, in the sandbox process only, when numpy is not installed.
"""

import datetime
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import duckdb
from duckdb.func import FunctionNullHandling, PythonUDFType

from collector.errors import Damaged
from collector.store.payload import Dictionary, PayloadCodec, read_dictionaries

JSON_FUNCTION = "collector_event_json"
TEXT_FUNCTION = "collector_item_text"


def stand_in_for_numpy() -> None:
    """Makes `import numpy` succeed; a no-op when the real one is installed."""
    if "numpy" in sys.modules or importlib.util.find_spec("numpy") is not None:
        return
    module = types.ModuleType("numpy")
    core = types.ModuleType("numpy._core")
    module.__dict__.update({"_core": core, "__version__": "2.0.0"})
    sys.modules["numpy"], sys.modules["numpy._core"] = module, core


def stand_in_for_pytz() -> None:
    """DuckDB asks pytz for the zone of a TIMESTAMPTZ (now()); here every time is UTC."""
    zone = _Utc()
    module = types.ModuleType("pytz")
    module.__dict__.update({"utc": zone, "timezone": lambda name: zone})
    sys.modules.setdefault("pytz", module)


class _Utc(datetime.tzinfo):
    def localize(self, value: datetime.datetime) -> datetime.datetime:
        """As of pytz."""
        return value.replace(tzinfo=self)

    def utcoffset(self, value: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta()

    def dst(self, value: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta()

    def tzname(self, value: datetime.datetime | None) -> str:
        return "UTC"


def register(connection: duckdb.DuckDBPyConnection, aliases: list[str], data: str = "") -> None:
    """Defines the functions that the views use. They never raise: what cannot be read is NULL. `data`: the data folder,
    where contents of attachments are; "" without one."""
    stand_in_for_numpy()
    stand_in_for_pytz()
    codecs = [PayloadCodec(_dictionaries(connection, alias), _contents(data)) for alias in aliases]

    def unpack(segment: int, enc: int, data: bytes | None) -> str | None:
        try:
            raw = codecs[segment].decode(enc, data)
            return None if raw is None else raw.decode("utf-8")
        except (Damaged, UnicodeDecodeError, IndexError, TypeError):
            return None

    def unpack_json(segment: int, enc: int, data: bytes | None) -> str | None:
        text = unpack(segment, enc, data)
        return text if text is None or _is_json(text) else None

    functions: list[tuple[str, Callable[[int, int, bytes | None], str | None], str]] = [
        (JSON_FUNCTION, unpack_json, "JSON"),
        (TEXT_FUNCTION, unpack, "VARCHAR"),
    ]
    for name, function, result in functions:
        connection.create_function(
            name,
            function,
            ["INTEGER", "UTINYINT", "BLOB"],
            result,
            type=PythonUDFType.NATIVE,
            null_handling=FunctionNullHandling.SPECIAL,
        )


def _contents(data: str) -> Callable[[bytes], bytes | None]:
    def content(digest: bytes) -> bytes | None:
        if not data:
            return None
        # Few queries look into attachments; loading this with each took a quarter of the process's start (measured).
        from collector.machine.disk import RealDisk
        from collector.store.attachments import Attachments

        return Attachments(RealDisk(), Path(data)).get(digest)

    return content


def _is_json(text: str) -> bool:
    """The digest wrote it, so its shape is known to be JSON; a bit flip that zstd let through is found here."""
    if text[:1] != "{" or text[-1:] != "}":
        try:
            json.loads(text)
        except ValueError:
            return False
    return True


def _dictionaries(connection: duckdb.DuckDBPyConnection, alias: str) -> dict[int, Dictionary]:
    rows = connection.execute(f"SELECT k, v FROM {alias}.seg_info").fetchall()  # noqa: S608 - our own alias
    return read_dictionaries(dict(rows))
