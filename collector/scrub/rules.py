"""Rules and applications compiled from settings: what is looked for, how it is redacted, where.

Built-in rules are `@type` and `@type:method`. Source: reference page on the protocol, F1 and F4.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from collector.scrub.patterns import (
    MATCH,
    RULE_TYPES,
    WHOLE,
    Pattern,
    byte_pattern,
    patterns_of,
    user_pattern,
)
from collector.scrub.selectors import Selector, parse_selector

REMOVED, SUBSTITUTED, MASKED, PSEUDONYMISED = "x", "s", "m", "p"
FILTERED = "[Filtered]"
TYPE_ALIASES = {"urlauth": "url_auth", "usssn": "us_ssn", "credit_card": "creditcard", "redactPair": "redact_pair"}
METHODS = ("default", "remove", "mask", "hash", "replace", "pseudonymise")
METHOD_ALIASES = {"pseudonymize": "pseudonymise"}
MAX_DEPTH = 20


class Redaction(NamedTuple):
    """How a match is redacted. `method` "" is the rule's default, which removes."""

    method: str = ""
    text: str = ""


class Rule(NamedTuple):
    """A rule ready to run. `id` orders rules, `origin` is what remarks name."""

    id: str
    origin: str
    patterns: tuple[Pattern, ...]
    redaction: Redaction
    anything: bool = False

    @property
    def removes(self) -> bool:
        """Whether a match takes the value away."""
        return self.redaction.method in ("", "remove")


class Application(NamedTuple):
    """Rules, in the order of their ids, and where they apply."""

    selector: Selector
    rules: tuple[Rule, ...]


class Spec(NamedTuple):
    """A rule as configured: a type with its own keys, or a list of other rules."""

    type: str
    redaction: Redaction = Redaction()
    patterns: tuple[Pattern, ...] = ()
    members: tuple[str, ...] = ()
    hide_inner: bool = False


def _builtin() -> dict[str, Spec]:
    """`@type` with its default method, and `@type:method` for each; `filter` writes [Filtered]."""
    shown = {
        "ip": "[ip]", "imei": "[imei]", "mac": "[mac]", "uuid": "[uuid]", "email": "[email]", "iban": "[iban]",
        "creditcard": "[creditcard]", "pemkey": "[pemkey]", "urlauth": "[auth]", "usssn": "[us-ssn]",
        "userpath": "[user]", "password": "[password]", "bearer": "Bearer [token]", "anything": FILTERED,
        "cookies": FILTERED,
    }  # fmt: skip
    default = {"mac": "mask", "uuid": "mask", "usssn": "mask", "password": "remove"}
    specs: dict[str, Spec] = {}
    for name, text in shown.items():
        kind = TYPE_ALIASES.get(name, name)
        specs[f"@{name}"] = Spec("multiple", members=(f"@{name}:{default.get(name, 'replace')}",), hide_inner=True)
        specs[f"@{name}:replace"] = Spec(kind, Redaction("replace", text))
        specs[f"@{name}:filter"] = Spec(kind, Redaction("replace", FILTERED))
        for method in ("remove", "mask", "hash"):
            specs[f"@{name}:{method}"] = Spec(kind, Redaction(method))
    specs["@urlauth:legacy"] = Spec("url_password", Redaction("replace", FILTERED))
    specs["@creditcard:luhn"] = Spec("creditcard_luhn", Redaction("replace", FILTERED))
    specs["@ip:complete"] = Spec("ipv6_complete", Redaction("replace", "[ip]"))
    specs["@strict_keys:filter"] = Spec("strict_keys", Redaction("replace", FILTERED))
    plain = ("iban", "ip", "email", "creditcard", "pemkey", "urlauth", "userpath", "password", "usssn")
    specs["@common"] = Spec("multiple", members=tuple(f"@{name}" for name in plain))
    filtered = ("bearer", "creditcard", "iban", "password", "pemkey", "usssn")
    specs["@common:filter"] = Spec("multiple", members=(*(f"@{name}:filter" for name in filtered), "@urlauth:legacy"))
    return specs


BUILTIN = _builtin()


def parse_redaction(table: Any, place: str) -> Redaction:
    """A redaction table {method, text}. Raises ValueError."""
    if table is None:
        return Redaction()
    method = table.get("method", "default") if isinstance(table, Mapping) else None
    method = METHOD_ALIASES.get(method, method) if isinstance(method, str) else None
    if method not in METHODS:
        raise ValueError(f"{place}.redaction.method: {method!r} is not one of {', '.join(METHODS)}")
    text = table.get("text", FILTERED)
    if not isinstance(text, str):
        raise ValueError(f"{place}.redaction.text: should be a text, not {text!r}")
    return Redaction("" if method == "default" else method, text)


def parse_rule(table: Any, place: str) -> Spec:
    """A rule table in the form of Relay's piiConfig. Raises ValueError naming the place and the reason."""
    if not isinstance(table, Mapping):
        raise ValueError(f"{place}: should be a table with type, not {table!r}")
    kind = table.get("type")
    kind = TYPE_ALIASES.get(kind, kind) if isinstance(kind, str) else kind
    redaction = parse_redaction(table.get("redaction"), place)
    if kind == "pattern":
        regex = _user(table.get("pattern"), f"{place}.pattern")
        spots = _groups(_either(table, "replaceGroups", "replace_groups"), regex, f"{place}.replaceGroups")
        return Spec("pattern", redaction, (Pattern("value", regex, spots),))
    if kind == "redact_pair":
        keys = _user(_either(table, "keyPattern", "key_pattern"), f"{place}.keyPattern")
        return Spec("redact_pair", redaction, (Pattern("key_or_value", keys, WHOLE),))
    if kind in ("multiple", "alias"):
        members = [table.get("rule")] if kind == "alias" else table.get("rules")
        if not isinstance(members, list) or not all(isinstance(name, str) for name in members):
            raise ValueError(f"{place}.rules: should be a list of rule names, not {members!r}")
        hidden = bool(_either(table, "hideInner", "hide_inner"))
        return Spec("multiple", redaction, members=tuple(members), hide_inner=hidden)
    if kind not in RULE_TYPES:
        known = ("pattern", "redact_pair", "multiple", "alias", *RULE_TYPES)
        raise ValueError(f"{place}.type: {kind!r} is not one of {', '.join(known)}")
    return Spec(kind, redaction)


def _either(table: Mapping[str, Any], camel: str, snake: str) -> Any:
    return table[camel] if camel in table else table.get(snake)


def _user(pattern: Any, place: str) -> Any:
    try:
        return user_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _groups(value: Any, regex: Any, place: str) -> tuple[int, ...]:
    if value is None:
        return MATCH
    if not isinstance(value, list) or not value or not all(type(group) is int for group in value):
        raise ValueError(f"{place}: should be a list of group numbers, not {value!r}")
    if min(value) < 0 or max(value) > regex.groups:
        raise ValueError(f"{place}: the pattern has groups 0 to {regex.groups}")
    return tuple(sorted(set(value)))


def key_words_rule(words: list[str]) -> Spec:
    """The rule for `sensitive_fields`: a key (or a text) that holds one of the words, case ignored."""
    literal = "|".join(_literal(word) for word in words)
    plain = all(word.isascii() for word in words)
    pattern = byte_pattern(literal, case=False) if plain else user_pattern(literal, ignore_case=True)
    return Spec("redact_pair", Redaction("replace", FILTERED), (Pattern("key_or_value", pattern, WHOLE),))


def _literal(word: str) -> str:
    return "".join(char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):X}}}" for char in word)


class RuleBook:
    """Custom and built-in rules by name; resolves names to runnable rules. Raises ValueError for unknown names."""

    def __init__(self, custom: Mapping[str, Spec], *, can_pseudonymise: bool = False) -> None:
        self.custom = custom
        self.can_pseudonymise = can_pseudonymise

    def resolve(self, names: list[str], place: str) -> tuple[Rule, ...]:
        """The rules behind names, aliases and groups followed, in the order in which they run."""
        found: dict[str, Rule] = {}
        for name in names:
            self._collect(found, name, None, place, 0)
        return tuple(found[name] for name in sorted(found))

    def _collect(self, found: dict[str, Rule], name: str, parent: Rule | None, place: str, depth: int) -> None:
        spec = self.custom.get(name) or BUILTIN.get(name)
        if spec is None:
            raise ValueError(f"{place}: unknown rule {name!r}")
        if depth > MAX_DEPTH:
            raise ValueError(f"{place}: rule {name!r} refers to itself, or too deep")
        if name in found:
            return
        redaction = parent.redaction if parent and parent.redaction.method else spec.redaction
        if redaction.method == "pseudonymise" and not self.can_pseudonymise:
            raise ValueError(f"{place}: rule {name!r} pseudonymises, so vars.hash_key must be set")
        patterns = spec.patterns or (patterns_of(spec.type) if not spec.members and spec.type != "multiple" else ())
        rule = Rule(name, parent.origin if parent else name, patterns, redaction, spec.type == "anything")
        if spec.type != "multiple":
            found[name] = rule
            return
        for member in spec.members:
            self._collect(found, member, rule if spec.hide_inner else None, place, depth + 1)


def parse_applications(table: Mapping[str, list[str]], book: RuleBook, place: str) -> list[Application]:
    """Applications {selector: [rule, ...]}, in the order in which they run. Raises ValueError."""
    applications = []
    for text, names in table.items():
        where = f"{place}[{text!r}]"
        try:
            selector = parse_selector(text)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        applications.append(Application(selector, book.resolve(list(names), where)))
    return sorted(applications, key=lambda application: application.selector.sort_key())
