"""The frame component: which parts of one stack frame count, and why the others do not.

Facts: reference/grouping.md, sections 4, 5 and 8.
"""

import re
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from collector.group.trim import NATIVE, family, trim_function
from collector.group.view import FrameData, FrameView

CONTEXT_LINE_PLATFORMS = frozenset({"javascript", "node", "python", "php", "ruby"})
MAX_CONTEXT_LINE_CHARS = 120

URL_ORIGINS = ("http:", "https:", "applewebdata:", "blob:")
NATIVE_CODE_PATHS = frozenset({"[native code]", "native code", "eval code", "<anonymous>"})
LOW_QUALITY_NAMES = frozenset({"?", "<anonymous function>", "<anonymous>", "Anonymous function"})

RUBY_TEMPLATE = re.compile(r"__\d{4,}_\d{4,}\Z")
SPAWN_LINE = re.compile(
    r"from multiprocessing\.spawn import spawn_main; spawn_main\((?:tracker_fd|parent_pid)=\d+, pipe_handle=\d+\)"
)
SPAWN_NUMBER = re.compile(r"=\d+")
JAVASSIST_FILE = re.compile(r"\$\$_javassist(?:_seam)?(?:_[0-9]+)?")
REFLECTION_ACCESSORS = ("sun.reflect.GeneratedMethodAccessor", "jdk.internal.reflect.GeneratedMethodAccessor")
# (pattern of generated class names, replacement), applied in this order.
JAVA_CLEANUPS = (
    (re.compile(r"(sun\.reflect\.Generated(?:Serialization)?ConstructorAccessor)\d+"), r"\1<auto>"),
    (re.compile(r"(\$\$[\w_]+?CGLIB\$\$)[a-fA-F0-9]+(_[0-9]+)?"), r"\1<auto>"),
    (re.compile(r"(\$\$_javassist)(?:_seam)?(?:_[0-9]+)?"), r"\1<auto>"),
    (re.compile(r"(\$fn__)\d+"), r"\1<auto>"),
    (re.compile(r"(\$\$?EnhancerBy[\w_]+?\$?\$)[a-fA-F0-9]+(_[0-9]+)?"), r"\1<auto>"),
    (re.compile(r"(\$\$?FastClassBy[\w_]+?\$?\$)[a-fA-F0-9]+(_[0-9]+)?"), r"\1<auto>"),
    (re.compile(r"(\$\$?HibernateProxy\$?\$)\w+(_[0-9]+)?"), r"\1<auto>"),
)


class Part(Struct, frozen=True, gc=False):
    """One child of a frame component. `why` says in a few words what was changed or why it does not count."""

    name: str
    value: str
    contributes: bool
    why: str = ""


class Look(Struct, eq=False, gc=False):
    """A frame as grouping sees it, before any rule ran. It knows no line numbers, so that one look serves many frames.

    parts: those children that have a value, in hash order. text: what the frame adds to the hash when it counts.
    function, filename: after stack normalisation. path: abs_path or filename. in_app, category: before any rule.
    weight: roughly the bytes of its texts. candidates: what each engine made of it (index.Index.candidates).
    """

    parts: tuple[Part, ...]
    text: str
    contributes: bool
    why: str
    function: str | None
    filename: str | None
    module: str | None
    package: str | None
    abs_path: str | None
    platform: str | None
    family: str
    in_app: bool | None
    category: str | None
    weight: int
    candidates: dict[object, int] = {}

    @property
    def path(self) -> str | None:
        """abs_path, else filename."""
        return self.abs_path or self.filename


def has_url_origin(path: str | None, *, files_too: bool) -> bool:
    """Whether `path` starts like a URL; `files_too`: file: is one."""
    return path is not None and (path.startswith(URL_ORIGINS) or (files_too and path.startswith("file:")))


def look_at(frame: FrameView, event_platform: str | None, *, rewrite_spawn: bool) -> Look:
    """The frame component of one frame of an event of `event_platform`."""
    platform = frame.platform or event_platform
    function, raw_function = _normalise_function(frame, platform)
    filename = frame.filename
    if event_platform == "javascript" and filename and "?" in filename:
        filename = _without_query(filename)
    line = frame.context_line
    if rewrite_spawn and event_platform == "python" and line and _is_spawned(frame):
        line = SPAWN_NUMBER.sub("=<int>", line)

    kin = family(platform)
    module = _module_part(frame, platform)
    context = _context_part(frame, line, function, kin) if line and platform in CONTEXT_LINE_PLATFORMS else None
    name, why = _function_part(frame, (function, raw_function), platform, bool(context and context.contributes))
    file = _filename_part(frame, filename, platform, bool(module and module.contributes))
    parts = tuple([part for part in (module, file, name, context) if part is not None])
    values = [part.value for part in parts if part.contributes]
    if not why and not values:
        why = "nothing in it identifies code"
    data = frame.data
    return Look(
        parts=parts,
        text="".join(values),
        contributes=not why,
        why=why,
        function=function,
        filename=filename,
        module=frame.module,
        package=frame.package,
        abs_path=frame.abs_path,
        platform=platform,
        family=kin,
        in_app=frame.in_app if data is None else _in_app(frame.in_app, data),
        category=data.category if data else None,
        weight=4 * sum([len(part.value) for part in parts]) + 2 * len(frame.abs_path or ""),
    )


def _in_app(in_app: bool | None, data: FrameData) -> bool | None:
    """The flag that the client sent, when rules ran over this frame before."""
    if data.orig_in_app is None:
        return in_app
    return None if data.orig_in_app == -1 else bool(data.orig_in_app)


def _normalise_function(frame: FrameView, platform: str | None) -> tuple[str | None, str | None]:
    function, raw_function = frame.function, frame.raw_function
    if raw_function is None and function and (platform in NATIVE or platform == "csharp"):
        trimmed = trim_function(function, platform)
        if trimmed != function:
            return trimmed, function
    return function, raw_function


def _without_query(filename: str) -> str:
    before, _, query = filename.partition("?")
    if "#" in before:
        return filename
    fragment = query.partition("#")[2]
    return f"{before}#{fragment}" if fragment else before


def _is_spawned(frame: FrameView) -> bool:
    return (
        frame.module == "__main__"
        and frame.filename == "<string>"
        and frame.function == "<module>"
        and SPAWN_LINE.match(frame.context_line or "") is not None
    )


def _module_part(frame: FrameView, platform: str | None) -> Part | None:
    module = frame.module
    if not module:
        return None
    if platform in ("javascript", "node") and "/" in module and frame.abs_path and frame.abs_path.endswith(module):
        return Part("module", module, False, "ignored bad javascript module")
    if platform == "java":
        cleaned = clean_java_module(module)
        if "$$Lambda$" in cleaned:
            return Part("module", cleaned, False, "ignored java lambda")
        return Part("module", cleaned, True, "removed codegen marker" if cleaned != module else "")
    return Part("module", module, True)


@lru_cache(maxsize=4096)
def clean_java_module(module: str) -> str:
    """A Java class name without what code generators count up."""
    for accessor in REFLECTION_ACCESSORS:
        if module.startswith(accessor):
            return accessor
    for pattern, replacement in JAVA_CLEANUPS:
        module = pattern.sub(replacement, module)
    return module


def _filename_part(frame: FrameView, filename: str | None, platform: str | None, has_module: bool) -> Part | None:
    if not filename:
        return None
    name = filename.replace("\\", "/").rpartition("/")[2].lower()
    if not name:
        return None
    if platform == "java":
        name = JAVASSIST_FILE.sub("$$_javassist<auto>", name)
    if has_url_origin(frame.abs_path, files_too=False):
        return Part("filename", name, False, "ignored because frame points to a URL")
    if name in ("<anonymous>", "[native code]"):
        return Part("filename", name, False, "anonymous filename discarded")
    if has_module:
        return Part("filename", name, False, "module takes precedence")
    return Part("filename", name, True)


def _context_part(frame: FrameView, line: str, function: str | None, kin: str) -> Part | None:
    value = " ".join(line.split())
    if not value:
        return None
    if len(line) > MAX_CONTEXT_LINE_CHARS:
        return Part("context_line", value, False, "discarded because line too long")
    if kin == "javascript" and not function and has_url_origin(frame.abs_path, files_too=True):
        return Part("context_line", value, False, "discarded because from URL origin and no function")
    return Part("context_line", value, True)


def _function_part(
    frame: FrameView, names: tuple[str | None, str | None], platform: str | None, line_counts: bool
) -> tuple[Part | None, str]:
    """The function child, and why the whole frame does not count ("" when it may)."""
    function, raw_function = names
    name = (raw_function or function) if platform == "csharp" else (function or raw_function)
    kin = family(platform)
    part = _name_part(name, platform, kin) if name else None
    if kin != "javascript":
        return part, ""
    if part and frame.data and frame.data.sourcemap and line_counts:
        part = replace(part, contributes=False, why="ignored because sourcemap used and context line available")
    segment = (raw_function or function or "").rpartition(".")[2]
    frame_why = "native code indicated by filename" if frame.abs_path in NATIVE_CODE_PATHS else ""
    if segment == "eval":
        frame_why = "ignored low quality javascript frame: eval"
    if part and (not segment or segment in LOW_QUALITY_NAMES or segment.endswith("/<")):
        part = replace(part, contributes=False, why="ignored unknown function name")
    return part, frame_why


def _name_part(name: str, platform: str | None, kin: str) -> Part | None:
    """The function child as the frame's platform wants it."""
    if kin == "native":
        if name in ("<redacted>", "<unknown>"):
            return Part("function", name, False, "ignored unknown function")
    elif platform == "ruby":
        if name.startswith("block "):
            return Part("function", "block", True, "ruby block")
        cleaned = RUBY_TEMPLATE.sub("", name)
        return Part("function", cleaned, True, "removed generated erb template suffix" if cleaned != name else "")
    elif platform == "php":
        return _php_part(name)
    elif platform == "java" and name.startswith("lambda$"):
        return Part("function", name, False, "ignored java lambda function")
    elif kin == "javascript":
        last = name.rpartition(".")[2]
        return Part("function", last, True, "trimmed javascript function" if last != name else "") if last else None
    return Part("function", name, True)


def _php_part(name: str) -> Part:
    if name.startswith("class@anonymous") and "::" in name:
        return Part("function", name.rpartition("::")[2], True, "anonymous class method")
    if name.startswith(("[Anonymous", "class@anonymous\0")):
        return Part("function", name, False, "ignored anonymous function")
    return Part("function", name, True)
