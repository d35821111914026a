"""What a case expects against what happened: every check returns the differences as sentences, [] when there are none.

Two readings of our own: the ledger counts more than Relay does (it gives every dropped item an outcome, sessions too,
which the protocol leaves uncounted), so an exact set of outcomes leaves out categories without outcomes in the
protocol; and `stored` counts what was kept of the case's own items, client reports being statistics.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tests.conformance.client import Answer

Json = dict[str, Any]
Differences = list[str]

UNCOUNTED = {"session", "default"}  # no outcomes in Relay: develop.sentry.dev "Outcomes"
STATISTICS = {"client_report"}
EVENT_KINDS = ("event", "transaction", "security", "feedback", "replay_event")
MISSING = object()


class Unknown(Exception):
    """The case asks for something that this runner cannot judge; the text says what."""


@dataclass
class Stored:
    """One kept event or item. `kind` as the protocol's item type."""

    kind: str
    headers: Json
    payload: bytes

    @property
    def json(self) -> Any:
        """The payload as JSON, None when it is none."""
        try:
            return msgspec.json.decode(self.payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


@dataclass
class Evidence:
    """All that is known after a case was played."""

    answer: Answer
    kept: list[Stored] = field(default_factory=list)
    outcomes: list[Json] = field(default_factory=list)
    forwarded: int | None = None
    sent_at: float = 0.0
    now: float = 0.0


def judge(expect: Mapping[str, Any], evidence: Evidence) -> Differences:
    """All differences. Raises Unknown for an expectation that is not in the table."""
    unknown = [key for key in expect if key not in CHECKS]
    if unknown:
        raise Unknown(f"expect.{unknown[0]}")
    return [f"{key}: {text}" for key, wanted in expect.items() for text in CHECKS[key](wanted, evidence)]


# the answer ---------------------------------------------------------------------------------------------------------


def _status(wanted: Any, evidence: Evidence) -> Differences:
    allowed = wanted if isinstance(wanted, list) else [wanted]
    found, body = evidence.answer.status, evidence.answer.body[:200]
    return [] if found in allowed or wanted is None else [f"{found} instead of {wanted}: {body!r}"]


def _json(wanted: Any, evidence: Evidence) -> Differences:
    found = evidence.answer.json
    return [] if found == wanted else [f"{found!r} instead of {wanted!r}"]


def _answer_object(evidence: Evidence) -> Json:
    found = evidence.answer.json
    return found if isinstance(found, dict) else {}


def _json_contains(wanted: Json, evidence: Evidence) -> Differences:
    found = _answer_object(evidence)
    return [
        f"{key} is {found.get(key)!r} instead of {value!r}" for key, value in wanted.items() if found.get(key) != value
    ]


def _json_regex(wanted: Json, evidence: Evidence) -> Differences:
    found = _answer_object(evidence)
    return [
        f"{key} is {found.get(key)!r}, not like {pattern}"
        for key, pattern in wanted.items()
        if not re.search(pattern, str(found.get(key, "")))
    ]


def _json_not(wanted: Json, evidence: Evidence) -> Differences:
    found = _answer_object(evidence)
    return [f"{key} is {value!r}" for key, value in wanted.items() if found.get(key) == value]


def _detail_regex(wanted: str, evidence: Evidence) -> Differences:
    return _json_regex({"detail": wanted}, evidence)


def _causes_regex(wanted: str, evidence: Evidence) -> Differences:
    found = evidence.answer.json
    causes = found.get("causes", []) if isinstance(found, dict) else []
    return [] if any(re.search(wanted, str(cause)) for cause in causes) else [f"{causes!r}, none like {wanted}"]


def _body_equals(wanted: str, evidence: Evidence) -> Differences:
    found = evidence.answer.body
    return [] if found == wanted.encode() else [f"{found[:200]!r} instead of {wanted!r}"]


def _headers(wanted: Json, evidence: Evidence) -> Differences:
    return [
        f"{name}: {evidence.answer.headers.get(name.lower())!r}, wanted {rule!r}"
        for name, rule in wanted.items()
        if not _header_fits(evidence.answer.headers.get(name.lower()), rule)
    ]


def _header_fits(found: str | None, rule: Any) -> bool:
    if found is None:
        return False
    if not isinstance(rule, dict):
        return found.lower() == str(rule).lower() or found.split(";")[0].strip().lower() == str(rule).lower()
    for name, value in rule.items():
        if name not in HEADER_RULES:
            raise Unknown(f"expect.headers rule {name}")
        if not HEADER_RULES[name](found, value):
            return False
    return True


HEADER_RULES: dict[str, Callable[[str, Any], bool]] = {
    "matches": lambda found, value: re.search(value, found) is not None,
    "contains_all": lambda found, value: (
        {one.lower() for one in value} <= {one.strip().lower() for one in found.split(",")}
    ),
    "int_max": lambda found, value: found.isdigit() and int(found) <= value,
    "int_min": lambda found, value: found.isdigit() and int(found) >= value,
}


def _headers_absent(wanted: list[str], evidence: Evidence) -> Differences:
    return [f"{name} is there" for name in wanted if name.lower() in evidence.answer.headers]


def _grpc_status(wanted: Json, evidence: Evidence) -> Differences:
    found = read_status(evidence.answer.body)
    return [] if {key: found.get(key) for key in wanted} == wanted else [f"{found!r} instead of {wanted!r}"]


def read_status(body: bytes) -> Json:
    """google.rpc.Status in protobuf: field 1 the code, field 2 the message."""
    found: Json = {}
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        value, at = _varint(body, at)
        if tag & 7 == 2:
            found[{2: "message"}.get(tag >> 3, str(tag >> 3))] = body[at : at + value].decode("utf-8", "replace")
            at += value
        else:
            found[{1: "code"}.get(tag >> 3, str(tag >> 3))] = value
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(body):
        byte = body[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    return value, at


# what was kept ------------------------------------------------------------------------------------------------------


def _stored(wanted: int, evidence: Evidence) -> Differences:
    kept = [one.kind for one in evidence.kept if one.kind not in STATISTICS]
    events = [kind for kind in kept if kind in ("event", "transaction")]
    return [] if wanted in (len(kept), len(events)) else [f"{len(kept)} {kept} instead of {wanted}{_why(evidence)}"]


def _stored_items(wanted: list[Json], evidence: Evidence) -> Differences:
    differences: Differences = []
    for item in wanted:
        unknown = set(item) - {"type", "count", *ITEM_CHECKS}
        if unknown:
            raise Unknown(f"expect.stored_items.{sorted(unknown)[0]}")
        kept = [one for one in evidence.kept if one.kind == item["type"]]
        if "count" in item and len(kept) != item["count"]:
            differences.append(f"{len(kept)} of {item['type']} instead of {item['count']}{_why(evidence)}")
        checks = {key: value for key, value in item.items() if key in ITEM_CHECKS}
        if checks and kept and not any(all(ITEM_CHECKS[k](one, v) for k, v in checks.items()) for one in kept):
            differences.append(f"{item['type']} is {kept[0].headers!r} {kept[0].payload[:300]!r}, wanted {checks!r}")
    return differences


ITEM_CHECKS: dict[str, Callable[[Stored, Any], bool]] = {
    "payload_utf8": lambda one, value: one.payload == value.encode(),
    "payload_json": lambda one, value: contains(one.json, value),
    "filename": lambda one, value: one.headers.get("filename") == value,
    "content_type": lambda one, value: one.headers.get("content_type") == value,
    "attachment_type": lambda one, value: one.headers.get("attachment_type", "event.attachment") == value,
    "headers": lambda one, value: contains(one.headers, value),
}


def contains(found: Any, wanted: Any) -> bool:
    """Whether every key of `wanted`, at any depth, has that value in `found`."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(key), value) for key, value in wanted.items())
    return bool(found == wanted)


def _stored_logs(wanted: int, evidence: Evidence) -> Differences:
    found = len(logs_of(evidence))
    return [] if found == wanted else [f"{found} instead of {wanted}{_why(evidence)}"]


def logs_of(evidence: Evidence) -> list[Json]:
    """Every log record, out of its container."""
    documents = [one.json for one in evidence.kept if one.kind == "log"]
    return [
        log
        for document in documents
        if isinstance(document, dict)
        for log in (document["items"] if isinstance(document.get("items"), list) else [document])
    ]


def _event(wanted: list[Json], evidence: Evidence) -> Differences:
    kept = [
        one for one in evidence.kept if one.kind in ("event", "transaction", "security", "feedback", "replay_event")
    ]
    if not kept:
        return ["no event was kept" + _why(evidence)]
    return _fields(wanted, kept[0].json, evidence)


def _log(wanted: list[Json], evidence: Evidence) -> Differences:
    logs = logs_of(evidence)
    return _fields(wanted, logs[0], evidence) if logs else ["no log was kept" + _why(evidence)]


def _fields(wanted: list[Json], document: Any, evidence: Evidence) -> Differences:
    differences: Differences = []
    for rule in wanted:
        if rule.get("op") not in FIELD_OPERATORS:
            raise Unknown(f"field operator {rule.get('op')}")
        found = reach(document, rule["path"])
        if not FIELD_OPERATORS[rule["op"]](found, rule.get("value"), evidence.now):
            shown = "absent" if found is MISSING else repr(found)[:300]
            differences.append(
                f"{'.'.join(map(str, rule['path']))} is {shown}, wanted {rule['op']} {rule.get('value')!r}"
            )
    return differences


def reach(document: Any, path: list[Any]) -> Any:
    """The value at a path, MISSING when there is none."""
    for part in path:
        if isinstance(document, dict) and str(part) in document:
            document = document[str(part)]
        elif isinstance(document, list) and isinstance(part, int) and -len(document) <= part < len(document):
            document = document[part]
        else:
            return MISSING
    return document


def moment(value: Any) -> float | None:
    """A timestamp in either of its two forms, as seconds since the epoch."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _near(found: Any, at: float, seconds: float) -> bool:
    value = moment(found)
    return value is not None and abs(value - at) <= seconds


FIELD_OPERATORS: dict[str, Callable[[Any, Any, float], bool]] = {
    "equals": lambda found, value, now: found == value and found is not MISSING,
    "not_equals": lambda found, value, now: found != value,
    "absent_or_null": lambda found, value, now: found is MISSING or found is None,
    "absent": lambda found, value, now: found is MISSING,
    "present": lambda found, value, now: found is not MISSING and found is not None,
    "len": lambda found, value, now: hasattr(found, "__len__") and len(found) == value,
    "starts_with": lambda found, value, now: isinstance(found, str) and found.startswith(value),
    "ends_with": lambda found, value, now: isinstance(found, str) and found.endswith(value),
    "contains": lambda found, value, now: isinstance(found, str | list | dict) and value in found,
    "matches": lambda found, value, now: isinstance(found, str) and re.search(value, found) is not None,
    "within_s_of_now": lambda found, value, now: _near(found, now, float(value)),
    "within_s_of": lambda found, value, now: _near(found, now - float(value[0]), float(value[1])),
}


# what was counted ---------------------------------------------------------------------------------------------------


def _tuples(outcomes: list[Json]) -> dict[tuple[Any, ...], int]:
    sums: dict[tuple[Any, ...], int] = {}
    for one in outcomes:
        key = (one["outcome"], one.get("reason") or "", one["category"])
        sums[key] = sums.get(key, 0) + one["quantity"]
    return sums


def _outcomes(wanted: list[Json], evidence: Evidence) -> Differences:
    found = {key: n for key, n in _tuples(evidence.outcomes).items() if key[2] not in UNCOUNTED}
    return [] if found == _tuples(wanted) else [f"{_shown(found)} instead of {_shown(_tuples(wanted))}"]


def _outcomes_contains(wanted: list[Json], evidence: Evidence) -> Differences:
    found = _tuples(evidence.outcomes)
    missing = {key: quantity for key, quantity in _tuples(wanted).items() if found.get(key) != quantity}
    return [f"{_shown(missing)} missing in {_shown(found)}"] if missing else []


def _outcome_categories(wanted: list[str], evidence: Evidence) -> Differences:
    found = {one["category"] for one in evidence.outcomes}
    return [] if set(wanted) <= found else [f"{sorted(found)} instead of {wanted}"]


def _shown(sums: Mapping[tuple[Any, ...], int]) -> str:
    return "{" + ", ".join(f"{'/'.join(key)}: {quantity}" for key, quantity in sums.items()) + "}"


def _why(evidence: Evidence) -> str:
    found = _tuples(evidence.outcomes)
    return f"; outcomes {_shown(found)}" if found else ""


def _forwarded(wanted: int, evidence: Evidence) -> Differences:
    return [] if evidence.forwarded == wanted else [f"{evidence.forwarded} instead of {wanted}"]


CHECKS: dict[str, Callable[[Any, Evidence], Differences]] = {
    "status": _status,
    "json": _json,
    "json_contains": _json_contains,
    "json_regex": _json_regex,
    "json_not": _json_not,
    "json_detail_regex": _detail_regex,
    "causes_regex": _causes_regex,
    "body_equals": _body_equals,
    "headers": _headers,
    "headers_absent": _headers_absent,
    "grpc_status": _grpc_status,
    "stored": _stored,
    "stored_items": _stored_items,
    "stored_logs": _stored_logs,
    "event": _event,
    "log": _log,
    "outcomes": _outcomes,
    "outcomes_contains": _outcomes_contains,
    "outcome_categories": _outcome_categories,
    "forwarded": _forwarded,
}
