"""The deep walk: every value of a decoded item is visited and scrubbed in place.

The plain form of scrubbing, and the one that advanced rules take; scan.py is the fast form for the default rules and
does the same, leaf for leaf.
"""

import ipaddress
from typing import Any

from collector.scrub.meta import Path, Tree, add_entries, child, entry_at
from collector.scrub.places import ARRAY, KIND_OF, OBJECT, STRING, Place
from collector.scrub.rules import FILTERED, REMOVED
from collector.scrub.text import removed

MAX_DEPTH = 200


class Walk:
    """One walk over one item. `found` are the new `_meta` entries by path."""

    def __init__(self, meta: Tree | None, found: dict[Path, dict[str, Any]] | None = None) -> None:
        self.meta = meta
        self.found = {} if found is None else found

    def value(self, value: Any, place: Place, path: Path) -> Any:
        """The scrubbed value (containers are changed in place); None when it was taken away."""
        if isinstance(value, str):
            return self.text(value, place, path) if place.steps else value
        if value is None or isinstance(value, bool):
            return value
        if place.drops:
            entry = self.entry(path)
            removed(place.drops[0], entry)
            self.found[path] = entry
            return None
        if not isinstance(value, dict | list):
            return value
        if len(path) >= MAX_DEPTH:
            self.found[path] = {**self.entry(path), "rem": [["!limit", REMOVED]]}
            return None  # too deep to look into, so not kept
        if isinstance(value, dict):
            self.object(value, place, path)
        else:
            self.array(value, place, path)
        return value

    def entry(self, path: Path) -> dict[str, Any]:
        """A copy of what `_meta` says about a field so far."""
        return dict(self.found.get(path) or entry_at(self.meta, path) or {})

    def text(self, text: str, place: Place, path: Path) -> str | None:
        """The scrubbed text, None when it was deleted."""
        entry = self.entry(path)
        kept = ""
        body = text
        if place.node.path_text:
            cut = max(text.rfind("/"), text.rfind("\\"))
            if cut < 0:
                return text
            body, kept = text[:cut], text[cut:]
        fresh = place.scrub(body, entry)
        if fresh != body:
            self.found[path] = entry
        if kept:
            return kept[1:] if fresh is None else fresh + kept
        return fresh

    def object(self, value: dict[str, Any], place: Place, path: Path) -> None:
        """Scrub the values of an object."""
        if place.node.attributes:
            self.attributes(value, place, path)
            return
        for key, inner in value.items():
            value[key] = self.value(inner, place.key(key, KIND_OF[type(inner)], inner), (*path, key))
        if "user" in place.level.types:
            self.user(value, path)

    def attributes(self, value: dict[str, Any], place: Place, path: Path) -> None:
        """Scrub {key: {"value": ...}}: selectors may say `attributes.key` and `attributes.key.value`."""
        for key, attribute in value.items():
            if not isinstance(attribute, dict):
                value[key] = self.value(attribute, place.key(key, KIND_OF[type(attribute)]), (*path, key))
                continue
            for name, inner in attribute.items():
                if name == "type":
                    continue
                here = (*path, key, name)
                if name == "value":
                    inner = self.value(inner, place.key(key, KIND_OF[type(inner)]), here)
                below = place.key(key, OBJECT).key(name, KIND_OF[type(inner)])
                attribute[name] = self.value(inner, below, here)

    def array(self, value: list[Any], place: Place, path: Path) -> None:
        """Scrub the elements of a list; what looks like a [key, value] pair is tried as one first."""
        if place.node.pairs:
            for index, pair in enumerate(value):
                if isinstance(pair, list) and len(pair) == 2:
                    self.pair(pair, place, (*path, str(index)), index)
                else:
                    self.element(value, index, place, path)
            return
        if len(value) == 2 and isinstance(value[0], str) and value[1] is not None:
            here = (*path, "1")
            before = self.entry(here)
            inner = value[1]
            value[1] = self.value(inner, place.pair(value[0], KIND_OF[type(inner)]), here)
            if not before and here in self.found:
                return
        for index in range(len(value)):
            self.element(value, index, place, path)

    def element(self, value: list[Any], index: int, place: Place, path: Path) -> None:
        """Scrub one element of a list."""
        inner = value[index]
        value[index] = self.value(inner, place.item(index, KIND_OF[type(inner)]), (*path, str(index)))

    def pair(self, pair: list[Any], place: Place, path: Path, index: int) -> None:
        """Scrub the value of a [key, value] pair."""
        kind = KIND_OF[type(pair[1])]
        below = place.pair(pair[0], kind) if isinstance(pair[0], str) else place.item(index, kind)
        pair[1] = self.value(pair[1], below, (*path, "1"))

    def user(self, user: dict[str, Any], path: Path) -> None:
        """A hashed or masked address identifies the user when nothing else does."""
        here = (*path, "ip_address")
        address = user.get("ip_address")
        if here not in self.found or not isinstance(address, str) or _is_address(address):
            return
        if any(user.get(key) is not None for key in ("id", "username", "email")):
            return
        user["id"], user["ip_address"] = address, None
        self.found[(*path, "id")] = self.found.pop(here)

    def originals(self, tree: Any, place: Place, value: Any, path: Path = ()) -> None:
        """Scrub the original values that `_meta` keeps of changed fields, as their fields would be."""
        if not isinstance(tree, dict) or len(path) > MAX_DEPTH:
            return
        entry = tree.get("")
        original = entry.get("val") if isinstance(entry, dict) else None
        if entry is not None and isinstance(original, str) and place.parent is not None:
            name = place.level.key
            as_text = place.parent.key(name, STRING) if name is not None else place.parent.item(-1, STRING)
            entry["val"] = as_text.scrub(original, {})
        for key in tree:
            if key == "":
                continue
            below = self.below(place, key, value)
            self.originals(child(tree, key), below[0], below[1], (*path, key))

    @staticmethod
    def below(place: Place, key: str, value: Any) -> tuple[Place, Any]:
        """The place and the value that a key of `_meta` speaks of."""
        if isinstance(value, list) and key.isdecimal():
            index = int(key)
            inner = value[index] if index < len(value) else None
            if place.node.pairs:
                name = inner[0] if isinstance(inner, list) and inner and isinstance(inner[0], str) else None
                return (place.pair(name, ARRAY) if name is not None else place.item(index, ARRAY)), inner
            return place.item(index, KIND_OF[type(inner)]), inner
        inner = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, list) and key == "1" and place.level.key is not None:
            return place, inner
        return place.key(key, KIND_OF[type(inner)], inner), inner


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return text == "{{auto}}"
    return True


def scrub_decoded(item: Any, root: Place) -> dict[Path, dict[str, Any]]:
    """Scrub a decoded item in place; `_meta` in it is read and its original values are scrubbed.

    Returns the new `_meta` entries by path.
    """
    meta = item.get("_meta") if isinstance(item, dict) else None
    walk = Walk(meta if isinstance(meta, dict) else None)
    if isinstance(meta, dict):
        walk.originals(meta, root, item)
    if isinstance(item, dict):
        if root.grown.programs:
            walk.object(item, root, ())
    elif isinstance(item, list):
        walk.array(item, root, ())
    return walk.found


def scrub_graphql(event: dict[str, Any]) -> bool:
    """Blank the variables of a GraphQL request and what the response repeats of them. True when there was one."""
    request = event.get("request")
    target = request.get("api_target") if isinstance(request, dict) else None
    data = request.get("data") if isinstance(request, dict) else None
    if not isinstance(target, str) or target.lower() != "graphql" or not isinstance(data, dict):
        return False
    variables = data.get("variables")
    names = set(variables) if isinstance(variables, dict) else set()
    if isinstance(variables, dict):
        data["variables"] = dict.fromkeys(variables, FILTERED)
    contexts = event.get("contexts")
    response = contexts.get("response") if isinstance(contexts, dict) else None
    answer = response.get("data") if isinstance(response, dict) else None
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        if names:
            _blank(answer["data"], names, 0)
        else:
            del answer["data"]
    return True


def _blank(data: dict[str, Any], names: set[str], depth: int) -> None:
    for key, value in data.items():
        if isinstance(value, dict) and depth < MAX_DEPTH:
            _blank(value, names, depth + 1)
        elif key in names:
            data[key] = FILTERED


def merge_entries(item: dict[str, Any], found: dict[Path, dict[str, Any]]) -> None:
    """Put new `_meta` entries into a decoded item."""
    if not found:
        return
    tree = item.get("_meta")
    if not isinstance(tree, dict):
        tree = item["_meta"] = {}
    add_entries(tree, found)
