"""The rate limit header, both ways."""

import json

import pytest

from collector.protocol.ratelimits import RateLimit, limits_of_answer, read_limits, retry_after, write_limits
from tests.conftest import SHARED

CASES = SHARED / "conformance" / "protocol_cases.json"


def cases() -> list[dict[str, object]]:
    """The header cases of the shared file; none when it is absent."""
    rows = json.loads(CASES.read_text()) if CASES.exists() else []
    return [row for row in rows if row["area"] == "rate limit header"]


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases may be absent")
def test_the_shared_cases_are_read_as_they_say() -> None:
    for case in cases():
        found = [
            {**limit._asdict(), "categories": list(limit.categories), "reason": limit.reason or None,
             "namespaces": list(limit.namespaces)}
            for limit in read_limits(case["request"]["input"])  # type: ignore[index]
        ]  # fmt: skip
        assert found == case["expect"]["parsed"], case["id"]  # type: ignore[index]


def test_limits_are_written_in_the_protocol_s_form() -> None:
    limits = [RateLimit(60, ("error",), "organization", "r_code"), RateLimit(5, (), "key"),
              RateLimit(9, ("metric_bucket",), "project", "", ("custom", "x"))]  # fmt: skip
    assert write_limits(limits) == "60:error:organization:r_code, 5::key, 9:metric_bucket:project::custom;x"
    assert retry_after(limits) == 60
    assert retry_after([]) == 0


def test_a_reason_can_not_break_out_of_its_header() -> None:
    assert write_limits([RateLimit(1, (), "key", "a\r\nSet-Cookie: x=1, 2::key")]) == "1::key:a_Set-Cookie_x_1_2_key"


def test_seconds_are_rounded_up_and_unreadable_entries_are_skipped() -> None:
    assert read_limits("1.2:error:key, x:error:key, -5:error:key, 7:error:key, , 1e9:error:key") == [
        RateLimit(2, ("error",), "key"),
        RateLimit(7, ("error",), "key"),
    ]


def test_an_unknown_category_never_widens_and_an_unknown_scope_is_the_key() -> None:
    assert read_limits("60:nope:galaxy") == [RateLimit(60, ("<unknown>",), "key")]


def test_a_429_without_the_header_is_one_limit_over_everything() -> None:
    assert limits_of_answer(429, None, "5") == [RateLimit(5, (), "key", "generic")]
    assert limits_of_answer(429, None, None) == [RateLimit(60, (), "key", "generic")]
    assert limits_of_answer(429, None, "Wed, 21 Oct 2026 07:28:00 GMT") == [RateLimit(60, (), "key", "generic")]
    assert limits_of_answer(200, None, None) == []
    assert limits_of_answer(200, "60:error:key", "60") == [RateLimit(60, ("error",), "key")]
