"""The `_meta` tree of an item: it mirrors the item, and the node "" of a field holds remarks and errors about it.

Format (Sentry's, reference page F4): {"rem": [[rule, kind, start, end]], "len": n, "err": [...], "val": original}.
"""

from itertools import islice
from typing import Any

MAX_ENTRIES = 2_000

Path = tuple[str, ...]
Tree = dict[str, Any]


def entry_at(tree: Tree | None, path: Path) -> dict[str, Any] | None:
    """The entry of a field, None when there is none."""
    node: Any = tree
    for key in path:
        if not isinstance(node, dict):
            return None
        node = node.get(key)
    entry = node.get("") if isinstance(node, dict) else None
    return entry if isinstance(entry, dict) else None


def set_entry(tree: Tree, path: Path, entry: dict[str, Any]) -> None:
    """Put the entry of a field, growing the tree down to it."""
    node = tree
    for key in path:
        below = node.get(key)
        if not isinstance(below, dict):
            below = node[key] = {}
        node = below
    node[""] = entry


def add_entries(tree: Tree, found: dict[Path, dict[str, Any]]) -> None:
    """Put new entries, MAX_ENTRIES at most: an event of nothing but secrets would else grow tenfold."""
    for path, entry in islice(found.items(), MAX_ENTRIES):
        set_entry(tree, path, entry)


def child(tree: Any, key: str) -> Tree | None:
    """The tree below a key, None when there is none."""
    below = tree.get(key) if isinstance(tree, dict) else None
    return below if isinstance(below, dict) else None
