"""A spool that is short of room takes events again as soon as what fills it is digested."""

import os

import pytest

from tests.faults.audit import audit
from tests.helpers.running import PROJECT, collector, envelope, error_event, wait_for

pytestmark = [pytest.mark.process]

# No checkpoint comes by itself in this test: only being short of room may let the spool go.
CONFIG = PROJECT + '[spool]\nmax_spool_bytes = "4 MiB"\nfile_bytes = "512 KiB"\n[store]\ncheckpoint_interval = "1 h"\n'


def test_digested_files_leave_a_full_spool_before_the_next_checkpoint() -> None:
    noise = os.urandom(150_000).hex()
    acked = []
    with collector(CONFIG) as running:

        def answer(**fields: str) -> int:
            event = error_event(extra=fields)
            code = running.send(envelope(event))[0]
            acked.extend([event["event_id"]] * (code == 200))
            return code

        wait_for(lambda: answer(noise=noise) == 429, what="the spool to fill")
        wait_for(lambda: answer() == 200, what="room")
        audit(running, acked)
