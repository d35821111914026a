"""Games made with Unity IL2CPP: whose code is whose."""

import pytest

from collector.group.engine import About, start
from collector.group.frame import look_at
from collector.group.rules import BUILT_IN_SETS, StackRules
from collector.group.view import FrameView

GAMES = [
    "C:/Games/Shop/GameAssembly.dll",
    "/private/var/containers/Bundle/Application/X/shop.app/Frameworks/UnityFramework.framework/UnityFramework",
    "/data/app/io.acme/lib/arm64/libil2cpp.so",
    "GameAssembly.so",
]


def in_app(path: str | None, package: str | None, before: bool | None = None) -> set[bool]:
    """The flag under each built-in set."""
    frame = FrameView(function="Cart_Pay", abs_path=path, package=package, in_app=before)
    look = look_at(frame, "native", rewrite_spawn=True)
    return {bool(StackRules().on_top_of(name).classify([look], About())[0].in_app) for name in BUILT_IN_SETS}


@pytest.mark.parametrize("package", GAMES)
@pytest.mark.parametrize("path", ["/Users/ada/shop/Assets/Cart.cs", "D:\\shop\\Packages\\io.acme.cart\\Cart.cs"])
def test_sources_of_the_project_are_in_app(path, package):
    assert in_app(path, package) == {True}


@pytest.mark.parametrize("package", GAMES)
@pytest.mark.parametrize(
    "path",
    [
        None,
        "<no-source>",
        "/Users/ada/shop/Library/Bee/artifacts/il2cppOutput/cpp/Cart.cpp",
        "/Users/ada/shop/Library/PackageCache/com.unity.ugui/Button.cs",
        "/Users/ada/Assets/shop/Library/PackageCache/com.unity.ugui/Button.cs",
        "/build/output/unity/unity/Modules/IMGUI/Packages/Event.cs",
    ],
)
def test_everything_else_in_the_binary_of_a_game_is_not(path, package):
    assert in_app(path, package, before=True) == {False}


@pytest.mark.parametrize(
    "package",
    ["UnityPlayer.dll", "/x/libiPhone-lib.dylib", "/x/UnityRuntime.framework/UnityRuntime", "/x/libunity.so",
     "/x/libgame.so", "/x/Plugins/Sentry.dylib", "/x/libsentry-android.so", "Plugins/sentry.dll",
     "/x/Frameworks/SentryObjC.framework/SentryObjC"],
)  # fmt: skip
def test_the_engine_and_the_sdk_are_never_in_app(package):
    assert in_app("/Users/ada/shop/Assets/Cart.cs", package, before=True) == {False}


def test_other_apps_with_a_folder_of_assets_are_left_alone():
    assert in_app("/srv/shop/Assets/cart.c", "/srv/shop/bin/shop") == {False}
    assert in_app("/srv/shop/Assets/cart.c", "/srv/shop/bin/shop", before=True) == {True}


@pytest.mark.parametrize(("package", "counts"), [("UnityEngine.CoreModule", [False, False, True, True]),
                                                 ("Acme.Jobs", [True, True, True, True])])  # fmt: skip
def test_what_runs_a_coroutine_does_not_count(package, counts):
    frames = [
        FrameView(function="Main", package="UnityEngine.CoreModule"),
        FrameView(function="Update", package="UnityEngine.CoreModule"),
        FrameView(function="InvokeMoveNext", package=package),
        FrameView(function="Pay", package="Assembly-CSharp"),
    ]
    looks = [look_at(frame, "csharp", rewrite_spawn=True) for frame in frames]
    engine = StackRules().on_top_of("all-platforms:2026-01-20")
    places = [start(look) for look in looks]
    assert engine.weigh(looks, places, About(), [[True] * 4])[0].flags == counts
