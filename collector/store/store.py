"""Store: spool records in, committed rows out; the one writer of segments and state.sqlite.

Order of a commit: rows, progress and delta in one DuckDB transaction; memory; the delta in one SQLite transaction.
A crash between the two is mended at the next start, where every delta beyond SQLite's mark is applied.

`position` is what to resume the spool from. It moves back when a damaged file lost commits: `commit` then raises
Damaged, and the reader must be opened again at `position`. Records at or below `position` are passed over, so a batch
may always be sent again. `checkpoint` returns what may be removed from the spool.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import structlog

from collector.errors import Damaged, Unavailable
from collector.machine.clock import Clock
from collector.machine.disk import RealDisk
from collector.model.event import Digested, EventRow
from collector.model.received import Position
from collector.store.attachments import Attachments
from collector.store.batches import Place, edge_totals, place_in, place_of
from collector.store.buckets import IssueBuckets, StoredProject
from collector.store.clean import cleaned, refused
from collector.store.delta import AppliedBatch, Delta, NewIssue, Occurrence, encode_delta
from collector.store.engine import connect
from collector.store.issues import hash_key
from collector.store.payload import Training
from collector.store.plan import Plan, Planner
from collector.store.quarantine import Quarantine
from collector.store.reads import Reads
from collector.store.replay import Replay, no_event
from collector.store.retention import Retention
from collector.store.salvage import set_aside
from collector.store.segment import Commit, Progress, Segment
from collector.store.segments import Segments
from collector.store.settings import RetentionSettings, StoreSettings
from collector.store.snapshots import ActiveCopies, CheckpointHold, Snapshot
from collector.store.state import OnApply, State, mark_recount
from collector.store.statuses import StatusChange
from collector.store.upkeep import Places, Upkeep

log = structlog.get_logger("store")

MAX_BACKLOG_COMMITS = 50  # deltas that wait in memory for SQLite before commits are refused
SEAL_WAIT_SECONDS = 0.5
SWEEP_SECONDS = 3600.0
# What a row that breaks its own contract (no hash, an id that is not hex, a time that is infinite) makes of a plan.
BAD_ROW = (ValueError, TypeError, LookupError, ArithmeticError)
KEEP_COPY_SECONDS = 60.0  # the copy of the active file for queries takes as much disk as the file itself


class Committed(NamedTuple):
    """What a commit did: `position` reached, ledger quantities, new issues, duplicates recognised."""

    position: Position
    stored: int
    summarised: int
    duplicates: int
    new_issues: list[NewIssue]

    def plus(self, other: "Committed") -> "Committed":
        """Both, one after the other."""
        return Committed(other.position, self.stored + other.stored, self.summarised + other.summarised,
                         self.duplicates + other.duplicates, self.new_issues + other.new_issues)  # fmt: skip


class StoreStatus(msgspec.Struct, frozen=True):
    """ledger: stored, summarised, evicted; dropped: by ledger key. epoch_base: what `stored + summarised + dropped`
    was when the present spool began, so that received = epoch_base + total of the spool. backlog: commits whose delta
    SQLite could not take yet. damaged_again: quantity whose rows were lost and that the spool is expected to bring."""

    position: Position
    released: Position
    segments: int
    bytes: int
    events: int
    issues: int
    ledger: dict[str, int]
    dropped: dict[str, int]
    epoch_base: int
    quarantine: list[str]
    quarantine_bytes: int
    backlog: int
    damaged_again: int


class _Waiting(NamedTuple):
    batch: AppliedBatch
    segment: str
    progress: Progress


class Store:
    """On one thread, but for `snapshot`, which any thread may call."""

    def __init__(self, data: Path, settings: StoreSettings, retention: RetentionSettings, clock: Clock) -> None:
        self._data = data
        self._settings = settings
        self._retention_settings = retention
        self._clock = clock
        self._hold = CheckpointHold()
        self._backlog: list[_Waiting] = []
        self._lost_after: int | None = None  # commits behind this number are gone, and SQLite could not be told yet
        age_seconds = float(settings.max_quarantine_age)
        self._quarantine = Quarantine(data / "quarantine", int(settings.max_quarantine_bytes), age_seconds)
        self._connection = connect(int(settings.memory_limit), data / "tmp")
        self._checkpointed_at = clock.monotonic()
        self._copies = ActiveCopies(data / "tmp")
        self._copied_at = 0.0
        self._commits = 0
        self._generation = 0
        self._state: State
        self._segments: Segments
        self.reads: Reads
        self._replay: Replay
        self._planner: Planner
        self._retention: Retention
        self._attachments: Attachments
        self._upkeep: Upkeep

    # -- life ---------------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        data: Path,
        settings: StoreSettings,
        retention: RetentionSettings,
        clock: Clock,
        *,
        projects: Mapping[int, StoredProject] | None = None,
        on_apply: Sequence[OnApply] = (),
    ) -> Self:
        """Opens a data folder, mends what an unclean end left. `projects`: by project id.
        Raises Unavailable (in use, disk full), ConfigError (written by a newer collector)."""
        os.umask(0o077)  # of the whole process, for good: DuckDB and SQLite make their write-ahead logs when they like
        for name in ("segments", "quarantine", "tmp"):
            (data / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        store = cls(data, settings, retention, clock)
        try:
            store._start(projects or {}, on_apply)
        except BaseException:
            store._connection.close()
            if hasattr(store, "_state"):
                store._state.close()
            raise
        return store

    def _start(self, projects: Mapping[int, StoredProject], on_apply: Sequence[OnApply]) -> None:
        self._sweep()
        self._state = self._open_state()
        self._state.on_apply = list(on_apply)
        clean = self._state.get("clean") == 1
        self._state.set("clean", 0)
        self._state.name_projects({number: one.slug for number, one in projects.items()})
        self._segments = Segments(
            self._connection, self._data, self._state, self._settings, self._clock, self._quarantine
        )
        fresh = self._state.mark[0] == 0
        self.reads = Reads(self._connection, self._segments, self._state)
        self._attachments = Attachments(RealDisk(), self._data)
        self.reads.fetch = self._attachments.get
        self._segments.start(clean)
        with suppress(Unavailable):
            _ = self._segments.active
        self._replay = Replay(self._connection, self._segments, self._state, self.reads, self._payload_of)
        self._replay.run(fresh)
        recent = self._replay.recent_ids(self._settings.max_recent_ids)
        rates = {number: one.issue_rate for number, one in projects.items()}
        fills = self._state.load_fills(self._clock.now(), rates)
        if int(self._state.get("lost_quantity") or 0):
            fills = []  # see IssueBuckets.forget
        self._planner = Planner(self._state.load_index(), recent, IssueBuckets(rates, fills), Training(),
                                self._place_of)  # fmt: skip
        if fresh and self._segments.catalogue("sealed"):  # their deltas also tell what was taken out of them since
            with self._state.transaction() as cursor:
                mark_recount(cursor)
        self._retention = Retention(self._segments, self._retention_settings, self._clock)
        places = Places(self._connection, self._segments, self._state, self._attachments, self._data / "tmp")
        ages = {number: one.max_age_seconds for number, one in projects.items() if one.max_age_seconds}
        self._upkeep = Upkeep(places, self._settings, self._retention_settings, ages, self._clock)

    def _sweep(self) -> None:
        """Removes the copies that a killed query left in tmp/; an hour is longer than any may run."""
        for path in (self._data / "tmp").glob("query-*"):
            with suppress(OSError):
                if self._clock.now() - path.stat().st_mtime > SWEEP_SECONDS:
                    shutil.rmtree(path)

    @property
    def state_path(self) -> Path:
        """state.sqlite. Damaged with this path means: `give_up_state`, close, open again."""
        return self._data / "state.sqlite"

    def _open_state(self) -> State:
        try:
            return State.open(self.state_path, self._settings.max_users_per_issue, check=True)
        except Damaged as error:
            self.give_up_state(error)
            return State.open(self.state_path, self._settings.max_users_per_issue, check=False)

    def give_up_state(self, why: Damaged) -> None:
        """Sets state.sqlite aside and begins a new one with what only the old one had; the next `open` computes the
        rest from the segments."""
        set_aside(self.state_path, self._quarantine, self._settings.max_users_per_issue, why.what)

    def close(self) -> None:
        """Checkpoints and closes. Never raises for a failing checkpoint: the next start replays the WAL."""
        self._upkeep.close()
        with suppress(Unavailable, Damaged):
            self.checkpoint()
        with suppress(Unavailable, Damaged):
            self._state.set("clean", 1)
        self._segments.detach_all()
        self._connection.close()
        self._state.close()

    # -- commit -------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """The last committed position; the spool is read from there. Raises Unavailable without an active segment."""
        return self._segments.active.progress.position

    def knows(self, project_id: int, hashes: Sequence[str]) -> bool:
        """Whether an issue of the project has one of these hashes."""
        known = self._planner.index.known
        return any(hash_key(project_id, digest) in known for digest in hashes)

    def may_hold(self, project_id: int, config: str) -> bool:
        """Whether a project may have hashes of a grouping configuration; False only when it surely has none."""
        configs = self._planner.index.configs
        return (project_id, config) in configs or (project_id, "") in configs

    def is_over(self, project_id: int, hashes: Sequence[str], at: float) -> int:
        """0 while the issue of these hashes may keep an event at that time, else the number of the commit to come."""
        buckets = self._planner.buckets
        if not buckets.are_limited(project_id):  # asked of every event
            return 0
        issue_id = self._planner.index.issue_of(project_id, hashes)
        return self._commits + 1 if issue_id and buckets.is_empty(issue_id, at) else 0

    def commit(self, batch: Sequence[Digested]) -> Committed:
        """Makes a batch durable. Raises Unavailable (try the same batch again later; `maintain` may make room) or
        Damaged (a file was set aside and `position` moved back: read the spool again from there)."""
        self._drain_backlog()
        done = Committed(self.position, 0, 0, 0, [])
        for part in self._parts(batch):
            for record in part:
                if record.damaged is not None:
                    self._quarantine.put_record(record.position, record.damaged, record.why)
            try:
                one = self._commit_part(part)
            except BAD_ROW as error:
                one = self._commit_cleaned(part, str(error))
            with suppress(Unavailable):  # outside the try above: the rows are durable, whatever a callback raises
                self._drain_backlog()
            done = done.plus(one)
        self._train()
        if self._segments.active.wal_bytes >= int(self._settings.checkpoint_bytes):
            with suppress(Unavailable):
                self.checkpoint()
        return done

    def _parts(self, batch: Sequence[Digested]) -> list[list[Digested]]:
        """Without what is committed already; cut where SQLite's mark lies, so that a part is contained or it is not."""
        here = self.position
        mark = self._state.mark[1]
        rest = [one for one in batch if one.position.epoch != here.epoch or one.position.seq > here.seq]
        contained = [one for one in rest if one.position.epoch == mark.epoch and one.position.seq <= mark.seq]
        return [part for part in (contained, rest[len(contained) :]) if part]

    def _commit_part(self, part: Sequence[Digested]) -> Committed:
        segment = self._segments.active
        plan = self._planner.plan(part, segment.codec)
        now = self._clock.now()
        no = max(segment.progress.no, self._last_no()) + 1
        position = part[-1].position
        commit = Commit(no, position, now, plan.delta.stored, plan.events, plan.items, encode_delta(plan.delta))
        self._attachments.keep(plan.attachments, now)
        self._guarded(segment, lambda: segment.append(commit))
        self._commits += 1
        plan.accept(self._planner.recent)
        self._planner.buckets.accept(plan.fills)
        batch = AppliedBatch(no, position, now, plan.delta, False, _rows_of(plan), self._payload_from(plan),
                             plan.item_rows)  # fmt: skip
        self._backlog.append(_Waiting(batch, segment.name, segment.progress))
        return Committed(position, plan.delta.stored, plan.delta.summarised, plan.duplicates, plan.delta.new_issues)

    def move_hashes(self, project_id: int, digests: Sequence[str], issue_id: int) -> bool:
        """A merge or split by hand: events with these hashes join that issue from now on; stored ones stay where they
        are. False when the project has no such issue. Kept as a delta of its own, so that it outlives state.sqlite.
        Raises Unavailable, Damaged as `commit` does."""
        self._drain_backlog()
        if not self._state.rows("SELECT 1 FROM issues WHERE id = ? AND project_id = ?", (issue_id, project_id)):
            return False
        self._decide(self._planner.index.moving(project_id, digests, issue_id))
        return True

    def split_off(self, issue_id: int, digests: Sequence[str]) -> int:
        """Makes a new issue, named as this one is until its first event comes, and gives it these hashes; returns its
        id. Raises LookupError for an unknown issue; Unavailable, Damaged as `commit` does."""
        self._drain_backlog()
        rows = self._state.rows("SELECT project_id, title, culprit, level FROM issues WHERE id = ?", (issue_id,))
        project_id, title, culprit, level = rows[0]
        index, now = self._planner.index, self._clock.now()
        short_no = index.short_nos.get(project_id, 0) + 1
        made = NewIssue(index.next_id, project_id, short_no, digests[0], title, culprit, level, now)
        self._decide(msgspec.structs.replace(index.moving(project_id, digests, made.id), new_issues=[made]))
        return made.id

    def set_statuses(self, changes: Sequence[tuple[int, str]], by: str) -> None:
        """The statuses that issues have from now on. Kept as a delta of its own, so that they outlive state.sqlite.
        Raises Unavailable, Damaged as `commit` does."""
        now = self._clock.now()
        self._decide(Delta(statuses=[StatusChange(issue_id, status, now, by) for issue_id, status in changes]))

    def _decide(self, delta: Delta) -> None:
        """Makes a delta without rows durable, between two commits."""
        segment, now, position = self._segments.active, self._clock.now(), self.position
        no = max(segment.progress.no, self._last_no()) + 1
        self._guarded(segment, lambda: segment.append(Commit(no, position, now, 0, [], [], encode_delta(delta))))
        self._planner.index.learn(delta)
        batch = AppliedBatch(no, position, now, delta, False, no_event, self._payload_of)
        self._backlog.append(_Waiting(batch, segment.name, segment.progress))
        self._drain_backlog()

    def _guarded(self, segment: Segment, work: Callable[[], None]) -> None:
        """Does something to a segment; afterwards nobody may believe in rows that are gone."""
        before = segment.progress.no
        try:
            work()
        except Damaged as error:
            self._generation += 1
            self._segments.lose_active(error.what)
            self._forget(segment.name, None)
            raise
        except Unavailable:
            self._generation += 1  # attaching it again may have changed the file
            self._notice_loss(segment, before)
            raise
        self._notice_loss(segment, before)

    def _notice_loss(self, segment: Segment, before: int) -> None:
        if segment.progress.no < before:
            self._forget(segment.name, segment.progress.no)
            raise Damaged(segment.path, f"commits after {segment.progress.no} are gone from its write-ahead log")

    def _forget(self, name: str, after_no: int | None) -> None:
        """Rows of a segment are gone: what waits for SQLite about them, the issues that only they made, and their
        event ids, must be forgotten. Never raises: whoever calls this must get to say that the position moved."""
        self._backlog = [one for one in self._backlog
                         if one.segment != name or (after_no is not None and one.batch.no <= after_no)]  # fmt: skip
        if after_no is not None:
            self._lost_after = after_no if self._lost_after is None else min(after_no, self._lost_after)
        self._planner.index = self._state.load_index()
        for one in self._backlog:
            self._planner.index.learn(one.batch.delta)
        self._planner.recent = self._replay.recent_ids(self._settings.max_recent_ids)
        self._planner.buckets.forget()
        with suppress(Unavailable):
            self._settle_losses()

    def _settle_losses(self) -> None:
        """Tells SQLite what was lost. Raises Unavailable: nothing may be committed before."""
        self._segments.settle_losses()
        if self._lost_after is not None:
            self._state.expect_again(self._lost_after)
            self._lost_after = None

    def _place_of(self, edge: str, batch_id: bytes) -> Place | None:
        """The spool record that brought a batch of an edge first. Raises Unavailable, Damaged."""
        for one in self._backlog:
            if found := place_in(one.batch.delta.told, edge, batch_id):
                return found
        return place_of(self._state.rows("SELECT epoch, seq FROM hub_batches WHERE edge = ? AND batch = ?",
                                         (edge, batch_id)))  # fmt: skip

    def edges(self) -> dict[str, dict[str, Any]]:
        """What edge collectors brought, by their names (store.batches.edge_totals)."""
        return edge_totals(self._state.rows("SELECT * FROM hub_edges"))

    def _last_no(self) -> int:
        return self._backlog[-1].batch.no if self._backlog else self._state.mark[0]

    def _drain_backlog(self) -> None:
        """Gives SQLite what it could not take. Raises Unavailable when much waits, or when losses wait to be told."""
        self._settle_losses()
        while self._backlog:
            try:
                self._state.apply(self._backlog[0].batch, self._backlog[0].segment, self._backlog[0].progress)
            except Unavailable:
                if len(self._backlog) >= MAX_BACKLOG_COMMITS:
                    raise
                return
            self._backlog.pop(0)

    def _commit_cleaned(self, part: Sequence[Digested], why: str) -> Committed:
        """A value could not be written: clean texts; if that does not help, record by record, setting aside."""
        try:
            return self._commit_part([cleaned(record) for record in part])
        except BAD_ROW:
            done = Committed(self.position, 0, 0, 0, [])
            for record in part:
                try:
                    done = done.plus(self._commit_part([cleaned(record)]))
                except BAD_ROW as error:
                    log.error("record cannot be stored", position=record.position, why=str(error), first=why)
                    self._quarantine.put_record(record.position, msgspec.msgpack.encode(record), str(error))
                    done = done.plus(self._commit_part([refused(record, self._clock.now())]))
            return done

    # -- care ---------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Position:
        """Moves the WAL into its file and checks the counts; returns what may go from the spool.
        Raises Unavailable (later), Damaged (the file was set aside, `position` moved back)."""
        segment = self._segments.active
        place = segment.progress
        with self._hold.changing(0.0) as free:
            if not free:
                return self.released
            self._generation += 1
            self._guarded(segment, segment.checkpoint)
        self._checkpointed_at = self._clock.monotonic()
        self._drain_backlog()
        if not self._backlog:
            self._state.release(place.no, place.position)
        return self.released

    @property
    def released(self) -> Position:
        """The spool below this may go."""
        return self._state.released[1]

    def maintain(self) -> Position:
        """Rotation, retention, a checkpoint when one is due; call it every second or so. Returns `released`.
        Raises Unavailable, Damaged as `checkpoint` does."""
        self._retention.free_disk()  # first: on a full disk everything below fails
        self._quarantine.expire(self._clock.now())
        self._drain_backlog()
        max_bytes = min(
            int(self._settings.max_segment_bytes), max(1 << 20, int(self._retention_settings.max_bytes) // 4)
        )
        if self._segments.rotation_due(max_bytes):
            self._rotate()
        if self._clock.monotonic() - self._copied_at > KEEP_COPY_SECONDS:
            self._copies.forget()
        self._segments.let_go_idle(KEEP_COPY_SECONDS)
        self._upkeep.evicted(self._retention.run())
        if not self._backlog:
            self._upkeep.run(self._retention.trusts_clock)
        due = self._clock.monotonic() - self._checkpointed_at >= float(self._settings.checkpoint_interval)
        if due and self._segments.active.wal_bytes:
            self.checkpoint()
        return self.released

    def _train(self) -> None:
        """A dictionary for each project that showed enough events: about 20 ms, once a day and project. At once and
        not when there is time: an event without takes three times the disk and twice the CPU."""
        segment, training = self._segments.active, self._planner.training
        for project_id in training.due():
            dictionary = training.train(project_id, self._clock.now())
            if dictionary is not None and not segment.codec.is_full:
                with suppress(Unavailable):
                    self._guarded(segment, partial(segment.add_dictionary, dictionary))

    def _rotate(self) -> None:
        with self._hold.changing(SEAL_WAIT_SECONDS) as free:
            if not free:
                return
            place = self._segments.active.progress
            self._generation += 1
            self._guarded(self._segments.active, self._segments.rotate)
        in_use = self._segments.active.codec.dictionaries.values()
        self._planner.training.renew(one.project_id for one in in_use)
        self._checkpointed_at = self._clock.monotonic()
        self._drain_backlog()
        if not self._backlog:
            self._state.release(place.no, place.position)

    def snapshot(self, folder: Path) -> Snapshot:
        """Copies the active file into `folder` while commits go on; any thread. Raises Unavailable."""
        self._copied_at = self._clock.monotonic()
        with self._hold.copying():
            active = self._segments.active_path
            sealed = [path for path in self._segments.files() if path != active]
            if active is not None:
                self._copies.put(active, self._generation, folder / active.name)
        return Snapshot(sealed, folder / active.name if active else None, self.state_path)

    # -- reading ------------------------------------------------------------------------------------------------------

    def payload(self, event_id: str, project_id: int) -> bytes | None:
        """The scrubbed JSON of an event; None when unknown or not kept. Raises Damaged."""
        return self.reads.payload(event_id, project_id)

    def _payload_of(self, one: Occurrence) -> bytes | None:
        """For callbacks inside a SQLite transaction: a segment that cannot be read is no reason to fail there."""
        try:
            return self.payload(one.event_id.hex(), one.project_id)
        except (Damaged, Unavailable):
            return None

    def _payload_from(self, plan: Plan) -> Callable[[Occurrence], bytes | None]:
        def payload(one: Occurrence) -> bytes | None:
            row = plan.rows_of.get(one.event_id)
            return row.payload if row is not None else self._payload_of(one)

        return payload

    def recent_issues(self, limit: int) -> list[dict[str, Any]]:
        """The issues seen last, newest first: short_id, title, culprit, level, count, last_seen (text, UTC)."""
        rows = self._state.rows(  # of each project its newest, by the index: 100,000 issues took 19 ms, twice a second
            "SELECT short_id, title, culprit, level, count, issues.last_seen FROM projects CROSS JOIN issues"
            " WHERE issues.id IN (SELECT id FROM issues AS newest WHERE newest.project_id = projects.id"
            " ORDER BY newest.last_seen DESC LIMIT ?1) ORDER BY issues.last_seen DESC LIMIT ?1",
            (limit,),
        )
        return [
            {"short_id": row[0], "title": row[1], "culprit": row[2], "level": row[3], "count": row[4],
             "last_seen": datetime.fromtimestamp(row[5], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")}
            for row in rows
        ]  # fmt: skip

    def status(self) -> StoreStatus:
        """Figures for status, health and metrics."""
        ledger, dropped = self._state.counts()
        catalogue = self._segments.catalogue()
        aside = self._quarantine.status()
        position = self._state.mark[1]
        with suppress(Unavailable):
            position = self.position
        return StoreStatus(
            position=position, released=self.released, segments=len(catalogue), bytes=self._segments.bytes(),
            events=sum(one.events for one in catalogue),
            issues=int(self._state.rows("SELECT count(*) FROM issues")[0][0]),
            ledger={key: ledger.get(key, 0) for key in ("stored", "summarised", "evicted")}, dropped=dropped,
            epoch_base=int(self._state.get("epoch_base") or 0), quarantine=aside.files, quarantine_bytes=aside.bytes,
            backlog=len(self._backlog), damaged_again=int(self._state.get("lost_quantity") or 0),
        )  # fmt: skip


def _rows_of(plan: Plan) -> Callable[[Occurrence], EventRow | None]:
    return lambda one: plan.rows_of.get(one.event_id)
