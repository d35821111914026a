"""The byte scrubber says the same as the deep walks, leaf for leaf, on generated JSON.

COLLECTOR_EXAMPLES=5000 looks longer.
"""

import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.scrub.scrubber import Scrubber
from collector.scrub.settings import ScrubSettings
from tests.helpers.plain_scrub import scrub_event

PIECES = (
    "password", "PassWord", "my_secret", "token", "token: x", "access_token=1", "auth", "otp", "totp", "two-factor",
    "session", "su", "Cookie", "bearer abc.def", "Bearer  x", "4111111111111111", "4111 1111 1111 1111",
    "371449635398431", "123-45-6789", "000-12-3456 ", "//u:pw@h", "redis://a:b@c/0", "DE89370400440532013000",
    "GB82WEST12345698765432", "[Filtered]", "[Filtered", "[F", "true", "null", "", " ", "\n", "\t", "\\", '"', "/",
    "\x1b[0m", "é", "日本", "\u2028", "😀", "]", "},{", "a", "1", ":", ",", "-----BEGIN", "bob@example.com",
    "formatted", "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "_meta", "vars", "safe",
    "header", "http.request.header.cookie", "gen_ai.prompt",
)  # fmt: skip

texts = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
keys = st.one_of(texts, st.sampled_from(("password", "token", "session", "cookies", "data", "n", "É", "auth")))
numbers = st.one_of(st.integers(-(2**53), 2**53), st.just(4111111111111111), st.booleans(), st.none(), st.just(1.5))
values = st.recursive(
    st.one_of(texts, numbers),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.tuples(keys, inner).map(list),
    ),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=4)
pairs = st.lists(st.tuples(keys, texts).map(list), max_size=4)
frames = st.lists(
    st.fixed_dictionaries(
        {"filename": texts, "context_line": texts, "pre_context": st.lists(texts, max_size=3), "vars": objects}
    ),
    max_size=3,
)
exceptions = st.lists(
    st.fixed_dictionaries({"value": texts, "stacktrace": st.fixed_dictionaries({"frames": frames})}), max_size=2
)
events = st.fixed_dictionaries(
    {},
    optional={
        "extra": objects,
        "request": st.fixed_dictionaries({}, optional={"data": values, "headers": pairs, "cookies": pairs}),
        "breadcrumbs": st.fixed_dictionaries(
            {"values": st.lists(st.fixed_dictionaries({"message": texts, "data": objects}), max_size=2)}
        ),
        "logentry": st.fixed_dictionaries({"formatted": texts}),
        "exception": st.fixed_dictionaries({"values": exceptions}),
        "release": texts,
        "fingerprint": st.lists(texts, max_size=2),
    },
)
spans = st.lists(
    st.fixed_dictionaries(
        {}, optional={"data": objects, "description": texts, "tags": objects, "sentry_tags": objects}
    ),
    max_size=2,
)
contexts = st.dictionaries(
    st.sampled_from(("trace", "response", "os", "mine", "auth")),
    st.one_of(objects, st.fixed_dictionaries({"type": keys, "data": objects, "cookies": pairs})),
    max_size=3,
)
rest = st.fixed_dictionaries(
    {},
    optional={
        "spans": spans,
        "contexts": contexts,
        "user": objects,
        "tags": pairs,
        "sdk": objects,
        "threads": st.fixed_dictionaries(
            {"values": st.lists(st.fixed_dictionaries({"stacktrace": st.fixed_dictionaries({"frames": frames})}))}
        ),
        "csp": objects,
        "type": st.just("transaction"),
        "server_name": texts,
        "_meta": st.just({"extra": {"password": {"": {"rem": [["!config", "s"]]}}}, "user": {"": {"len": 3}}}),
        "_dsc": objects,
        "errors": st.just([{"type": "invalid_data", "name": "tags.token", "value": "Bearer abc"}]),
    },
)
unknown = st.dictionaries(st.sampled_from(("unknown", "auth_unknown")), values, max_size=1)
EXAMPLES = int(os.environ.get("COLLECTOR_EXAMPLES", "60"))
relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def encoded(event: dict[str, Any], ascii_only: bool, spaced: bool, slashes: bool) -> bytes:
    separators = None if spaced else (",", ":")
    text = json.dumps(event, ensure_ascii=ascii_only, separators=separators)
    return (text.replace("/", "\\/") if slashes else text).encode()


SENTRY = Scrubber(ScrubSettings())
WORDED = Scrubber(ScrubSettings(sensitive_fields=["safe", "header", "x-y"], scrub_ip_addresses=True))
STRICT = Scrubber(ScrubSettings(preset="strict", scrub_ip_addresses=True, safe_fields=["extra.safe", "data.**"]))


def walked(scrubber: Scrubber, payload: bytes) -> Any:
    return json.loads(scrubber.walked(payload, "event"))


@relaxed
@given(events, st.booleans(), st.booleans(), st.booleans())
def test_bytes_and_a_plain_walk_agree_leaf_for_leaf(event: Any, ascii_only: bool, spaced: bool, slashes: bool) -> None:
    scrubbed = json.loads(SENTRY.event(encoded(event, ascii_only, spaced, slashes)))
    scrubbed.pop("_meta", None)
    assert scrubbed == scrub_event(event)


@relaxed
@given(events, st.booleans())
def test_more_sensitive_words_agree_with_a_plain_walk(event: Any, spaced: bool) -> None:
    scrubbed = json.loads(WORDED.event(encoded(event, False, spaced, False)))
    scrubbed.pop("_meta", None)
    assert scrubbed == scrub_event(event, ("safe", "header", "x-y"))


@relaxed
@given(events, rest, st.booleans(), st.sampled_from((SENTRY, WORDED, STRICT)))
def test_bytes_and_our_own_walk_agree_with_remarks(event: Any, more: Any, spaced: bool, scrubber: Scrubber) -> None:
    payload = encoded({**event, **more}, False, spaced, False)
    assert json.loads(scrubber.event(payload)) == walked(scrubber, payload)


@relaxed
@given(events, unknown, st.sampled_from((SENTRY, WORDED, STRICT)))
def test_fields_that_no_event_has_are_walked_too(event: Any, more: Any, scrubber: Scrubber) -> None:
    payload = encoded({**event, **more}, False, False, False)
    assert json.loads(scrubber.event(payload)) == walked(scrubber, payload)


@relaxed
@given(st.recursive(st.one_of(texts, numbers), lambda v: st.lists(v) | st.dictionaries(keys, v), max_leaves=30))
def test_any_json_in_any_field_is_survived(value: Any) -> None:
    fields = ("extra", "request", "exception", "breadcrumbs", "contexts", "user", "tags", "threads", "spans", "_meta")
    payload = json.dumps(dict.fromkeys(fields, value)).encode()
    assert set(json.loads(SENTRY.event(payload))) == set(fields)
    assert set(json.loads(STRICT.event(payload))) == set(fields)
