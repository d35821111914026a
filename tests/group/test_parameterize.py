"""Message parameterisation, by our own examples of each pattern."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.group.parameterize import PATTERNS, parameterize, replace_variable_parts
from tests.group.events import examples

EXAMPLES = [
    ("mail to bob.x+1@shop.example failed", "mail to <email> failed"),
    ("GET https://shop.example:8080/a?b=1, then stop.", "GET <url>, then stop."),
    ("cannot reach db-1.shop.net now", "cannot reach <hostname> now"),
    ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "<traceparent>"),
    ("id 7c1811ed-e98f-4c9c-a9f9-58c757ff494f", "id <uuid>"),
    ("0751007cd28df267e8e051b51f918c6012345678", "<sha1>"),
    ("0751007cd28df267e8e051b51f918c60", "<md5>"),
    ("at 2026-11-21T01:02:03.456Z", "at <date>"),
    ("at 21 Nov 2026 01:02:03 GMT", "at <date>"),
    ("at 11:45 pm", "at <date>"),
    ("took 17ms and 1.5s", "took <duration> and <duration>"),
    ("card 00:1a:2b:3c:4d:5e", "card <mac_addr>"),
    ("peer 192.168.1.17 and fe80::1%eth0", "peer <ip> and <ip>"),
    ("peer ::1 and 2001:db8::ff00:42:8329", "peer <ip> and <ip>"),
    ("txt tx274a77a8975c4a66aeb24-0052d95365", "txt <swift_txn_id>"),
    ("pointer 0x7faa0e62e340", "pointer <hex>"),
    ("commit 9fceb02", "commit <git_sha>"),
    ("file img_k9Mtd2gDcgG.jpg", "file img_<random_id>.jpg"),
    ("ratio 0.75 of -3", "ratio <float> of <int>"),
    ("version 1.2.3", "version <int>.<int>.<int>"),
    ("name='bob' ok=True", "name=<quoted_str> ok=<bool>"),
    ("no such function some_module.load", "no such function some_module.load"),
    ("dogNumber1 bball4lyfe", "dogNumber1 bball4lyfe"),
    ("999.999.1.2 apples", "<int>.<int>.<int>.<int> apples"),
    ("plain words only", "plain words only"),
]


@pytest.mark.parametrize(("text", "replaced"), EXAMPLES)
def test_what_varies_is_named(text, replaced):
    assert replace_variable_parts(text) == replaced


def test_every_pattern_has_an_example():
    named = " ".join(replaced for _, replaced in EXAMPLES)
    assert [pattern.name for pattern in PATTERNS if f"<{pattern.name}>" not in named] == []


def test_a_declined_match_does_not_hide_the_others():
    assert replace_variable_parts("load some.module.path failed 3 times") == "load some.module.path failed <int> times"


def test_very_long_texts_stay_as_they_are():
    assert replace_variable_parts("7 " * 5000) == "7 " * 5000


def test_lines_beyond_the_second_are_hinted_at():
    assert parameterize("a 1\n \nb 2\nc") == "a <int>\nb <int>..."
    assert parameterize("a 1\n\nb", trim=False) == "a <int>\n\nb"


@examples
@given(text=st.text(st.sampled_from("ab12-.:/@='\" \nxX_%"), max_size=60))
def test_any_text_can_be_replaced_and_does_not_change_much_the_second_time(text):
    once = replace_variable_parts(text)
    assert isinstance(once, str)
    assert len(replace_variable_parts(once)) <= max(len(once) * 12, 12)
