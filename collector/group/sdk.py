"""SDK names as fingerprint rules see them: without the framework integration, unknown ones as "other"."""

import re
from functools import lru_cache

SEPARATORS = re.compile(r"[\W_]+")
# SDKs that are known by their first two words, and what may follow sentry.javascript and sentry.native.
TOP_LEVEL_NAMES = "cocoa dart dotnet elixir go java javascript kotlin native objc perl php python ruby rust swift"
JAVASCRIPT_NAMES = """
angular angular.ivy astro aws.serverless browser bun capacitor cloudflare cordova deno electron ember feedback gatsby
google.cloud.serverless nestjs nextjs node nuxt opentelemetry profiling.node react react.native react.router remix
serverless solid solidstart svelte sveltekit tanstackstart tanstackstart.react vercel.edge vue wasm
"""
NATIVE_NAMES = "android dotnet flutter playstation qt unity unreal"

TOP_LEVEL = frozenset(f"sentry.{name}" for name in TOP_LEVEL_NAMES.split())
JAVASCRIPT = frozenset(JAVASCRIPT_NAMES.split())
NATIVE = frozenset(NATIVE_NAMES.split())


@lru_cache(maxsize=1024)
def sdk_family(name: str) -> str:
    """`sentry.python.django` -> `sentry.python`; `sentry.javascript.nextjs` stays; `acme-sdk` -> `other`."""
    words = SEPARATORS.sub(".", name).split(".")
    top = ".".join(words[:2])
    if top not in TOP_LEVEL:
        return "other"
    rest = ".".join(words[2:])
    if top == "sentry.javascript" and rest:
        return f"{top}.{rest}" if rest in JAVASCRIPT else "other"
    if top == "sentry.native" and rest:
        return f"{top}.{words[2]}" if words[2] in NATIVE else "other"
    return top
