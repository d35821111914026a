"""Contexts: types filled in, the trace context completed, one-line names of operating system, runtime and browser."""

from typing import Any

import msgspec
from msgspec import Raw

from collector.digest.about import About, NeedsRepair
from collector.digest.clean import CONTEXT_KINDS, TYPED_CONTEXTS, Event
from collector.digest.remarks import Remarks
from collector.digest.trim import fits, trim_raw
from collector.digest.verified import Verified

CONTEXT_BAG, FLAGS_BAG = (8192, 7), (131072, 7)
OBJECT, NULL = 0x7B, 0x6E
SUMMARISED = {"os": "os", "client_os": "os", "runtime": "runtime", "browser": "browser"}
FROZEN_VERSIONS = {("Windows", "10"): ">=10", ("Mac OS X", "10.15.7"): ">=10.15.7", ("macOS", "10.15.7"): ">=10.15.7"}

_write = msgspec.json.encode
_OPEN = {kind: msgspec.json.Decoder(shape) for kind, shape in CONTEXT_KINDS.items()}


class Contexts:
    """Normalises contexts; remembers the ones that repeat (runtime, operating system)."""

    def __init__(self) -> None:
        self._objects = Verified(dict[str, Any], 2048)
        self._known: dict[tuple[str, bytes], Raw] = {}

    def normalise(self, event: Event, about: About, remarks: Remarks) -> dict[str, Raw]:
        """The contexts of `event`, completed. Raises NeedsRepair."""
        given = event.contexts or {}
        contexts: dict[str, Raw] = {}
        trace: Raw | None = None
        for name, raw in given.items():
            data = bytes(raw)
            if data[0] == NULL:
                continue
            if data[0] != OBJECT:
                raise NeedsRepair
            if name == "trace":
                trace = raw
                continue
            contexts[name] = self._one(name, raw, data, remarks)
        contexts["trace"] = _trace(trace, about)
        return contexts

    def _one(self, name: str, raw: Raw, data: bytes, remarks: Remarks) -> Raw:
        known = self._known.get((name, data))
        if known is not None:
            return known
        bag = FLAGS_BAG if name == "flags" else CONTEXT_BAG
        fitted = raw if fits(data, bag) else trim_raw(raw, bag, remarks, ["contexts", name])
        made = _typed(name, fitted)
        if fitted is raw and len(data) < 2048:
            if len(self._known) >= 2048:
                self._known.clear()
            self._known[(name, data)] = Raw(bytes(made))
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


def _trace(raw: Raw | None, about: About) -> Raw:
    """The trace context: made from the event id when there is none or no usable one."""
    context: dict[str, Any] = {}
    if raw is not None:
        try:
            _OPEN["trace"].decode(raw)
        except msgspec.ValidationError:
            raise NeedsRepair from None
        context = {key: value for key, value in msgspec.json.decode(raw).items() if value is not None}
    trace_id = context.get("trace_id")
    if trace_id is None:
        context["trace_id"] = about.event_id
    elif len(trace_id) != 32 or not trace_id.islower():
        context["trace_id"] = trace_id.replace("-", "").lower()
    if context.get("span_id") is None:
        context["span_id"] = about.event_id[:16]
    context.setdefault("status", "unknown")
    context["type"] = "trace"
    return Raw(_write(context))
