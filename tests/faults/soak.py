"""scripts/soak: the real command under mixed load and random faults for as long as you like, then the audit.

Load: errors, transactions, sessions, logs and check-ins at a fixed rate from a process of its own. Faults, one at a
time at random moments, each kind once before any comes again: kill -9 of worker or front, an orderly restart, a SIGHUP
with another setting, an upstream that is away, hangs, refuses, limits or takes without answering, heavy queries, and
where gcc exists a disk that is full, slow or fails once. Retention works all the while: the segments together may take
less than what is sent.

In the last 60 % of the time nothing is killed or restarted, so that memory and descriptors of the same processes can be
compared with themselves. What fills up once and then stays is filled early: the ids that are remembered are few here,
and the first quarter of that calm part is not judged. What comes and goes is small, or it would hide a trend:
checkpoints are frequent, because rows are in memory until the next.

In what is judged RSS may rise by MAX_SLOPE_MB_PER_HOUR at most, by least squares (tests.helpers.proc.trend). "flat" is
certain of that and "growing" of the contrary, which is a complaint; "undecided" says that the run was too short. Timers
of the front's event loop may be late in the calm part by tests.faults.judging.MAX_CALM_LAG_MS at most, 1 % excepted.

Ends with tests.faults.audit, the count of what upstream got, and the trends. What was measured is printed whatever
happens; exit code 1 when anything is wrong, which stands in `complaints`, and then the folder stays. SIGINT, SIGTERM
and SIGHUP end it early (128 + the signal's number), without the audit.
"""

import argparse
import contextlib
import functools
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.machine.link import ask_front
from tests.faults.audit import ISSUE_OFF, STORED, Complaints, Verdict, acknowledged, audit, evicted_of
from tests.faults.judging import (
    Bag,
    Figures,
    Lag,
    Watched,
    lag_complaints,
    lag_figures,
    load_complaints,
    lost_behind,
    quantile,
)
from tests.faults.shim import COMPILER, Shim
from tests.faults.stopping import Interrupted, Stopping
from tests.helpers import proc
from tests.helpers.arguments import above_zero
from tests.helpers.mini_upstream import MiniUpstream, count_of
from tests.helpers.running import PATIENCE_SECONDS, Collector, wait_for
from tests.process.test_flow import free_port

ROOT = Path(__file__).parents[2]
LOAD = "tests.helpers.load"
CHUNK_SECONDS = 30.0  # one load process; its ids are on disk when it ends
LOAD_PATIENCE_SECONDS = 90.0  # to make its requests before, to wait for the last answers after
SAMPLE_SECONDS = 2.0
CALM_SHARE = 0.6
WARM_SHARE = 0.25  # of the calm part: caches fill once more after the last restart
MAX_SLOPE_MB_PER_HOUR = 20.0
MIN_SLOPE_SECONDS = 300.0  # a shorter stretch says nothing about hours
MAX_DESCRIPTORS_MORE = 40
RETAINED_MB_PER_MINUTE = 10.0  # of a short run at the usual rate: half of what is stored
RETAINED_MB = (4.0, 48.0)
RECENT_IDS = 10_000  # full after three minutes at the usual rate; 100,000 (8 MB) would take half an hour
HEAVY = (
    "SELECT count(*) AS n FROM events a, (SELECT * FROM events LIMIT 300) b WHERE a.title > b.title",
    "SELECT issue_id, count(DISTINCT user_id) AS n FROM events GROUP BY 1 ORDER BY 2 DESC LIMIT 20",
    "SELECT count(*) AS n FROM events WHERE payload LIKE '%nothing-has-this%'",
)
UPSTREAM_MOODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hang", {}),
    ("status", {"code": 503}),
    ("status", {"code": 500}),
    ("limited", {"retry_after": "2"}),
    ("limited", {"limits": "2:error:organization"}),
    ("take_reset", {"times": 3}),
    ("cut_answer", {"times": 3}),
    ("refuse_body", {"times": 5}),
    ("garbage", {"times": 2}),
    ("slow", {"seconds": 0.3}),
    ("flap", {"good": 2, "bad": 2}),
)
DISK_FAULTS: tuple[tuple[str, ...], ...] = (
    ("write ENOSPC 1+ /spool/",),
    ("sync EIO 1 /spool/",),
    ("write SHORT %3 /spool/",),
    ("sync SLOW=60 1+ /",),
    ("write ENOSPC 1+ /segments/",),
    ("sync EIO 1 /segments/",),
    ("write EIO 1 state.sqlite",),
)
# What a reload changes to and fro: the first takes another worker, the second only the front.
SETTINGS = {"window": ('"2 s"', '"3 s"'), "max_inflight_bytes": ('"200 MiB"', '"201 MiB"')}


class Upstream(MiniUpstream):
    """Remembers ids and counts alone: envelopes of an hour are gigabytes."""

    def _accept(self, method: str, path: str, headers: dict[str, str], body: bytes) -> str:
        event_id = super()._accept(method, path, headers, body)
        got = self.received
        for each in (got.requests, got.bodies, got.envelopes, got.items):
            each.clear()
        if event_id in got.events:
            got.events[event_id] = _counting(count_of(got.events[event_id]))
        return event_id


@functools.lru_cache(1024)
def _counting(count: int) -> dict[str, Any]:
    """An event of which nothing is left but how many it stands for."""
    return {"contexts": {"collector": {"count": count}}}


class Mine(Collector):
    """A collector that no signal makes an orphan while it is started."""

    def __init__(self, stopping: Stopping, folder: Path, config: str, environ: dict[str, str] | None) -> None:
        super().__init__(folder, config, environ, free_port())
        self.stopping = stopping

    def start(self, seconds: float = PATIENCE_SECONDS) -> Collector:
        """Start and wait for the DSN line."""
        with self.stopping.held():
            return super().start(seconds)


class Soak:
    """One run. `faults` counts what was done to it."""

    def __init__(
        self, folder: Path, seconds: float, seed: int, rate: float, upstream: MiniUpstream, stopping: Stopping
    ) -> None:
        self.folder, self.seconds, self.rate, self.upstream = folder, seconds, rate, upstream
        self.stopping = stopping
        self.chance = random.Random(seed)
        self.shim = Shim(folder) if COMPILER else None
        self.running = Mine(stopping, folder, self.config(2), self.shim.environ if self.shim else None)
        self.moods = Bag(UPSTREAM_MOODS, self.chance)
        self.disk_faults = Bag(DISK_FAULTS, self.chance)
        self.faults: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.samples: list[tuple[float, str, proc.Usage]] = []
        self.lags: list[Lag] = []
        self.health_ms: list[float] = []
        self.unanswered_at: list[float] = []
        self.queries: Counter[str] = Counter()
        self.complaints = Complaints()
        self.verdict: Verdict | None = None
        self.stored_errors: int | None = None
        self.sent = 0
        self.loaded_seconds = 0.0  # until when the load is known
        self.began = 0.0
        self.ended_after = 0.0
        self.calm_from = float("inf")
        self._broken, self._stop = threading.Event(), threading.Event()
        self._threads = [Watched(work.__name__, work, self._broken.set) for work in (self.load, self.sample)]

    def config(self, window_seconds: int) -> str:
        """`window_seconds` is what an orderly restart changes."""
        low, high = RETAINED_MB
        retained_mb = min(high, max(low, RETAINED_MB_PER_MINUTE * self.seconds / 60 * self.rate / 120))
        return (
            ISSUE_OFF
            + f'[upstream]\ndsn = "{self.upstream.dsn}"\nwindow = "{window_seconds} s"\n'
            + 'timeout = "2 s"\nmax_backoff = "2 s"\n'
            + '[ingest]\nmax_inflight_bytes = "200 MiB"\n'
            + '[store]\nmax_segment_bytes = "8 MB"\ncheckpoint_bytes = "1 MB"\n'  # a quarter of the retained at most
            + f"max_recent_ids = {RECENT_IDS}\n"
            + f'[retention]\nmax_bytes = "{retained_mb:.0f} MB"\n'
        )

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began if self.began else 0.0

    def run(self) -> None:
        """Load, faults and samples until the time is over; then heal everything and look. Raises nothing: what goes
        wrong is a complaint beside what was measured."""
        try:
            self.start()
            self.harm()
            self._threads[0].join(self.seconds - self.elapsed + CHUNK_SECONDS + LOAD_PATIENCE_SECONDS)
            self.loaded_seconds = min(self.seconds, self.elapsed)
            self.end_threads()
            self.heal()
            self.look()
        except Interrupted:
            self.complaints.lines.append(f"interrupted after {self.elapsed:.0f} s, not audited")
        except Exception as error:
            self.complaints.lines.append(_sentence(error))
        finally:
            self.stopping.over()
            self.end_threads()
            self.close()

    def start(self) -> None:
        """The collector, then what works beside the faults."""
        self.running.start()
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def end_threads(self) -> None:
        """Also the load process that runs."""
        self._stop.set()
        self.ended_after = self.ended_after or self.elapsed
        for thread in self._threads:
            if thread.ident:
                thread.join(40)

    def close(self) -> None:
        """Leave no process behind."""
        worker = child_of(self.running.process.pid) if self.running.process else None
        self.running.close()
        if worker:
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not proc.is_alive(worker), what="the worker's end")
            if proc.is_alive(worker):
                self.complaints.lines.append("the worker did not leave with its front")
                os.kill(worker, signal.SIGKILL)

    # -- what happens to it

    def load(self) -> None:
        """One load process after the other."""
        number = 0
        while (left := self.seconds - self.elapsed) > 1 and not self._stop.is_set():
            number += 1
            self.load_once(number, min(CHUNK_SECONDS, left))

    def load_once(self, number: int, seconds: float) -> None:
        """One load process; ended early when the soak is. Raises RuntimeError when it fails."""
        command = [sys.executable, "-m", LOAD, "--dsn", self.dsn, "-n", "1000000", "-c", "16"]
        command += ["--mix", "mixed", "--rate", str(self.rate), "--seconds", str(seconds), "--seed", str(number)]
        command += ["--ids-out", str(self.folder / f"ids-{number:05}")]
        until = time.monotonic() + seconds + LOAD_PATIENCE_SECONDS
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )  # of its own session: Ctrl-C is the soak's, and a load that it ends is no failure
        while True:
            try:
                out, err = process.communicate(timeout=0.3)
                break
            except subprocess.TimeoutExpired:
                if self._stop.is_set() or time.monotonic() > until:
                    process.kill()
        if self._stop.is_set():
            return
        if process.returncode:
            words = err.strip().splitlines()[-1:] or ["it said nothing"]
            raise RuntimeError(f"process {number} ended with {process.returncode}: {words[0]}")
        told = json.loads(out)
        self.sent += told["sent"]
        self.answers.update(told["answers"])
        self.loaded_seconds = self.elapsed

    @property
    def dsn(self) -> str:
        key, (host, port) = "c0ffee00c0ffee00c0ffee00c0ffee00", ("127.0.0.1", self.running.port)
        return f"http://{key}@{host}:{port}/42"

    def harm(self) -> None:
        """One fault at a time. A fault that does not end as it should is a complaint, and the last."""
        rough: list[Callable[[], None]] = [self.kill_worker, self.kill_front, self.restart, self.reload_worker]
        gentle: list[Callable[[], None]] = [self.moody_upstream, self.query, self.reload_front]
        if self.shim:
            gentle.append(self.bad_disk)
        first, rest = Bag(rough, self.chance), Bag([*rough, *gentle, self.moody_upstream], self.chance)
        calm = Bag([*gentle, self.moody_upstream], self.chance)
        while (left := self.seconds - self.elapsed) > 3 and not self._broken.is_set():
            is_calm = self.elapsed > self.seconds * (1 - CALM_SHARE)
            if is_calm:
                self.calm_from = min(self.calm_from, self.elapsed)
            act = (calm if is_calm else first if first.left else rest).draw()
            try:
                act()
            except Exception as error:
                self.complaints.lines.append(f"{act.__name__}: {_sentence(error)}")
                return
            pause = self.chance.uniform(0.5, min(12.0, max(1.0, self.seconds / 30)))
            self._broken.wait(min(max(0.0, left - 3), pause))

    def kill_worker(self) -> None:
        pid = self.running.status()["worker"]["pid"]
        if pid:
            self.faults["kill -9 worker"] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_front(self) -> None:
        self.faults["kill -9 front"] += 1
        self.running.kill()
        self.running.start()

    def restart(self) -> None:
        self.faults["restart with another setting"] += 1
        assert self.running.stop(60) == 0
        self.change("window")
        self.running.start()

    def change(self, setting: str) -> None:
        """The other value of a setting, in the file."""
        text = self.running.config.read_text()
        one, other = (f"{setting} = {value}" for value in SETTINGS[setting])
        self.running.config.write_text(text.replace(one, other) if one in text else text.replace(other, one))

    def reload_worker(self) -> None:
        self.reload("window")

    def reload_front(self) -> None:
        self.reload("max_inflight_bytes")

    def reload(self, setting: str) -> None:
        """SIGHUP, and nothing may differ from the file soon."""
        self.faults[f"reload of {setting}"] += 1
        assert self.running.process
        self.change(setting)
        self.running.process.send_signal(signal.SIGHUP)
        where = str(self.running.config)
        wait_for(lambda: ask_front(self.running.data, "plan", where, 30)["changes"] == [], 120, "a reload in force")

    def moody_upstream(self) -> None:
        name, options = self.moods.draw()
        self.faults[f"upstream: {name}"] += 1
        self.upstream.behave(name, **options)
        time.sleep(self.chance.uniform(0.5, 4.0))
        self.upstream.behave("ok")

    def query(self) -> None:
        self.faults["heavy query"] += 1
        sql = self.chance.choice(HEAVY)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "collector.cli",
                "query",
                "--config",
                str(self.running.config),
                "--timeout",
                "10",
                sql,
            ],
            capture_output=True,
            text=True,
        )
        self.queries["answered" if done.returncode == 0 else f"exit {done.returncode}"] += 1

    def bad_disk(self) -> None:
        assert self.shim
        rules = self.disk_faults.draw()
        self.faults[f"disk: {rules[0]}"] += 1
        self.shim.set(*rules)
        time.sleep(self.chance.uniform(0.5, 2.5))
        self.shim.set()

    def heal(self) -> None:
        self.upstream.behave("ok")
        if self.shim:
            self.shim.set()
        if self.running.process is None or self.running.process.poll() is not None:
            self.running.close()
            self.running.start()

    # -- what is seen

    def sample(self) -> None:
        """Memory, descriptors and threads of both processes, how late the front's loop is and how long a health page
        takes."""
        while not self._stop.wait(SAMPLE_SECONDS):
            process = self.running.process
            if process is None:
                continue
            for role, pid in (("front", process.pid), ("worker", child_of(process.pid))):
                if pid and (usage := proc.of(pid)):
                    self.samples.append((self.elapsed, f"{role} {pid}", usage))
            at, before = self.elapsed, time.perf_counter()
            try:
                lag = json.loads(self.running.get("/healthz")[1])["loop_lag_ms"]
            except (OSError, IndexError, http.client.HTTPException):  # it is being killed or started
                self.unanswered_at.append(at)
                continue
            self.health_ms.append((time.perf_counter() - before) * 1000)
            self.lags.append(Lag(self.elapsed, lag["now"], lag["worst"]))

    def trend(self, role: str) -> Figures:
        """Of the process that lived through the calm part; judged is what comes after its first quarter."""
        calm = [row for row in self.samples if row[1].startswith(role) and row[0] > self.seconds * (1 - CALM_SHARE)]
        begin = self.seconds * (1 - CALM_SHARE * (1 - WARM_SHARE))
        if not any(at > begin for at, _, _ in calm):
            return {}
        name = Counter(name for _, name, _ in calm).most_common(1)[0][0]
        whole = [(at, usage.rss_bytes / 2**20) for at, each, usage in calm if each == name]
        mine = [(at, usage) for at, each, usage in calm if each == name and at > begin]
        rss = [(at, usage.rss_bytes / 2**20) for at, usage in mine]
        over_seconds = round(rss[-1][0] - rss[0][0])
        slope = proc.trend(rss, proc.block_seconds(over_seconds))
        is_long = slope is not None and over_seconds >= MIN_SLOPE_SECONDS
        return {
            "rss": slope.judged(MAX_SLOPE_MB_PER_HOUR) if slope and is_long else "undecided",
            "rss_mb_per_hour": [round(each, 1) for each in slope] if slope else None,
            "over_seconds": over_seconds,
            "rss_mb": round(rss[-1][1], 1),
            "rss_mb_by_minute": [round(mb) for _, mb in proc.means(whole, 60.0)],
            "descriptors": [min(u.descriptors for _, u in mine), max(u.descriptors for _, u in mine)],
            "threads": [min(u.threads for _, u in mine), max(u.threads for _, u in mine)],
            "rss_mb_highest": round(max(u.rss_bytes for _, e, u in self.samples if e.startswith(role)) / 2**20, 1),
        }

    def look(self) -> None:
        """The audit, and what upstream got. Raises AssertionError when a promise is broken."""
        self.verdict = audit(self.running, acknowledged(self.folder), seconds=180)
        rows = self.running.query("SELECT coalesce(sum(count), 0) AS n FROM issues")
        self.stored_errors = int(rows[0]["n"])
        self.upstream.wait_for(lambda: self.upstream.counted() >= (self.stored_errors or 0), 90)
        if self.evicted:
            chunks = [path.read_text().split() for path in sorted(self.folder.glob("ids-*"))]
            lost = lost_behind([words[1::2] for words in chunks], self.running.query(STORED)[0]["ids"])
            assert not lost, f"{len(lost)} ids are missing that are younger than what is left, as {lost[:3]}"

    @property
    def evicted(self) -> int:
        return evicted_of(self.verdict.status) if self.verdict else 0

    def figures(self) -> Figures:
        """What was measured, as far as it came, and all complaints."""
        acked = acknowledged(self.folder)
        verdict, got = self.verdict, self.upstream.received
        figures = {
            "minutes": round(self.seconds / 60, 1),
            "ran_seconds": round(self.ended_after),
            "audit": str(verdict) if verdict else "not made" if self.stopping.number else "not passed",
            "sent": self.sent,
            "acknowledged": {kind: len(ids) for kind, ids in acked.items()},
            "answers": dict(self.answers),
            "faults": dict(self.faults),
            "disk_faults_fired": len(self.shim.fired()) if self.shim else "no gcc",
            "queries": dict(self.queries),
            "evicted_by_retention": self.evicted if verdict else None,
            "ledger": verdict.ledger if verdict else None,
            "worker_trouble": verdict.status["problems"] if verdict else None,
            "upstream": {
                "occurrences": self.upstream.counted(),
                "stored_errors": self.stored_errors,
                "events": len(got.events),
                "told_again": len(got.duplicates),
                "complaints": got.complaints[:3],
            },
            "front": self.trend("front"),
            "worker": self.trend("worker"),
            "loop_lag_ms": lag_figures(self.lags, self.calm_from),
            "health_page_ms": {
                "p50": round(quantile(self.health_ms, 0.5), 1),
                "p99": round(quantile(self.health_ms, 0.99), 1),
                "unanswered_in_calm_part": sum(at >= self.calm_from for at in self.unanswered_at),
            },
        }
        return {**figures, "complaints": [*self.complaints.lines, *self.judged(figures)]}

    def judged(self, figures: Figures) -> list[str]:
        """What is wrong with the figures."""
        found = Complaints()
        for thread in self._threads:
            found.lines += thread.complaints() if thread.ident else []
        acked = sum(figures["acknowledged"].values())
        found.lines += load_complaints(self.sent, acked, self.rate, self.loaded_seconds)
        found.lines += lag_complaints(figures["loop_lag_ms"])
        if self.stored_errors is not None:
            counted = figures["upstream"]["occurrences"]
            found.unless(counted == self.stored_errors, f"upstream counts {counted} of {self.stored_errors}")
            errors = figures["acknowledged"].get("error", 0)  # issues count what retention removed, too
            found.unless(self.stored_errors >= errors, f"issues count {self.stored_errors} of {errors} errors")
        found.unless(not self.upstream.received.complaints, "upstream complains")
        unanswered = figures["health_page_ms"]["unanswered_in_calm_part"]
        found.unless(
            not unanswered or self.stopping.number,
            f"front: {unanswered} health pages were not answered in the calm part",
        )
        for role in ("front", "worker"):
            trend = figures[role]
            growing = trend.get("rss") == "growing"
            found.unless(not growing, f"{role}: memory grows by {trend.get('rss_mb_per_hour')} MB an hour")
            low, high = trend.get("descriptors", [0, 0])
            found.unless(high - low <= MAX_DESCRIPTORS_MORE, f"{role}: {low} to {high} descriptors")
        return found.lines


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) and str(error) else f"{type(error).__name__}: {error}"


def child_of(pid: int) -> int | None:
    """The worker of a front."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def soak(folder: Path, minutes: float, seed: int, rate: float, stopping: Stopping) -> Figures:
    """One whole run in `folder`."""
    with Upstream(validate=False) as upstream:  # checking schemas would take a core from the collector
        run = Soak(folder, minutes * 60, seed, rate, upstream, stopping)
        run.run()
    figures = run.figures()
    if figures["complaints"]:
        (folder / "collector.log").write_text("".join(run.running.log))
    return figures


def new_folder(text: str) -> Path:
    """An argument that is a folder with nothing in it, or the name of one to make."""
    path = Path(text)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise argparse.ArgumentTypeError(f"{text} is there and not an empty folder; a soak starts with nothing stored")
    return path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add(
        "--minutes",
        type=above_zero(),
        default=30.0,
        help="how long load and faults last, before the audit (default: 30)",
    )
    add("--seed", type=int, help="which faults come when (default: a new one each time; it is told)")
    add("--rate", type=above_zero(), default=120.0, help="requests sent per second (default: 120)")
    add("--json", action="store_true", help="print the figures as one JSON object (default: a line each)")
    add("--keep", type=new_folder, metavar="DIR",
        help="run in this new or empty folder and leave it there (default: a temporary folder, left only when "
        "something is wrong)")  # fmt: skip
    return parser.parse_args()


def main() -> int:
    args = arguments()
    seed = random.randrange(1, 10**9) if args.seed is None else args.seed
    print(f"seed {seed}", file=sys.stderr)
    stopping = Stopping()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="collector-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        stopping.install()
        figures = {"seed": seed, **soak(folder, args.minutes, seed, args.rate, stopping)}
    except Interrupted:
        figures = {"seed": seed, "complaints": ["interrupted before the collector was started"]}
    stopping.over()
    only_interrupted = bool(stopping.number) and len(figures["complaints"]) == 1
    if args.keep is None and (only_interrupted or not figures["complaints"]):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        figures["folder"] = str(folder)
    if args.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:<22} {json.dumps(value) if isinstance(value, dict | list) else value}")
    if stopping.number:
        return 128 + stopping.number
    return 1 if figures["complaints"] else 0


if __name__ == "__main__":
    sys.exit(main())
