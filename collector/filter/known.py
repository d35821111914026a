"""What is known of noise on the web: crawlers, browser extensions, old browsers.

Source of the lists: reference page on the protocol, section D. All matching ignores case.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import re2
from ua_parser import parse_user_agent

CRAWLERS = (
    "Mediapartners-Google", "AdsBot", "Googlebot", "FeedFetcher", "Storebot", "BingBot", "BingPreview", "Baiduspider",
    "Slurp", "Sogou", "facebook", "meta-", "ia_archiver", "Slack", "Calypso AppCrawler", "pingdom", "lyticsbot",
    "AWS Security Scanner", "HubSpot", "Bytespider", "Better Uptime", "Cloudflare-Healthchecks", "GTmetrix",
    "BrightEdgeOnCrawl", "ELB-HealthChecker", "naver.me/spd", "naver spd", "ClaudeBot", "CCBot", "OAI-SearchBot",
    "GPTBot", "PerplexityBot", "Applebot", "DuckDuckBot", "Lightpanda",
)  # fmt: skip
CRAWLER_SHAPES = (r"bots?(?:[/\s;)\]]|$)", r"spider(?:[/\s;)\]]|$)")
WELCOME_CRAWLERS = (r"Slackbot\s1\.\d", r"SentryUptimeBot", r"ChatGPT-User")

EXTENSION_TEXTS = (
    "top.GLOBALS", "originalCreateNotification", "canvas.contentDocument", "MyApp_RemoveAllHighlights",
    "http://tt.epicplay.com", "Can't find variable: ZiteReader", "Can't find variable: gmo", "jigsaw is not defined",
    "ComboSearch is not defined", "http://loading.retry.widdit.com/", "atomicFindClose", "fb_xd_fragment",
    "bmi_SafeAddOnload", "EBCallBackMessageReceived", "_gCrWeb", "conduitPage",
    "null is not an object (evaluating 'elt.parentNode')", "plugin.setSuspendState is not a function",
    "Extension context invalidated", "webkit-masked-url:", "can't access dead object",
    "Cannot redefine property: solana", "Cannot redefine property: ethereum", "Cannot redefine property: googletag",
    "can't redefine non-configurable property \"solana\"", "can't redefine non-configurable property \"ethereum\"",
    "Permission denied to access property", "Can't find variable: _AutofillCallbackHandler",
)  # fmt: skip
EXTENSION_SHAPES = (r"undefined is not an object \(evaluating 'a\.[a-z]'\)",)
EXTENSION_SOURCES = (
    "graph.facebook.com", "connect.facebook.net", "eatdifferent.com.woopra-ns.com", "static.woopra.com/js/woopra.js",
    "webkit-masked-url", "127.0.0.1:4001/isrunning", "webappstoolbarba.texthelp.com/",
    "metrics.itunes.apple.com.edgesuite.net/", "kaspersky-labs.com",
)  # fmt: skip
EXTENSION_SCHEMES = (r"^chrome(?:-extension)?://", r"^moz-extension://", r"^safari(?:-web)?-extension://")

ANONYMOUS_PATHS = frozenset(("<anonymous>", "[native code]"))

DEFAULT_FLOORS = {"IE": 10, "Safari": 6, "Opera": 15, "Android": 4, "Opera Mini": 8}
BROWSER_FLOORS: dict[str, tuple[str, Callable[[int], bool]]] = {
    "ie_pre_9": ("IE", lambda major: major <= 8),
    "ie9": ("IE", lambda major: major == 9),
    "ie10": ("IE", lambda major: major == 10),
    "ie11": ("IE", lambda major: major == 11),
    "opera_pre_15": ("Opera", lambda major: major < 15),
    "opera_mini_pre_8": ("Opera Mini", lambda major: major < 8),
    "android_pre_4": ("Android", lambda major: major < 4),
    "safari_pre_6": ("Safari", lambda major: major < 6),
    "edge_pre_79": ("Edge", lambda major: major < 79),
    "ie": ("IE", lambda major: major < 12),
    "safari": ("Safari", lambda major: major < 16),
    "opera": ("Opera", lambda major: major < 100),
    "opera_mini": ("Opera Mini", lambda major: major < 35),
    "android": ("Android", lambda major: major < 4),
    "firefox": ("Firefox", lambda major: major < 111),
    "chrome": ("Chrome", lambda major: major < 111),
    "edge": ("Edge", lambda major: major < 111),
}


def _any_of(literals: Iterable[str], shapes: Iterable[str]) -> Any:
    options = re2.Options()
    options.never_capture = True
    options.case_sensitive = False
    return re2.compile("|".join([*(re.escape(text) for text in literals), *shapes]), options)


_CRAWLER = _any_of(CRAWLERS, CRAWLER_SHAPES)
_WELCOME = _any_of((), WELCOME_CRAWLERS)
_EXTENSION_TEXT = _any_of(EXTENSION_TEXTS, EXTENSION_SHAPES)
_EXTENSION_SOURCE = _any_of(EXTENSION_SOURCES, EXTENSION_SCHEMES)


def is_crawler(user_agent: str) -> bool:
    """Whether the user agent is of a known crawler (phones named "CUBOT ..." are a known false positive)."""
    return _CRAWLER.search(user_agent) is not None and _WELCOME.search(user_agent) is None


def is_extension_text(text: str) -> bool:
    """Whether an exception value is known to come from a browser extension."""
    return _EXTENSION_TEXT.search(text) is not None


def is_extension_source(path: str) -> bool:
    """Whether a script path belongs to a browser extension or a toolbar's host."""
    return _EXTENSION_SOURCE.search(path) is not None


@lru_cache(maxsize=1024)
def browser_of(user_agent: str) -> tuple[str, int] | None:
    """Family and major version; None when either is unknown. IE counts by the version that it announces."""
    parsed = parse_user_agent(user_agent)
    if parsed is None or parsed.family is None:
        return None
    family = "IE" if parsed.family == "IE Mobile" else parsed.family
    announced = re.search(r"\bMSIE (\d{1,4})\b", user_agent) if family == "IE" else None
    major = announced[1] if announced else parsed.major
    if major is None or not major.isdecimal():
        return None
    return family, int(major)


def is_legacy_browser(user_agent: str, options: Iterable[str]) -> bool:
    """Whether the browser is below the floor of an option; "default" overrides the other options."""
    browser = browser_of(user_agent)
    if browser is None:
        return False
    family, major = browser
    if "default" in options:
        return major < DEFAULT_FLOORS.get(family, 0)
    return any(family == of and below(major) for of, below in (BROWSER_FLOORS[option] for option in options))
