"""Our rule engine and parser against the published ones: they must agree about everything."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentry_ophio.enhancers import Cache, Component, Enhancements

from collector.group.engine import About, Common, IndexedEngine
from collector.group.frame import look_at
from collector.group.globs import GlobError, compile_glob
from collector.group.memo import Memo
from collector.group.published import PublishedEngine
from collector.group.rules import BUILT_IN_SETS, StackRules, built_in_rules, built_in_text
from collector.group.stack import StackReader
from collector.group.syntax import RuleError, parse_rules
from collector.group.view import FrameData, FrameView
from tests.group.events import examples, many_examples

PATTERNS = {
    "function": ["foo", "f*", "*o", "b?r", "[fb]*", "{foo,bar}", "foo*bar", "**", "<unknown>", "a/**", "**/a", "É*"],
    "module": ["a.b", "a.*", "*.b", "**/c", "a/*", "A.*", "a.b*"],
    "path": [
        "**/a/**",
        "a/b",
        "/a/b",
        "A/B",
        "**/b.js",
        "*.js",
        "**.js",
        "/usr/**",
        "a/*",
        "**/",
        "É/b",
        "[ab]/**",
        "[",
    ],
    "package": ["/usr/lib/**", "*lib*", "**/x.so", "foo", "FOO", "/Foo", "C:/**"],
    "category": ["ui", "system", "s*", "{ui,x}"],
    "family": ["native", "javascript", "other", "all", "native,javascript", "nope"],
    "app": ["yes", "no", "1", "0", "YES"],
    "error.type": ["Foo", "F*", "<unknown>"],
    "value": ["*bar*", "x"],
    "mechanism": ["m", "<unknown>"],
}
matcher = st.sampled_from(sorted(PATTERNS)).flatmap(
    lambda field: st.builds(
        lambda pattern, negated: f'{"!" if negated else ""}{field}:"{pattern}"',
        st.sampled_from(PATTERNS[field]),
        st.booleans(),
    )
)
action = st.sampled_from(
    [reach + flag for reach in ("", "^", "v") for flag in ("+app", "-app", "+group", "-group")]
    + ["category=ui", "category=system", "max-frames=1", "max-frames=2", "min-frames=2", "min-frames=3"]
)
rule = st.builds(
    lambda caller, own, callee, actions: " ".join(
        [*([f"[ {caller} ] |"] if caller else []), *own, *([f"| [ {callee} ]"] if callee else []), *actions]
    ),
    st.none() | matcher,
    st.lists(matcher, min_size=1, max_size=2),
    st.none() | matcher,
    st.lists(action, min_size=1, max_size=3),
)
frame = st.builds(
    FrameView,
    function=st.sampled_from([None, "foo", "foobar", "bar", "É", "a/b", "foo\nbar", ""]),
    module=st.sampled_from([None, "a.b", "a.c", "a/c", "A.b", "a.b\nc"]),
    abs_path=st.sampled_from([None, "a/b", "/a/b", "A\\B", "x/a/y", "b.js", "/usr/x", "a\nb", "É/b", "a/"]),
    filename=st.sampled_from([None, "b.js"]),
    package=st.sampled_from([None, "/usr/lib/x", "mylib", "foo", "Foo", "/FOO", "C:\\x\\x.so"]),
    platform=st.sampled_from([None, "native", "node"]),
    in_app=st.sampled_from([None, True, False]),
    data=st.sampled_from([None, "ui", "system", "x"]).map(FrameData),
)
about = st.builds(
    About, st.sampled_from([None, "Foo", ""]), st.sampled_from([None, "x", "abary"]), st.sampled_from([None, "m"])
)


def looks_of(frames):
    return [look_at(each, "python", rewrite_spawn=True) for each in frames]


@many_examples
@given(rules=st.lists(rule, min_size=1, max_size=6), frames=st.lists(frame, min_size=1, max_size=5), about=about)
def test_both_engines_place_and_weigh_frames_alike(rules, frames, about):
    text = "\n".join(rules)
    ours, theirs = StackRules(text).on_top_of(""), PublishedEngine([text])
    flags = [look.contributes for look in looks_of(frames)]
    places = ours.classify(looks_of(frames), about)
    assert places == theirs.classify(looks_of(frames), about)
    mine = ours.weigh(looks_of(frames), places, about, [flags])[0]
    other = theirs.weigh(looks_of(frames), places, about, [flags])[0]
    assert (mine.flags, mine.contributes) == (other.flags, other.contributes)


@cache
def built_in_engines(name):
    return StackRules().on_top_of(name), PublishedEngine([built_in_text(name)])


@pytest.mark.parametrize("name", sorted(BUILT_IN_SETS))
@many_examples
@given(frames=st.lists(frame, min_size=1, max_size=8))
def test_both_engines_agree_on_the_built_in_rules(name, frames):
    ours, theirs = built_in_engines(name)
    places = ours.classify(looks_of(frames), About())
    assert places == theirs.classify(looks_of(frames), About())
    flags = [True] * len(frames)
    mine = ours.weigh(looks_of(frames), places, About(), [flags])[0]
    assert mine.flags == theirs.weigh(looks_of(frames), places, About(), [flags])[0].flags


NAMES = sorted(BUILT_IN_SETS)


@many_examples
@given(
    rules=st.lists(rule, max_size=4),
    frames=st.lists(frame, min_size=1, max_size=6).map(tuple),
    platform=st.sampled_from(["python", "java", "javascript", "native"]),
    about=about,
    order=st.permutations([(name, legacy) for name in NAMES for legacy in (False, True)]),
)
def test_a_stack_taken_over_from_another_configuration_is_what_would_be_read(rules, frames, platform, about, order):
    text = "\n".join(rules)
    shared = StackRules(text)
    for name, legacy in order:
        alone = StackReader(IndexedEngine.of([*built_in_rules(name), *parse_rules(text)]), Memo(10**6), legacy=legacy)
        expected, found = (
            reader.read(frames, platform, about) for reader in (alone, shared.reader(name, legacy=legacy))
        )
        assert (found.places, found.app, found.system) == (expected.places, expected.app, expected.system)
        assert [look.parts for look in found.looks] == [look.parts for look in expected.looks]


def test_the_same_stack_is_built_once_for_two_configurations_that_agree():
    rules = StackRules()
    frames = (FrameView(function="a"), FrameView(function="b"))
    one, other = (rules.reader(name, legacy=name == NAMES[0]).read(frames, "python", About()) for name in NAMES)
    assert one is other


@examples
@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1, max_size=4))
def test_merged_sets_keep_the_order_of_each(sets):
    sets = [[f"function:{letter} -app" for letter in letters] for letters in sets]
    common = Common([parse_rules("\n".join(each)) for each in sets])
    for mask, texts in zip(common.masks, sets, strict=True):
        members = [each.text for place, each in enumerate(common.rules) if mask >> place & 1]
        assert members == texts


TOKENS = [
    "function:foo", "!module:bar", "path:**/x", "error.type:X", 'value:"a b"', "error.value:[", "foo:bar", "+app",
    "^-app", "v +app", "-nope", "category=x", "category = y", "max-frames=3", "min-frames=-1", "max-frames=+3",
    "max-frames=1.5", "invert-stacktrace=YES", "invert-stacktrace=1", "[", "[ function:a ]", "[function:a ]",
    "[ error.type:X ]", "|", "| [ function:b ]", "[ function:c ] |", "# comment", "#c", "!", "! function:a",
    "function: a", 'function:"a', "function:", "=", "a=b", "+app#x", "+app-group", "^", "category=x#y", "category=ä",
    "\u00a0", "\x0b", "\t", "\\\\",
]  # fmt: skip


def accepts(parse):
    try:
        parse()
    except (RuleError, RuntimeError):
        return False
    return True


@many_examples
@given(parts=st.lists(st.sampled_from(TOKENS), min_size=1, max_size=6), gap=st.sampled_from(["", " ", "  "]))
def test_both_parsers_accept_the_same_lines(parts, gap):
    line = gap.join(parts)
    assert accepts(lambda: parse_rules(line)) == accepts(lambda: Enhancements.parse(line, Cache(0)))


def published_match(pattern, value, field):
    rules = Enhancements.parse(f'{field}:"{pattern}" -group'.replace("\\", "\\\\"), Cache(0))
    fields = dict.fromkeys(("category", "function", "in_app", "orig_in_app", "module", "package", "path"))
    component = Component(True)
    about = {"ty": None, "value": None, "mechanism": None}
    frame = {**fields, "family": b"other", field: value.encode()}
    rules.assemble_stacktrace_component([frame], about, [component])
    return not component.contributes


def own_match(pattern, value, field):
    try:
        glob = compile_glob(pattern, path=field == "path")
    except GlobError:
        return False
    texts = [value] if field != "path" or value.startswith("/") else [value, "/" + value]
    return any(glob.fullmatch(text.encode()) for text in texts)


PIECES = ["a", "b", "B", "/", "*", "**", "/**", "**/", "/**/", "?", "[ab]", "[!a]", "[a-b]", "[", "{a,b}", "{a,**}",
          "{",          "}", ",", "\\", "\\*", ".", "é", "[é]", "[]a]", "[a-]", "{,a}", "[--a]"]  # fmt: skip


@many_examples
@given(
    pattern=st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    value=st.text("abB/xé.,*-\n", max_size=5),
    field=st.sampled_from(["function", "path"]),
)
def test_both_kinds_of_globs_match_the_same_texts(pattern, value, field):
    seen = value.lower() if field == "path" else value
    assert own_match(pattern, seen, field) == published_match(pattern, seen, field)


MISTAKES = [
    ("function:foo +nope", 1, 15, "unknown flag 'nope'"),
    ("# fine\n\nfunction:foo", 3, 13, "at least one action"),
    ("foo:bar +app", 1, 1, "unknown matcher 'foo'"),
    ('function:"x +app', 1, 10, "unclosed quote"),
    ("+app", 1, 1, "at least one matcher"),
    ("function:a sentinel=1", 1, 12, "unknown variable 'sentinel'"),
    ("function:a max-frames=-1", 1, 23, "number of frames"),
    ("error.type:[ -app", 1, 12, "unclosed character class"),
]


@pytest.mark.parametrize(("text", "line", "column", "reason"), MISTAKES)
def test_a_broken_rule_is_refused_with_its_place_and_reason(text, line, column, reason):
    with pytest.raises(RuleError, match=reason) as refused:
        StackRules(text)
    assert (refused.value.line, refused.value.column) == (line, column)


def test_a_pattern_of_many_stars_ends_on_a_hostile_text():
    assert compile_glob("*a*b*c*d*e*", path=False).fullmatch(b"abcd" * 5000) is None
    assert compile_glob("**/*a*b*c*/**", path=True).fullmatch(b"abc" * 5000) is None
