"""The fault scenarios by number and name, each with the tests that play it; `scripts/faults` runs and reports them.

A test is named by its pytest id (a file, or file::test). `quick` scenarios run inside scripts/test as a whole; of the
others at least the parts that are not marked `long`.
"""

from typing import NamedTuple


class Scenario(NamedTuple):
    """`differs`: where the outcome is another one than the design page expects, and why."""

    number: str
    name: str
    what: str
    tests: tuple[str, ...]
    quick: bool = True
    differs: str = ""


DISK = "tests/faults/test_disk.py"
STORE = f"{DISK}::test_trouble_of_the_store_never_reaches_a_client_and_loses_nothing"
WORKER_DIES = f"{DISK}::test_a_worker_that_dies_at_the_worst_moment_counts_everything_once"
FRONT_DIES = f"{DISK}::test_a_front_that_dies_at_the_worst_moment_keeps_what_it_acknowledged"
SPOOL = f"{DISK}::test_what_the_spool_cannot_keep_is_refused_and_nothing_acknowledged_is_lost"
QUIET = f"{DISK}::test_short_and_slow_writes_and_a_lost_checkpoint_are_nobodys_trouble"
DAMAGE = "tests/process/test_faults.py"
PRESSURE = "tests/faults/test_pressure.py"

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("1", "kill-9", "kill -9 of front, worker or both at random moments under load", (
        "tests/process/test_crash.py",)),
    Scenario("2", "kill-at-commit", "the worker dies before, in, after a commit; between DuckDB and SQLite", (
        WORKER_DIES, "tests/store/test_crash.py")),
    Scenario("3", "kill-at-unlink", "the front dies between checkpoint and unlink; the worker in a checkpoint", (
        FRONT_DIES, WORKER_DIES, "tests/spool/test_recovery.py")),
    Scenario("4", "power-loss", "unsynced bytes vanish in any way POSIX allows; a day of it", (
        "tests/model",)),
    Scenario("5", "torn-write", "the process dies with half a record written", (
        FRONT_DIES, "tests/spool/test_recovery.py")),
    Scenario("6", "bit-flip", "a byte of a spool record changes", (
        "tests/spool/test_reader.py",
        f"{DAMAGE}::test_a_damaged_spool_record_is_set_aside_and_its_neighbours_are_stored")),
    Scenario("7", "odd-spool-files", "spool files missing, empty, full of zeros, with foreign names", (
        "tests/spool/test_recovery.py", f"{DAMAGE}::test_foreign_files_in_the_data_folder_are_left_alone")),
    Scenario("8", "checkpoint-gone", "the spool's checkpoint is missing, torn, from the future", (
        "tests/spool/test_recovery.py", f"{DAMAGE}::test_a_missing_checkpoint_changes_nothing", QUIET)),
    Scenario("9", "fsync-eio", "fsync of the spool fails once, and for ever", (
        SPOOL, f"{DISK}::test_a_disk_that_never_syncs_makes_health_red_and_reading_goes_on",
        "tests/spool/test_writer.py")),
    Scenario("10", "spool-enospc", "no space for the spool", (
        SPOOL, QUIET, f"{DAMAGE}::test_a_full_disk_refuses_before_it_loses_and_recovers_by_itself"),
        differs="429 with limits instead of 503 once free space itself is nearly used up (pressure)"),
    Scenario("11", "duckdb-enospc", "no space, EIO, short writes in DuckDB's log, checkpoint and in SQLite", (
        STORE, "tests/store/test_disk_full.py")),
    Scenario("12", "disk-budget", "max_bytes and max_spool_bytes reached before the disk is full", (
        "tests/store/test_retention.py", "tests/process/test_room.py")),
    Scenario("13", "damaged-segment", "a segment garbled, cut, empty, missing", (
        "tests/store/test_damage.py", f"{DAMAGE}::test_a_damaged_segment_is_quarantined_and_new_events_are_stored",
        f"{DAMAGE}::test_a_missing_segment_does_not_keep_it_from_starting")),
    Scenario("14", "damaged-wal", "DuckDB's log flipped, cut or deleted after a kill", (
        f"{DAMAGE}::test_a_damaged_wal_loses_nothing_because_the_spool_brings_it_again",
        "tests/store/test_damage.py")),
    Scenario("15", "abort-at-open", "DuckDB ends the process that opens a file", (
        "tests/store/test_damage.py::test_a_file_that_kills_the_process_at_opening_is_set_aside",)),
    Scenario("16", "clock-jumps", "the wall clock jumps by an hour, a day, ten years, and back", (
        f"{DISK}::test_clocks_that_jump_delete_nothing_and_count_everything", "tests/store/test_retention.py"),
        quick=False),
    Scenario("17", "bad-upstream", "an upstream that hangs, refuses, flaps, lies", (
        "tests/forward/test_outage.py", "tests/forward/test_sender.py", "tests/forward/test_net.py",
        "tests/process/test_forward.py")),
    Scenario("18", "bad-webhook", "a webhook that hangs or redirects to this machine", (
        "tests/forward/test_net.py",),
        differs="there are no webhooks yet; what they will go through (machine/net) is played"),
    Scenario("19", "poison", "a record that cannot be digested", (
        "tests/digest/test_digester.py", "tests/store/test_store.py")),
    Scenario("20", "burst", "fifty times the allowed rate, then silence", (
        f"{PRESSURE}::test_a_burst_far_over_its_limit_is_refused_in_protocol_and_every_event_counted",
        "tests/process/test_storm.py")),
    Scenario("21", "slow-clients", "2,000 clients that send nothing, half a header, half a body", (
        f"{PRESSURE}::test_2000_slow_clients_do_not_keep_others_out_and_are_all_gone", "tests/accept/test_guard.py"),
        quick=False),
    Scenario("22", "sigterm", "SIGTERM under load, twice, while the disk hangs", (
        f"{DISK}::test_sigterm_while_the_disk_hangs_ends_in_time_and_keeps_what_was_acknowledged",
        f"{DAMAGE}::test_sigterm_twice_leaves_at_once",
        "tests/process/test_flow.py::test_sigterm_under_load_answers_what_was_taken_and_exits_0")),
    Scenario("23", "dead-loop", "a background loop fails, a worker hangs", (
        "tests/machine/test_loops.py", "tests/process/test_hang.py"),
        differs="a worker that hangs is replaced after 60 s; /healthz is red after 10 s"),
    Scenario("24", "little-memory", "maximal envelopes where the processes may have 420 MB", (
        f"{PRESSURE}::test_maximal_envelopes_in_little_memory_are_taken_or_refused_and_nobody_dies",)),
    Scenario("25", "versions", "data of a newer format, a configuration with unknown keys", (
        "tests/faults/test_versions.py",
        "tests/store/test_damage.py::test_a_newer_format_is_refused_with_a_sentence_and_left_alone",
        "tests/store/test_damage.py::test_a_newer_state_is_refused_with_a_sentence",
        "tests/spool/test_recovery.py::test_a_later_format_is_refused_with_a_sentence",
        "tests/house/test_config.py"),
        differs="a newer state does not end the process (exit 78): events are taken, wait, and the status says why"),
    Scenario("+", "folder", "a second process, a read-only folder, no inodes left", (
        "tests/process/test_flow.py::test_a_second_collector_on_the_same_folder_is_refused_with_73",
        f"{DAMAGE}::test_a_read_only_data_folder_is_refused_with_a_sentence",
        f"{PRESSURE}::test_a_file_system_without_inodes_is_refused_with_a_sentence_and_works_with_some")),
    Scenario("hup", "reload", "SIGHUP under load, with wrong files, at start, at stop, while the worker is down", (
        "tests/process/test_reload.py",), quick=False),
    Scenario("shim", "every-disk-fault", "each disk fault of the real command one after the other, then a restart", (
        DISK,), quick=False),
)  # fmt: skip
