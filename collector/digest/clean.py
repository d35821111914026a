"""The shape of a clean event, as types: what the fast path decodes and what the repair is derived from.

One declaration serves both paths. msgspec checks an event against these structs while it decodes it; an event that
passes needs no repair. For one that does not, `collector.digest.repair` walks the same declarations (through
`msgspec.inspect`) and drops, cuts or converts whatever breaks them. The two can therefore not disagree.

Attributes of a field stand in its Meta: `max_length` is the limit plus the tolerance, `extra` holds "limit" (what a
longer text is cut to, default max_length), "bag" ((bytes, depth) of a free-form value), "as" (the type of the content
of a raw field), "form" (a conversion the repair knows) and "alias" (older names of the field).
Limits: reference protocol, E4. A field typed Raw passes through as bytes.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

NOTHING = Raw()  # the default of raw fields: left out when the event is written

Text32 = Annotated[str, Meta(max_length=32)]
Text64 = Annotated[str, Meta(max_length=64)]
Text75 = Annotated[str, Meta(max_length=75)]
Text128 = Annotated[str, Meta(max_length=128)]
Text200 = Annotated[str, Meta(max_length=200)]
Text256 = Annotated[str, Meta(max_length=276, extra={"limit": 256})]
Path256 = Annotated[str, Meta(max_length=296, extra={"limit": 256})]
Text512 = Annotated[str, Meta(max_length=532, extra={"limit": 512})]
Text1024 = Annotated[str, Meta(max_length=1024)]
Text8192 = Annotated[str, Meta(max_length=8392, extra={"limit": 8192})]
Address = Annotated[str, Meta(pattern=r"^0x(?:0|[1-9a-f][0-9a-f]{0,15})$", extra={"form": "address"})]
Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Lenient = str | int | float | bool
Lenient128 = Annotated[str, Meta(max_length=128)] | int | float | bool
Time = str | int | float

# Raw fields whose content is typed but repeats from event to event: verified through a memo (normalise.Verified).
Lines = Annotated[Raw, Meta(extra={"as": list[str | None]})]
Modules = Annotated[Raw, Meta(extra={"as": dict[str, str | None], "bag": (8192, 7)})]

Bag2048 = Annotated[Raw, Meta(extra={"bag": (2048, 5), "form": "object"})]
BagVars = Annotated[Raw, Meta(extra={"bag": (2048, 5), "form": "vars"})]
BagParams = Annotated[Raw, Meta(extra={"bag": (2048, 5)})]
BagEnv = Annotated[Raw, Meta(extra={"bag": (8192, 7), "form": "object"})]
BagData = Annotated[Raw, Meta(extra={"bag": (8192, 7)})]
BagExtra = Annotated[Raw, Meta(extra={"bag": (262144, 7), "bag_item": (16384, 7), "form": "object"})]
Object = Annotated[Raw, Meta(extra={"form": "object"})]
Array = Annotated[Raw, Meta(extra={"form": "array"})]

# hex digits are looked at in contexts.py: a pattern costs three times as much
TraceId = Annotated[str, Meta(min_length=32, max_length=36, extra={"form": "trace_id"})]
SpanId = Annotated[str, Meta(min_length=16, max_length=16, extra={"form": "span_id"})]


class Clean(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Closed object: unknown keys are removed. None is left out when written."""


class Lock(Clean):
    """A lock that a thread holds or waits for."""

    type: Text32 | int | None = None
    address: str | None = None
    package_name: str | None = None
    class_name: str | None = None
    thread_id: int | str | None = None


class FrameData(Clean):
    """What processing says about a frame; anything else in it is removed."""

    sourcemap: Path256 | None = None
    orig_function: Text512 | None = None
    orig_filename: Path256 | None = None
    orig_lineno: Natural | None = None
    orig_colno: Natural | None = None
    orig_in_app: int | None = None


class Frame(Clean):
    """One frame of a stack trace."""

    filename: Path256 | None = None
    abs_path: Path256 | None = None
    function: Text512 | None = None
    module: Text256 | None = None
    lineno: Natural | None = None
    colno: Natural | None = None
    in_app: bool | None = None
    raw_function: Text512 | None = None
    function_id: Address | None = None
    symbol: Text256 | None = None
    package: Text256 | None = None
    platform: Text64 | None = None
    context_line: str | None = None
    pre_context: Lines = NOTHING
    post_context: Lines = NOTHING
    source_link: Annotated[str, Meta(max_length=2000)] | None = None
    vars: BagVars = NOTHING
    data: FrameData | None = None
    instruction_addr: Address | None = None
    addr_mode: Text64 | None = None
    symbol_addr: Address | None = None
    image_addr: Address | None = None
    trust: Text64 | None = None
    lang: Text64 | None = None
    stack_start: bool | None = None
    lock: Lock | None = None
    module_metadata: Bag2048 = NOTHING
    parent_index: Natural | None = None
    sample_count: Natural | None = None


FrameRaw = Annotated[Raw, Meta(extra={"as": Frame})]


class Stack(Clean):
    """A stack trace, outermost frame first. `frames` is always written, null when there are none.

    Once normalised, all frames stand in one Raw, joined by commas: so they are written without being decoded.
    """

    frames: list[FrameRaw] | UnsetType | None = UNSET
    registers: dict[str, Address | None] | None = None
    instruction_addr_adjustment: Text64 | None = None
    lang: Text64 | None = None
    snapshot: bool | None = None


class CError(Clean):
    """A C error number."""

    name: str | None = None
    number: int | None = None


class MachException(Clean):
    """An exception of Apple's kernel."""

    name: str | None = None
    exception: int | None = None
    code: Natural | None = None
    subcode: Natural | None = None


class NsError(Clean):
    """An error of Apple's frameworks."""

    domain: str | None = None
    code: int | None = None


class PosixSignal(Clean):
    """A signal."""

    name: str | None = None
    number: int | None = None
    code: int | None = None
    code_name: str | None = None


class MechanismMeta(Clean):
    """What the system said about an exception."""

    errno: CError | None = None
    mach_exception: MachException | None = None
    ns_error: NsError | None = None
    signal: PosixSignal | None = None


class Mechanism(Clean):
    """How an exception was caught. `type` is always written."""

    type: Text128 | UnsetType | None = UNSET
    description: Text8192 | None = None
    help_link: Text1024 | None = None
    handled: bool | None = None
    source: Text256 | None = None
    synthetic: bool | None = None
    is_exception_group: bool | None = None
    exception_id: Natural | None = None
    parent_id: Natural | None = None
    data: Bag2048 = NOTHING
    meta: MechanismMeta | None = None


class Exc(Clean):
    """One exception of a chain, oldest first."""

    type: Text256 | None = None
    value: Annotated[str, Meta(max_length=8392, extra={"limit": 8192, "form": "json"})] | None = None
    module: Text256 | None = None
    thread_id: int | str | None = None
    mechanism: Mechanism | None = None
    stacktrace: Stack | None = None
    raw_stacktrace: Stack | None = None


class Excs(Clean):
    """Exceptions in their usual wrapper."""

    values: list[Exc | None] | None = None


class Thread(Clean):
    """One thread."""

    id: int | str | None = None
    name: Text1024 | None = None
    crashed: bool | None = None
    current: bool | None = None
    main: bool | None = None
    state: Text128 | None = None
    held_locks: dict[str, Lock | None] | None = None
    stacktrace: Stack | None = None
    raw_stacktrace: Stack | None = None


class Threads(Clean):
    """Threads in their usual wrapper."""

    values: list[Thread | None] | None = None


class Crumb(Clean):
    """One breadcrumb."""

    timestamp: Time | None = None
    type: Text128 | None = None
    category: Text128 | None = None
    level: Text32 | int | None = None
    message: Text8192 | None = None
    data: Bag2048 = NOTHING
    event_id: Text64 | None = None
    origin: Text128 | None = None


class Crumbs(Clean):
    """Breadcrumbs in their usual wrapper."""

    values: list[Crumb | None] | None = None


class LogEntry(Clean):
    """A message and its parameters."""

    message: Annotated[str, Meta(max_length=8392, extra={"limit": 8192, "form": "json"})] | None = None
    formatted: Annotated[str, Meta(max_length=8392, extra={"limit": 8192, "form": "json"})] | None = None
    params: BagParams = NOTHING


class Geo(Clean):
    """Where an address is."""

    country_code: Text128 | None = None
    city: Text1024 | None = None
    subdivision: Text1024 | None = None
    region: Text128 | None = None


class User(Clean):
    """Who was affected. Unknown keys move to `data` (in the repair)."""

    id: Lenient128 | None = None
    email: Text75 | None = None
    ip_address: Text64 | None = None
    username: Lenient128 | None = None
    name: Lenient128 | None = None
    segment: Text128 | None = None
    sentry_user: Annotated[str, Meta(max_length=256)] | None = None
    geo: Geo | None = None
    data: BagEnv = NOTHING


class OpenContext(msgspec.Struct, gc=False):
    """A context: named fields are typed, any other key is kept."""

    type: str | None = None


class TraceContext(Clean):
    """The span an event happened in. Other keys are kept as well (contexts.Contexts)."""

    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    parent_span_id: SpanId | None = None
    op: Text128 | None = None
    description: str | None = None
    origin: Text128 | None = None
    status: str | int | None = None
    exclusive_time: int | float | None = None
    client_sample_rate: int | float | None = None
    sampled: bool | None = None
    data: Raw = NOTHING
    type: str | None = None


class NamedContext(OpenContext):
    """A runtime, an operating system, a browser, an application."""

    name: str | None = None
    version: str | None = None
    build: str | None = None
    kernel_version: str | None = None
    raw_description: str | None = None
    rooted: bool | None = None
    app_name: str | None = None
    app_version: str | None = None
    app_build: str | None = None
    app_identifier: str | None = None
    app_start_time: Time | None = None
    app_memory: Natural | None = None
    in_foreground: bool | None = None


class DeviceContext(OpenContext):
    """A device."""

    name: str | None = None
    family: str | None = None
    model: str | None = None
    model_id: str | None = None
    brand: str | None = None
    arch: str | None = None
    manufacturer: str | None = None
    simulator: bool | None = None
    online: bool | None = None
    charging: bool | None = None
    low_memory: bool | None = None
    battery_level: int | float | None = None
    memory_size: Natural | None = None
    free_memory: Natural | None = None
    storage_size: Natural | None = None
    free_storage: Natural | None = None


class FeedbackContext(OpenContext):
    """What a user wrote."""

    message: Annotated[str, Meta(max_length=4096)] | None = None
    contact_email: str | None = None
    name: str | None = None
    url: str | None = None
    source: str | None = None
    associated_event_id: str | None = None
    replay_id: str | None = None


CONTEXT_KINDS: dict[str, type[msgspec.Struct]] = {
    "trace": TraceContext,
    "runtime": NamedContext,
    "os": NamedContext,
    "browser": NamedContext,
    "app": NamedContext,
    "device": DeviceContext,
    "feedback": FeedbackContext,
}
# Kinds that carry their own name as type when an SDK left it out.
TYPED_CONTEXTS = frozenset((*CONTEXT_KINDS, "gpu", "profile", "replay", "feedback", "otel", "response",
                            "cloud_resource", "nel", "flags", "unity", "spring", "monitor", "culture"))  # fmt: skip


class Request(Clean):
    """The HTTP request that was served."""

    url: Path256 | None = None
    method: str | None = None
    data: BagData = NOTHING
    query_string: str | dict[str, Any] | list[Any] | None = None
    fragment: Text1024 | None = None
    cookies: str | dict[str, Any] | list[Any] | None = None
    headers: dict[str, Any] | list[Any] | None = None
    env: BagEnv = NOTHING
    inferred_content_type: Text256 | None = None
    body_size: Natural | None = None
    api_target: Text64 | None = None
    protocol: Text64 | None = None


class Package(Clean):
    """A package of an SDK."""

    name: Text256 | None = None
    version: Text64 | None = None


class SdkSettings(Clean):
    """What an SDK asks of the receiver. `infer_ip`: auto, never, legacy; anything else counts as never."""

    infer_ip: str | None = None


class Sdk(Clean):
    """The SDK that made the event. `name` and `version` are always written."""

    name: Text256 | UnsetType | None = UNSET
    version: Text128 | UnsetType | None = UNSET
    integrations: list[str | None] | None = None
    features: list[str | None] | None = None
    packages: list[Package | None] | None = None
    settings: SdkSettings | None = None


class NativeImage(Clean, tag_field="type"):
    """A library or executable."""

    arch: str | None = None
    code_file: str | None = None
    code_id: str | None = None
    debug_checksum: str | None = None
    debug_file: str | None = None
    debug_id: str | None = None
    image_addr: Address | None = None
    image_size: Natural | None = None
    image_vmaddr: Address | None = None


class ElfImage(NativeImage, tag="elf"):
    """Linux, Android."""


class MachImage(NativeImage, tag="macho"):
    """Apple systems."""


class PeImage(NativeImage, tag="pe"):
    """Windows."""


class DotnetImage(NativeImage, tag="pe_dotnet"):
    """.NET assembly."""


class SymbolicImage(NativeImage, tag="symbolic"):
    """Any native image in one form."""


class WasmImage(NativeImage, tag="wasm"):
    """WebAssembly."""


class AppleImage(Clean, tag_field="type", tag="apple"):
    """Apple systems, older form."""

    arch: str | None = None
    cpu_subtype: Natural | None = None
    cpu_type: Natural | None = None
    image_addr: Address | None = None
    image_size: Natural | None = None
    image_vmaddr: Address | None = None
    name: str | None = None
    uuid: str | None = None


class ProguardImage(Clean, tag_field="type", tag="proguard"):
    """A mapping of names."""

    uuid: str | None = None


class SourcemapImage(Clean, tag_field="type", tag="sourcemap"):
    """A source map."""

    code_file: str | None = None
    debug_file: str | None = None
    debug_id: str | None = None


class JvmImage(Clean, tag_field="type", tag="jvm"):
    """A source bundle."""

    debug_id: str | None = None


Image = (
    ElfImage | MachImage | PeImage | DotnetImage | SymbolicImage | WasmImage
    | AppleImage | ProguardImage | SourcemapImage | JvmImage
)  # fmt: skip
IMAGE_KINDS: dict[str, type[Clean]] = {
    "apple": AppleImage,
    "elf": ElfImage,
    "jvm": JvmImage,
    "macho": MachImage,
    "pe": PeImage,
    "pe_dotnet": DotnetImage,
    "proguard": ProguardImage,
    "sourcemap": SourcemapImage,
    "symbolic": SymbolicImage,
    "wasm": WasmImage,
}


class SystemSdk(Clean):
    """The SDK of an operating system."""

    sdk_name: str | None = None
    version_major: Natural | None = None
    version_minor: Natural | None = None
    version_patchlevel: Natural | None = None


class DebugMeta(Clean):
    """What native frames are resolved with."""

    images: Annotated[list[Image], Meta(min_length=1)] | None = None
    sdk_info: SystemSdk | None = None


class Problem(Clean):
    """An entry of `errors`."""

    type: Text128 | None = None
    name: str | None = None
    value: Any = None


class NameChange(Clean):
    """A change of a transaction's name."""

    source: Text64 | None = None
    propagations: Natural | None = None
    timestamp: int | float | None = None


class TransactionInfo(Clean):
    """Where a transaction's name comes from."""

    source: Text64 | None = None
    original: Text200 | None = None
    changes: list[NameChange | None] | None = None
    propagations: Natural | None = None


TagValue = str | int | float | bool


class Event(Clean):
    """An error event or a transaction, as sent, when nothing in it needs repair."""

    event_id: str | None = None
    type: Text32 | None = None
    level: Text32 | int | None = None
    version: Text32 | int | float | None = None
    platform: Text64 | None = None
    timestamp: Time | None = None
    start_timestamp: Time | None = None
    received: Time | None = None
    transaction: Annotated[str, Meta(max_length=200, extra={"trim": True})] | None = None
    transaction_info: TransactionInfo | None = None
    culprit: Text200 | None = None
    logger: Text64 | None = None
    release: Lenient | None = None
    dist: Lenient | None = None
    environment: Lenient | None = None
    server_name: Text256 | None = None
    site: Text256 | None = None
    fingerprint: list[Any] | None = None
    logentry: (
        Annotated[
            Text8192 | LogEntry, Meta(extra={"alias": ("sentry.interfaces.Message", "message"), "form": "logentry"})
        ]
        | None
    ) = None
    message: Text8192 | LogEntry | None = None
    exception: Annotated[list[Exc | None] | Excs, Meta(extra={"alias": ("sentry.interfaces.Exception",)})] | None = None
    stacktrace: Annotated[Stack, Meta(extra={"alias": ("sentry.interfaces.Stacktrace",)})] | None = None
    threads: list[Thread | None] | Threads | None = None
    tags: dict[str, TagValue | None] | list[Any] | None = None
    user: Annotated[User, Meta(extra={"alias": ("sentry.interfaces.User",), "form": "user"})] | None = None
    request: Annotated[Request, Meta(extra={"alias": ("sentry.interfaces.Http",)})] | None = None
    contexts: (
        Annotated[dict[str, Raw], Meta(extra={"alias": ("sentry.interfaces.Contexts",), "form": "contexts"})] | None
    ) = None
    breadcrumbs: (
        Annotated[list[Crumb | None] | Crumbs, Meta(extra={"alias": ("sentry.interfaces.Breadcrumbs",)})] | None
    ) = None
    extra: BagExtra = NOTHING
    modules: Modules = NOTHING
    sdk: Annotated[Raw, Meta(extra={"as": Sdk})] = NOTHING
    debug_meta: Annotated[Raw, Meta(extra={"form": "debug_meta"})] = NOTHING
    template: Annotated[Raw, Meta(extra={"alias": ("sentry.interfaces.Template",), "form": "object"})] = NOTHING
    checksum: Text128 | None = None
    csp: Annotated[Raw, Meta(extra={"alias": ("sentry.interfaces.Csp",), "form": "object"})] = NOTHING
    spans: Array = NOTHING
    measurements: Object = NOTHING
    breakdowns: Object = NOTHING
    time_spent: Natural | None = None
    ingest_path: Array = NOTHING
    key_id: Text64 | int | None = None
    project: int | None = None
    errors: list[Problem | None] | None = None
    scraping_attempts: Array = NOTHING
    meta: Object = msgspec.field(name="_meta", default=NOTHING)
    dsc: Object = msgspec.field(name="_dsc", default=NOTHING)
    metrics: Object = msgspec.field(name="_metrics", default=NOTHING)
    metrics_summary: Object = msgspec.field(name="_metrics_summary", default=NOTHING)


EVENT = msgspec.json.Decoder(Event)
EVENT_WRITER = msgspec.json.Encoder()
