"""The JSON that upstream gets: the stored payload, and what a summary adds to it."""

import datetime

import msgspec

import collector
from collector.forward.parcel import Parcel
from collector.forward.users import distinct

# Top-level attributes of the published event schema, and those that SDKs send although it does not list them. What our
# own normalisation adds beyond (project, key, ingest path) is for us alone; a receiver would report it as unknown.
SENDABLE = frozenset(
    (
        "breadcrumbs", "contexts", "culprit", "debug_meta", "dist", "environment", "errors", "event_id", "exception",
        "extra", "fingerprint", "level", "logentry", "logger", "message", "modules", "platform", "release", "request",
        "sdk", "server_name", "stacktrace", "tags", "threads", "time_spent", "timestamp", "transaction",
        "transaction_info", "type", "user", "version", "_meta",
    )
)  # fmt: skip
SLIM_DROPS = ("breadcrumbs", "extra", "modules", "threads", "request", "debug_meta", "_meta")
MAX_SLIM_FRAMES = 30

Raw = msgspec.Raw
_decode_top = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def utc(at: float) -> str:
    """ISO 8601 with milliseconds and Z."""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def collector_context(parcel: Parcel) -> dict[str, object]:
    """`contexts.collector`: what one forwarded event stands for.

    count includes the event itself and excludes everything that was forwarded before; users: distinct users among them.
    """
    return {
        "name": "collector",
        "version": collector.__version__,
        "sampled": True,
        "count": parcel.count,
        "first_seen": utc(parcel.first_at),
        "last_seen": utc(parcel.last_at),
        "users": distinct(parcel.users),
        "window_seconds": round(parcel.span_seconds, 3),
    }


def event_json(parcel: Parcel, payload: bytes, pin: bool) -> bytes:
    """The event item's payload: JSON bytes. `pin`: our hash goes along as fingerprint.

    A stored payload that is not a JSON object (a damaged row) counts as missing; see `stand_in`.
    """
    try:
        stored = _decode_top(payload)
    except msgspec.DecodeError:
        stored = {}
    event: dict[str, object] = {name: value for name, value in stored.items() if name in SENDABLE}
    event["event_id"] = parcel.event_id
    if parcel.kind == "summary":
        contexts = _object(stored.get("contexts"))
        contexts["collector"] = Raw(_encode(collector_context(parcel)))
        contexts["error_sampling"] = Raw(_encode({"client_sample_rate": 1.0 / parcel.count}))
        event["contexts"] = contexts
    if pin and parcel.hash:
        event["fingerprint"] = [parcel.hash]
    return _encode(event)


def stand_in(line: tuple[str, str, str, str] | None, at: float) -> bytes:
    """A payload for an issue of which no event is left; `line`: its hash, title, culprit and level."""
    digest, title, culprit, level = line or ("", "an event whose payload is gone", "", "error")
    event: dict[str, object] = {"timestamp": at, "level": level or "error", "platform": "other"}
    event["logentry"] = {"formatted": title}
    if culprit:
        event["transaction"] = culprit
    if digest:
        event["fingerprint"] = [digest]
    return _encode(event)


def slim(payload: bytes) -> bytes:
    """The payload without its bulky parts, for a receiver that found it too large; identity and counts stay."""
    event = msgspec.json.decode(payload, type=dict[str, object])
    for name in SLIM_DROPS:
        event.pop(name, None)
    contexts = event.get("contexts")
    if isinstance(contexts, dict):
        event["contexts"] = {n: v for n, v in contexts.items() if n in ("trace", "collector", "error_sampling")}
    exception = event.get("exception")
    values = exception.get("values") if isinstance(exception, dict) else exception
    for one in values if isinstance(values, list) else []:
        stack = one.get("stacktrace") if isinstance(one, dict) else None
        frames = stack.get("frames") if isinstance(stack, dict) else None
        if isinstance(stack, dict) and isinstance(frames, list):
            stack["frames"] = [_slim_frame(frame) for frame in frames[-MAX_SLIM_FRAMES:]]
    return _encode(event)


def _slim_frame(frame: object) -> object:
    if not isinstance(frame, dict):
        return frame
    return {name: value for name, value in frame.items() if name not in ("vars", "pre_context", "post_context")}


def _object(raw: Raw | None) -> dict[str, Raw]:
    try:
        return _decode_top(raw) if raw is not None else {}
    except msgspec.DecodeError:  # null, or not an object
        return {}
