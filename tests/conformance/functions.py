"""The pure functions that cases call by name, with their results in the words of the cases."""

from collections.abc import Callable, Mapping
from typing import Any

from collector.filter.globs import GlobError, Globs
from collector.filter.releases import Version, compare_versions, parse_release
from collector.protocol.ratelimits import read_limits

Json = dict[str, Any]


def _read_limits(request: Mapping[str, Any]) -> Json:
    return {
        "parsed": [
            {
                "seconds": limit.seconds,
                "categories": list(limit.categories),
                "scope": limit.scope,
                "reason": limit.reason or None,
                "namespaces": list(limit.namespaces),
            }
            for limit in read_limits(request["input"])
        ]
    }


def _glob(request: Mapping[str, Any]) -> Json:
    try:
        exact, relaxed = Globs([request["pattern"]], ignore_case=False), Globs([request["pattern"]])
    except GlobError:
        return {"valid": False}
    text = request["text"]
    return {"valid": True, "match": exact.match(text), "match_ignoring_case": relaxed.match(text)}


def _release(request: Mapping[str, Any]) -> Json:
    try:
        release = parse_release(request["input"])
    except ValueError:
        return {"valid": False, "parsed": None}
    parsed = {
        "package": release.package or None,
        "version_raw": release.version_raw,
        "version_parsed": _version(release.version),
        "build_hash": release.build_hash or None,
        "description": release.description,
    }
    return {"valid": True, "parsed": parsed}


def _version(version: Version | None) -> Json | None:
    if version is None:
        return None
    major, minor, patch, revision = version.quad
    return {
        "raw_short": version.raw.partition("+")[0],
        "raw_quad": [*version.parts, None, None, None][:4],
        "quad": list(version.quad),
        "major": major,
        "minor": minor,
        "patch": patch,
        "revision": revision,
        "pre": version.pre or None,
        "prerelease": version.pre or None,
        "build_code": version.build or None,
        "components": len(version.parts),
    }


def _compare(request: Mapping[str, Any]) -> Json:
    try:
        return {"valid": True, "result": compare_versions(request["a"], request["b"])}
    except ValueError:
        return {"valid": False}


def _selector(request: Mapping[str, Any]) -> Json:
    from collector.scrub.selectors import parse_selector

    try:
        parse_selector(request["input"])
    except ValueError:
        return {"valid": False}
    return {"valid": True}


FUNCTIONS: dict[str, Callable[[Mapping[str, Any]], Json]] = {
    "parse_rate_limit_header": _read_limits,
    "glob_match": _glob,
    "parse_release": _release,
    "compare_version": _compare,
    "validate_pii_selector": _selector,
}


def differences(request: Mapping[str, Any], expect: Mapping[str, Any]) -> list[str]:
    """Call and compare; parts of a parsed version that the case does not name are left out."""
    found = FUNCTIONS[request["function"]](request)
    return [
        f"{key} is {found.get(key)!r} instead of {wanted!r}"
        for key, wanted in expect.items()
        if not _fits(found.get(key), wanted)
    ]


def _fits(found: Any, wanted: Any) -> bool:
    if isinstance(found, dict) and isinstance(wanted, dict):
        return all(key in found and _fits(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)
