"""The switches of default scrubbing turned into rules and applications. Source: reference page on the protocol, F1."""

from collector.scrub.patterns import COOKIE_NAMES
from collector.scrub.rules import Application, RuleBook, Spec, key_words_rule, parse_applications, parse_rule
from collector.scrub.schema import REPLACE_ONLY_KEYS
from collector.scrub.selectors import Selector, key_selector, parse_selector
from collector.scrub.settings import ScrubSettings

NEVER_BY_DEFAULT = (
    "debug_meta.** | $frame.filename | $frame.abs_path | $logentry.formatted | $error.value"
    " | $http.headers.user-agent"
)  # fmt: skip
IP_FIELDS = (
    "$http.env.REMOTE_ADDR | $user.ip_address | $sdk.client_ip | $span.sentry_tags.'user.ip'"
    " | attributes.'client.address' | attrs.ip_address"
)
STRICT_TEXT_FIELDS = "$error.value"
STRICT_TAGS = "tags.* | $span.tags.*"
STRICT_RULES = ["@email:replace", "@creditcard:luhn", "@userpath:replace", "@strict_keys:filter"]
FREE_CONTENT = "$string | $number | $array | $object"
REPLACE_ONLY_RULES = ["@email:replace", "@creditcard:replace", "@iban:replace", "@usssn:replace", "@bearer:replace"]
STRIP_FIELDS = "strip-fields"


def default_program(settings: ScrubSettings) -> list[Application]:
    """The applications of the default scrubbing, in Sentry's order. Raises ValueError."""
    names: list[str] = []
    custom: dict[str, Spec] = {}
    chosen: dict[str, list[str]] = {}
    strict = settings.preset == "strict"
    if settings.scrub_data and settings.scrub_defaults:
        names.append("@common:filter")
        chosen["*.'http.request.header.cookie'"] = ["@cookies:filter"]
        chosen["$http.headers.cookie"] = ["@cookies:filter"]  # it is left beside `cookies` that were sent too
        chosen[_cookie_fields()] = ["@anything:filter"]
        chosen[_replace_only_fields()] = REPLACE_ONLY_RULES
        if strict:
            names += STRICT_RULES
            chosen[STRICT_TAGS] = ["@common:filter", *STRICT_RULES]
            chosen[STRICT_TEXT_FIELDS] = [*REPLACE_ONLY_RULES, "@creditcard:luhn", "@urlauth:legacy", "@pemkey:filter"]
    if settings.scrub_ip_addresses:
        chosen[IP_FIELDS] = ["@anything:remove"]
        addresses = ["@ip:complete", "@ip:replace"] if strict else ["@ip:replace"]
        names += addresses
        for field in (_replace_only_fields(), STRICT_TEXT_FIELDS, STRICT_TAGS) if strict else ():
            chosen[field] = [*chosen.get(field, ()), *addresses]
    words = [word.strip() for word in settings.sensitive_fields if word.strip()]
    if settings.scrub_data and words:
        custom[STRIP_FIELDS] = key_words_rule(words)
        names.append(STRIP_FIELDS)
    book = RuleBook(custom)
    program = parse_applications(chosen, book, "defaults")
    if names:
        program.insert(0, Application(_free_content(settings.safe_fields), book.resolve(names, "defaults")))
    return program


def advanced_program(settings: ScrubSettings) -> list[Application]:
    """The applications that the settings spell out. Raises ValueError naming the setting and the reason."""
    custom = {name: parse_rule(table, f"rules.{name}") for name, table in settings.rules.items()}
    for key in settings.vars:
        if key not in ("hash_key", "hashKey"):
            raise ValueError(f"vars.{key}: unknown; only hash_key is known")
    book = RuleBook(custom, can_pseudonymise=bool(hash_key(settings)))
    for name in custom:
        book.resolve([name], f"rules.{name}")
    return parse_applications(settings.applications, book, "applications")


def hash_key(settings: ScrubSettings) -> bytes:
    """The key of the hashing methods; empty as in Sentry when it is not set."""
    key = settings.vars.get("hash_key") or settings.vars.get("hashKey")
    return key.encode() if key else b""


def _free_content(safe_fields: list[str]) -> Selector:
    excluded = [parse_selector(NEVER_BY_DEFAULT)]
    for field in safe_fields:
        text = field.strip()
        if not text:
            continue
        try:
            excluded.append(parse_selector(text, legacy=False))
        except ValueError:
            excluded.append(key_selector(text))
    return Selector("and", (parse_selector(FREE_CONTENT), *(Selector("not", (one,)) for one in excluded)))


def _cookie_fields() -> str:
    return " | ".join(f"*.cookies.'{name}' | *.'http.request.header.cookie.{name}'" for name in COOKIE_NAMES)


def _replace_only_fields() -> str:
    named = (f"$span.data.'{key}' | attributes.'{key}' | attributes.'{key}'.value" for key in REPLACE_ONLY_KEYS)
    return " | ".join(("$logentry.formatted", "$log.body", "comments", *named))
