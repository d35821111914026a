"""Numbers on the command lines of the scripts: types for argparse, each refusing with a sentence."""

import argparse
import math
from collections.abc import Callable


def whole(least: int = 1, most: float = math.inf) -> Callable[[str], int]:
    """Whole numbers from `least` to `most`."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, {least} or more{_at_most(most)}")
        return int(text)

    return number


def above_zero(most: float = math.inf) -> Callable[[str], float]:
    """Finite numbers above 0, up to `most`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value <= most or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} should be a number above 0{_at_most(most)}")
        return value

    return number


def _at_most(most: float) -> str:
    return "" if most == math.inf else f", {most:,.0f} at most"
