"""Normalisation: JSON of an event as an SDK sent it -> JSON of the event as Sentry stores it.

Two steps. `read` decodes into the typed shape of `clean`; when a type or limit is broken, `repair` mends the tree first
and the same decoder reads the result. `finish` then applies the rules that hold for every event: defaults, times,
names, stacks, request, contexts. Only what changes is rebuilt; the rest passes through as bytes.
Rules: protocol E1-E5.
"""

from typing import Any

import msgspec
from msgspec import Raw

from collector.digest.about import About, Invalid, NeedsRepair
from collector.digest.clean import EVENT, EVENT_WRITER, NOTHING, Crumb, Crumbs, DebugMeta, Event, Excs, Problem, Sdk
from collector.digest.contexts import Contexts
from collector.digest.enrich import Enrichment
from collector.digest.fields import (
    LEVELS,
    KnownNames,
    KnownTags,
    normalise_fingerprint,
    normalise_level,
    normalise_platform,
    normalise_source,
    normalise_tags,
)
from collector.digest.messages import normalise_logentry
from collector.digest.normalised import Normalised
from collector.digest.people import infer_address, normalise_user
from collector.digest.remarks import Remarks
from collector.digest.repair import Repair, read_lenient
from collector.digest.request import normalise_request
from collector.digest.stacks import Stacks
from collector.digest.times import event_time, normalise_time, seconds_of
from collector.digest.transactions import check_transaction, normalise_transaction
from collector.digest.trim import checked_bag, fits, trim_raw
from collector.digest.verified import Rewritten, Verified

EXTRA_BAG, EXTRA_ITEM, MODULES_BAG, CSP_BAG = (262144, 7), (16384, 7), (8192, 7), (16384, 5)
CRUMB_BAG = (2048, 5)
OBJECT = 0x7B
PROTOCOL_VERSION = "7"
MAX_EVENT_ERRORS = 100


class Normaliser:
    """Normalises events; one per worker, because it remembers parts that repeat between events."""

    def __init__(self, enrichment: Enrichment) -> None:
        self.enrichment = enrichment
        self._stacks = Stacks()
        self._contexts = Contexts()
        self._known_tags = KnownTags()
        self._known_names = KnownNames()
        self._sdks = Rewritten(Sdk, _write_sdk)
        self._modules = Verified(dict[str, str | None], 256)
        self._images = Rewritten(DebugMeta, msgspec.json.encode, 64)

    def normalise(self, payload: bytes | memoryview, about: About) -> Normalised:
        """The normalised event. Raises Invalid when the payload is no JSON object or breaks a hard rule."""
        try:
            event = read_clean(payload)
            return self._finish(event, about, Remarks())
        except (NeedsRepair, msgspec.MsgspecError, UnicodeDecodeError):
            return self.normalise_slowly(payload, about)
        except RecursionError:
            raise Invalid("nesting_too_deep", "the event is nested too deeply") from None

    def normalise_slowly(self, payload: bytes | memoryview, about: About) -> Normalised:
        """The same, by way of the repair. Raises Invalid."""
        remarks = Remarks()
        try:
            tree = read_lenient(bytes(payload))
            if not isinstance(tree, dict):
                raise Invalid("invalid_json", "the event is no JSON object")
            tree = Repair(remarks).event(tree)
            return self._finish(EVENT.decode(EVENT_WRITER.encode(tree)), about, remarks)
        except ValueError:
            raise Invalid("invalid_json", "the event is not JSON") from None
        except RecursionError:
            raise Invalid("nesting_too_deep", "the event is nested too deeply") from None

    def _finish(self, event: Event, about: About, remarks: Remarks) -> Normalised:
        _take_remarks(event, remarks)
        if about.item == "transaction":
            check_transaction(event)
            event.type = "transaction"
        _defaults(event, about, remarks)
        self._names(event, remarks)
        event.logentry, event.message = normalise_logentry(event.logentry or event.message, remarks), None
        traces = self._stacks.normalise(event, remarks)
        _breadcrumbs(event, about, remarks)
        sdk = self._sdk(event, about, remarks)
        normalise_request(event, remarks)
        infer_address(event, sdk, about, remarks)
        normalise_user(event, remarks)
        contexts = self._contexts.normalise(event, about, remarks)
        self.enrichment.apply(event, contexts)
        event.contexts = contexts
        _infer_type(event, about)
        self._free_form(event, remarks)
        if about.item == "transaction":
            normalise_transaction(event, about, remarks)
        elif event.spans is not NOTHING or event.measurements is not NOTHING:
            event.spans = event.measurements = event.breakdowns = NOTHING
        _write_remarks(event, remarks)
        return Normalised(event, remarks, traces)

    def _names(self, event: Event, remarks: Remarks) -> None:
        normalise_tags(event, self._known_tags, remarks)
        self._known_names.normalise(event, remarks)
        event.fingerprint = normalise_fingerprint(event.fingerprint, remarks)
        normalise_source(event, remarks)
        if event.transaction is not None:
            event.transaction = event.transaction.strip() or None

    def _sdk(self, event: Event, about: About, remarks: Remarks) -> Sdk | None:
        if event.sdk is not NOTHING:
            sdk, event.sdk = self._sdks.get(event.sdk)
            if sdk is not None:
                if not sdk.name:
                    remarks.error(("sdk", "name"), "missing_attribute")
                if not sdk.version:
                    remarks.error(("sdk", "version"), "missing_attribute")
                return sdk
        if about.client:
            name, _, version = about.client.partition("/")
            event.sdk = Raw(_write_sdk(Sdk(name=name or None, version=version or None)))
        return None

    def _free_form(self, event: Event, remarks: Remarks) -> None:
        if event.extra is not NOTHING:
            data = bytes(event.extra)
            if data == b"null":
                event.extra = NOTHING
            elif data[0] != OBJECT:
                raise NeedsRepair
            elif not fits(data, EXTRA_ITEM):
                event.extra = trim_raw(event.extra, EXTRA_BAG, remarks, ["extra"], EXTRA_ITEM)
        if event.modules is not NOTHING:
            if self._modules.get(event.modules) is None:
                event.modules = NOTHING
            elif not fits(bytes(event.modules), MODULES_BAG):
                event.modules = trim_raw(event.modules, MODULES_BAG, remarks, ["modules"])
        if event.debug_meta is not NOTHING:
            event.debug_meta = self._images.get(event.debug_meta)[1]
        event.csp = checked_bag(event.csp, CSP_BAG, remarks, ("csp",))
        event.template = checked_bag(event.template, CSP_BAG, remarks, ("template",))


def _write_sdk(sdk: Sdk) -> bytes:
    """Without its settings: they speak to the first receiver, and an upstream would infer our own address from them."""
    return msgspec.json.encode(
        msgspec.structs.replace(sdk, settings=None, name=sdk.name or None, version=sdk.version or None)
    )


def read_clean(payload: bytes | memoryview) -> Event:
    """The typed event. Raises msgspec.MsgspecError or UnicodeDecodeError when it needs repair.

    The decoder checks the grammar of raw parts, escapes included, but not their encoding. Numbers in them beyond any
    float stay as sent: they are JSON, and a scan for them would cost as much as the decoder.
    """
    data = bytes(payload)
    if not data.isascii():
        str(data, "utf-8")
    return EVENT.decode(data)


def _take_remarks(event: Event, remarks: Remarks) -> None:
    """The SDK's own `_meta` joins ours."""
    if event.meta is NOTHING:
        return
    data = bytes(event.meta)
    if data[0] != OBJECT:
        if data != b"null":
            raise NeedsRepair
        event.meta = NOTHING
        return
    ours = remarks.tree
    remarks.tree = msgspec.json.decode(data)
    if ours:
        _merge(remarks.tree, ours)


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        else:
            into[key] = value


def _write_remarks(event: Event, remarks: Remarks) -> None:
    event.meta = Raw(msgspec.json.encode(remarks.tree)) if remarks.tree else NOTHING
    if event.errors or remarks.errors:
        sent: list[Problem | None] = [problem for problem in event.errors or () if problem is not None and problem.type]
        found = [Problem(*error) for error in remarks.errors]
        event.errors = [*sent, *found][:MAX_EVENT_ERRORS] or None


def _defaults(event: Event, about: About, remarks: Remarks) -> None:
    event.event_id = about.event_id
    event.project = about.project_id
    event.received = about.received_at
    event.version = PROTOCOL_VERSION
    event.key_id = None
    event.platform = normalise_platform(event.platform, remarks)
    event.level = normalise_level(event.level, "info" if about.item == "transaction" else "error", remarks)
    if event.logger is None:
        event.logger = ""
    start = event.start_timestamp
    event.timestamp = event_time(event.timestamp, about, remarks)
    if start is not None:
        event.start_timestamp = normalise_time(start, about, remarks, ("start_timestamp",))


def _infer_type(event: Event, about: About) -> None:
    if about.item == "transaction":
        return
    if event.csp is not NOTHING:
        event.type = "csp"
    elif about.item == "feedback":
        event.type = "feedback"
    else:
        exceptions = event.exception
        event.type = "error" if isinstance(exceptions, Excs) and exceptions.values else "default"


def _breadcrumbs(event: Event, about: About, remarks: Remarks) -> None:
    crumbs = event.breadcrumbs
    if crumbs is None:
        return
    if isinstance(crumbs, list):
        event.breadcrumbs = crumbs = Crumbs(crumbs)
        remarks.moved(("breadcrumbs",), ("breadcrumbs", "values"))
    if not crumbs.values:
        event.breadcrumbs = None
    drift = about.drift
    known_level, nothing, (most, deepest) = LEVELS.get, NOTHING, CRUMB_BAG
    for index, crumb in enumerate(crumbs.values or ()):
        if crumb is None:
            continue
        stamp = crumb.timestamp
        if stamp is not None:
            seconds = seconds_of(stamp)
            if seconds is None:
                crumb.timestamp = normalise_time(stamp, about, remarks, ("breadcrumbs", "values", index, "timestamp"))
            else:
                crumb.timestamp = seconds + drift
        if not crumb.type:
            crumb.type = "default"
        level = crumb.level
        if level is None:
            crumb.level = "info"
        else:
            name = known_level(level)
            if name is None:
                _crumb_level(crumb, index, remarks)
            elif name is not level:
                crumb.level = name
        if crumb.data is not nothing:
            data = bytes(crumb.data)
            brackets = data.count(b"{") + data.count(b"[")
            if data[0] != OBJECT or brackets >= deepest or len(data) + 2 * brackets + 2 > most:
                crumb.data = checked_bag(crumb.data, CRUMB_BAG, remarks, ("breadcrumbs", "values", index, "data"))


def _crumb_level(crumb: Crumb, index: int, remarks: Remarks) -> None:
    remarks.error(("breadcrumbs", "values", index, "level"), "invalid_data", crumb.level, reason="expected a level")
    crumb.level = "info"
