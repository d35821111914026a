"""An error storm of one bug beside other bugs: counts exact, the others kept, disk bounded.

COLLECTOR_STORM=50000 runs it in full; the default is small enough for every run.
"""

import asyncio
import os
from pathlib import Path

import pytest

from collector.model.outcome import SUMMARISED
from tests.faults.audit import audit
from tests.helpers.corpus import Template
from tests.helpers.load import Load
from tests.helpers.running import KEY, Collector, balanced, envelope, error_event

COPIES = int(os.environ.get("COLLECTOR_STORM", "3000"))
OTHERS = max(100, COPIES // 100)
BURST = 100
SHOP = f"""
[[project]]
id = 42
slug = "shop"
keys = ["{KEY}"]
issue_rate = "30/m"
issue_burst = {BURST}
"""
KEPT_BYTES = 8 * 1024  # of one kept event, all told
FIXED_BYTES = 4 * 2**20  # empty files, and a delta for each commit


def template(kind: str) -> Template:
    """An event of 6.4 kB that does not compress well."""
    return Template(envelope(error_event("boom", kind, extra={"blob": os.urandom(3200).hex()})))


def segment_bytes(running: Collector) -> int:
    return sum(path.stat().st_size for path in (running.data / "segments").iterdir())


@pytest.mark.process
@pytest.mark.xdist_group("heavy")
def test_a_storm_of_one_issue_is_counted_exactly_and_pushes_nobody_out(tmp_path: Path) -> None:
    """1. Thousands of copies of one error, and other errors in between, each of its own type. 2. Wait. 3. Stop.

    Result: both counts exact, all others kept, of the storm burst and rate, the files no larger than what was kept.
    """
    running = Collector(tmp_path, SHOP).start()
    try:
        others = [template(f"Other{chr(65 + n // 26)}{chr(65 + n % 26)}Error") for n in range(OTHERS)]
        load = Load(running.dsn, [template("StormError")] * COPIES + others, COPIES + OTHERS)
        asyncio.run(load.run(8))
        assert load.answers == {"200": COPIES + OTHERS}
        ledger = running.drained(max(60, COPIES / 50))["ledger"]
        counts = running.query("SELECT title LIKE 'Storm%' AS storm, count(*) AS issues, sum(count)::BIGINT AS n"
                               " FROM issues GROUP BY 1 ORDER BY 1")  # fmt: skip
        kept = running.query("SELECT title LIKE 'Storm%' AS storm, count(*) AS n, count(payload) AS payloads"
                             " FROM events GROUP BY 1 ORDER BY 1")  # fmt: skip
        audit(running, load.acked, {SUMMARISED: COPIES}, restart=False)
    finally:
        running.close()
    assert counts == [{"storm": False, "issues": OTHERS, "n": OTHERS}, {"storm": True, "issues": 1, "n": COPIES}]
    assert kept[0] == {"storm": False, "n": OTHERS, "payloads": OTHERS}
    stormed = kept[1]["n"]
    assert BURST <= stormed == kept[1]["payloads"] <= BURST + 2 + (load.ended - load.started) / 2
    assert (ledger["received"], ledger["summarised"]) == (COPIES + OTHERS, COPIES - stormed)
    assert ledger["dropped"] == {}
    assert balanced(ledger)
    size = segment_bytes(running)
    print(f"{load.summary()} kept {stormed} of {COPIES}, segments {size} bytes")
    assert size < FIXED_BYTES + KEPT_BYTES * (stormed + OTHERS)
