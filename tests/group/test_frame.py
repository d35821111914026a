"""Frames: names, what counts and what does not."""

import pytest

from collector.group.frame import look_at
from collector.group.trim import trim_function
from collector.group.view import FrameData, FrameView


def text_of(platform: str, **fields: object) -> str:
    look = look_at(FrameView(**fields), platform, rewrite_spawn=True)  # type: ignore[arg-type]
    return look.text if look.contributes else ""


@pytest.mark.parametrize(
    ("function", "trimmed"),
    [
        ("void shop::Cart<int>::add(int, char const*) const &", "shop::Cart<T>::add"),
        ("<T as core::fmt::Debug>::fmt", "core::fmt::Debug::fmt"),
        ("shop::run::h0123456789abcdef", "shop::run"),
        ("operator<<(std::ostream&, int)", "operator<<"),
        ("shop::{lambda(int)#2}::operator()(int) const", "shop::lambda::operator()"),
        ("(anonymous namespace)::run(int)", "(anonymous namespace)::run"),
        ("?A0x0123abcd::run", "`anonymous namespace'::run"),
        ("-[Cart addItem:]", "-[Cart addItem:]"),
        ("closure #1 (Swift.Int) -> () in Cart.total() -> Swift.Int", "closure in Cart.total"),
        ("thunk for @escaping @callee_guaranteed () -> ()", "thunk for closure"),
        ("variable initialization expression of static Cart.shared", "initializer expression of Cart.shared"),
        ("run [clone .cold]", "run"),
        ("malloc@@GLIBC_2.2.5", "malloc"),
        ("_Run@12", "_Run"),
        ("<unknown>", "<unknown>"),
        ("()", "()"),
    ],
)
def test_native_names_are_reduced_to_what_identifies_the_function(function, trimmed):
    assert trim_function(function, "native") == trimmed


@pytest.mark.parametrize("piece", ["&", "const ", "{lambda(", "<", "<a as ", "operator<"])
def test_a_hostile_name_is_trimmed_or_left_as_it_is(piece):
    assert isinstance(trim_function(piece * 300, "native"), str)
    assert trim_function("x" + piece * 5000, "native") == "x" + piece * 5000


def test_other_platforms_keep_their_names_and_csharp_loses_its_arguments():
    assert trim_function("f(int)", "python") == "f(int)"
    assert trim_function("Run (int a)", "csharp") == "Run"


@pytest.mark.parametrize(
    ("platform", "fields", "text"),
    [
        ("python", {"module": "a.b", "filename": "b.py", "function": "f"}, "a.bf"),
        ("python", {"filename": "dir\\sub/B.py", "function": "f"}, "b.pyf"),
        ("python", {"function": "f", "context_line": "  x  =\t1 "}, "fx = 1"),
        ("python", {"function": "f", "context_line": "y" * 121}, "f"),
        ("java", {"function": "f", "context_line": "x"}, "f"),
        ("javascript", {"filename": "/a.js", "abs_path": "https://x/a.js", "function": "a.b.go"}, "go"),
        ("javascript", {"filename": "a.js?v=1", "abs_path": "a.js", "function": "go"}, "a.jsgo"),
        ("javascript", {"abs_path": "https://x/a.js", "context_line": "x"}, ""),
        ("javascript", {"filename": "a.js", "function": "<anonymous>"}, "a.js"),
        ("javascript", {"filename": "a.js", "function": "Object.eval"}, ""),
        ("javascript", {"filename": "a.js", "abs_path": "native code", "function": "go"}, ""),
        ("javascript", {"module": "x/app", "abs_path": "/src/x/app", "function": "go"}, "go"),
        ("node", {"function": "new Foo.Bar", "filename": "[native code]"}, "Bar"),
        ("java", {"module": "a.B$$Lambda$3", "function": "run"}, "run"),
        (
            "java",
            {"module": "a.B$$EnhancerBySpringCGLIB$$1ebd_2", "function": "f"},
            "a.B$$EnhancerBySpringCGLIB$$<auto>f",
        ),
        ("java", {"module": "sun.reflect.GeneratedMethodAccessor12"}, "sun.reflect.GeneratedMethodAccessor"),
        ("java", {"filename": "Cart$$_javassist_seam_3.java"}, "cart$$_javassist<auto>.java"),
        ("java", {"module": "a.B", "function": "lambda$run$0"}, "a.B"),
        ("ruby", {"function": "block (2 levels) in run"}, "block"),
        ("ruby", {"function": "_app_views_x_erb__3000001_70000012"}, "_app_views_x_erb"),
        ("php", {"function": "class@anonymous\0/a.php:3::run"}, "run"),
        ("php", {"function": "[Anonymous function]"}, ""),
        ("native", {"function": "<redacted>"}, ""),
        ("other", {}, ""),
    ],
)
def test_a_frame_counts_by_what_identifies_code(platform, fields, text):
    assert text_of(platform, **fields) == text


def test_a_mapped_javascript_frame_counts_by_its_line_not_by_its_name():
    fields = {"function": "go", "context_line": "total()", "data": FrameData(sourcemap="app.js.map")}
    assert text_of("javascript", **fields) == "total()"


def test_what_multiprocessing_counts_up_is_left_out_of_its_command_line():
    line = "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)"
    fields = {"module": "__main__", "filename": "<string>", "function": "<module>", "context_line": line}
    assert text_of("python", **fields).endswith("spawn_main(tracker_fd=<int>, pipe_handle=<int>)")


def test_a_frame_that_rules_saw_before_starts_from_what_the_client_said():
    look = look_at(FrameView(in_app=False, data=FrameData(orig_in_app=1)), "python", rewrite_spawn=True)
    assert look.in_app is True
    look = look_at(FrameView(in_app=False, data=FrameData(orig_in_app=-1)), "python", rewrite_spawn=True)
    assert look.in_app is None
