"""Prometheus text from the status document: one typed row a metric, meaning above the value."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Status = Mapping[str, Any]
Values = list[tuple[dict[str, str], float]]


class Metric(NamedTuple):
    """One metric family. `read` returns (labels, value) pairs from the status document."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    read: Callable[[Status], Values]


def _at(*path: str) -> Callable[[Status], Values]:
    def read(status: Status) -> Values:
        value: Any = status
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return [({}, float(value))] if isinstance(value, int | float) else []

    return read


def _by(label: str, *path: str) -> Callable[[Status], Values]:
    def read(status: Status) -> Values:
        value: Any = status
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return [({label: str(key)}, float(count)) for key, count in (value or {}).items()]

    return read


def _loops(key: str) -> Callable[[Status], Values]:
    def read(status: Status) -> Values:
        loops = (status.get("worker") or {}).get("loops") or {}
        return [({"loop": name}, float(loop.get(key) or 0)) for name, loop in loops.items()]

    return read


def _lag(key: str) -> Callable[[Status], Values]:
    def read(status: Status) -> Values:
        lag_ms = (status.get("front") or {}).get("loop_lag_ms") or {}
        return [({}, lag_ms[key] / 1000)] if key in lag_ms else []

    return read


def _edges(key: str) -> Callable[[Status], Values]:
    def read(status: Status) -> Values:
        edges = (status.get("hub") or {}).get("edges") or {}
        return [({"edge": name}, float(edge.get(key) or 0)) for name, edge in edges.items()]

    return read


def _refusals(status: Status) -> Values:
    edges = (status.get("hub") or {}).get("edges") or {}
    return [
        ({"edge": name, "reason": reason}, float(count))
        for name, edge in edges.items()
        for reason, count in edge["refused"].items()
    ]


def _configuration(read: Callable[[Mapping[str, Any]], float]) -> Callable[[Status], Values]:
    return lambda status: [({}, read(status["config"]))] if status.get("config") else []


METRICS: tuple[Metric, ...] = (
    Metric("collector_ready", "gauge", "1 when ready to take and digest events", _at("ready")),
    Metric("collector_uptime_seconds", "gauge", "seconds since the front started", _at("uptime_seconds")),
    Metric("collector_config_generation", "gauge", "how many configurations were in force since the start",
           _at("config", "generation")),
    Metric("collector_config_last_reload_successful", "gauge", "0 while the file is not the configuration in force",
           _configuration(lambda config: float(not config["mistakes"]))),
    Metric("collector_config_last_reload_success_timestamp_seconds", "gauge",
           "when the file was last read and had no mistakes", _at("config", "loaded_at")),
    Metric("collector_config_settings_waiting", "gauge", "settings of the file that wait for a restart",
           _configuration(lambda config: float(len(config["needs_restart"])))),
    Metric("collector_config_reloads_total", "counter", "reloads since the start", _by("outcome", "config", "reloads")),
    Metric("collector_accept_answers_total", "counter", "HTTP answers of the ingest doors", _by("status", "answers")),
    Metric("collector_ledger_received_total", "counter", "envelope items received", _at("ledger", "received")),
    Metric("collector_ledger_stored_total", "counter", "envelope items stored", _at("ledger", "stored")),
    Metric("collector_ledger_summarised_total", "counter", "counted, payload not kept", _at("ledger", "summarised")),
    Metric("collector_ledger_dropped_total", "counter", "items dropped", _by("reason", "ledger", "dropped")),
    Metric("collector_ledger_in_spool", "gauge", "items acknowledged and not yet digested", _at("ledger", "in_spool")),
    Metric("collector_spool_records", "gauge", "records waiting in the spool", _at("spool", "records")),
    Metric("collector_spool_bytes", "gauge", "bytes waiting in the spool", _at("spool", "bytes")),
    Metric("collector_store_segments", "gauge", "segment files", _at("store", "segments")),
    Metric("collector_store_bytes", "gauge", "bytes of all segment files", _at("store", "bytes")),
    Metric("collector_store_issues", "gauge", "issues known", _at("store", "issues")),
    Metric("collector_store_quarantined_files", "gauge", "files set aside", _at("quarantine", "files")),
    Metric("collector_outbox_records", "gauge", "envelopes waiting for upstream", _at("outbox", "records")),
    Metric("collector_outbox_bytes", "gauge", "bytes waiting for upstream", _at("outbox", "bytes")),
    Metric("collector_outbox_oldest_age_seconds", "gauge", "age of oldest unsent", _at("outbox", "oldest_age_seconds")),
    Metric("collector_forward_sent_total", "counter", "envelopes accepted upstream", _at("outbox", "sent")),
    Metric("collector_sync_linked_issues", "gauge", "issues found upstream", _at("sync", "linked")),
    Metric("collector_sync_unlinked_issues", "gauge", "issues that upstream has an event of, not found there yet",
           _at("sync", "unlinked")),
    Metric("collector_sync_totals_total", "counter", "statuses taken over and told, conflicts, API calls",
           _by("what", "sync", "totals")),
    Metric("collector_sync_last_timestamp_seconds", "gauge", "end of the last good round", _at("sync", "last_at")),
    Metric("collector_hub_batches_total", "counter", "batches stored, by edge", _edges("batches")),
    Metric("collector_hub_entries_total", "counter", "entries of those batches", _edges("entries")),
    Metric("collector_hub_occurrences_total", "counter", "what those entries stand for", _edges("occurrences")),
    Metric("collector_hub_repeated_total", "counter", "batches that came again and were not stored again",
           _edges("repeated")),
    Metric("collector_hub_refused_total", "counter", "requests refused since the start", _refusals),
    Metric("collector_hub_last_batch_timestamp_seconds", "gauge", "when each edge's last batch came",
           _edges("last_batch_at")),
    Metric("collector_front_loop_lag_seconds", "gauge", "most that a timer of the front came late in the last 2 s",
           _lag("now")),
    Metric("collector_front_loop_lag_worst_seconds", "gauge", "the same of the last minute", _lag("worst")),
    Metric("collector_worker_heartbeat_age_seconds", "gauge", "since the worker's last sign of life",
           _at("worker", "heartbeat_age_seconds")),
    Metric("collector_worker_restarts_total", "counter", "workers started again", _at("worker", "restarts")),
    Metric("collector_loop_age_seconds", "gauge", "since each loop's last heartbeat", _loops("age_seconds")),
    Metric("collector_loop_failures_total", "counter", "failures of each loop", _loops("failures")),
)  # fmt: skip


def render(status: Status) -> str:
    """The text exposition format, version 0.0.4."""
    lines: list[str] = []
    for metric in METRICS:
        values = metric.read(status)
        if values:
            lines += [f"# HELP {metric.name} {metric.meaning}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [f"{metric.name}{_labels(labels)} {value:.15g}" for labels, value in values]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (
        f'{key}="{value.translate({92: chr(92) * 2, 34: chr(92) + chr(34), 10: chr(92) + "n"})}"'
        for key, value in labels.items()
    )
    return "{" + ",".join(escaped) + "}"
