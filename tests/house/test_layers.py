"""The house rules that a machine can see: layers, who may import what, sizes, names."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "collector").rglob("*.py"))
LAYERS = (
    {"cli", "tools", "keep", "issues", "ask"},
    {"serve", "work", "config", "changes", "reload", "status", "offline", "tables", "mending", "progress"},
    {"accept", "web"},
    {"digest", "watch", "forward", "lake"},
    {"triage"},
    {"query"},
    {"store", "spool"},
    {"protocol", "hub", "admit", "group", "scrub", "filter"},
    {"model", "machine", "errors"},
)
HEIGHT = {room: len(LAYERS) - height for height, layer in enumerate(LAYERS) for room in layer}
ONLY_IN = {
    "duckdb": {"store", "query"},
    "starlette": {"accept", "web"},
    "urllib3": {"machine/net.py"},
    "requests": set(),
    "httpx": set(),
    "pickle": set(),
    "marshal": set(),
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT / "collector").parts[0].removesuffix(".py")


def rooms_used(path: Path) -> set[str]:
    parts = (name.split(".") for name in imports(path) if name.startswith("collector."))
    return {part[1] for part in parts} & set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only_and_never_sideways(path: Path) -> None:
    here = room(path)
    height = HEIGHT.get(here, 99)
    # The lowest layer and the composition roots hold several rooms that belong together.
    same_layer_allowed = {
        "model": {"errors"},
        "machine": {"errors", "model"},
        "cli": {"tools", "keep", "issues", "ask"},
        "serve": {"config", "changes", "reload", "status"},
        "changes": {"config"},
        "reload": {"config", "changes"},
        "work": {"config"},
        "status": {"config"},
        "offline": {"config", "status"},
        "mending": {"config", "offline", "work"},
    }
    wrong = {
        used
        for used in rooms_used(path) - {here}
        if HEIGHT[used] >= height and used not in same_layer_allowed.get(here, set())
    }
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)} from its own layer or above"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    inside = str(path.relative_to(ROOT / "collector"))
    wrong = {name for name, where in ONLY_IN.items() if name in used and not any(inside.startswith(w) for w in where)}
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_keep_their_size(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 600, f"{path.name} has {text.count(chr(10))} lines"
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > 60}  # type: ignore[operator]
    wide = {f.name for f in functions if len(f.args.args) + len(f.args.kwonlyargs) - (f.args.args[:1] != []) > 6}
    assert not long
    assert not wide


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    vague = ("Manager", "Helper", "Util", "Service", "Base")
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert not [name for name in names if name.endswith(vague)]


def test_no_third_folder_level_and_nothing_unexpected_at_the_top() -> None:
    deep = [p for p in FILES if len(p.relative_to(ROOT / "collector").parts) > 2]
    assert not deep


def test_no_import_cycles_between_rooms() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(room(path), set()).update(rooms_used(path) - {room(path)})
    done: set[str] = set()
    while ready := {name for name, uses in graph.items() if name not in done and uses <= done}:
        done |= ready
    assert done == set(graph), f"cycle among {sorted(set(graph) - done)}"
