"""The settings of a project's inbound filters."""

from typing import Annotated, Any, Literal

from collector.model.settings import Help, Settings

LegacyBrowser = Literal[
    "default", "ie_pre_9", "ie9", "ie10", "ie11", "opera_pre_15", "opera_mini_pre_8", "android_pre_4", "safari_pre_6",
    "edge_pre_79", "ie", "safari", "opera", "opera_mini", "android", "firefox", "chrome", "edge",
]  # fmt: skip


class FilterRule(Settings):
    """A generic rule: what matches is dropped, and `id` is the reason shown in the ledger."""

    id: Annotated[str, Help("name of the rule, and the reason in the ledger")]
    when: Annotated[str, Help("""condition as text: 'exception.type == "ConfigError" and level != "fatal"'""")] = ""
    condition: Annotated[dict[str, Any], Help("the same as tables {op, name, value, inner}; instead of `when`")] = {}
    enabled: Annotated[bool, Help("false keeps the rule without applying it")] = True


class FilterSettings(Settings):
    """Inbound filters of a project; nothing is filtered unless it is set here."""

    rules: Annotated[list[FilterRule], Help("generic rules, first match wins")] = []
    csp_disallowed_sources: Annotated[list[str], Help('origins of CSP reports to drop: "https://*.ads.example"')] = []
    client_ips: Annotated[list[str], Help('senders to drop, address or network: "10.0.0.0/8"')] = []
    releases: Annotated[list[str], Help('releases to drop, as globs: "shop@1.*"')] = []
    error_messages: Annotated[list[str], Help('messages or "Type: value" to drop, as globs over the whole text')] = []
    localhost: Annotated[bool, Help("drop events of pages and hosts on localhost")] = False
    browser_extensions: Annotated[bool, Help("drop errors known to come from browser extensions")] = False
    legacy_browsers: Annotated[list[LegacyBrowser], Help('old browsers to drop: "default", "ie9", "firefox", ...')] = []
    web_crawlers: Annotated[bool, Help("drop events caused by known web crawlers")] = False
    ignore_transactions: Annotated[list[str], Help('transaction names to drop, as globs: "*healthcheck*"')] = []
