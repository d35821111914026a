"""The strategies: what an event can be grouped by, most telling first (reference/grouping.md, sections 10 to 12)."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from collector.group.component import Node, around, of_stack
from collector.group.exceptions import main_exception_id, significant
from collector.group.facts import Facts
from collector.group.view import ExceptionView, HostView, NsErrorView

Variants = dict[str, Node]
STACK_VARIANTS = ("app", "system")

SYNTHETIC = "ignored because exception is synthetic"
STACK_FIRST = "ignored because stacktrace takes precedence"
NS_ERROR_FIRST = "ignored because ns-error info takes precedence"
NO_STACK = "ignored because this variant does not have a contributing stacktrace, but another variant does"
SAME_HASH = "ignored because hash matches app variant"


class Grouped(NamedTuple):
    """variants: name -> root component. winner: name of the strategy that counts. main: id of the main exception."""

    variants: Variants
    winner: str
    main: int | None


def single_exception(facts: Facts, index: int, *, stack_first: bool) -> Variants:
    """The variants of one exception (section 10.1). `stack_first`: the older order of its children."""
    exception, stack = facts.exceptions[index], facts.exception_stack(index)
    synthetic = bool(exception.mechanism and exception.mechanism.synthetic)
    kind = [Node("type", not synthetic, exception.type, why=SYNTHETIC if synthetic else "")] if exception.type else []
    error = _ns_error(exception)
    variants = {}
    for variant in STACK_VARIANTS if stack else STACK_VARIANTS[:1]:
        trace = [of_stack(stack, variant)] if stack else []
        value = _value(exception, bool(trace and trace[0].contributes), bool(error))
        children = [*trace, *kind, *error, *value] if stack_first else [*kind, *value, *error, *trace]
        variants[variant] = around("exception", children)
    return variants


def _value(exception: ExceptionView, has_stack: bool, has_error: bool) -> list[Node]:
    if not exception.value:
        return []
    why = STACK_FIRST if has_stack else NS_ERROR_FIRST if has_error else ""
    return [Node("value", not why, exception.value, why=why, message=True)]


def _ns_error(exception: ExceptionView) -> list[Node]:
    meta = exception.mechanism.meta if exception.mechanism else None
    error: NsErrorView | None = meta.ns_error if meta else None
    if error is None:
        return []
    # A missing part is hashed as the text "None" (section 10.1).
    return [around("ns_error", [Node("domain", value=str(error.domain)), Node("code", value=str(error.code))])]


def exception(facts: Facts, stack_first: bool) -> tuple[Variants, int | None]:
    """All exceptions that say something, and the id of the main one (sections 10.2 to 10.4)."""
    exceptions = facts.exceptions
    if not exceptions:
        return {}, None
    if len(exceptions) == 1:
        return single_exception(facts, 0, stack_first=stack_first), None
    built = [single_exception(facts, index, stack_first=stack_first) for index in range(len(exceptions))]
    chosen, main = list(range(len(exceptions))), None
    if not _is_old_python(facts):
        chosen, main = significant(exceptions, lambda index: _identity(built[index]))
    main = main_exception_id([exceptions[index] for index in chosen]) or main
    if len(chosen) == 1:
        return built[chosen[0]], main
    variants = {}
    for variant in STACK_VARIANTS:
        children = [built[index][variant] for index in chosen if variant in built[index]]
        if children:
            variants[variant] = around("chained_exception", children)
    return variants, main


def _identity(variants: Variants) -> tuple[object, ...]:
    return tuple((name, node.identity()) for name, node in variants.items())


def _is_old_python(facts: Facts) -> bool:
    """Version 3 of the Python SDK groups exception groups by itself (section 10.3)."""
    sdk = facts.view.sdk
    return facts.view.platform == "python" and bool(sdk and sdk.version and sdk.version.startswith("3"))


def threads(facts: Facts) -> Variants:
    """The one thread that stands out."""
    if not facts.threads():
        return {}
    thread = facts.chosen_thread()
    if thread is None:
        return {"app": Node("threads", False, why="ignored because there is more than one thread")}
    stack = facts.thread_stack(thread)
    if stack is None:
        return {"app": Node("threads", False, why="thread has no stacktrace")}
    return {variant: around("threads", [of_stack(stack, variant)]) for variant in STACK_VARIANTS}


def stacktrace(facts: Facts) -> Variants:
    """The event's own stack."""
    stack = facts.top_level_stack()
    return {variant: of_stack(stack, variant) for variant in STACK_VARIANTS} if stack else {}


def template(facts: Facts) -> Variants:
    """The place in a template."""
    found = facts.view.template
    if found is None:
        return {}
    named = {"filename": found.filename, "context_line": found.context_line}
    return {"default": around("template", [Node(name, value=value) for name, value in named.items() if value])}


def csp(facts: Facts) -> Variants:
    """A violation of a content security policy."""
    report = facts.view.csp
    if report is None:
        return {}
    uri = normalise_csp_uri(report.blocked_uri)
    violation = _local_script_violation(report.effective_directive, report.violated_directive, uri)
    children = [
        Node("salt", value=report.effective_directive, why="a static salt") if report.effective_directive else None,
        Node("violation", value=violation) if violation else None,
        Node("uri", not violation, value=uri, why="violation takes precedence" if violation else ""),
    ]
    return {"default": around("csp", [child for child in children if child])}


def normalise_csp_uri(value: str | None) -> str:
    """The part of a blocked URI that names whom the policy stopped (section 11)."""
    if not value or value in ("self", "'self'"):
        return "'self'"
    if ":" not in value:
        return f"{value}:"
    scheme, _, rest = value.partition(":")
    if scheme in ("http", "https"):
        return _netloc(value) or rest
    return "data:" if scheme == "data" else f"{scheme}://{_netloc(value)}"


def _netloc(uri: str) -> str:
    try:
        return urlsplit(uri).netloc
    except ValueError:  # an unbalanced bracket in the host
        return uri.partition("://")[2].partition("/")[0]


def _local_script_violation(effective: str | None, violated: str | None, uri: str) -> str | None:
    if not violated or effective != "script-src" or uri != "'self'":
        return None
    return next((word for word in ("'unsafe-inline'", "'unsafe-eval'") if word in violated), None)


def hpkp(facts: Facts) -> Variants:
    """A violation of public key pinning."""
    return _of_host("hpkp", facts.view.hpkp)


def expect_staple(facts: Facts) -> Variants:
    """A violation of OCSP stapling."""
    return _of_host("expect-staple", facts.view.expectstaple)


def expect_ct(facts: Facts) -> Variants:
    """A violation of certificate transparency."""
    return _of_host("expect-ct", facts.view.expectct)


def _of_host(name: str, report: HostView | None) -> Variants:
    if report is None:
        return {}
    host = [Node("hostname", value=report.hostname)] if report.hostname else []
    return {"default": around(name, [Node("salt", value=name, why="a static salt"), *host])}


def message(facts: Facts) -> Variants:
    """The log entry."""
    entry = facts.view.logentry
    if entry is None and facts.view.message is None:
        return {}
    text = (entry.message or entry.formatted if entry else facts.view.message) or ""
    return {"default": Node("message", bool(text), text, message=True)}


# Most telling first: exception 2000, threads 1900, stacktrace 1800, template 1100, csp 1003, ... message 0.
STRATEGIES: dict[str, Callable[[Facts], Variants]] = {
    "threads": threads,
    "stacktrace": stacktrace,
    "template": template,
    "csp": csp,
    "hpkp": hpkp,
    "expect-staple": expect_staple,
    "expect-ct": expect_ct,
    "message": message,
}
OF_STACKS = frozenset({"exception", "threads", "stacktrace"})


class _Roots:
    """What the strategies say so far, by variant."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Node]] = {}
        self.winner = ""

    def add(self, name: str, variants: Variants) -> None:
        """The next strategy; it only counts when none before it does."""
        if len(variants) > 1 and name in OF_STACKS:
            _settle(variants)
        wins = False
        for variant, node in variants.items():
            if node.contributes and self.winner:
                node.contributes, node.why = False, f"{self.winner} takes precedence"
            wins = wins or node.contributes
            self.parts.setdefault(variant, []).append(node)
        if wins:
            self.winner = name


def run_strategies(facts: Facts, *, stack_first: bool, whole: bool = True) -> Grouped:
    """The component trees of all variants; only the first strategy that has something to say counts (section 12).
    Not `whole`: those after it, which are not hashed, are left out."""
    roots = _Roots()
    variants, main = exception(facts, stack_first)
    roots.add("exception", variants)
    for name, strategy in STRATEGIES.items():
        if roots.winner and not whole:
            break
        if found := strategy(facts):
            roots.add(name, found)
    return Grouped({variant: around(variant, nodes) for variant, nodes in roots.parts.items()}, roots.winner, main)


def _settle(variants: Variants) -> None:
    """Between the variants of one strategy: app before an equal system, and those with a stack before those without."""
    app, system = variants["app"], variants["system"]
    if app.contributes and system.contributes and app.text() == system.text():
        system.contributes, system.why = False, SAME_HASH
    stacked = [node.has_contributing_stack() for node in variants.values()]
    if any(stacked) and not all(stacked):
        for node, has_stack in zip(variants.values(), stacked, strict=True):
            if node.contributes and not has_stack:
                node.contributes, node.why = False, NO_STACK
