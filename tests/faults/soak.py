"""scripts/soak: the real command under mixed load and random faults for as long as you like, then the audit.

Load: errors, transactions, sessions, logs and check-ins at a fixed rate from a process of its own. Faults, one at a
time at random moments: kill -9 of worker or front, an orderly restart, a SIGHUP with another setting, an upstream that
is away, hangs, refuses, limits or takes without answering, heavy queries, and where gcc exists a disk that is full,
slow or fails once. Retention works all the while: the segments together may take less than what is sent.

In the last 60 % of the time nothing is killed or restarted, so that memory and descriptors of the same processes can be
compared with themselves. What fills up once and then stays is filled early: the ids that are remembered are few here,
and the first quarter of that calm part is not judged. What comes and goes is small, or it would hide a trend:
checkpoints are frequent, because rows are in memory until the next.

In what is judged RSS may rise by MAX_SLOPE_MB_PER_HOUR at most, by least squares (tests.helpers.proc.trend). "flat" is
certain of that and "growing" of the contrary, which is a complaint; "undecided" says that the run was too short.

Ends with tests.faults.audit, the count of what upstream got, and the trends. Exit code 1 when anything is wrong.
"""

import argparse
import json
import os
import random
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
from tests.faults.audit import ISSUE_OFF, Complaints, acknowledged, audit
from tests.faults.shim import COMPILER, Shim
from tests.helpers import proc
from tests.helpers.mini_upstream import MiniUpstream
from tests.helpers.running import Collector, wait_for
from tests.process.test_flow import free_port

ROOT = Path(__file__).parents[2]
CHUNK_SECONDS = 30.0  # one load process; its ids are on disk when it ends
SAMPLE_SECONDS = 2.0
CALM_SHARE = 0.6
WARM_SHARE = 0.25  # of the calm part: caches fill once more after the last restart
MAX_SLOPE_MB_PER_HOUR = 20.0
MIN_SLOPE_SECONDS = 300.0  # a shorter stretch says nothing about hours
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
Figures = dict[str, Any]


class Soak:
    """One run. `faults` counts what was done to it."""

    def __init__(self, folder: Path, seconds: float, seed: int, rate: float, upstream: MiniUpstream) -> None:
        self.folder, self.seconds, self.rate, self.upstream = folder, seconds, rate, upstream
        self.chance = random.Random(seed)
        self.shim = Shim(folder) if COMPILER else None
        self.running = Collector(folder, self.config(2), self.shim.environ if self.shim else None, free_port())
        self.faults: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.samples: list[tuple[float, str, proc.Usage]] = []
        self.health_ms: list[float] = []
        self.queries: Counter[str] = Counter()
        self.began = 0.0
        self._stop = threading.Event()

    def config(self, window_seconds: int) -> str:
        """`window_seconds` is what an orderly restart changes."""
        return (
            ISSUE_OFF
            + f'[upstream]\ndsn = "{self.upstream.dsn}"\nwindow = "{window_seconds} s"\n'
            + 'timeout = "2 s"\nmax_backoff = "2 s"\n'
            + '[ingest]\nmax_inflight_bytes = "200 MiB"\n'
            + f'[store]\nmax_segment_bytes = "8 MB"\ncheckpoint_bytes = "1 MB"\nmax_recent_ids = {RECENT_IDS}\n'
            + '[retention]\nmax_bytes = "48 MB"\n'
        )

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def run(self) -> Figures:
        """Load, faults and samples until the time is over; then heal everything and judge."""
        self.running.start()
        self.began = time.monotonic()
        threads = [threading.Thread(target=work, daemon=True) for work in (self.load, self.sample)]
        for thread in threads:
            thread.start()
        try:
            self.harm()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(CHUNK_SECONDS + 40)
        self.heal()
        return self.judge()

    # -- what happens to it

    def load(self) -> None:
        """One load process after the other."""
        number = 0
        while (left := self.seconds - self.elapsed) > 1 and not self._stop.is_set():
            number += 1
            seconds = min(CHUNK_SECONDS, left)
            command = [sys.executable, "-m", "tests.helpers.load", "--dsn", self.dsn, "-n", "1000000", "-c", "16"]
            command += ["--mix", "mixed", "--rate", str(self.rate), "--seconds", str(seconds), "--seed", str(number)]
            command += ["--ids-out", str(self.folder / f"ids-{number:05}")]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            self.answers.update(json.loads(done.stdout)["answers"])

    @property
    def dsn(self) -> str:
        key, (host, port) = "c0ffee00c0ffee00c0ffee00c0ffee00", ("127.0.0.1", self.running.port)
        return f"http://{key}@{host}:{port}/42"

    def harm(self) -> None:
        """One fault at a time."""
        rough: list[Callable[[], None]] = [self.kill_worker, self.kill_front, self.restart, self.reload_worker]
        gentle: list[Callable[[], None]] = [self.moody_upstream, self.moody_upstream, self.query, self.reload_front]
        if self.shim:
            gentle.append(self.bad_disk)
        while (left := self.seconds - self.elapsed) > 3:
            is_calm = self.elapsed > self.seconds * (1 - CALM_SHARE)
            act = self.chance.choice(gentle if is_calm else rough + gentle)
            act()
            time.sleep(min(max(0.0, left - 3), self.chance.uniform(0.5, min(12.0, self.seconds / 10))))

    def kill_worker(self) -> None:
        pid = self.running.status()["worker"]["pid"]
        if pid:
            self.faults["kill -9 worker"] += 1
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
        name, options = self.chance.choice(UPSTREAM_MOODS)
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
        rules = self.chance.choice(DISK_FAULTS)
        self.faults[f"disk: {rules[0]}"] += 1
        self.shim.set(*rules)
        time.sleep(self.chance.uniform(0.5, 2.5))
        self.shim.set()

    def heal(self) -> None:
        self.upstream.behave("ok")
        if self.shim:
            self.shim.set()
        if not self.running.process:
            self.running.start()

    # -- what is seen

    def sample(self) -> None:
        """Memory, descriptors and threads of both processes, and how long a health page takes."""
        while not self._stop.wait(SAMPLE_SECONDS):
            process = self.running.process
            if process is None:
                continue
            for role, pid in (("front", process.pid), ("worker", child_of(process.pid))):
                if pid and (usage := proc.of(pid)):
                    self.samples.append((self.elapsed, f"{role} {pid}", usage))
            before = time.perf_counter()
            try:
                self.running.get("/healthz")
                self.health_ms.append((time.perf_counter() - before) * 1000)
            except (OSError, IndexError):  # it is being killed or started
                continue

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
        slope = proc.trend(rss)
        over_seconds = round(rss[-1][0] - rss[0][0])
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

    def judge(self) -> Figures:
        """The figures; raises AssertionError when a promise is broken."""
        complaints = Complaints()
        acked = acknowledged(self.folder)
        verdict = audit(self.running, acked, seconds=180)
        errors = sum(self.running.query("SELECT sum(count) AS n FROM issues")[0].values())
        self.upstream.wait_for(lambda: self.upstream.counted() >= errors, 90)
        health = sorted(self.health_ms) or [0.0]
        figures = {
            "minutes": round(self.seconds / 60, 1),
            "audit": str(verdict),
            "acknowledged": {kind: len(ids) for kind, ids in acked.items()},
            "answers": dict(self.answers),
            "faults": dict(self.faults),
            "disk_faults_fired": len(self.shim.fired()) if self.shim else "no gcc",
            "queries": dict(self.queries),
            "evicted_by_retention": verdict.status["store"].get("evicted", 0),
            "ledger": verdict.ledger,
            "worker_trouble": verdict.status["problems"],
            "upstream": {
                "occurrences": self.upstream.counted(),
                "stored_errors": errors,
                "events": len(self.upstream.received.events),
                "told_again": len(self.upstream.received.duplicates),
                "complaints": self.upstream.received.complaints[:3],
            },
            "front": self.trend("front"),
            "worker": self.trend("worker"),
            "health_page_ms": {
                "p50": round(health[len(health) // 2], 1),
                "p99": round(health[int(len(health) * 0.99)], 1),
            },
        }
        complaints.unless(self.upstream.counted() == errors, f"upstream counts {self.upstream.counted()} of {errors}")
        complaints.unless(not self.upstream.received.complaints, "upstream complains")
        for role in ("front", "worker"):
            trend = figures[role]
            growing = trend.get("rss") == "growing"
            complaints.unless(not growing, f"{role}: memory grows by {trend.get('rss_mb_per_hour')} MB an hour")
            low, high = trend.get("descriptors", [0, 0])
            complaints.unless(high - low <= 40, f"{role}: {low} to {high} descriptors")
        figures["complaints"] = complaints.lines
        return figures


def child_of(pid: int) -> int | None:
    """The worker of a front."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def soak(folder: Path, minutes: float, seed: int, rate: float) -> Figures:
    """One whole run in `folder`."""
    with MiniUpstream(validate=False) as upstream:  # checking schemas would take a core from the collector
        run = Soak(folder, minutes * 60, seed, rate, upstream)
        try:
            return run.run()
        finally:
            run.running.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="which faults, when; a new one each time by default")
    parser.add_argument("--rate", type=float, default=120.0, help="requests per second")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="run in this folder and leave it there")
    args = parser.parse_args()
    seed = args.seed or random.randrange(1, 10**9)
    print(f"seed {seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="collector-soak-") as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        figures = {"seed": seed, **soak(folder, args.minutes, seed, args.rate)}
    if args.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:<22} {json.dumps(value) if isinstance(value, dict | list) else value}")
    return 1 if figures["complaints"] else 0


if __name__ == "__main__":
    sys.exit(main())
