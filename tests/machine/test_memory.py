"""Code that only the start needed goes back."""

import subprocess
import sys

import pytest

from collector.machine import memory
from collector.machine.disk import RealDisk
from collector.machine.memory import clean_code
from tests.helpers.clock import FakeClock

SMAPS = b"""\
5500000000-5500001000 r--p 00000000 fe:00 12 /usr/bin/python
Rss:                   4 kB
Anonymous:             0 kB
5500001000-5500003000 r-xp 00001000 fe:00 12 /usr/bin/python
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f00000000-7f00002000 r-xp 00000000 fe:00 13                     /usr/lib/relocated code.so
Rss:                   8 kB
Anonymous:             4 kB
7f00002000-7f00004000 rw-p 00002000 fe:00 13                     /usr/lib/relocated code.so
Anonymous:             0 kB
7f00004000-7f00006000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7f00006000-7f00008000 r-xp 00000000 00:00 0                      [vdso]
Anonymous:             0 kB
7f00008000-7f0000a000 r-xp 00000000 fe:00 14                     /usr/lib/plain.so
Anonymous:             0 kB
"""
GIVEN_BACK = """
from collector.machine.disk import RealDisk
from collector.machine.memory import MAPS, clean_code, give_back, _lines
import duckdb, sqlite3
def code_kb():
    ranges, lines, kb = {"%x-%x" % each for each in clean_code(_lines(RealDisk()))}, _lines(RealDisk()), 0
    for line in lines:
        if not line[:1].isupper():
            inside = line.split()[0].decode() in ranges
        elif inside and line.startswith(b"Rss:"):
            kb += int(line.split()[1])
    return kb
duckdb.connect().execute("SELECT 1").fetchall()
before = code_kb()
give_back(RealDisk())
after = code_kb()
assert duckdb.connect().execute("SELECT sum(i) FROM range(1000) t(i)").fetchall() == [(499500,)]
assert sqlite3.connect(":memory:").execute("SELECT 1").fetchall() == [(1,)]
print(before, after)
"""


def test_only_code_that_is_just_as_in_its_file_may_go() -> None:
    assert clean_code(SMAPS.splitlines()) == [(0x5500001000, 0x5500003000), (0x7F00008000, 0x7F0000A000)]
    assert clean_code([]) == []


def test_a_process_goes_on_after_its_code_was_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, timeout=60, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 2


def test_memory_is_given_back_at_rest_and_the_heap_trimmed_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, done = FakeClock(), []
    monkeypatch.setattr(memory, "trim_heap", lambda: done.append(f"trim {clock.monotonic() - began:g}"))
    monkeypatch.setattr(memory, "give_back", lambda disk: done.append(f"all {clock.monotonic() - began:g}"))
    began = clock.monotonic()
    thrift = memory.Thrift(clock, RealDisk())

    def pass_time(seconds: int, worked: bool) -> list[str]:
        done.clear()
        for _ in range(seconds):
            clock.advance(1)
            thrift.turn(worked)
        return list(done)

    assert pass_time(100, worked=False) == []
    assert pass_time(1, worked=True) == ["trim 101"]
    assert pass_time(60, worked=False) == ["all 103"]
    assert pass_time(70, worked=True) == ["trim 162", "trim 192", "trim 222"]
    assert pass_time(5, worked=False) == ["all 233"]
    assert pass_time(1, worked=True) == []
    assert pass_time(40, worked=False) == ["all 263"]
