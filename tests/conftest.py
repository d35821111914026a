"""What all tests share."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1].parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long go first, then what starts processes and mostly waits, then the many short ones: the workers
    of scripts/test end at the same time, and what waits does so while others compute."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    waiting = {item.path for item in items if item.get_closest_marker("process")}
    items.sort(key=lambda item: 0 if item.path in slow else 1 if item.path in waiting else 2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With COLLECTOR_FORBID_SKIPS=1 (CI, which installs what tests need) a skip is a failure."""
    report = yield
    forbidden = os.environ.get("COLLECTOR_FORBID_SKIPS") == "1" and "may be absent" not in str(report.longrepr)
    if report.skipped and forbidden and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where skips are forbidden: {report.longrepr}"
    return report
