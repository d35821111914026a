"""The bar of long commands."""

import io

import pytest

from collector.progress import Progress, shown

SIZES = {"a.duckdb": 250_000_000, "b.duckdb": 750_000_000}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(out: io.StringIO, is_quiet: bool = False) -> str:
    step = Progress(out, SIZES, is_quiet)
    for name in ("a.duckdb", "b.duckdb", "state.sqlite"):
        step(name)
    step.close()
    return out.getvalue()


def test_a_terminal_gets_a_bar_that_weighs_files_by_their_bytes() -> None:
    shown_lines = run(Terminal()).split("\r\x1b[K")
    assert shown_lines == [
        "",
        "[------------------------]   0% of 1 GB a.duckdb",
        "[######------------------]  25% of 1 GB b.duckdb",
        "[########################] 100% of 1 GB state.sqlite",
        "",
    ]


def test_elsewhere_each_file_is_a_plain_line_and_scripts_get_none() -> None:
    assert run(io.StringIO()) == "a.duckdb\nb.duckdb\nstate.sqlite\n"
    assert (run(io.StringIO(), is_quiet=True), run(Terminal(), is_quiet=True)) == ("", "")


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (512_000_000, "512 MB"),
                                            (3 * 10**12, "3000 GB")])  # fmt: skip
def test_sizes_for_people(size: int, text: str) -> None:
    assert shown(size) == text
