"""Conditions of generic rules: tables {op, name, value, ...} compiled to a function over a Subject.

Operators: eq (value or list, options.ignoreCase), gt gte lt lte, glob (list), cidr (list), release (comparator), and,
or, not, any and all (over the elements of a list). Source: reference page on the protocol, section D.
"""

import ipaddress
import operator
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from collector.filter.fields import Element, Subject
from collector.filter.globs import Globs
from collector.filter.releases import release_key

Target = Subject | Element
Condition = Callable[[Target], bool]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge,
}  # fmt: skip
COMPARATORS: dict[str, Callable[[Any, Any], bool]] = {**ORDER, "eq": operator.eq, "ne": operator.ne}
MAX_CONDITION_DEPTH = 50


class Build(Protocol):
    """Makes the condition of one operator from its table."""

    def __call__(self, table: Mapping[str, Any], place: str) -> Condition: ...


def compile_condition(table: Any, place: str = "condition") -> Condition:
    """Compile a condition table. Raises ValueError naming the place in the table and the reason."""
    if not isinstance(table, Mapping):
        raise ValueError(f"{place}: should be a table with op, not {table!r}")
    if place.count(".inner") > MAX_CONDITION_DEPTH:
        raise ValueError(f"{place}: nested deeper than {MAX_CONDITION_DEPTH}")
    build = OPERATORS.get(str(table.get("op")))
    if build is None:
        raise ValueError(f"{place}.op: {table.get('op')!r} is not one of {', '.join(sorted(OPERATORS))}")
    return build(table, place)


def parse_network(text: str) -> Network:
    """An address or a network. Raises ValueError."""
    return ipaddress.ip_network(text.strip(), strict=False)


def in_networks(address: Any, networks: tuple[Network, ...]) -> bool:
    """Whether a text is an address inside one of the networks (an IPv4 address inside IPv6 counts as IPv4)."""
    if not isinstance(address, str):
        return False
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return any(ip in network or (mapped is not None and mapped in network) for network in networks)


def _name(table: Mapping[str, Any], place: str) -> str:
    name = table.get("name")
    if not isinstance(name, str):
        raise ValueError(f"{place}.name: should be the name of a field, not {name!r}")
    return name


def _texts(table: Mapping[str, Any], place: str) -> list[str]:
    value = table.get("value")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise ValueError(f"{place}.value: should be a list of texts, not {value!r}")
    return values


def _equal(found: Any, wanted: Any, fold: bool) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return found.casefold() == wanted.casefold() if fold else found == wanted
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return found == wanted
    return found is None and wanted is None


def _eq(table: Mapping[str, Any], place: str) -> Condition:
    name, wanted = _name(table, place), table.get("value")
    options = table.get("options") or {}
    fold = bool(options.get("ignoreCase") or options.get("ignore_case")) if isinstance(options, Mapping) else False
    if not isinstance(wanted, list):
        return lambda target: _equal(target.get(name), wanted, fold)

    def any_equal(target: Target) -> bool:
        found = target.get(name)
        return found is not None and any(_equal(found, one, fold) for one in wanted)

    return any_equal


def _order(op: str) -> Build:
    def build(table: Mapping[str, Any], place: str) -> Condition:
        name, wanted, compare = _name(table, place), table.get("value"), ORDER[op]
        if isinstance(wanted, bool) or not isinstance(wanted, int | float | str):
            raise ValueError(f"{place}.value: should be a number or a text, not {wanted!r}")

        def ordered(target: Target) -> bool:
            found = target.get(name)
            if isinstance(found, bool) or isinstance(found, str) is not isinstance(wanted, str):
                return False
            return isinstance(found, int | float | str) and compare(found, wanted)

        return ordered

    return build


def _glob(table: Mapping[str, Any], place: str) -> Condition:
    name = _name(table, place)
    try:
        globs = Globs(_texts(table, place))
    except ValueError as error:
        raise ValueError(f"{place}.value: {error}") from error

    def globbed(target: Target) -> bool:
        found = target.get(name)
        return isinstance(found, str) and globs.match(found)

    return globbed


def _cidr(table: Mapping[str, Any], place: str) -> Condition:
    name = _name(table, place)
    try:
        networks = tuple(parse_network(text) for text in _texts(table, place))
    except ValueError as error:
        raise ValueError(f"{place}.value: {error}") from error
    return lambda target: in_networks(target.get(name), networks)


def _release(table: Mapping[str, Any], place: str) -> Condition:
    name, compare = _name(table, place), COMPARATORS.get(str(table.get("comparator")))
    if compare is None:
        raise ValueError(f"{place}.comparator: {table.get('comparator')!r} is not one of {', '.join(COMPARATORS)}")
    value = table.get("value")
    wanted = release_key(value) if isinstance(value, str) else None
    if wanted is None:
        raise ValueError(f"{place}.value: {value!r} is not a release with a version")

    def released(target: Target) -> bool:
        found = target.get(name)
        key = release_key(found) if isinstance(found, str) else None
        return key is not None and compare(key, wanted)

    return released


def _inner_list(table: Mapping[str, Any], place: str) -> list[Condition]:
    inner = table.get("inner")
    if not isinstance(inner, list):
        raise ValueError(f"{place}.inner: should be a list of conditions, not {inner!r}")
    return [compile_condition(one, f"{place}.inner[{index}]") for index, one in enumerate(inner)]


def _and(table: Mapping[str, Any], place: str) -> Condition:
    inner = _inner_list(table, place)
    return lambda target: all(one(target) for one in inner)


def _or(table: Mapping[str, Any], place: str) -> Condition:
    inner = _inner_list(table, place)
    return lambda target: any(one(target) for one in inner)


def _not(table: Mapping[str, Any], place: str) -> Condition:
    inner = compile_condition(table.get("inner"), f"{place}.inner")
    return lambda target: not inner(target)


def _quantified(fold: Callable[..., bool]) -> Build:
    def build(table: Mapping[str, Any], place: str) -> Condition:
        name, inner = _name(table, place), compile_condition(table.get("inner"), f"{place}.inner")

        def over(target: Target) -> bool:
            elements = target.each(name)
            return elements is not None and fold(inner(element) for element in elements)

        return over

    return build


def _never(table: Mapping[str, Any], place: str) -> Condition:
    return lambda target: False


OPERATORS: dict[str, Build] = {
    "eq": _eq, "gt": _order("gt"), "gte": _order("gte"), "lt": _order("lt"), "lte": _order("lte"), "glob": _glob,
    "cidr": _cidr, "release": _release, "and": _and, "or": _or, "not": _not, "any": _quantified(any),
    "all": _quantified(all), "never": _never,
}  # fmt: skip
