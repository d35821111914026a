"""Play cases against real collectors.

Plain cases (one request) share a collector wherever the tables of the whole collector are equal: each has a project of
its own there, all requests are sent, the spool is drained once, and three queries bring the evidence of all. Cases with
steps, signals or an upstream have a collector and an upstream of their own.
"""

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tests.conformance import functions, judge
from tests.conformance.cases import HOME, Case, Json, Place, fill, moved, now
from tests.conformance.client import Answer, exchange
from tests.conformance.evidence import collect, wait_ready
from tests.conformance.judge import Evidence
from tests.conformance.translate import Plan, plan, project_table, toml
from tests.conformance.upstream import Upstream
from tests.helpers.running import Collector

FIRST_PLACE = 1000
DRAIN_SECONDS = 60.0
QUIET_SECONDS = 1.5  # how long nothing may come before "nothing was forwarded" is believed
STEP_SECONDS = 10.0
STOP_SECONDS = 30.0
AT_ONCE = 4  # collectors of their own; they mostly wait


@dataclass
class Result:
    """What became of a case: passed, failed or skipped."""

    id: str
    area: str
    tier: str
    outcome: str
    detail: str = ""


@dataclass
class Group:
    """Plain cases that one collector serves."""

    plan: Plan
    members: list[tuple[Case, Plan]]


def play(cases: Iterable[Case], exact: bool = False) -> Iterator[Result]:
    """Results of all cases, in no order."""
    alone: list[tuple[Case, Plan]] = []
    plain: list[tuple[Case, Plan]] = []
    for case in cases:
        made, why = _planned(case)
        if made is None:
            yield Result(case.id, case.area, case.tier, "skipped", why)
        elif case.function:
            yield _judged(case, lambda case=case: _function(case))
        else:
            (alone if made.wants_upstream else plain).append((case, made))
    groups = [Group(made, [(case, made)]) for case, made in plain] if exact else grouped(plain)
    jobs: list[Callable[[], list[Result]]] = [lambda group=group: play_group(group) for group in groups]
    jobs += [lambda case=case, made=made: [_judged(case, lambda: _steps(case, made))] for case, made in alone]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for results in pool.map(lambda job: job(), jobs):
            yield from results


def _planned(case: Case) -> tuple[Plan | None, str]:
    if not _readable(case):
        return None, "no request and expectation that this runner can read"
    if case.function and case.function not in functions.FUNCTIONS:
        return None, f"unknown function {case.function}"
    unknown = [key for step in case.steps for key in step if key not in STEP_KEYS]
    if unknown:
        return None, f"unknown step field {unknown[0]}"
    try:
        made = plan(case)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return None, f"configuration cannot be read: {error!r}"
    return (None, f"not translated: {', '.join(made.missing)}") if made.missing else (made, "")


def _readable(case: Case) -> bool:
    """Every step has what can be sent or waited for, and an expectation."""
    requests = [step.get("request") for step in case.steps]
    shaped = all(isinstance(request, dict) and {"path", "function"} & set(request) for request in requests if request)
    expects = all(isinstance(step.get("expect"), dict) for step in case.steps)
    return bool(case.steps) and shaped and expects and (any(requests) or "signal" in case.steps[0])


STEP_KEYS = {"request", "repeat", "wait_s", "upstream", "upstream_reply", "signal", "expect", "note", "title"}


def grouped(plain: list[tuple[Case, Plan]]) -> list[Group]:
    """Cases whose collectors would be equal but for the project, each moved to a place of its own."""
    groups: dict[str, Group] = {}
    for case, made in plain:
        key = json.dumps([made.tables, case.listens], sort_keys=True)
        group = groups.setdefault(key, Group(made, []))
        number = FIRST_PLACE + len(group.members)
        group.members.append((replace(case, place=Place(number, f"c0ffee00{number:024x}")), made))
    return list(groups.values())


def play_group(group: Group) -> list[Result]:
    """One collector, all members of the group; when it fails as a whole, the halves apart, to find the culprit."""
    try:
        sent, found = _shared(group)
    except Exception as error:  # a collector that does not start fails its cases, not the run
        if len(group.members) > 1:
            half = len(group.members) // 2
            parts = [replace(group, members=group.members[:half]), replace(group, members=group.members[half:])]
            return [result for part in parts for result in play_group(part)]
        case, _ = group.members[0]
        return [Result(case.id, case.area, case.tier, "failed", f"collector: {error}"[:2000])]
    return [
        _judged(case, lambda case=case, step=step, proof=proof: judge.judge(step["expect"], _with(proof, found, case)))
        for case, step, proof in sent
    ]


def _shared(group: Group) -> tuple[list[tuple[Case, Json, Evidence]], dict[int, Evidence]]:
    """Send all requests; what was answered, and what every project kept. Raises whatever the collector fails with."""
    homes = [] if any(case.place == HOME for case, _ in group.members) else [project_table(Plan(), HOME)]
    projects = homes + [project_table(made, case.place) for case, made in group.members]
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder, Upstream() as upstream:
        tables = group.plan.tables
        if group.members[0][0].listens:
            tables = {**tables, "upstream": {"dsn": upstream.dsn, "mode": "events", "window": "1 s"}}
        running = Collector(Path(folder), toml(tables, projects))
        try:
            running.start()
            wait_ready(running, DRAIN_SECONDS)
            sent = [(case, *_send_plain(running, case)) for case, _ in group.members]
            found = _evidence(running)
            if "upstream" in tables:
                time.sleep(QUIET_SECONDS)
            for _, _, proof in sent:
                proof.forwarded = upstream.arrived(True)  # of all members: each of them expects silence
            return sent, found
        finally:
            running.close()


def _send_plain(running: Collector, case: Case) -> tuple[Json, Evidence]:
    moment = now()
    step = moved(fill(case.steps[0], moment), case.place)
    try:
        answer = exchange(running.address, step["request"])
    except (OSError, KeyError, ValueError) as error:
        answer = Answer(None, body=repr(error).encode())
    return step, Evidence(answer, now=moment.timestamp())


def _with(proof: Evidence, found: dict[int, Evidence], case: Case) -> Evidence:
    mine = found.get(case.place.project_id, Evidence(proof.answer))
    return replace(proof, kept=mine.kept, outcomes=mine.outcomes)


def _evidence(running: Collector) -> dict[int, Evidence]:
    """What every project kept and counted."""
    return collect(running, DRAIN_SECONDS)


def _function(case: Case) -> list[str]:
    return functions.differences(fill(case.steps[0]["request"], now()), case.steps[0].get("expect") or {})


def _judged(case: Case, find: Callable[[], list[str]]) -> Result:
    try:
        differences = find()
    except judge.Unknown as unknown:
        return Result(case.id, case.area, case.tier, "skipped", f"unknown to this runner: {unknown}")
    except Exception as error:  # one broken case must not end the run
        return Result(case.id, case.area, case.tier, "failed", f"could not be judged: {error!r}"[:2000])
    return Result(case.id, case.area, case.tier, "failed" if differences else "passed", "; ".join(differences)[:2000])


# steps --------------------------------------------------------------------------------------------------------------


def _steps(case: Case, made: Plan) -> list[str]:
    """A collector and an upstream of its own; the differences of the first step that has any."""
    made.put("upstream", "window", "1 s")
    made.put("upstream", "mode", "events")
    first = case.config.get("upstream")
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder, Upstream() as upstream:
        upstream.behaviour = first if isinstance(first, dict) else "ok"
        made.put("upstream", "dsn", upstream.dsn)
        running = Collector(Path(folder), toml(made.tables, [project_table(made, case.place)]))
        try:
            running.start()
            wait_ready(running, DRAIN_SECONDS)
            if first is not None:
                time.sleep(QUIET_SECONDS)
            for number, step in enumerate(case.steps, 1):
                differences = _Step(running, upstream, case, fill(step, now(), folder)).differences()
                if differences:
                    return [f"step {number}: {text}" for text in differences]
        finally:
            running.close()
    return []


class _Step:
    """One step being played."""

    def __init__(self, running: Collector, upstream: Upstream, case: Case, step: Json) -> None:
        self.running, self.upstream, self.case, self.step = running, upstream, case, step
        self.expect: Json = dict(step.get("expect") or {})
        # What comes again because it was refused belongs to the step in which it is taken.
        self.with_refused = "upstream_reply" in step
        self.before = upstream.arrived(self.with_refused)
        self.started = time.monotonic()

    def differences(self) -> list[str]:
        """Play it and judge it."""
        time.sleep(float(self.step.get("wait_s") or 0))
        if "upstream" in self.step:
            self.upstream.behaviour = self.step["upstream"]
        if "upstream_reply" in self.step:
            self.upstream.next_reply = self.step["upstream_reply"]
        answer = Answer(None)
        if "request" in self.step:
            for _ in range(int(self.step.get("repeat") or 1)):
                answer = exchange(self.running.address, self.step["request"])
        if "signal" in self.step:
            self._signal(str(self.step["signal"]))
        found = self._forwarding() + self._counting()
        return found + judge.judge(self.expect, self._proof(answer))

    def _signal(self, name: str) -> None:
        """The collector ends; what is asked afterwards is asked of its files."""
        if name not in ("SIGTERM", "SIGINT"):
            raise judge.Unknown(f"signal {name}")
        assert self.running.process
        self.running.process.send_signal(getattr(signal, name))
        self.running.process.wait(STOP_SECONDS)
        self.running.close()

    def _proof(self, answer: Answer) -> Evidence:
        wants = {"stored", "stored_items", "event", "outcomes", "outcomes_contains", "stored_logs", "log"}
        if not wants & set(self.expect):
            return Evidence(answer, now=time.time())
        found = _evidence(self.running).get(self.case.place.project_id, Evidence(answer))
        return replace(found, answer=answer, now=time.time())

    def _forwarding(self) -> list[str]:
        wanted, within = self.expect.pop("forwarded", None), self.expect.pop("forwarded_within_s", STEP_SECONDS)
        if wanted is None:
            return []
        if wanted:
            self.upstream.wait_for(lambda: self._arrived() >= wanted, float(within))
        if self.step.get("upstream_reply") is None:
            time.sleep(QUIET_SECONDS)
        found = self._arrived()
        return [] if found == wanted else [f"forwarded: {found} instead of {wanted}"]

    def _arrived(self) -> int:
        return self.upstream.arrived(self.with_refused) - self.before

    def _counting(self) -> list[str]:
        differences = self._report("client_report", self.expect.pop("client_report", None))
        limited = self.expect.pop("client_report_rate_limited_events", None)
        if limited is not None:
            differences += self._report("client_report", {"rate_limited_events": limited})
        kept = self.expect.pop("delivered_or_on_disk", None)
        if kept is not None:
            differences += self._survivors(kept)
        return differences

    def _report(self, name: str, wanted: dict[str, list[Json]] | None) -> list[str]:
        """Client reports upstream: sums by reason and category, whichever list of the report they stand in."""
        if wanted is None:
            return []
        needed = _sums(entry for entries in wanted.values() for entry in entries)

        def missing() -> dict[tuple[str, str], int]:
            found = _sums(self.upstream.reported())
            return {key: quantity for key, quantity in needed.items() if found.get(key) != quantity}

        self.upstream.wait_for(lambda: not missing(), STEP_SECONDS if "signal" not in self.step else QUIET_SECONDS)
        return [f"{name}: {missing()} missing in {_sums(self.upstream.reported())}"] if missing() else []

    def _survivors(self, wanted: int) -> list[str]:
        """After a stop: delivered, stored, or still in the spool."""
        ledger = self.running.status()["ledger"]
        found = max(self.upstream.arrived(False), ledger["stored"] + ledger["in_spool"])
        return [] if found >= wanted else [f"delivered_or_on_disk: {found} instead of {wanted}"]


def _sums(entries: Iterable[Json]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (str(entry.get("reason", "")), str(entry.get("category", "")))
        sums[key] = sums.get(key, 0) + int(entry["quantity"])
    return sums
