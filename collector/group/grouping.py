"""Which issue an event belongs to: variants, hashes and headline under one grouping configuration.

`group` is pure: the same view, configuration and rules always give the same result.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

from collector.errors import ConfigError
from collector.group.exceptions import chooses_by_texts
from collector.group.facts import Facts
from collector.group.fingerprint import (
    DEFAULT,
    FingerprintRule,
    FingerprintRules,
    expand,
    is_default,
    resolve,
    rule_for,
)
from collector.group.recall import Recalled, keep, key_of, recall
from collector.group.rules import StackRules, no_rules
from collector.group.settings import DEFAULT_CONFIG, GroupingSettings
from collector.group.strategies import Variants, run_strategies
from collector.group.syntax import RuleError
from collector.group.title import Blame, Headline, blame, headline
from collector.group.view import View
from collector.model.event import GroupingResult


class GroupingConfig(Struct, frozen=True):
    """One grouping configuration. It never changes once issues were made with it; a better one gets a new id.

    rules: the built-in set of stack trace rules. legacy: the four rules that differ before 2025 (section 1): the stack
    before type and value, lone frames of scripts, command lines of multiprocessing, unknown fingerprint variables.
    secondary: the configuration whose hashes find the issues that were made under it, before a change to this one.
    """

    id: str
    rules: str
    legacy: bool = False
    secondary: str | None = None


GROUPING_CONFIGS = {
    config.id: config
    for config in (
        GroupingConfig("newstyle:2026-01-20", "all-platforms:2026-01-20", secondary="newstyle:2023-01-11"),
        GroupingConfig("newstyle:2023-01-11", "all-platforms:2023-01-11", legacy=True, secondary="newstyle:2026-01-20"),
    )
}

MD5 = re.compile(r"[a-fA-F0-9]{32}")
OF_NOTHING = hashlib.md5(usedforsecurity=False).hexdigest()


# Says whether one of these hashes belongs to an issue.
IsKnown = Callable[[list[str]], bool]
# Says whether issues may have hashes of a configuration.
MayHold = Callable[[str], bool]


def nothing_is_known(_: list[str]) -> bool:
    """For one event alone, without a memory of issues."""
    return False


def all_may_be_held(_: str) -> bool:
    """Without a memory of configurations."""
    return True


class Grouper:
    """The grouping of one project: its settings with the rules compiled.

    Raises ConfigError listing every mistake with line and column; `where` is the table that the settings stand in.
    """

    def __init__(self, settings: GroupingSettings, where: str = "grouping") -> None:
        mistakes = []
        if settings.config not in GROUPING_CONFIGS:
            mistakes.append(f"{where}.config: {settings.config!r} is not one of {', '.join(GROUPING_CONFIGS)}")
        self.settings = settings
        config = GROUPING_CONFIGS.get(settings.config)
        self.secondary = config.secondary if config and settings.transition else None
        self.rules = no_rules()
        self.fingerprints: FingerprintRules | None = None
        try:
            self.rules = StackRules(settings.stack_trace_rules)
        except RuleError as error:
            mistakes.append(f"{where}.stack_trace_rules: {error}")
        try:
            self.fingerprints = FingerprintRules(settings.fingerprint_rules)
        except RuleError as error:
            mistakes.append(f"{where}.fingerprint_rules: {error}")
        if mistakes:
            raise ConfigError(mistakes)

    def group(
        self, view: View, is_known: IsKnown = nothing_is_known, may_hold: MayHold = all_may_be_held
    ) -> GroupingResult:
        """The grouping of one normalised event."""
        other = self.secondary
        transition = is_known if other is not None and may_hold(other) else None
        return group(view, self.settings.config, self.rules, self.fingerprints, transition=transition)


class Outline(NamedTuple):
    """Everything that grouping found out about an event; `GroupingResult` is made of it.

    hashes: variant name -> hash, None when it does not contribute. fingerprint: as sent or as a rule chose it.
    resolved: the same with variables filled in. rule: the fingerprint rule that matched. main: id of main exception.
    winner: the strategy that counts. by_texts: messages had a part in the choice of exceptions.
    """

    variants: Variants
    hashes: dict[str, str | None]
    fingerprint: list[str]
    resolved: list[str]
    rule: FingerprintRule | None
    headline: Headline
    blame: Blame
    main: int | None
    winner: str
    by_texts: bool


def group(
    view: View,
    config: str = DEFAULT_CONFIG,
    rules: StackRules | None = None,
    fingerprints: FingerprintRules | None = None,
    *,
    transition: IsKnown | None = nothing_is_known,
) -> GroupingResult:
    """The grouping of one normalised event.

    rules, fingerprints: those of the project; the built-in ones always run. transition: the hashes of the secondary
    configuration are computed too, for looking up, where it knows none of the primary ones; None: never.
    Raises KeyError for an unknown configuration.
    """
    settings = GROUPING_CONFIGS[config]
    rules = rules or no_rules()
    reader = rules.by_config.get(config)
    if reader is None:
        reader = rules.by_config[config] = rules.reader(settings.rules, legacy=settings.legacy)
    facts = Facts(view, reader)
    rule = rule_for(facts, fingerprints)
    is_known = transition if settings.secondary else None
    key = None if rule else key_of(facts, config, transition is not None)
    known = recall(rules.recalled, facts, key) if key is not None else None
    if known and (is_known is None or known.secondary_hashes is not None or is_known(known.hashes)):
        return _result(config, known, headline(facts, known.main, view.title, known.blame))

    found = _outline(facts, settings, rule)
    hashes = lookup_order(found.hashes)
    with_texts = found.by_texts or _uses_texts(found.variants)
    secondary: list[str] | None = None
    if settings.secondary and is_known is not None and not is_known(hashes):
        older = _secondary(facts, GROUPING_CONFIGS[settings.secondary], rules, fingerprints, rule)
        secondary = lookup_order(older.hashes)
        with_texts = with_texts or _uses_texts(older.variants)
    variants = {name: (value, value is not None) for name, value in found.hashes.items()}
    known = Recalled(
        variants=variants,
        hashes=hashes,
        secondary_hashes=secondary,
        fingerprint=found.fingerprint,
        resolved=found.resolved,
        main=found.main,
        blame=found.blame,
    )
    if key is not None:
        keep(rules.recalled, facts, key, known, with_texts=with_texts)
    return _result(config, known, found.headline)


def _result(config: str, known: Recalled, head: Headline) -> GroupingResult:
    return GroupingResult(
        config=config,
        variants=known.variants.copy(),
        hashes=known.hashes.copy(),
        title=head.title,
        culprit=head.culprit,
        fingerprint=known.fingerprint.copy(),
        secondary_hashes=(known.secondary_hashes or []).copy(),
        secondary_config=GROUPING_CONFIGS[config].secondary or "" if known.secondary_hashes else "",
        resolved_fingerprint=known.resolved.copy(),
        type=head.type,
        location=head.location,
        metadata=head.metadata,
    )


def _uses_texts(variants: Variants) -> bool:
    """Whether messages of the event had a part in the hashes."""
    return any([root.uses_texts() for root in variants.values()])  # noqa: C419 - measured: faster


def outline(
    view: View, config: GroupingConfig, rules: StackRules | None, fingerprints: FingerprintRules | None
) -> Outline:
    """The variants of one event under one configuration, with the component trees."""
    facts = Facts(view, (rules or no_rules()).reader(config.rules, legacy=config.legacy))
    return _outline(facts, config, rule_for(facts, fingerprints))


def _outline(facts: Facts, config: GroupingConfig, rule: FingerprintRule | None) -> Outline:
    found = _hashed(facts, config, rule)
    blamed = blame(facts)
    title = expand(rule.title, facts) if rule and rule.title else facts.view.title
    return Outline(
        variants=found.variants,
        hashes=found.hashes,
        fingerprint=found.fingerprint,
        resolved=found.resolved,
        rule=rule,
        headline=headline(facts, found.main, title, blamed),
        blame=blamed,
        main=found.main,
        winner=found.winner,
        by_texts=chooses_by_texts(facts.exceptions),
    )


def _secondary(
    facts: Facts,
    config: GroupingConfig,
    rules: StackRules,
    fingerprints: FingerprintRules | None,
    rule: FingerprintRule | None,
) -> "_Hashed":
    """The hashes of the same event under another configuration. rule: the one that matched under the first."""
    others = Facts(facts.view, rules.reader(config.rules, legacy=config.legacy))
    if fingerprints and fingerprints.ask_in_app:
        rule = rule_for(others, fingerprints)
    return _hashed(others, config, rule, whole=False)


class _Hashed(NamedTuple):
    """The part of an Outline that is hashed."""

    variants: Variants
    hashes: dict[str, str | None]
    fingerprint: list[str]
    resolved: list[str]
    main: int | None
    winner: str


def _hashed(facts: Facts, config: GroupingConfig, rule: FingerprintRule | None, *, whole: bool = True) -> _Hashed:
    checksum = facts.view.checksum
    fingerprint = list(rule.fingerprint) if rule else _sent_fingerprint(facts.view)
    grouped = run_strategies(facts, stack_first=config.legacy, whole=whole)
    mark_unknown = not config.legacy
    resolved = [part if is_default(part) else resolve(part, facts, mark_unknown=mark_unknown) for part in fingerprint]
    variants = {} if checksum else grouped.variants
    hashes = _of_checksum(checksum) if checksum else _of_components(variants, fingerprint, resolved, rule)
    return _Hashed(variants, hashes, fingerprint, resolved, grouped.main, grouped.winner)


def lookup_order(hashes: dict[str, str | None]) -> list[str]:
    """The hashes by which an issue is looked up, the primary one first: those that contribute, `system` last."""
    ordered = [value for name, value in hashes.items() if value is not None and name != "system"]
    ordered += [value for name, value in hashes.items() if value is not None and name == "system"]
    return list(dict.fromkeys(ordered))


def hash_of(texts: Iterable[str]) -> str:
    """The MD5 of all texts one after the other, in lower-case hex."""
    return hashlib.md5("".join(texts).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _sent_fingerprint(view: View) -> list[str]:
    return [part for part in view.fingerprint or () if part is not None] or [DEFAULT]


def _of_checksum(checksum: str) -> dict[str, str | None]:
    if MD5.fullmatch(checksum):
        return {"checksum": checksum}
    return {"hashed_checksum": hash_of([checksum])}


def _of_components(
    variants: Variants, fingerprint: list[str], resolved: list[str], rule: FingerprintRule | None
) -> dict[str, str | None]:
    """Variant name -> hash, after the fingerprint had its say (sections 13.1 and 14)."""
    defaults = [is_default(part) for part in fingerprint]
    if not any(defaults):
        name = _fingerprint_variant(rule)
        return {**dict.fromkeys(variants), name: hash_of(resolved)}
    hashes: dict[str, str | None] = {}
    for name, root in variants.items():
        own = root.text() if root.contributes else None
        if own is None:
            hashes[name] = None
        elif len(fingerprint) == 1:
            hashes[name] = hash_of([own])
        else:
            hashes[name] = hash_of(own if default else part for part, default in zip(resolved, defaults, strict=True))
    if not any(hashes.values()):
        hashes["fallback"] = OF_NOTHING
    return hashes


def _fingerprint_variant(rule: FingerprintRule | None) -> str:
    if rule is None:
        return "custom_client_fingerprint"
    return "built_in_fingerprint" if rule.built_in else "custom_server_fingerprint"
