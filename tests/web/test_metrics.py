"""Prometheus text: one typed row a metric."""

import re

from collector.web.metrics import METRICS, render

STATUS = {
    "ready": True,
    "uptime_seconds": 1.5,
    "config": {"generation": 2, "loaded_at": 1e9, "mistakes": [], "needs_restart": ["x"], "reloads": {"applied": 1}},
    "ledger": {"received": 3, "stored": 1, "summarised": 0, "dropped": {'odd "one"\n': 2}, "in_spool": 0},
    "spool": {"records": 0, "bytes": 0},
    "store": {"segments": 1, "bytes": 4096, "issues": 1},
    "outbox": {"records": 0, "bytes": 0},
    "front": {"loop_lag_ms": {"now": 1.5, "worst": 250.0}},
    "worker": {"heartbeat_age_seconds": 0.2, "restarts": 0, "loops": {"digest": {"age_seconds": 0.1, "failures": 0}}},
    "status": {"answers": {"200": 3}},
}


def test_every_sample_has_help_and_type_and_parses() -> None:
    text = render(STATUS)
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    form = re.compile(r'^[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\.)*"(,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? -?[0-9.e+-]+$')
    assert samples
    assert [line for line in samples if not form.match(line)] == []
    assert text.count("# HELP") == text.count("# TYPE")


def test_label_values_are_escaped() -> None:
    assert r'collector_ledger_dropped_total{reason="odd \"one\"\n"} 2' in render(STATUS)


def test_a_reload_that_failed_is_a_metric_and_a_document_without_one_is_fine() -> None:
    wrong = {**STATUS, "config": {**STATUS["config"], "mistakes": ["listen.adress: unknown key"]}}  # type: ignore[dict-item]
    assert "collector_config_last_reload_successful 1\n" in render(STATUS)
    assert "collector_config_last_reload_successful 0\n" in render(wrong)
    assert "collector_config" not in render({**STATUS, "config": None})


def test_names_follow_room_noun_verb() -> None:
    assert all(metric.name.startswith("collector_") for metric in METRICS)
    assert all(metric.name.endswith("_total") for metric in METRICS if metric.kind == "counter")


def test_loop_lag_is_told_in_seconds_and_not_where_there_is_no_front() -> None:
    assert "collector_front_loop_lag_seconds 0.0015\n" in render(STATUS)
    assert "collector_front_loop_lag_worst_seconds 0.25\n" in render(STATUS)
    assert "loop_lag" not in render({**STATUS, "front": {"loop_lag_ms": None}})


def test_a_worker_that_never_reported_leaves_its_metrics_out() -> None:
    text = render({**STATUS, "worker": {"heartbeat_age_seconds": None, "restarts": 0, "loops": {}}})
    assert "collector_worker_heartbeat_age_seconds" not in text
