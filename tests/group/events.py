"""Events made up for the tests of grouping: Hypothesis strategies and small factories."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

# No deadline: the first example of a test also compiles the rules.
examples = settings(deadline=None, max_examples=60)
many_examples = settings(deadline=None, max_examples=200)

NAMES = st.sampled_from(["main", "load", "save", "parse_items", "run", "<lambda>", "std::sort<int>(int*)", "Foo.bar"])
MODULES = st.sampled_from([None, "shop.cart", "shop.api", "flask.app", "java.lang.Thread", "io.acme.Main"])
PATHS = st.sampled_from(
    [
        None,
        "/srv/shop/cart.py",
        "/venv/lib/site-packages/flask/app.py",
        "https://cdn.example.org/app.js",
        "/usr/lib/libc.so",
    ]
)
PLATFORMS = st.sampled_from(["python", "java", "native", "node", "javascript", "ruby", "php", "csharp", "other"])
TEXTS = st.sampled_from(["", "boom", "no item 42", "user bob@example.org\nnot found\nreally", "x" * 30])


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


FRAMES = st.fixed_dictionaries(
    {
        "function": NAMES,
        "module": MODULES,
        "abs_path": PATHS,
        "filename": st.sampled_from([None, "cart.py", "flask/app.py", "app.js"]),
        "in_app": st.sampled_from([None, True, False]),
        "lineno": st.integers(1, 500),
        "context_line": st.sampled_from([None, "    total = sum(items)", "y" * 200]),
    }
).map(without_none)
STACKS = st.lists(FRAMES, min_size=1, max_size=6).map(lambda frames: {"frames": frames})
EXCEPTIONS = st.fixed_dictionaries(
    {"type": st.sampled_from([None, "ValueError", "KeyError"]), "value": TEXTS, "stacktrace": st.none() | STACKS}
).map(without_none)
EVENTS = st.fixed_dictionaries(
    {
        "platform": PLATFORMS,
        "exception": st.none() | st.lists(EXCEPTIONS, min_size=1, max_size=3).map(lambda values: {"values": values}),
        "logentry": st.none() | TEXTS.map(lambda text: {"formatted": text}),
        "threads": st.none() | STACKS.map(lambda stack: {"values": [{"id": 1, "current": True, "stacktrace": stack}]}),
        "fingerprint": st.sampled_from([None, ["{{ default }}"], ["mine", "{{ default }}"], ["{{ type }}"], ["boom"]]),
        "transaction": st.sampled_from([None, "/cart"]),
        "level": st.just("error"),
    }
).map(without_none)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def exception_event(*frames: dict[str, Any], platform: str = "python", value: str = "boom") -> dict[str, Any]:
    """An event with one exception over these frames."""
    return {
        "platform": platform,
        "exception": {"values": [{"type": "ValueError", "value": value, "stacktrace": {"frames": list(frames)}}]},
    }


def frame(function: str, **fields: Any) -> dict[str, Any]:
    """A frame in app."""
    return {"function": function, "module": "shop.cart", "in_app": True, "lineno": 7, **fields}


def tree_exception(own: int | None, parent: int | None, *, group: bool = False, kind: str = "E") -> dict[str, Any]:
    """An exception of a tree."""
    mechanism = without_none({"type": "chained", "exception_id": own, "parent_id": parent, "is_exception_group": group})
    return {"type": kind, "value": "v", "mechanism": mechanism}
