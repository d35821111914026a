"""Globs of fingerprint rules (reference/grouping.md, section 13.3), matched by sentry-ophio."""

from sentry_ophio.glob import is_glob_match


def text_matches(value: str, pattern: str, *, ignore_case: bool) -> bool:
    """Whether the whole text matches; `*` matches everything, line ends too."""
    return is_glob_match(value, pattern, case_insensitive=ignore_case, allow_newline=True)


def path_matches(value: str, pattern: str) -> bool:
    """Whether the whole path matches, whatever its case and slashes, with or without a slash before it."""
    return _path_matches(value, pattern) or (not value.startswith("/") and _path_matches("/" + value, pattern))


def _path_matches(value: str, pattern: str) -> bool:
    return is_glob_match(
        value, pattern, double_star=True, case_insensitive=True, path_normalize=True, allow_newline=True
    )
