"""Why an event is grouped so, as a person reads it: component trees, with a reason for everything left out."""

from collections.abc import Iterator

from collector.group.component import Node
from collector.group.fingerprint import FingerprintRules
from collector.group.frame import Look
from collector.group.grouping import GROUPING_CONFIGS, Outline, lookup_order, outline
from collector.group.parameterize import parameterize
from collector.group.rules import StackRules, no_rules
from collector.group.stack import NON_APP, Stack
from collector.group.view import View

MAX_SHOWN_CHARS = 120


def explain(
    view: View, config: str, rules: StackRules | None = None, fingerprints: FingerprintRules | None = None
) -> list[str]:
    """The grouping of one event in lines of text; `+` counts, `-` does not. Raises KeyError for an unknown config."""
    settings = GROUPING_CONFIGS[config]
    rules = rules or no_rules()
    found = outline(view, settings, rules, fingerprints)
    return list(_Story(rules, settings.rules).tell(found, config))


class _Story:
    """Tells one event."""

    def __init__(self, rules: StackRules, built_in: str) -> None:
        self.engine = rules.on_top_of(built_in)

    def tell(self, found: Outline, config: str) -> Iterator[str]:
        head = found.headline
        yield f"title        {head.title}"
        yield f"culprit      {head.culprit or '(none)'}"
        yield f"type         {head.type}"
        yield f"config       {config}"
        yield f"fingerprint  {' · '.join(found.fingerprint)}"
        if found.resolved != found.fingerprint:
            yield f"             = {' · '.join(found.resolved)}"
        if found.rule is not None:
            yield f"             by {'built-in ' if found.rule.built_in else ''}rule {found.rule}"
        yield f"hashes       {' '.join(lookup_order(found.hashes))}"
        for name, value in found.hashes.items():
            yield ""
            root = found.variants.get(name)
            yield f"{'+' if value else '-'} {name}  {value or _why_not(root)}"
            for child in root.children if root else ():
                yield from self._node(child, 1)

    def _node(self, node: Node, depth: int) -> Iterator[str]:
        value = ""
        if node.value is not None:
            text = parameterize(node.value) if node.message else node.value
            value = f' "{_shown(text)}"'
        why = f"  ({node.why})" if node.why else ""
        yield f"{'  ' * depth}{'+' if node.contributes else '-'} {node.name}{value}{why}"
        if node.stack is not None:
            yield from self._frames(node.stack, node.variant, depth + 1)
        for child in node.children:
            yield from self._node(child, depth + 1)

    def _frames(self, stack: Stack, variant: str, depth: int) -> Iterator[str]:
        said = [""] * len(stack.looks)
        self.engine.classify(stack.looks, stack.about, said)
        found = stack.variant(variant)
        for index, look in enumerate(stack.looks):
            flag, place = found.flags[index], stack.places[index]
            reasons = [found.why[index]] if found.why[index] else []
            if not flag and look.why:
                reasons.append(look.why)
            if not flag and variant == "app" and not place.in_app:
                reasons.insert(0, NON_APP)
            if said[index]:
                reasons.append(f"marked {'in app' if place.in_app else 'out of app'} by rule ({said[index]})")
            where = "in app" if place.in_app else "system"
            kind = f", {place.category}" if place.category else ""
            yield f"{'  ' * depth}{'+' if flag else '-'} frame {index} [{where}{kind}] {_named(look)}{_joined(reasons)}"
            if flag:
                yield from _parts(look, depth + 1)


def _why_not(root: Node | None) -> str:
    if root is not None and root.contributes:
        return "does not count: the fingerprint takes precedence"
    return "does not count"


def _parts(look: Look, depth: int) -> Iterator[str]:
    for part in look.parts:
        why = f"  ({part.why})" if part.why else ""
        yield f'{"  " * depth}{"+" if part.contributes else "-"} {part.name} "{_shown(part.value)}"{why}'


def _named(look: Look) -> str:
    place = look.module or look.filename or look.package or "?"
    return f"{_shown(look.function or '?')} in {_shown(place)}"


def _joined(reasons: list[str]) -> str:
    return f"  ({'; '.join(reasons)})" if reasons else ""


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."
