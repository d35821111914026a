"""Contexts: types filled in, the trace context completed, one-line names of operating system, runtime and browser."""

from typing import Any

import msgspec
from msgspec import Raw

from collector.digest.about import About, NeedsRepair
from collector.digest.clean import CONTEXT_KINDS, TYPED_CONTEXTS, Event, TraceContext
from collector.digest.remarks import Remarks
from collector.digest.trim import fits, trim_raw

CONTEXT_BAG, FLAGS_BAG = (8192, 7), (131072, 7)
OBJECT, NULL = 0x7B, 0x6E
MAX_REMEMBERED = 2048
NOT_KNOWN: dict[bytes, Raw] = {}
TRACE_FIELDS = frozenset(TraceContext.__struct_fields__)
SUMMARISED = {"os": "os", "client_os": "os", "runtime": "runtime", "browser": "browser"}
FROZEN_VERSIONS = {("Windows", "10"): ">=10", ("Mac OS X", "10.15.7"): ">=10.15.7", ("macOS", "10.15.7"): ">=10.15.7"}

MADE_TRACE = b'{"trace_id":"%s","span_id":"%s","status":"unknown","type":"trace"}'

_write = msgspec.json.Encoder().encode
_TRACE = msgspec.json.Decoder(TraceContext)
_OPEN = {kind: msgspec.json.Decoder(shape) for kind, shape in CONTEXT_KINDS.items() if kind != "trace"}


class Contexts:
    """Normalises contexts; remembers the ones that repeat (runtime, operating system)."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, Raw]] = {}
        self._room = MAX_REMEMBERED

    def normalise(self, event: Event, about: About, remarks: Remarks) -> dict[str, Raw]:
        """The contexts of `event`, completed. Raises NeedsRepair."""
        given = event.contexts or {}
        contexts: dict[str, Raw] = {}
        trace: Raw | None = None
        known_of = self._known.get
        for name, raw in given.items():
            data = bytes(raw)
            known = known_of(name, NOT_KNOWN).get(data) if name != "trace" else None
            if known is not None:
                contexts[name] = known
            elif data[0] == NULL:
                continue
            elif data[0] != OBJECT:
                raise NeedsRepair
            elif name == "trace":
                trace = raw
            else:
                contexts[name] = self._one(name, raw, data, remarks)
        contexts["trace"] = _trace(trace, about, remarks)
        return contexts

    def _one(self, name: str, raw: Raw, data: bytes, remarks: Remarks) -> Raw:
        bag = FLAGS_BAG if name == "flags" else CONTEXT_BAG
        fitted = raw if fits(data, bag) else trim_raw(raw, bag, remarks, ["contexts", name])
        made = _typed(name, fitted)
        if fitted is raw and len(data) < 2048:
            self._room -= 1
            if self._room < 0:
                self._known.clear()
                self._room = MAX_REMEMBERED
            self._known.setdefault(name, {})[data] = Raw(bytes(made))
        return made


def _typed(name: str, raw: Raw) -> Raw:
    """A context with its type and its one-line name; unknown kinds are left alone. Raises NeedsRepair."""
    kind = name
    decoder = _OPEN.get(kind)
    if decoder is not None:
        try:
            decoder.decode(raw)
        except msgspec.ValidationError:
            raise NeedsRepair from None
    if kind not in TYPED_CONTEXTS and kind != "client_os":
        return raw
    context = {key: value for key, value in msgspec.json.decode(raw).items() if value is not None}
    return Raw(_write(completed(name, context)))


def completed(name: str, context: dict[str, Any]) -> dict[str, Any]:
    """Add `type` and, for systems, runtimes and browsers, "name version" under the kind's own name."""
    kind = "os" if name == "client_os" else name
    context.setdefault("type", kind)
    key = SUMMARISED.get(name)
    title, version = context.get("name"), context.get("version")
    if key and isinstance(title, str) and title:
        context.setdefault(key, f"{title} {version}" if isinstance(version, str) and version else title)
    return context


def is_hex(text: str, digits: int) -> bool:
    """Whether `text` is so many hex digits. `fromhex` alone would take blanks between them."""
    try:
        return len(text) == digits and len(bytes.fromhex(text)) * 2 == digits
    except ValueError:
        return False


def _trace(raw: Raw | None, about: About, remarks: Remarks) -> Raw:
    """The trace context: made from the event id when there is none or no usable one. Raises NeedsRepair."""
    others: dict[str, Any] = {}
    if raw is None:
        return Raw(MADE_TRACE % (about.event_id.encode(), about.event_id[:16].encode()))
    if not fits(bytes(raw), CONTEXT_BAG):
        raw = trim_raw(raw, CONTEXT_BAG, remarks, ["contexts", "trace"])
    try:
        context = _TRACE.decode(raw)
    except msgspec.ValidationError:
        context, others = _open_trace(raw)
    _complete(context, about)
    written = _write(context)
    return Raw(_write({**others, **msgspec.json.decode(written)}) if others else written)


def _complete(context: TraceContext, about: About) -> None:
    """Ids, status and type. Raises NeedsRepair when an id is not hex."""
    trace_id, span_id = context.trace_id, context.span_id
    if trace_id is None:
        context.trace_id = about.event_id
    else:
        if len(trace_id) != 32 or not trace_id.islower():
            trace_id = context.trace_id = trace_id.replace("-", "").lower()
        if not is_hex(trace_id, 32):
            raise NeedsRepair
    if span_id is None:
        context.span_id = about.event_id[:16]
    elif not is_hex(span_id, 16):
        raise NeedsRepair
    if context.parent_span_id is not None and not is_hex(context.parent_span_id, 16):
        raise NeedsRepair
    if context.status is None:
        context.status = "unknown"
    context.type = "trace"


def _open_trace(raw: Raw) -> tuple[TraceContext, dict[str, Any]]:
    """A trace context with keys of its own. Raises NeedsRepair."""
    tree = msgspec.json.decode(raw)
    others = {name: tree.pop(name) for name in list(tree) if name not in TRACE_FIELDS}
    if not others:
        raise NeedsRepair
    try:
        return _TRACE.decode(_write(tree)), {name: value for name, value in others.items() if value is not None}
    except msgspec.ValidationError:
        raise NeedsRepair from None
