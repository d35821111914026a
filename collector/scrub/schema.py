"""Which fields of an event (and of the other items) may be scrubbed, and what selectors call them.

A Node says for a field: may it be scrubbed (NO never, MAYBE when a selector names it, YES by every selector), the
selector types of its value ("user", "frame", ...), and its children. What is not listed takes `other`; below a field
with free content everything inherits. Source: reference page on the protocol, F1, F4 and E (the fields themselves).
"""

from collector.scrub.selectors import MAYBE, NO, YES


class Node:
    """One field of the schema. `pairs`: a list of [key, value] that selectors see as an object.

    `path_text`: a file path whose last part stays. `attributes`: {key: {"value": ...}} seen as {key: value}.
    `by_type`: what the field is, by its own key "type"; `typed_fields`: whether that is so for a field of this one.
    """

    __slots__ = (
        "attributes", "by_type", "fields", "item", "other", "pairs", "path_text", "pii", "typed_fields", "types",
    )  # fmt: skip

    def __init__(
        self,
        pii: int = NO,
        fields: "dict[str, Node] | None" = None,
        *,
        other: "Node | None" = None,
        item: "Node | None" = None,
        types: str = "",
    ) -> None:
        self.pii = pii
        self.fields = fields or {}
        self.other = other or self._inherited()
        self.item = item or self.other
        self.types = frozenset(types.split())
        self.pairs = self.path_text = self.attributes = False
        self.by_type: dict[str, Node] | None = None
        self.typed_fields = any(field.by_type for field in (self.other, *self.fields.values()) if field is not self)

    def _inherited(self) -> "Node":
        return FREE.get(self.pii, self)

    def field(self, key: str) -> "Node":
        """The child under a key."""
        return self.fields.get(key, self.other)


FREE: dict[int, Node] = {}
for _level in (NO, MAYBE, YES):
    FREE[_level] = Node(_level)
FREE_NO, FREE_MAYBE, FREE_YES = FREE[NO], FREE[MAYBE], FREE[YES]


def _pairs(pii: int) -> Node:
    node = Node(pii)
    node.pairs = True
    return node


def _values(item: Node) -> Node:
    return Node(NO, {"values": Node(NO, item=item)}, item=item)


def _path_text() -> Node:
    node = Node(MAYBE)
    node.path_text = True
    return node


def _typed(pii: int, types: str) -> Node:
    return Node(pii, types=types)


def _each(names: str, node: Node) -> dict[str, Node]:
    return dict.fromkeys(names.split(), node)


def _attributes() -> Node:
    node = Node(YES, dict.fromkeys(REPLACE_ONLY_KEYS, FREE_MAYBE))
    node.attributes = True
    return node


# Fields of spans and attributes that carry prompts and answers of AI models: replaced in part, never as a whole.
REPLACE_ONLY_KEYS = (
    "gen_ai.input.messages", "gen_ai.prompt", "gen_ai.request.messages", "gen_ai.tool.call.arguments",
    "gen_ai.tool.input", "gen_ai.tool.call.result", "gen_ai.tool.output", "gen_ai.output.messages",
    "gen_ai.response.tool_calls", "gen_ai.response.text", "gen_ai.response.object", "gen_ai.tool.definitions",
    "gen_ai.request.available_tools", "gen_ai.tool.name", "mcp.prompt.result", "mcp.tool.result.content",
)  # fmt: skip
# Counts of tokens are figures about usage; their names would make them look like secrets.
TOKEN_COUNT_KEYS = (
    "ai.completion_tokens.used", "ai.prompt_tokens.used", "ai.total_tokens.used", "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens", "gen_ai.usage.total_tokens", "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.output_tokens.reasoning",
)  # fmt: skip
TYPED_CONTEXTS = (
    "app", "browser", "chromium_stability_report", "cloud_resource", "culture", "device", "flags", "gpu", "memory_info",
    "monitor", "os", "ota_updates", "otel", "performance_score", "profile", "replay", "reprocessing", "runtime",
    "spring", "threadpool_info", "unity",
)  # fmt: skip

_SPAN_DATA = Node(
    YES,
    {
        **dict.fromkeys(("code.filepath", "code.lineno", "code.function", "code.namespace"), FREE_MAYBE),
        **dict.fromkeys(REPLACE_ONLY_KEYS, FREE_MAYBE),
        **dict.fromkeys(TOKEN_COUNT_KEYS, FREE_NO),
    },
)
_FRAME = Node(
    NO,
    {"module": FREE_MAYBE, "filename": _path_text(), "abs_path": _path_text(), "vars": FREE_YES},
    types="frame",
)
_STACKTRACE = Node(NO, {"frames": Node(NO, item=_FRAME)}, types="stack")
_MECHANISM = Node(NO, {"description": FREE_YES, "data": FREE_YES})
_EXCEPTION = Node(
    NO,
    {"value": FREE_YES, "mechanism": _MECHANISM, "stacktrace": _STACKTRACE, "raw_stacktrace": _STACKTRACE},
    types="error",
)
_THREAD = Node(NO, {"stacktrace": _STACKTRACE, "raw_stacktrace": _STACKTRACE}, types="thread")
_BREADCRUMB = Node(NO, {"message": FREE_YES, "data": FREE_YES}, types="breadcrumb")
_REQUEST = Node(
    NO,
    {
        "url": FREE_MAYBE,
        "method": FREE_NO,
        "protocol": FREE_NO,
        "data": FREE_YES,
        "query_string": _pairs(YES),
        "fragment": FREE_YES,
        "cookies": _pairs(YES),
        "headers": _pairs(YES),
        "body_size": FREE_NO,
        "env": FREE_YES,
        "inferred_content_type": FREE_NO,
        "api_target": FREE_NO,
    },
    other=FREE_YES,
    types="http",
)
_GEO = Node(NO, dict.fromkeys(("country_code", "city", "subdivision", "region"), FREE_YES))
_USER = Node(NO, {"geo": _GEO, "segment": FREE_NO, "sentry_user": FREE_NO}, other=FREE_YES, types="user")
_MESSAGE = _typed(YES, "message string")
_LOGENTRY = Node(
    NO,
    {"message": _typed(NO, "message string"), "formatted": _MESSAGE, "params": FREE_YES},
    other=FREE_YES,
    types="logentry",
)
_SPAN = Node(
    NO,
    {
        "description": FREE_MAYBE,
        "tags": FREE_MAYBE,
        "data": _SPAN_DATA,
        "sentry_tags": Node(NO, {"user.ip": FREE_YES}),
        **_each(
            "timestamp start_timestamp exclusive_time op span_id parent_span_id trace_id segment_id is_segment status "
            "origin profile_id received measurements platform",
            FREE_NO,
        ),
    },
    other=FREE_MAYBE,
    types="span",
)
_TYPED_CONTEXT = Node(NO, {"type": FREE_NO, "device_unique_identifier": FREE_YES}, other=FREE_MAYBE)
_RESPONSE = Node(
    NO,
    {
        "type": FREE_NO,
        "cookies": _pairs(YES),
        "headers": _pairs(YES),
        "data": FREE_YES,
        "status_code": FREE_NO,
        "body_size": FREE_NO,
        "inferred_content_type": FREE_NO,
    },
    other=FREE_MAYBE,
)
_TRACE = Node(
    NO,
    {
        "data": Node(MAYBE, dict(_SPAN_DATA.fields), other=FREE_YES),
        **dict.fromkeys(("type", "trace_id", "span_id", "parent_span_id", "op", "status", "origin"), FREE_NO),
    },
    other=FREE_MAYBE,
)
_FEEDBACK = Node(NO, {"message": FREE_YES, "url": FREE_YES, "type": FREE_NO}, other=FREE_MAYBE)
_CONTEXT = Node(YES)
_CONTEXT.by_type = {
    **dict.fromkeys(TYPED_CONTEXTS, _TYPED_CONTEXT),
    "response": _RESPONSE,
    "trace": _TRACE,
    "feedback": _FEEDBACK,
}
_IMAGE = Node(NO, {"code_file": _path_text(), "debug_file": _path_text()})
_EVENT_FIELDS = {
    **_each(
        "event_id level version type fingerprint transaction_info time_spent logger modules platform "
        "timestamp start_timestamp received release dist environment site template ingest_path errors key_id project "
        "grouping_config checksum measurements breakdowns scraping_attempts _metrics _dsc _meta",
        FREE_NO,
    ),
    "culprit": FREE_MAYBE,
    "transaction": FREE_MAYBE,
    "logentry": _LOGENTRY,
    "message": _typed(YES, "message string"),
    "server_name": FREE_YES,
    "user": _USER,
    "request": _REQUEST,
    "contexts": Node(NO, other=_CONTEXT),
    "breadcrumbs": _values(_BREADCRUMB),
    "exception": _values(_EXCEPTION),
    "stacktrace": _STACKTRACE,
    "threads": _values(_THREAD),
    "tags": _pairs(MAYBE),
    "extra": FREE_YES,
    "debug_meta": Node(NO, {"images": Node(NO, item=_IMAGE)}),
    "sdk": Node(NO, {"client_ip": FREE_YES}, types="sdk"),
    "csp": Node(NO, other=FREE_YES),
    "hpkp": FREE_YES,
    "expectct": FREE_YES,
    "expectstaple": FREE_YES,
    "spans": Node(NO, item=_SPAN),
}

EVENT = Node(NO, _EVENT_FIELDS, other=FREE_YES, types="event")
_LOG = Node(NO, {"body": _typed(MAYBE, "string"), "attributes": _attributes()}, types="log")
_SPAN_V2 = Node(NO, {"attributes": _attributes(), "name": FREE_MAYBE}, types="span")
_METRIC = Node(NO, {"attributes": _attributes()}, types="trace_metric")
_SESSION_ATTRIBUTES = Node(NO, {"ip_address": FREE_YES, "user_agent": FREE_MAYBE})
_SESSION = Node(NO, {"attrs": _SESSION_ATTRIBUTES, "did": FREE_MAYBE})
_REPORT = Node(NO, {"name": FREE_MAYBE, "email": FREE_MAYBE, "comments": _typed(MAYBE, "message string")})


def _items_of(node: Node) -> Node:
    """One item, or a container {"items": [item, ...]}; both forms are in use."""
    return Node(NO, {**node.fields, "items": Node(NO, item=node)}, other=node.other, types=" ".join(node.types))


def _span_of_any_version() -> Node:
    fields = {**_SPAN_V2.fields, **_SPAN.fields, "attributes": _SPAN_V2.fields["attributes"]}
    return Node(NO, {**fields, "items": Node(NO, item=_SPAN_V2)}, other=FREE_MAYBE, types="span")


SCHEMAS: dict[str, Node] = {
    "event": EVENT,
    "transaction": EVENT,
    "feedback": EVENT,
    "replay_event": EVENT,
    "user_report_v2": EVENT,
    "security": EVENT,
    "span": _span_of_any_version(),
    "log": _items_of(_LOG),
    "otel_log": _items_of(_LOG),
    "trace_metric": _items_of(_METRIC),
    "session": _SESSION,
    "sessions": _SESSION,
    "user_report": _REPORT,
    "check_in": FREE_NO,
    "client_report": FREE_NO,
    "json": FREE_YES,
}
