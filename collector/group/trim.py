"""Function name trimming: what a symbolicator or demangler says, reduced to the name that identifies a function.

Facts: reference/grouping.md, section 5. Only native platforms and C# are trimmed.
"""

import re
from collections.abc import Callable
from functools import lru_cache

NATIVE = frozenset({"objc", "cocoa", "swift", "native", "c"})
JAVASCRIPT = frozenset({"javascript", "node"})

# Names come cut to 512 characters; the work below grows with the square of hostile ones (10 ms at this length).
MAX_TRIMMED_CHARS = 2048
MAX_GENERICS_DEPTH = 16

PAIRS = {"(": ")", "{": "}", "[": "]", "<": ">"}
# Texts that would confuse bracket matching, and what stands for them meanwhile. The order matters: longer ones first.
PROTECTED = (
    ("operator<<", "operator⟨⟨"),
    ("operator<", "operator⟨"),
    ("operator()", "operator◯"),
    ("operator->", "operator⟿"),
    (" -> ", " ⟿ "),
    ("`anonymous namespace'", "〔anonymousnamespace〕"),
)
RESTORED = (
    ("⟨", "<"),
    ("◯", "()"),
    ("⟿", "->"),
    ("〔anonymousnamespace〕", "`anonymous namespace'"),
)
ARROW = "⟿"
LAMBDA = re.compile(r"\{lambda\(.*?\)#\d+\}|\blambda_[a-f0-9]{32}\b|\$_\d+\b")
MSVC_ANONYMOUS = re.compile(r"\?A0x[a-f0-9]{8}::")
WORD = re.compile(r"\w")
RUST_HASH = re.compile(r"::h[a-z0-9]{16}\Z")
RUST_BLANKET = re.compile(r"\A[A-Z] as ")
GLIBC_VERSION = re.compile(r"@@?GLIBC_[0-9.]+\Z")
WINDOWS_DECORATION = re.compile(r"\A@?(.*?)@[0-9]+\Z")


def family(platform: str | None) -> str:
    """The behaviour family of a platform: native, javascript or other."""
    if platform in NATIVE:
        return "native"
    return "javascript" if platform in JAVASCRIPT else "other"


def trim_function(function: str, platform: str | None) -> str:
    """The function name that identifies `function` on this platform."""
    if len(function) > MAX_TRIMMED_CHARS:
        return function
    if platform == "csharp":
        return function.split(" (", 1)[0]
    return _trim_native(function) if platform in NATIVE else function


def replace_groups(text: str, brackets: str, replacement: Callable[[str, int], str]) -> str:
    """`text` with every outermost group of `brackets` (two characters) replaced.

    `replacement` takes the content and the index of the opening bracket.
    """
    opening, closing = brackets[0], brackets[1]
    if opening not in text:
        return text
    depth, start, position, parts = 0, 0, 0, []
    for index, char in enumerate(text):
        if char == opening:
            if depth == 0:
                start = index
            depth += 1
        elif char == closing:
            depth -= 1
            if depth == 0:
                parts += [text[position:start], replacement(text[start + 1 : index], start)]
                position = index + 1
    return "".join([*parts, text[position:]])


@lru_cache(maxsize=4096)
def _trim_native(function: str) -> str:
    if function in ("<redacted>", "<unknown>"):
        return function
    original = function
    function = function.strip()
    if function.startswith(("[", "+[", "-[")):
        return function
    function = replace_groups(function, "[]", lambda inner, _: "" if inner.startswith("clone .") else f"[{inner}]")
    function = _drop_trailers(function.rstrip())
    for text, mark in PROTECTED:
        function = function.replace(text, mark)
    function = LAMBDA.sub("lambda", function)
    function = MSVC_ANONYMOUS.sub("〔anonymousnamespace〕::", function)
    function = replace_groups(function, "()", _drop_arguments)
    function = replace_groups(function, "<>", _generics)
    name = _pick_name(function)
    for mark, text in RESTORED:
        name = name.replace(mark, text)
    name = name.strip()
    if not name:
        return original
    name = GLIBC_VERSION.sub("", RUST_HASH.sub("", name))
    decorated = WINDOWS_DECORATION.match(name)
    return decorated[1] if decorated else name


def _drop_trailers(function: str) -> str:
    while True:
        if function.endswith("&"):
            function = function[:-1].rstrip()
        elif function.endswith("const") and not WORD.match(function[-6:-5]):
            function = function[:-5].rstrip()
        else:
            return function


def _drop_arguments(inner: str, _start: int) -> str:
    return f"({inner})" if inner in ("anonymous namespace", "operator") else ""


def _generics(inner: str, start: int, depth: int = 0) -> str:
    if inner == "lambda" or LAMBDA.match(inner):
        return f"<{inner}>"
    if start > 0:
        return "<T>"
    inner = RUST_BLANKET.sub("", inner)
    if depth < MAX_GENERICS_DEPTH:
        inner = replace_groups(inner, "<>", lambda text, at: _generics(text, at, depth + 1))
    return inner.split(" as ", 1)[0]


def _tokens(function: str) -> list[str]:
    """`function` split at white space outside of brackets."""
    tokens: list[str] = []
    current: list[str] = []
    expected: list[str] = []
    start = 0
    for index, char in enumerate(function):
        if char in PAIRS:
            expected.append(PAIRS[char])
        elif expected and char == expected[-1]:
            expected.pop()
            if not expected:
                current.append(function[start : index + 1])
                start = index + 1
        elif not expected:
            if char.isspace():
                if current:
                    tokens.append("".join(current))
                    current = []
            else:
                current.append(function[start : index + 1])
            start = index + 1
    if current:
        tokens.append("".join(current))
    return tokens


def _pick_name(function: str) -> str:
    """The token that names the function; thunks, closures and initialisers keep a word of what they are."""
    thunk = "thunk for " in function
    tokens = _tokens(function)
    if len(tokens) > 1 and tokens[-1] == "<T>":
        tokens[-2:] = [f"{tokens[-2]} <T>"]
    if not tokens:
        return ""
    if "initialization expression of" in function and "of" in tokens[:-1]:
        rest = tokens[len(tokens) - tokens[::-1].index("of") :]
        if len(rest) > 1 and rest[0] == "static":
            rest = rest[1:]
        return f"initializer expression of {rest[0].removeprefix(':')}"
    name = tokens[-1]
    if ARROW in tokens:
        before = tokens[: len(tokens) - 1 - tokens[::-1].index(ARROW)]
        if len(before) > 1 and before[-1] == "throws":
            before.pop()
        name = before[-1] if before else name
    if name.startswith("@"):
        return "thunk for closure" if thunk else "closure"
    if "closure" in tokens and name != "closure":
        return f"closure in {name}"
    return name
