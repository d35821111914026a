"""Typed strings and the base of all settings structs.

A room declares `class SpoolSettings(Settings)` beside the code that reads it; config.py assembles them. A field's type
is `Annotated[T, Help("one line")]`; sizes, durations and rates are the typed strings below ("64 MiB", "90 s", "30/m").
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec

SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
              "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


# Frozen at run time, so that one settings struct may be another's default; mypy would want `frozen=True` repeated in
# every subclass, so it sees the same class without it.
if TYPE_CHECKING:

    class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
        """Base of every settings struct: keyword only, immutable, unknown keys are errors."""

        @classmethod
        def flaws(cls, values: Mapping[str, Any]) -> Iterator[str]:
            """What is wrong beyond types in the fields given, as "field: sentence"; others may be missing."""
            yield from ()

else:

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Base of every settings struct: keyword only, immutable, unknown keys are errors."""

        @classmethod
        def flaws(cls, values: Mapping[str, Any]) -> Iterator[str]:
            """What is wrong beyond types in the fields given, as "field: sentence"; others may be missing."""
            yield from ()


def Help(text: str) -> msgspec.Meta:
    """The one-line help of a setting; it becomes the comment in config.example.toml."""
    return msgspec.Meta(description=text)


class Size(int):
    """A quantity of bytes, written "64 MiB", "10 GB" or "512 B". Raises ValueError with the allowed units."""

    text: str

    def __new__(cls, value: "str | int") -> Self:
        if isinstance(value, int):
            size = super().__new__(cls, value)
            size.text = getattr(value, "text", f"{value} B")
            return size
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
        if not match or match[2].upper() not in SIZE_UNITS:
            raise ValueError(f'{value!r} is not a size; write a number and B, KB, MB, GB, KiB, MiB or GiB: "64 MiB"')
        size = super().__new__(cls, int(float(match[1]) * SIZE_UNITS[match[2].upper()]))
        size.text = value.strip()
        return size

    def __str__(self) -> str:
        return self.text


class Duration(float):
    """A time span in seconds, written "250 ms", "60 s", "5 m", "12 h", "30 d". Raises ValueError."""

    text: str

    def __new__(cls, value: "str | float | int") -> Self:
        if isinstance(value, int | float):
            span = super().__new__(cls, value)
            span.text = getattr(value, "text", f"{value:g} s")
            return span
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", value)
        if not match or match[2] not in TIME_UNITS:
            raise ValueError(f'{value!r} is not a duration; write a number and ms, s, m, h, d or w: "90 s"')
        span = super().__new__(cls, float(match[1]) * TIME_UNITS[match[2]])
        span.text = value.strip()
        return span

    def __str__(self) -> str:
        return self.text


class Rate(str):
    """A rate "30/m" (per s, m, h or d), or "off". `per_second` is None when off. Raises ValueError."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if value != "off" and not re.fullmatch(r"[1-9]\d*/[smhd]", value):
            raise ValueError(f'{value!r} is not a rate; write a number per s, m, h or d such as "30/m", or "off"')
        return super().__new__(cls, value)

    @property
    def per_second(self) -> float | None:
        """Events a second, None when switched off."""
        if self == "off":
            return None
        count, _, unit = self.partition("/")
        return int(count) / TIME_UNITS[unit]


class Secret(str):
    """A text that never shows itself: repr() and logs print ***. Use `reveal()` where it is needed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """The text itself."""
        return str.__str__(self)


TYPED_STRINGS: tuple[type, ...] = (Size, Duration, Rate, Secret)


def decode_typed(kind: type, value: object) -> Any:
    """`dec_hook` of msgspec for the typed strings. Raises ValueError with the sentence for the user."""
    if kind in TYPED_STRINGS and (isinstance(value, str) or (kind in (Size, Duration) and isinstance(value, int))):
        return kind(value)
    raise ValueError(f"{value!r} should be a text" if kind in TYPED_STRINGS else f"unsupported type {kind!r}")


def encode_typed(value: object) -> str:
    """`enc_hook` of msgspec for the typed strings: their text (a Secret included: this form goes to the worker)."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Size | Duration):
        return value.text
    return str(value)


class ListenSettings(Settings):
    """Where the doors are."""

    address: Annotated[str, Help("host:port of the HTTP door; port 0 takes a free one")] = "127.0.0.1:9000"


class DataSettings(Settings):
    """Where everything lies."""

    dir: Annotated[str, Help("data folder, relative to this file")] = "data"
