"""The fault scenarios by number and name, each with the tests that play it; `scripts/faults` runs and reports them.

A test is named by its pytest id (a file, or file::test). scripts/test runs all of them but those marked `long`. No
test asserts how long something takes: what the design page says in seconds is in `differs`, with the command that
measures it.
"""

from typing import NamedTuple


class Scenario(NamedTuple):
    """`alone`: why no process plays it; all others end with tests.faults.audit against a real one.
    `differs`: where the outcome, or what is asserted of it, is another one than the design page expects, and why."""

    number: str
    name: str
    what: str
    tests: tuple[str, ...]
    alone: str = ""
    differs: str = ""


DISK = "tests/faults/test_disk.py"
STORE = f"{DISK}::test_trouble_of_the_store_never_reaches_a_client_and_loses_nothing"
WORKER_DIES = f"{DISK}::test_a_worker_that_dies_at_the_worst_moment_counts_everything_once"
FRONT_DIES = f"{DISK}::test_a_front_that_dies_at_the_worst_moment_keeps_what_it_acknowledged"
SPOOL = f"{DISK}::test_what_the_spool_cannot_keep_is_refused_and_nothing_acknowledged_is_lost"
QUIET = f"{DISK}::test_short_and_slow_writes_and_a_lost_checkpoint_are_nobodys_trouble"
DAMAGE = "tests/process/test_faults.py"
PRESSURE = "tests/faults/test_pressure.py"

AFTER = f"{DISK}::test_after_all_of_it_a_restart_is_clean"
FLOW = "tests/process/test_flow.py"
ROOM = "tests/process/test_room.py"

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("1", "kill-9", "kill -9 of front, worker or both at random moments under load", (
        "tests/process/test_crash.py",),
        differs="15 kills by default, as many as you like by --loops; 'ready in 2 s' is not asserted: scripts/bench"
        " start measures it"),
    Scenario("2", "kill-at-commit", "the worker dies before, in, after a commit; between DuckDB and SQLite", (
        WORKER_DIES, AFTER, "tests/store/test_crash.py")),
    Scenario("3", "kill-at-unlink", "the front dies between checkpoint and unlink; the worker in a checkpoint", (
        FRONT_DIES, WORKER_DIES, AFTER, "tests/spool/test_recovery.py"),
        differs="a death between the seal of a segment and the catalogue is not placed by hand; scripts/simulate and"
        " scripts/soak meet it by chance"),
    Scenario("4", "power-loss", "unsynced bytes vanish in any way POSIX allows; a day of it", (
        "tests/model",),
        alone="a kernel cannot be told to forget what was not synced; the model's disk can, and the model has an audit"
        " of its own"),
    Scenario("5", "torn-write", "the process dies with half a record written", (
        FRONT_DIES, AFTER, "tests/spool/test_recovery.py")),
    Scenario("6", "bit-flip", "a byte of a spool record changes", (
        "tests/spool/test_reader.py",
        f"{DAMAGE}::test_a_damaged_spool_record_is_set_aside_and_its_neighbours_are_stored"),
        differs="the ledger's reason is damaged:spool, not poison; with the real command a byte of the payload flips,"
        " those of length, checksum and head in tests/spool"),
    Scenario("7", "odd-spool-files", "spool files missing, empty, full of zeros, with foreign names", (
        "tests/spool/test_recovery.py", f"{DAMAGE}::test_foreign_files_and_a_tail_of_zeros_change_nothing",
        f"{DAMAGE}::test_a_spool_file_that_is_gone_is_counted_and_the_rest_is_stored"),
        differs="a newest file that somebody removes before a checkpoint has named it is not missed: nothing else knows"
        " of it"),
    Scenario("8", "checkpoint-gone", "the spool's checkpoint is missing, torn, from the future", (
        "tests/spool/test_recovery.py", f"{DAMAGE}::test_a_missing_checkpoint_changes_nothing", QUIET)),
    Scenario("9", "fsync-eio", "fsync of the spool fails once, and for ever", (
        SPOOL, f"{DISK}::test_a_disk_that_never_syncs_makes_health_red_and_reading_goes_on", AFTER,
        "tests/spool/test_writer.py")),
    Scenario("10", "spool-enospc", "no space for the spool", (
        SPOOL, QUIET, AFTER, f"{DAMAGE}::test_a_full_disk_refuses_before_it_loses_and_recovers_by_itself"),
        differs="429 with limits instead of 503 once free space itself is nearly used up (pressure)"),
    Scenario("11", "duckdb-enospc", "no space, EIO, short writes in DuckDB's log, checkpoint and in SQLite", (
        STORE, f"{DISK}::test_an_engine_that_gives_up_after_a_failed_sync_is_opened_again_and_no_file_set_aside", AFTER,
        "tests/store/test_disk_full.py")),
    Scenario("12", "disk-budget", "max_bytes and max_spool_bytes reached before the disk is full", (
        "tests/store/test_retention.py", ROOM,
        f"{DAMAGE}::test_beyond_its_bytes_the_oldest_events_go_and_each_is_counted_as_evicted"),
        differs="two budgets instead of one: retention.max_bytes removes the oldest and refuses nothing,"
        " spool.max_spool_bytes answers 429; what is removed is `evicted` in the status, not `dropped`"),
    Scenario("13", "damaged-segment", "a segment garbled, cut, empty, missing", (
        "tests/store/test_damage.py", f"{DAMAGE}::test_a_damaged_segment_is_quarantined_and_new_events_are_stored",
        f"{DAMAGE}::test_a_missing_segment_does_not_keep_it_from_starting"),
        differs="'start in 2 s' is not asserted: scripts/bench start measures a start, but none with a damaged file"),
    Scenario("14", "damaged-wal", "DuckDB's log flipped, cut or deleted after a kill", (
        f"{DAMAGE}::test_a_damaged_wal_loses_nothing_because_the_spool_brings_it_again",
        "tests/store/test_damage.py")),
    Scenario("15", "abort-at-open", "DuckDB ends the process that opens a file", (
        "tests/store/test_damage.py::test_a_file_that_kills_the_process_at_opening_is_set_aside",
        f"{DAMAGE}::test_a_process_that_dies_of_opening_a_file_takes_nobody_along"),
        differs="with the real command the process that opens is killed at its first write, because no file is known"
        " that makes this DuckDB abort"),
    Scenario("16", "clock-jumps", "the wall clock jumps by an hour, a day, ten years, and back", (
        f"{DISK}::test_clocks_that_jump_delete_nothing_and_count_everything", "tests/store/test_retention.py"),
        differs="quotas count in windows of the wall clock, as clients are told them: a jump begins another window;"
        " only the guard of addresses is monotonic; neither is asserted here"),
    Scenario("17", "bad-upstream", "an upstream that hangs, refuses, flaps, lies", (
        "tests/forward/test_outage.py", "tests/forward/test_sender.py", "tests/forward/test_net.py",
        "tests/process/test_forward.py"),
        differs="'p99 of accepting unchanged' is not asserted: another process forwards than the one that answers;"
        " scripts/soak shows how long a health page takes while upstream misbehaves"),
    Scenario("18", "bad-webhook", "a webhook that hangs or redirects to this machine", (
        "tests/forward/test_net.py",
        f"{DAMAGE}::test_an_upstream_that_redirects_to_this_machine_is_not_followed"),
        differs="there are no webhooks and no alerts; what they would go through (machine/net) is played with an"
        " upstream, and its time limit is upstream.timeout"),
    Scenario("19", "poison", "a record that cannot be digested", (
        "tests/digest/test_digester.py", "tests/store/test_store.py",
        f"{DAMAGE}::test_poison_is_set_aside_after_one_try_and_its_neighbours_are_stored"),
        differs="the collector makes no event of its own about it: status, quarantine/ and the ledger tell; the failure"
        " is planted in the worker's code, because no input that causes one is known"),
    Scenario("20", "burst", "fifty times the allowed rate, then silence", (
        f"{PRESSURE}::test_a_burst_far_over_its_limit_is_refused_in_protocol_and_every_event_counted",
        "tests/process/test_storm.py"),
        differs="2,000 events as fast as they go where 40 a minute are allowed, instead of fifty times the rate for a"
        " minute; scripts/bench storm measures a long one"),
    Scenario("21", "slow-clients", "2,000 clients that send nothing, half a header, half a body", (
        f"{PRESSURE}::test_2000_slow_clients_do_not_keep_others_out_and_are_all_gone", "tests/accept/test_guard.py"),
        differs="of the others beside them it is asserted that each is answered 200, not how fast ('p99 below twice the"
        " baseline'), and of the slow ones that all are gone, not when; scripts/bench ack measures without slow ones"),
    Scenario("22", "sigterm", "SIGTERM under load, twice, while the disk hangs", (
        f"{DISK}::test_sigterm_while_the_disk_hangs_ends_in_time_and_keeps_what_was_acknowledged", AFTER,
        f"{DAMAGE}::test_sigterm_twice_leaves_at_once",
        f"{DAMAGE}::test_sigterm_beside_8_busy_connections_ends_with_0_and_keeps_what_was_acknowledged",
        f"{FLOW}::test_sigterm_under_load_answers_what_was_taken_and_exits_0")),
    Scenario("23", "dead-loop", "a background loop fails, a worker hangs", (
        "tests/machine/test_loops.py", "tests/process/test_hang.py"),
        differs="a worker that hangs is replaced after 60 s; /healthz is red after 10 s; that a loop fails is played"
        " without a process, the exit code 70 of the whole command is not"),
    Scenario("24", "little-memory", "maximal envelopes where the processes may have 420 MB", (
        f"{PRESSURE}::test_maximal_envelopes_in_little_memory_are_taken_or_refused_and_nobody_dies",),
        differs="420 MB of data for each process instead of 400, and 503 is an allowed answer, too; an event that the"
        " worker has no memory for is damaged:internal in the ledger"),
    Scenario("25", "versions", "data of a newer format, a configuration with unknown keys", (
        "tests/faults/test_versions.py",
        "tests/store/test_damage.py::test_a_newer_format_is_refused_with_a_sentence_and_left_alone",
        "tests/store/test_damage.py::test_a_newer_state_is_refused_with_a_sentence",
        "tests/spool/test_recovery.py::test_a_later_format_is_refused_with_a_sentence",
        "tests/house/test_config.py"),
        differs="a newer state does not end the process (exit 78): events are taken, wait, and the status says why;"
        " there is no older format yet that could be read or be half converted"),
    Scenario("+", "folder", "a second process, a read-only folder, another owner's, no inodes left", (
        f"{FLOW}::test_a_second_collector_on_the_same_folder_is_refused_with_73",
        f"{DAMAGE}::test_a_read_only_data_folder_is_refused_with_a_sentence",
        "tests/process/test_folder.py::test_the_folder_of_another_owner_is_refused_with_a_sentence",
        f"{PRESSURE}::test_a_file_system_without_inodes_is_refused_with_a_sentence_and_works_with_some"),
        differs="each is refused with 73, also the folder of another owner (77)"),
    Scenario("hup", "reload", "SIGHUP under load, with wrong files, at start, at stop, while the worker is down", (
        "tests/process/test_reload.py",)),
    Scenario("shim", "every-disk-fault", "each disk fault of the real command one after the other, then a restart", (
        DISK,)),
)  # fmt: skip
