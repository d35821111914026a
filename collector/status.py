"""The status document: what `collector status --json`, /healthz, /readyz, /metrics and the page all show.

Composed by the front from its own facts and the worker's last word; pure, so that tests can ask it anything.
"""

import platform
from collections.abc import Iterator
from typing import Any, NamedTuple

from collector import __version__
from collector.config import Config
from collector.hub.edges import UNKNOWN

MAX_BEAT_AGE_SECONDS = 10.0


class Facts(NamedTuple):
    """Everything the document is made of, read at one instant."""

    config: Config
    beat: dict[str, Any]
    beat_age_seconds: float | None
    front_pid: int | None
    worker_pid: int | None
    worker_restarts: int
    spool: dict[str, Any]
    waiting: tuple[int, int, int]  # records, quantity, bytes behind the worker's position
    refusals: dict[str, int]  # in memory
    spooled_refusals: dict[str, int]  # in the spool, behind the worker's position
    shed_pressure: float
    uptime_seconds: float
    address: str
    dsns: list[str]
    answers: dict[str, int]
    memory_trouble: str = ""
    edges: dict[str, dict[str, Any]] | None = None  # refusals of the hub's door; None: it is no hub
    configuration: dict[str, Any] | None = None  # collector.reload.Reloader.status; None: it cannot be read again
    loop_lag_ms: dict[str, float] | None = None  # collector.machine.loops.LoopLag.status; None: there is no front


EMPTY_STORE = {"segments": 0, "bytes": 0, "issues": 0, "events": 0}


def ledger(
    beat: dict[str, Any], spool: dict[str, Any], refusals: dict[str, int], spooled: dict[str, int]
) -> dict[str, Any]:
    """received = stored + summarised + dropped + in_spool.

    received comes from the totals written into the spool's own frames, the others from the worker's counters; that
    they agree is a check of the whole way, not arithmetic.
    """
    worker = beat.get("ledger") or {}
    epoch, _, digested_total = beat.get("position") or (0, 0, 0)
    written_epoch, _, written_total = spool["position"]
    dropped = dict(worker.get("dropped") or {})
    for key, items in [*refusals.items(), *spooled.items()]:
        dropped[key] = dropped.get(key, 0) + items
    before = worker.get("received_before", 0)
    same = epoch == written_epoch
    in_spool = written_total - (digested_total if same else 0) - sum(spooled.values())
    if not same:  # a new spool after the old one was lost: what the old one brought stays counted
        before += digested_total
    return {
        "received": before + written_total + sum(refusals.values()),
        "stored": worker.get("stored", 0),
        "summarised": worker.get("summarised", 0),
        "dropped": dropped,
        "in_spool": in_spool,
    }


def _outbox(forward: dict[str, Any] | None) -> dict[str, Any]:
    if forward is None:
        return {"records": 0, "bytes": 0, "oldest_age_seconds": None, "state": "off", "sent": 0, "last_error": ""}
    sent = forward["totals"].get("sent_events", 0)
    return {**forward["outbox"], "state": forward["state"], "sent": sent, "last_error": forward["last_error"]}


NO_BATCH: dict[str, Any] = {
    "batches": 0, "entries": 0, "occurrences": 0, "repeated": 0, "last_batch_at": None, "projects": {},
}  # fmt: skip


def _hub(facts: Facts) -> dict[str, Any] | None:
    """Each edge with what it brought (from the store) and what was refused (since the front started)."""
    if facts.edges is None:
        return None
    stored = facts.beat.get("edges") or {}
    silent = {"refused": {}, "last_error": ""}
    names = sorted({*facts.edges, *stored})
    return {"edges": {name: {**NO_BATCH, **stored.get(name, {}), **facts.edges.get(name, silent)} for name in names}}


def _is_refusing(facts: Facts) -> bool:
    """Errors are refused: the spool is full, or so nearly that admission sheds even them (its last fifth)."""
    shed_from = facts.shed_pressure + (1 - facts.shed_pressure) * 0.8
    return bool(facts.spool["pressure"] >= min(1.0, shed_from))


def _problems(facts: Facts) -> Iterator[str]:
    """Sentences for people, worst first."""
    age = facts.beat_age_seconds
    if age is None:
        yield "the worker has not reported yet"
    elif age > MAX_BEAT_AGE_SECONDS:
        yield f"the worker has not reported for {age:.0f} s"
    if facts.beat.get("refused"):
        yield f"nothing is digested: {facts.beat['refused']}"
    if facts.spool["trouble"]:
        yield facts.spool["trouble"]
    if facts.memory_trouble:
        yield facts.memory_trouble
    if _is_refusing(facts) and not facts.spool["trouble"]:
        yield "the spool takes no more: it is full or the disk is"
    for name, loop in (facts.beat.get("loops") or {}).items():
        if loop["late"]:
            yield f"loop {name} has not stamped its heartbeat for {loop['age_seconds']:.0f} s"
    if aside := (facts.beat.get("quarantine") or {}).get("files"):
        yield f"{aside} damaged or undigestible pieces are set aside in quarantine/"
    if facts.configuration and (mistakes := facts.configuration["mistakes"]):
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        yield f"the configuration was not reloaded, the last good one is in force: {mistakes[0]}{more}"
    if facts.configuration and (settings := facts.configuration["needs_restart"]):
        yield f"waiting for a restart: {', '.join(settings)}"
    forward = facts.beat.get("forward")
    if forward and forward["last_error"]:
        yield f"upstream: {forward['last_error']}"
    sync = facts.beat.get("sync")
    if sync and sync["last_error"]:
        yield f"statuses: {sync['last_error']}"
    for name, edge in (facts.edges or {}).items():
        if edge["last_error"] and name != UNKNOWN:  # anybody can knock without a token; the table of edges shows it
            yield f"edge {name}: {edge['last_error']}"
    yield from facts.beat.get("problems") or []


def _hindrances(facts: Facts) -> bool:
    """Whether something keeps events from being taken, or from being digested."""
    refused = facts.beat.get("refused")
    return bool(refused or facts.spool["trouble"] or _is_refusing(facts) or facts.memory_trouble)


def compose(facts: Facts) -> dict[str, Any]:
    """The whole document, JSON-ready."""
    beat = facts.beat
    store = {**EMPTY_STORE, **(beat.get("store") or {})}
    problems = list(_problems(facts))
    age = facts.beat_age_seconds
    alive = age is not None and age <= MAX_BEAT_AGE_SECONDS
    late = [name for name, loop in (beat.get("loops") or {}).items() if loop["late"]]
    return {
        "ready": alive and not _hindrances(facts),
        "healthy": alive and not late and not facts.spool["trouble"],
        "problems": problems,
        "version": __version__,
        "versions": {"collector": __version__, "python": platform.python_version(), **(beat.get("versions") or {})},
        "uptime_seconds": round(facts.uptime_seconds, 3),
        "data_dir": facts.config.data.dir,
        "config": facts.configuration,
        "address": facts.address,
        "dsns": facts.dsns,
        "front": {"pid": facts.front_pid, "loop_lag_ms": facts.loop_lag_ms},
        "worker": {
            "pid": facts.worker_pid,
            "heartbeat_age_seconds": None if age is None else round(age, 3),
            "restarts": facts.worker_restarts,
            "loops": beat.get("loops") or {},
        },
        "spool": {**facts.spool, "records": facts.waiting[0], "bytes": facts.waiting[2]},
        "store": store,
        "outbox": _outbox(beat.get("forward")),
        "forward": beat.get("forward"),
        "hub": _hub(facts),
        "sync": beat.get("sync"),
        "quarantine": beat.get("quarantine") or {"files": 0, "bytes": 0},
        "status": {"answers": facts.answers},
        "recent_issues": beat.get("recent_issues") or [],
        "ledger": ledger(beat, facts.spool, facts.refusals, facts.spooled_refusals),
    }
