"""Frames that are remembered come out as frames that are looked at one by one."""

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.digest.about import NeedsRepair
from collector.digest.clean import Stack
from collector.digest.frames import MAX_REMEMBERED_BYTES, Frames
from collector.digest.remarks import Remarks
from collector.group.view import FrameView

PATH = ("stacktrace", "frames")
PLENTY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
WARM = Frames()  # what it remembers of other frames must not matter
RAW_WARM = Frames(raw=True)

BAGS = ['{"a":1}', "{}", '{"a":{"b":{"c":{"d":{}}}}}', '{"a":{"b":{"c":{"d":{"e":"}"}}}}}', '{"x":"{[\\"}"}', "null",
        '{"a":[[[[1,{"k":null}]]]]}', '{"long":"' + "x" * 3000 + '"}', '{"a":"' + "{" * 700 + '"}', '["a"]', '"text}"',
        '{"vars":{"in":1}}', '{"a":1e15,"b":[true,null,{"c":{"d":{"e":[1.5]}}}]}',
        '{"é":"\U0001f600}\\u00e9"}', '{"a":1,"a":{"b":2}}']  # fmt: skip
FIELDS = ['"filename":"app/main.py"', '"filename":"https://a.example/x.js?y#z"', '"abs_path":"/srv/app/main.py"',
          '"abs_path":""', '"function":"?"', '"function":"run }{"', '"lineno":7', '"in_app":true', '"in_app":null',
          '"module":"app.main"', '"context_line":"a = {}"', '"pre_context":["x","",null]', '"post_context":null',
          '"data":{"orig_in_app":1}', '"data":{}', '"data":{"x":1,"vars":{}}', '"package":"lib}"',
          '"unknown":{"vars":1}',
          '"pre_context":"x"', '"lineno":"7"', '"platform":"python"', '"filename":"' + "f" * 120 + '"']  # fmt: skip


@st.composite
def frames(draw: st.DrawFn) -> str:
    """One frame as JSON text: fields in any order, some twice, the variables anywhere among them."""
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=5))
    for bag in draw(st.lists(st.sampled_from(BAGS), max_size=2)):
        fields.insert(draw(st.integers(0, len(fields))), f'"vars":{bag}')
    return "{" + draw(st.sampled_from([",", ",", ", "])).join(fields) + "}"


def both(text: str, warm: Frames) -> tuple[Any, Any]:
    """What the remembering and the plain way make of frames, with their remarks; "repair" when they cannot."""
    plain = Frames(warm._raw)
    return outcome(text, written_by(warm)), outcome(text, lambda *given: list(map(write, plain._typed(*given))))


def written_by(frames: Frames) -> Any:
    """The usual way, as a function of frames; what grouping sees of each has to be what stands in its JSON."""

    def way(raws: list[msgspec.Raw], remarks: Remarks, path: Any) -> list[msgspec.Raw]:
        stack = Stack(raws)
        trace = frames.write(stack, remarks, path)
        assert isinstance(stack.frames, list)
        text = b"[" + b",".join(map(bytes, stack.frames)) + b"]"
        assert trace.views == msgspec.json.decode(text, type=list[FrameView])
        return stack.frames

    return way


def write(frame: Any) -> msgspec.Raw:
    """A frame as JSON."""
    return msgspec.Raw(msgspec.json.encode(frame))


def outcome(text: str, way: Any) -> Any:
    """Frames and remarks of one way."""
    remarks = Remarks()
    remarks.error((*PATH, 0, "filename"), "invalid_data", "told before")
    try:
        raws = way(msgspec.json.decode(text, type=list[msgspec.Raw]), remarks, PATH)
    except NeedsRepair:
        return "repair"
    return json.loads(b"[" + b",".join(map(bytes, raws)) + b"]"), remarks.tree


@PLENTY
@given(st.lists(frames(), min_size=1, max_size=5), st.sampled_from((1, 1, 20, 60)))
def test_remembered_frames_are_what_the_typed_form_makes_of_them(texts: list[str], times: int) -> None:
    text = "[" + ",".join(texts * times) + "]"
    for warm in (WARM, RAW_WARM):
        fast, plain = both(text, warm)
        assert fast == plain
        assert outcome(text, written_by(warm)) == plain


def test_where_variables_stand_is_part_of_what_is_remembered() -> None:
    warm = Frames()
    inner = (
        '[{"filename":"'
        + "f" * 90
        + '","abs_path":"/f","data":{"orig_in_app":1,"vars":{},"orig_lineno":2},"lineno":1}]'
    )
    outer = '[{"filename":"' + "f" * 90 + '","abs_path":"/f","data":{"orig_in_app":1},"vars":{},"lineno":1}]'
    assert outcome(outer, written_by(warm)) == outcome(outer, written_by(Frames()))
    fast, plain = both(inner, warm)
    assert fast == plain


def test_what_is_remembered_is_bounded() -> None:
    warm = Frames()
    for number in range(3000):
        lines = json.dumps([f"{number:06}" * 53] * 5)
        outcome(f'[{{"filename":"{number:06}{"x" * 90}","pre_context":{lines},"vars":{{}}}}]', written_by(warm))
    kept = sum(len(head.text) for heads in warm._heads.values() for head in heads)
    assert 0 < kept < MAX_REMEMBERED_BYTES
