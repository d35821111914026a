"""The HTTP request of an event. Rules: protocol E4, E5."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Raw

from collector.digest.clean import NOTHING, Event, Request
from collector.digest.messages import lenient_text
from collector.digest.remarks import Remarks, cut_text
from collector.digest.trim import Trimmer, checked_bag, fits, trim_raw

METHOD = re.compile(r"[A-Z\-_]{3,32}")
DATA_BAG, HEADER_BAG, ENV_BAG, COOKIE_BAG, QUERY_BAG = (8192, 7), (8192, 7), (8192, 7), (2048, 5), (1024, 3)
MAX_FRAGMENT_CHARS = 1024
QUOTE, NULL = 0x22, 0x6E
TEXTS = frozenset((str,))
NO_REMARKS: dict[str, Any] = {}

Pairs = list[Any]


def normalise_request(event: Event, remarks: Remarks) -> None:
    """The request in place: URL split, method, header names, cookies, query, body."""
    request = event.request
    if request is None:
        return
    if request.method is not None:
        _method(request, remarks)
    if request.url is not None:
        _url(request, remarks)
    headers = _headers(request.headers, remarks)
    if request.cookies is None:
        _cookies_from(headers, request)
    request.headers = _bounded(headers, HEADER_BAG, remarks, "headers") or None
    if request.cookies is not None:
        request.cookies = _bounded(_pairs(request.cookies, _cookie_pairs, remarks, "cookies"), COOKIE_BAG, remarks,
                                   "cookies") or None  # fmt: skip
    if request.query_string is not None:
        request.query_string = _bounded(_pairs(request.query_string, _query_pairs, remarks, "query_string"), QUERY_BAG,
                                        remarks, "query_string") or None  # fmt: skip
    request.env = checked_bag(request.env, ENV_BAG, remarks, ("request", "env"))
    if request.data is not NOTHING:
        _data(request, headers, remarks)


def _method(request: Request, remarks: Remarks) -> None:
    method = (request.method or "").strip().upper()
    request.method = method
    if not METHOD.fullmatch(method):
        remarks.error(("request", "method"), "invalid_data", method, reason="invalid http method")
        request.method = None


def _url(request: Request, remarks: Remarks) -> None:
    url = request.url or ""
    if url.endswith("…"):
        url = url[:-1] + "..."
    if "?" in url or "#" in url:
        rest, _, fragment = url.partition("#")
        rest, _, query = rest.partition("?")
        if query and request.query_string is None:
            request.query_string = query
        if fragment and request.fragment is None:
            request.fragment = fragment[:MAX_FRAGMENT_CHARS]
        url = rest
    request.url = url


def _headers(given: dict[str, Any] | list[Any] | None, remarks: Remarks) -> Pairs:
    """[name, value] sorted by name, names In-Title-Case."""
    if not given:
        return []
    if isinstance(given, dict):
        order = _header_order(tuple(given))
        if remarks and "headers" in remarks.tree.get("request", NO_REMARKS):
            for index, name in enumerate(sorted(given, key=_title)):
                remarks.moved(("request", "headers", name), ("request", "headers", index, "1"))
        if TEXTS.issuperset(map(type, given.values())):
            return [[title, given[name]] for title, name in order]
        return [[title, _header_value(given[name])] for title, name in order]
    found = []
    for index, pair in enumerate(given):
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
            found.append([_title(pair[0]), _header_value(pair[1])])
        elif pair is not None:
            remarks.error(("request", "headers", index), "invalid_data", pair, reason="expected a tuple")
    found.sort(key=_first)
    return found


@lru_cache(maxsize=1024)
def _header_order(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(title, name) sorted by title: browsers and libraries send the same few sets of headers."""
    return sorted(((_title(name), name) for name in names), key=_first)


def _first(pair: Sequence[Any]) -> str:
    return pair[0] or ""


_TITLES: dict[str, str] = {}


def _title(name: str) -> str:
    """ "content-type" -> "Content-Type". Remembered: there are few header names."""
    title = _TITLES.get(name)
    if title is None:
        title = "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
        if len(_TITLES) < 1024 and len(name) <= 64:
            _TITLES[name] = title
    return title


def _header_value(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(text for text in map(lenient_text, value) if text is not None)
    return lenient_text(value)


def _cookies_from(headers: Pairs, request: Request) -> None:
    """Move the Cookie header to `cookies`."""
    for index, (name, value) in enumerate(headers):
        if name == "Cookie" and isinstance(value, str):
            request.cookies = value
            del headers[index]
            return


def _cookie_pairs(text: str) -> Pairs:
    pairs = []
    for part in text.split(";"):
        name, equals, value = part.strip().partition("=")
        if name or value:
            pairs.append([name, unquote(value) if equals else ""])
    return pairs


@lru_cache(maxsize=1024)
def _parsed_query(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text.removeprefix("?"), keep_blank_values=True)


def _query_pairs(text: str) -> Pairs:
    return [list(pair) for pair in _parsed_query(text)]


def _pairs(given: Any, read: Any, remarks: Remarks, name: str) -> Pairs:
    """A text, an object or a list of pairs as a list of pairs."""
    if isinstance(given, str):
        return list(read(given))
    if isinstance(given, dict):
        names = sorted(given)
        if remarks and name in remarks.tree.get("request", NO_REMARKS):
            for index, key in enumerate(names):
                remarks.moved(("request", name, key), ("request", name, index, "1"))
        return [[key, _scalar(given[key])] for key in names]
    found = []
    for index, pair in enumerate(given):
        if isinstance(pair, list) and len(pair) == 2:
            found.append([lenient_text(pair[0]), _scalar(pair[1])])
        elif pair is not None:
            remarks.error(("request", name, index), "invalid_data", pair, reason="expected a tuple")
    return found


def _scalar(value: Any) -> str | None:
    text = lenient_text(value)
    return msgspec.json.encode(value).decode() if text is None and value is not None else text


def _bounded(pairs: Pairs, bag: tuple[int, int], remarks: Remarks, name: str) -> Pairs:
    """Pairs within their limit of bytes."""
    cost = 3
    for key, value in pairs:
        cost += (len(key or "") + len(value or "")) * 4 + 12
    if cost <= bag[0]:
        return pairs
    trimmed = Trimmer(remarks).bag(pairs, bag, ["request", name])
    return [pair for pair in trimmed if isinstance(pair, list) and len(pair) == 2]


def _data(request: Request, headers: Pairs, remarks: Remarks) -> None:
    """The body: parsed when it is JSON or a form, and within its limits."""
    data = bytes(request.data)
    if data[0] == NULL:
        request.data = NOTHING
        return
    if data[0] == QUOTE:
        text = msgspec.json.decode(data)
        kind, value = _parsed(text)
        if value is not None:
            request.data = Raw(msgspec.json.encode(value))
            data = bytes(request.data)
        if request.inferred_content_type is None:
            request.inferred_content_type = _content_type(headers) or kind
    elif request.inferred_content_type is None:
        request.inferred_content_type = _content_type(headers)
    if not fits(data, DATA_BAG):
        if data[0] == QUOTE:
            text = msgspec.json.decode(data)
            if len(text) > DATA_BAG[0]:
                text = cut_text(text, DATA_BAG[0], remarks, ("request", "data"))
                request.data = Raw(msgspec.json.encode(text))
            return
        request.data = trim_raw(request.data, DATA_BAG, remarks, ["request", "data"])


def _content_type(headers: Pairs) -> str | None:
    for name, value in headers:
        if name == "Content-Type" and value:
            return str(value).partition(";")[0].strip()[:256] or None
    return None


def _parsed(text: str) -> tuple[str | None, Any]:
    """(content type, value) of a body that is a JSON object or list, or a form."""
    start = text.lstrip()[:1]
    if start and start in "{[":
        try:
            return "application/json", msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return None, None
    if "=" in text and not re.search(r"[\s{}\[\]<>\"]", text):
        form: dict[str, Any] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            form[name] = value
        if form:
            return "application/x-www-form-urlencoded", form
    return None, None
