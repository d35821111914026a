"""Processes that end with the one that started them."""

import subprocess
import sys

CHILD = """
import os, sys, time
from collector.machine.lifeline import die_with_parent
parent, waits = int(sys.argv[1]), sys.argv[2] == "late"
while waits and os.getppid() == parent:
    time.sleep(0.01)
die_with_parent(parent)
print("told", flush=True)
time.sleep(0 if not waits else 60)
"""
PARENT = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid()), sys.argv[1]], stdout=sys.stdout)
if sys.argv[1] == "beside":
    child.wait()
"""


def words(when: str) -> str:
    """What the child prints; returns when both have ended."""
    answer = subprocess.run(
        [sys.executable, "-c", PARENT, when], capture_output=True, text=True, timeout=50, check=True
    )
    return answer.stdout


def test_a_child_whose_parent_lives_goes_on() -> None:
    assert words("beside") == "told\n"


def test_a_child_whose_parent_ended_before_it_could_ask_the_kernel_ends_at_once() -> None:
    """The pipe that both hold is closed long before the child would have ended by itself."""
    assert words("late") == ""
