"""Auth forms, DSNs and keys."""

import pytest

from collector.errors import ProtocolError
from collector.protocol.auth import Auth, owns_key, read_auth, same_key
from collector.protocol.dsn import Dsn, parse_dsn
from tests.protocol.bodies import KEY

FIELDS = f"sentry_version=7, sentry_client=sdk/1.0, sentry_key={KEY}, sentry_secret=x, sentry_timestamp=1".encode()
FULL = Auth(KEY, 7, "sdk/1.0")


@pytest.mark.parametrize("scheme", [b"Sentry ", b"sEnTrY "])
def test_both_headers_carry_the_same_grammar(scheme: bytes) -> None:
    assert read_auth([scheme + FIELDS], []) == FULL
    assert read_auth([], [scheme + FIELDS]) == FULL


def test_basic_carries_the_key_as_user() -> None:
    assert read_auth([], [b"Basic YzBmZmVlMDBjMGZmZWUwMGMwZmZlZTAwYzBmZmVlMDA6"]) == Auth(KEY)


def test_the_query_and_the_path_carry_a_key() -> None:
    assert read_auth([], [], f"sentry_key={KEY}&sentry_version=7&sentry_client=sdk%2F1.0&x=1".encode()) == FULL
    assert read_auth([], [], b"status=ok", KEY) == Auth(KEY)


@pytest.mark.parametrize("header", [b"", b"Sentry", b"Bearer abcdefgh"])
def test_a_header_that_is_not_ours_counts_as_absent(header: bytes) -> None:
    assert read_auth([header], [header]) is None
    assert read_auth([header], [], f"sentry_key={KEY}".encode()) == Auth(KEY)


def test_flags_follow_the_key_after_a_dot() -> None:
    assert read_auth([f"Sentry sentry_key={KEY}.no-cache".encode()], []) == Auth(KEY, flags=("no-cache",))


@pytest.mark.parametrize(
    ("x_sentry_auth", "authorization", "query"),
    [
        ([b"Sentry " + FIELDS], [], f"sentry_key={KEY}"),
        ([b"Sentry " + FIELDS], [b"Sentry " + FIELDS], ""),
        ([b"Sentry " + FIELDS, b"Sentry " + FIELDS], [], ""),
        ([], [], f"sentry_key={KEY}&sentry_key={KEY}"),
        ([f"Sentry sentry_key={KEY}, sentry_key={KEY}".encode()], [], ""),
    ],
)
def test_more_than_one_form_or_key_is_401(x_sentry_auth: list[bytes], authorization: list[bytes], query: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_auth(x_sentry_auth, authorization, query.encode())
    assert (caught.value.status, caught.value.detail) == (401, "multiple authorization payloads detected")


BROKEN = {
    "no key": (b"Sentry sentry_version=7", 401, "bad x-sentry-auth header"),
    "no fields": (b"Sentry nonsense", 401, "bad x-sentry-auth header"),
    "short key": (b"Sentry sentry_key=abc", 400, "bad sentry DSN public key"),
    "key with an accent": (b"Sentry sentry_key=" + "é".encode() * 32, 400, "bad sentry DSN public key"),
    "key of raw bytes": (b"Sentry sentry_key=" + b"\xff" * 32, 400, "bad sentry DSN public key"),
    "version 8": (f"Sentry sentry_version=8, sentry_key={KEY}".encode(), 400, "unsupported protocol version (8)"),
    "version x": (f"Sentry sentry_version=x, sentry_key={KEY}".encode(), 401, "bad x-sentry-auth header"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_header_is_refused_with_its_reason(name: str) -> None:
    header, status, detail = BROKEN[name]
    with pytest.raises(ProtocolError) as caught:
        read_auth([header], [])
    assert (caught.value.status, caught.value.detail) == (status, detail)


def test_an_old_version_with_a_fraction_is_taken() -> None:
    assert read_auth([f"Sentry sentry_version=2.0, sentry_key={KEY}".encode()], []) == Auth(KEY, 2)


def test_10000_query_fields_are_400() -> None:
    with pytest.raises(ProtocolError) as caught:
        read_auth([], [], b"&".join([b"a=b"] * 10_000) + f"&sentry_key={KEY}".encode())
    assert caught.value.status == 400


def test_keys_are_compared_as_bytes_so_an_accent_is_no_error() -> None:
    assert same_key(KEY, KEY)
    assert not same_key(KEY, "é" * 32)
    assert not same_key("\ud800", KEY)
    assert owns_key(["a" * 32, KEY], KEY)
    assert not owns_key([], KEY)


def test_a_dsn_falls_into_its_parts() -> None:
    assert parse_dsn(f"https://{KEY}:secret@[::1]:9000/pre/fix/42") == Dsn("https", KEY, "[::1]", 9000, "/pre/fix", 42)
    assert parse_dsn(f"http://{KEY}@h.example/1") == Dsn("http", KEY, "h.example", 80, "", 1)


@pytest.mark.parametrize(
    "text",
    ["", "x", f"ftp://{KEY}@h/1", f"http://{KEY}@h/", f"http://{KEY}@h/x", f"http://{KEY}@h:99999/1", f"http://{KEY}@/1",
     f"http://{KEY}@h/99999999999999999999", f"http://{KEY}@h/9223372036854775808", "http://@h/1", "x" * 5000],
)  # fmt: skip
def test_what_is_not_a_dsn_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_dsn(text)
